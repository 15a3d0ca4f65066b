"""`--set key=value`: what a value is, whose option a key is, and what is said when it is nobody's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from memrl.agents.compare import options_of
from memrl.agents.config import merge_options, read_config
from memrl.agents.errors import UsageError
from memrl.agents.options import Options, agent_options, fits, parse_pairs, route, schedules
from memrl.agents.settings import CompareSettings, TrainSettings


@dataclass(frozen=True)
class Config:
    num_slots: int = 4
    shared: float = 0.0
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = ()
    link: bool = True


class Base:
    def __init__(
        self, env: str, gamma: float = 0.9, seed: int = 0, rollout_buffer_class: type | None = None
    ) -> None: ...


class Agent(Base):
    def __init__(
        self,
        policy: str,
        env: str,
        learning_rate: float | Callable[[float], float] = 1e-3,
        shared: float = 0.0,
        target_kl: float | None = None,
        **kwargs: Any,
    ) -> None: ...


class Policy:
    def __init__(self, observation_space: object, net_arch: list[int] | None = None) -> None: ...


def routed(**given: Any) -> Options:
    return route(
        {key.replace("__", "."): value for key, value in given.items()},
        core="dnc",
        config=Config,
        agent=Agent,
        policy=Policy,
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("32", 32),
        ("-1", -1),
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        (".5e1", 5.0),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("[1, 2e1]", [1, 20.0]),
        ("left,right", "left,right"),
        ("a=b", "a=b"),
        ("v1e", "v1e"),
        ("!!python/object/apply:os.getcwd []", "!!python/object/apply:os.getcwd []"),  # data, never code
    ],
)
def test_values(text: str, value: object) -> None:
    parsed = parse_pairs([f"key={text}"])["key"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("words", [["num_slots"], ["=3"], ["a=1", "a=2"]])
def test_pairs_that_are_none(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_pairs(words)


def test_keys_find_their_owner() -> None:
    options = routed(num_slots=8, learning_rate=0.1, gamma=0.5, policy__net_arch=[3], link=False)
    assert options == Options({"num_slots": 8, "link": False}, {"learning_rate": 0.1, "gamma": 0.5}, {"net_arch": [3]})
    assert options.flat() == {
        "core.num_slots": 8,
        "core.link": False,
        "agent.learning_rate": 0.1,
        "agent.gamma": 0.5,
        "policy.net_arch": [3],
    }


def test_prefix_decides_between_two_owners() -> None:
    with pytest.raises(UsageError, match=r"write core.shared or agent.shared"):
        routed(shared=1.0)
    assert routed(core__shared=1.0).core == {"shared": 1.0}
    assert routed(agent__shared=1.0).agent == {"shared": 1.0}


def test_name_of_the_core_is_a_prefix() -> None:
    assert routed(dnc__num_slots=2).core == {"num_slots": 2}
    with pytest.raises(UsageError, match="the core is dnc, not lstm"):
        routed(lstm__num_slots=2)


def test_list_becomes_a_tuple_where_the_option_is_one() -> None:
    assert routed(sizes=[1, 2]).core == {"sizes": (1, 2)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num_slot": 1}, "did you mean 'num_slots'"),
        ({"core__num_slot": 1}, "did you mean 'num_slots'"),
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"policy__netarch": 1}, "did you mean 'net_arch'"),
        ({"seed": 1}, "use --seed"),
        ({"env": "x"}, "use --env"),
        ({"rollout_buffer_class": 1}, "not set here"),
        ({"num_slots": "many"}, "'many' given, a whole number needed"),
        ({"num_slots": 1.5}, "1.5 given, a whole number needed"),
        ({"num_slots": True}, "True given, a whole number needed"),
        ({"link": 1}, "1 given, true or false needed"),
        ({"kind": "c"}, "'c' given, 'a' or 'b' needed"),
        ({"target_kl": "x"}, "'x' given, a number or null needed"),
        ({"learning_rate": "lin_x"}, "'lin_x' given, a number or lin_NUMBER needed"),
        ({"gamma": "lin_0.9"}, "'lin_0.9' given, a number needed"),  # not a schedule
        ({"num_slots": 1, "core__num_slots": 2}, "given twice"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        routed(**given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_agent_options_reach_through_kwargs_to_base_classes() -> None:
    assert set(agent_options(Agent)) == {"learning_rate", "shared", "target_kl", "gamma"}


def test_schedule_falls_linearly_to_zero() -> None:
    made = schedules({"learning_rate": "lin_4e-4", "gamma": 0.9})
    assert made["gamma"] == 0.9
    # SB3 calls a schedule with the progress that remains, 1 at the start and 0 at the end.
    assert [made["learning_rate"](remaining) for remaining in (1.0, 0.5, 0.0)] == pytest.approx([4e-4, 2e-4, 0.0])


@pytest.mark.parametrize(
    ("value", "hint", "fit"),
    [
        (1, float, True),
        (True, float, False),
        ([1], dict[str, int], False),
        ({"a": 1}, dict[str, int] | None, True),
        ("x", Any, True),
        (1, type[int], False),
    ],
)
def test_fits(value: object, hint: object, fit: bool) -> None:
    assert fits(value, hint) is fit


CORES = ["none", "lstm", "dnc"]


def compared(**options: Any) -> dict[str, dict[str, Any]]:
    settings = CompareSettings(env="e", steps=1, cores="none,lstm,dnc", set=options)
    return {core: dict(options_of(core, ["none", "lstm", "dnc"], settings)) for core in ("none", "lstm", "dnc")}


def test_option_of_a_comparison_goes_to_every_core_that_has_it() -> None:
    assert compared(num_layers=2) == {"none": {}, "lstm": {"num_layers": 2}, "dnc": {}}
    assert compared(**{"core.hidden_size": 7}) == {core: {"core.hidden_size": 7} for core in CORES}
    assert compared(gamma=0.5) == {core: {"gamma": 0.5} for core in CORES}


def test_a_cores_own_option_wins_over_everybodys() -> None:
    options = compared(**{"hidden_size": 7, "dnc.hidden_size": 9, "dnc.gamma": 0.5})
    assert options["lstm"] == {"hidden_size": 7}
    assert options["dnc"] == {"hidden_size": 9, "gamma": 0.5}


@pytest.mark.parametrize(
    ("option", "said"),
    [("ntm.num_slots", "ntm is not among --cores"), ("num_slot", "did you mean 'num_slots'")],
)
def test_option_that_no_compared_core_has(option: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compared(**{option: 3})


def test_command_line_wins_over_the_file_however_a_key_is_written() -> None:
    config = {"core.num_slots": 1, "agent.gamma": 0.5, "learning_rate": 1.0}
    assert merge_options(config, {"num_slots": 2, "agent.learning_rate": 2.0}) == {
        "agent.gamma": 0.5,
        "num_slots": 2,
        "agent.learning_rate": 2.0,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step: 3", "unknown option 'step'; did you mean 'steps'"),
        ("steps: many", "steps: 'many' is not of the right type"),
        ("set: [1]", "set: "),
        ("- a", "a mapping of options to values needed"),
        ("a: [", "expected"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_config_that_is_refused(tmp_path, text: str, said: str) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        read_config(tmp_path / "c.yaml", TrainSettings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_config_keys_may_have_dashes_and_numbers_no_dot(tmp_path) -> None:
    (tmp_path / "c.yaml").write_text("n-envs: 4\nset:\n  learning_rate: 3e-4\n", encoding="utf-8")
    assert read_config(tmp_path / "c.yaml", TrainSettings) == {"n_envs": 4, "set": {"learning_rate": 3e-4}}
