"""Cores by name: lookup, suggestions, options, and cores that live outside the library."""

import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import memrl
from memrl import registry
from memrl.core import MemoryCore
from memrl.registry import core_entry, list_cores, make_core, register_core

SHIPPED = ("none", "lstm", "gru", "ntm", "dnc", "memformer", "memn2n")


class AverageState(NamedTuple):
    average: Tensor  # (B, H)


@dataclass(frozen=True)
class AverageConfig:
    hidden_size: int = 4
    rate: float = 0.3


class Average(MemoryCore[AverageState]):
    """A core from a user's own file: a moving average of embedded inputs."""

    def __init__(self, input_size: int, config: AverageConfig) -> None:
        super().__init__()
        self.input_size, self.output_size, self.rate = input_size, config.hidden_size, config.rate
        self.embed = nn.Linear(input_size, config.hidden_size)

    def initial_state(self, batch_size: int) -> AverageState:
        return AverageState(self.embed.weight.new_zeros(batch_size, self.output_size))

    def step(self, x: Tensor, state: AverageState) -> tuple[Tensor, AverageState]:
        average = state.average + self.rate * (self.embed(x) - state.average)
        return torch.tanh(average), AverageState(average)


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    list_cores()  # what the library ships is in
    before = dict(registry._CORES)
    yield
    registry._CORES.clear()
    registry._CORES.update(before)


def test_shipped_cores_come_in_the_order_of_their_history() -> None:
    assert list_cores()[: len(SHIPPED)] == SHIPPED
    assert len(set(list_cores())) == len(list_cores())


@pytest.mark.parametrize("name", SHIPPED)
def test_entry_says_what_the_core_is(name: str) -> None:
    entry = core_entry(name)
    core = make_core(name, input_size=3)
    assert entry.name == name
    assert type(core) is entry.core
    assert entry.paper
    assert (core.input_size, core.step(torch.zeros(1, 3), core.initial_state(1))[0].shape[1]) == (
        3,
        core.output_size,
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lstn", "unknown core 'lstn'; did you mean 'lstm'? known: none, lstm, gru, ntm, dnc, memformer, memn2n"),
        ("Memformer", "unknown core 'Memformer'; did you mean 'memformer'? known: none, "),
        ("xyz", "unknown core 'xyz'; known: none, lstm, "),
        ("", "unknown core ''; known: none, lstm, "),
    ],
)
def test_unknown_core_gets_the_nearest_name_and_all_names(name: str, message: str) -> None:
    for ask in (core_entry, lambda name: make_core(name, input_size=3)):
        with pytest.raises(ValueError) as raised:  # noqa: PT011  # the whole beginning is compared
            ask(name)
        assert str(raised.value).startswith(message)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "lstm",
            {"hiden_size": 8},
            "core 'lstm' has no option 'hiden_size'; did you mean 'hidden_size'? known: ",
        ),
        (
            "dnc",
            {"num_slot": 8},
            "core 'dnc' has no option 'num_slot'; did you mean 'num_slots'? known: hidden_size, ",
        ),
        ("gru", {"num_slots": 8}, "core 'gru' has no option 'num_slots'; "),
        ("none", {"hidden_size": 8, "zebra": 1}, "core 'none' has no option 'zebra'; known: hidden_size"),
    ],
)
def test_unknown_option_gets_the_nearest_and_all(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        make_core(name, input_size=3, **options)
    assert str(raised.value).startswith(message)


def test_options_reach_the_core() -> None:
    assert make_core("gru", input_size=3, hidden_size=7).output_size == 7
    memory = make_core("dnc", input_size=3, num_slots=5, slot_size=6).initial_state(2).memory
    assert memory.shape == (2, 5, 6)


@pytest.mark.parametrize("input_size", [0, -1, 2.5, "3", None])
def test_input_size_is_validated(input_size: Any) -> None:
    with pytest.raises(ValueError, match=r"^input_size: .* given"):
        make_core("lstm", input_size=input_size)


WRONG: dict[Any, list[Any]] = {
    int: [-1, 1.5, "4", None],
    float: [-1.0, float("nan"), "0.5", None],
    bool: [2, "yes", None],
    Literal: ["zebra", 3, None],
}


OPTIONS = [(name, field.name) for name in SHIPPED for field in fields(core_entry(name).config)]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_values_out_of_range_are_refused_by_name(name: str, option: str) -> None:
    kind = typing.get_type_hints(core_entry(name).config)[option]
    wrong = WRONG[typing.get_origin(kind) or kind]
    counts_things = option.endswith("_size") or option.startswith("num_")
    for value in [*wrong, 0] if counts_things else wrong:
        with pytest.raises(ValueError, match=rf"^{option}: .* given"):
            make_core(name, input_size=3, **{option: value})


def test_core_from_another_file_works_everywhere() -> None:
    assert register_core("average", AverageConfig, paper="nobody 2025, Averages")(Average) is Average
    assert list_cores()[-1] == "average"
    assert core_entry("average").paper == "nobody 2025, Averages"
    core = make_core("average", input_size=3, rate=0.5)
    assert isinstance(core, Average)
    assert core.rate == 0.5
    memrl.check_core(core)
    with pytest.raises(ValueError, match="did you mean 'rate'"):
        make_core("average", input_size=3, rat=0.5)
    with pytest.raises(ValueError, match="did you mean 'average'"):
        make_core("averag", input_size=3)


def test_order_places_a_core() -> None:
    register_core("average", AverageConfig, paper="x", order=-1)(Average)
    assert list_cores()[0] == "average"


def test_name_that_is_taken_is_refused_and_keeps_its_core() -> None:
    before = core_entry("dnc")
    with pytest.raises(ValueError, match=r"^core 'dnc': already registered by DNC"):
        register_core("dnc", AverageConfig, paper="x")(Average)
    assert core_entry("dnc") is before


def test_class_of_the_same_name_is_still_another_core() -> None:
    lstm = core_entry("lstm").core
    impostor = type(lstm.__name__, (Average,), {"__qualname__": lstm.__qualname__})
    with pytest.raises(ValueError, match=r"^core 'lstm': already registered"):
        register_core("lstm", AverageConfig, paper="x")(impostor)
    assert core_entry("lstm").core is lstm


def test_cell_of_a_notebook_may_run_again() -> None:
    register_core("average", AverageConfig, paper="first run")(Average)
    again = type("Average", (Average,), {"__qualname__": "Average", "__module__": Average.__module__})
    register_core("average", AverageConfig, paper="second run")(again)
    assert core_entry("average").core is again
    assert list_cores().count("average") == 1


def test_shipped_name_is_taken_before_anybody_has_asked_for_it() -> None:
    code = (
        "from dataclasses import make_dataclass\n"
        "from memrl import MemoryCore, register_core\n"
        "mine = type('Mine', (MemoryCore,), {})\n"
        "try: register_core('dnc', make_dataclass('Config', []), paper='x')(mine)\n"
        "except ValueError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("core 'dnc': already registered by DNC")


class NotADataclass:
    pass


@dataclass(frozen=True)
class WithoutDefault:
    hidden_size: int


@pytest.mark.parametrize("config", [NotADataclass, dict, WithoutDefault, AverageConfig()])
def test_config_has_to_be_a_dataclass_with_defaults(config: Any) -> None:
    with pytest.raises(ValueError, match=r"^core 'average': config"):
        register_core("average", config, paper="x")(Average)
    assert "average" not in list_cores()
