"""Presets: what they say is what was measured, they reach the agent, and whatever the user gives wins over them."""

import importlib
import re
import runpy
import shlex
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

import memrl.agents
from memrl.agents import compare, parsing
from memrl.agents.build import rehearse, resolve
from memrl.agents.cli import main
from memrl.agents.compare import pairs
from memrl.agents.errors import UsageError
from memrl.agents.parsing import parse_request
from memrl.agents.presets import Preset, find_preset, list_presets
from memrl.agents.runs import find_finished, load_settings
from memrl.agents.settings import CompareCommand, CompareSettings, TrainCommand, TrainSettings
from memrl.envs import MEMORY_LEN, make_env
from memrl.registry import list_cores

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ("foundation", "environments", "presets")
PRESETS = {preset.name: preset for preset in list_presets()}
MEASURED = {name: preset for name, preset in PRESETS.items() if preset.command.startswith("memrl compare")}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(line: str) -> TrainSettings:
    return parse_request(TrainSettings, TrainCommand, shlex.split(line), "train").settings


def comparison(line: str) -> CompareSettings:
    return parse_request(CompareSettings, CompareCommand, shlex.split(line), "compare").settings


def measured(preset: Preset) -> CompareSettings:
    """What the command that justifies a preset trains, with nothing filled in."""
    return comparison(preset.command.removeprefix("memrl compare ") + " --preset none")


# --- what they say was measured


@pytest.mark.parametrize("name", MEASURED)
def test_command_is_a_study_whose_results_are_kept(name):
    words = shlex.split(PRESETS[name].command)[2:]
    studies = {
        (experiment, study): shlex.split(command)
        for experiment in EXPERIMENTS
        for study, command in runpy.run_path(str(ROOT / "experiments" / experiment / "studies.py"))["STUDIES"].items()
    }
    (found,) = [where for where, command in studies.items() if command == words]
    results = ROOT / "experiments" / found[0] / "results" / found[1]
    assert (results / "table.csv").is_file()


@pytest.mark.parametrize("name", PRESETS)
def test_figures_of_the_result_stand_in_the_experiments(name):
    pages = [page for each in EXPERIMENTS for page in (ROOT / "experiments" / each).glob("**/*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages).replace(",", "")
    figures = re.findall(r"-?\d+\.\d+|\d{4,}", PRESETS[name].result)
    assert figures or name.startswith("memory_chain")
    for figure in figures:
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", text), figure


@pytest.mark.parametrize("name", MEASURED)
def test_preset_gives_the_training_that_was_measured(name):
    preset, study = PRESETS[name], measured(PRESETS[name])
    keywords = " ".join(f"{key}={value}" for key, value in study.env_set.items() if not isinstance(value, list))
    trained = {training.core: training for training in pairs(study)}
    assert preset.cores is None or set(trained) == set(preset.cores)
    for core, there in trained.items():
        line = f"--env {study.env} --core {core} --steps 1000 --algo {study.algo}"
        here = resolve(train(line + (f" --env-set {keywords}" if keywords else "") + f" --preset {name}"))
        assert (here.set, here.n_envs) == (there.set, there.n_envs)
        assert here.from_preset == name


@pytest.mark.parametrize("name", MEASURED)
def test_study_finds_its_own_preset(name):
    study = measured(PRESETS[name])
    cores = study.cores.split(",")
    found = find_preset("auto", env=study.env, env_set=study.env_set, cores=cores, algo=study.algo)
    assert found is not None
    assert found.name == name or name == "default"


@pytest.mark.parametrize("length", [1, 17, 20, 100])
def test_memory_chain_has_what_its_study_trains_with(length, monkeypatch):
    class Stop(Exception):
        pass

    seen = {}

    def record(policy, envs, learning_rate, **arguments):
        seen.update(arguments, n_envs=envs.num_envs, rates=[learning_rate(left) for left in (1.0, 0.5, 0.0)])
        raise Stop

    monkeypatch.setattr(memrl.agents, "MemoryPPO", record, raising=False)
    study = runpy.run_path(str(ROOT / "experiments" / "environments" / "memory_chain.py"))
    with pytest.raises(Stop):
        study["train"]("gru", 0, length)
    settings = train(f"--env memrl/MemoryChain-v0 --core gru --steps 1000 --env-set length={length}")
    assert settings.n_envs == seen["n_envs"]
    given = dict(settings.set)
    assert given.pop("learning_rate") == "lin_1e-3"
    assert seen["rates"] == [1e-3, 5e-4, 0.0]
    assert seen["policy_kwargs"]["core_kwargs"] == {"chrono_span": given.pop("chrono_span")}
    assert given == {key: seen[key] for key in ("n_steps", "seq_len", "batch_size", "ent_coef")}
    assert length in MEMORY_LEN


# --- what they are for


@pytest.mark.parametrize("name", PRESETS)
def test_patterns_match_registered_ids(name):
    make_env("popgym-RepeatPreviousEasy-v0").close()  # registers POPGym's
    for pattern in PRESETS[name].envs:
        assert any(fnmatchcase(env_id, pattern) for env_id in gym.registry), pattern


@pytest.mark.parametrize("name", PRESETS)
def test_models_can_be_built(name):
    preset = PRESETS[name]
    env = measured(preset).env if name in MEASURED else preset.envs[0]
    core = (preset.cores or list_cores())[-1]
    model = rehearse(resolve(train(f"--env {env} --core {core} --steps 1000 --preset {name}")))
    assert model.policy.core_name == core


def test_default_fits_every_core():
    for core in list_cores():
        settings = resolve(train(f"--env CartPole-v1 --core {core} --steps 1000"))
        assert (settings.from_preset, settings.set["agent.batch_size"]) == ("default", 1024)


def test_page_lists_every_preset_with_its_cores():
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| [^|]* \|$", page.partition("### Presets")[2], re.M)
    listed = {name: sorted(re.findall(r"`(\w+)`", cores)) for name, cores in rows}
    assert listed == {name: sorted(preset.cores or []) for name, preset in PRESETS.items()}


def test_conditions_know_the_default_of_their_keyword():
    told = {
        (preset.envs[0], keyword): bounds["default"]
        for preset in PRESETS.values()
        for keyword, bounds in preset.where.items()
        if "default" in bounds
    }
    assert told == {(env, keyword): getattr(make_env(env).unwrapped, keyword) for env, keyword in told}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--env memrl/TMaze-v0 --core dnc", "tmaze"),
        ("--env memrl/TMaze-v0 --core none", "tmaze"),
        ("--env memrl/TMaze --core dnc", "tmaze"),
        ("--env memrl.envs:memrl/TMaze-v0 --core dnc", "tmaze"),
        ("--env memrl/TMaze-v0 --core lstm --env-set length=10", "tmaze"),
        ("--env memrl/TMaze-v0 --core lstm --env-set length=11", "tmaze_long"),
        ("--env memrl/TMaze-v0 --core dnc --env-set length=11", "default"),
        ("--env memrl/MemoryChain-v0 --core gru", "memory_chain"),
        ("--env memrl/MemoryChain-v0 --core lstm", "default"),
        ("--env popgym-RepeatPreviousHard-v0 --core lstm", "repeat_previous"),
        ("--env popgym-RepeatPreviousHard-v0 --core dnc", "repeat_previous_dnc"),
        ("--env popgym-PositionOnlyCartPoleEasy-v0 --core gru", "cartpole"),
        ("--env MiniGrid-MemoryS13-v0 --core lstm", "minigrid_memory"),
        ("--env MiniGrid-Empty-5x5-v0 --core lstm", "default"),
        ("--env CartPole-v1 --core ntm", "default"),
        ("--env memrl/TMaze-v0 --core lstm --algo a2c", None),
        ("--env memrl/TMaze-v0 --core lstm --preset none", None),
        ("--env memrl/TMaze-v0 --core lstm --preset traffic", "traffic"),
    ],
)
def test_which_preset(line, expected):
    assert train(line + " --steps 1000").from_preset == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--env memrl/Warehouse-v0 --cores none,gru", "warehouse"),
        ("--env memrl/TMaze-v0 --cores none,lstm --env-set length=50", "tmaze_long"),  # the control goes along
        ("--env memrl/TMaze-v0 --cores lstm,dnc --env-set length=50", "default"),  # not measured with both
        ("--env popgym-RepeatPreviousEasy-v0 --cores none,gru,dnc", "repeat_previous_dnc"),
    ],
)
def test_compared_cores_share_one_preset(line, expected):
    settings = comparison(line + " --steps 1000 --seeds 1")
    assert settings.from_preset == expected
    trained = pairs(settings)
    assert {training.n_envs for training in trained} == {PRESETS[expected].n_envs}
    for key in ("learning_rate", "ent_coef", "batch_size", "n_steps"):
        assert len({training.set[f"agent.{key}"] for training in trained}) == 1
    with_gates = [training for training in trained if "core.chrono_span" in training.set]
    assert all(
        training.set["core.chrono_span"] == PRESETS[expected].set.get("chrono_span", 0) for training in with_gates
    )


# --- who wins


def test_preset_config_file_and_command_line_win_in_this_order(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "env: memrl/TMaze-v0\ncore: lstm\nsteps: 1000\nset: {core.chrono_span: 32, batch_size: 256}\n"
        "env_set: {length: 20}\n"
    )
    by_file = train("--config mine.yaml")
    assert by_file.from_preset == "tmaze_long"
    assert by_file.n_envs == 32
    assert (
        resolve(by_file).set.items()
        >= {
            "core.chrono_span": 32,  # of the file
            "agent.batch_size": 256,
            "agent.ent_coef": 0.05,  # of the preset
            "agent.gamma": 0.99,  # of the agent
        }.items()
    )
    by_line = train("--config mine.yaml --set lstm.chrono_span=8 agent.batch_size=64 ent_coef=0 --n-envs 4")
    assert by_line.n_envs == 4
    assert (
        resolve(by_line).set.items()
        >= {
            "core.chrono_span": 8,
            "agent.batch_size": 64,
            "agent.ent_coef": 0,
            "agent.learning_rate": 5e-4,
        }.items()
    )


def test_number_of_copies_equal_to_the_commands_default_is_still_the_users():
    assert train("--env memrl/Traffic-v0 --core gru --steps 1000").n_envs == 64
    assert train("--env memrl/Traffic-v0 --core gru --steps 1000 --n-envs 16").n_envs == 16


def test_file_may_name_a_preset_or_none(tmp_path):
    file = tmp_path / "mine.yaml"
    for name, expected in (("traffic", "traffic"), ("none", None), ("auto", "tmaze")):
        file.write_text(f"env: memrl/TMaze-v0\ncore: lstm\nsteps: 1000\npreset: {name}\n")
        assert train("--config mine.yaml").from_preset == expected
    assert train("--config mine.yaml --preset none").from_preset is None


def test_without_preset_a_command_has_the_agents_defaults():
    settings = train("--env memrl/TMaze-v0 --core lstm --steps 1000 --preset none")
    assert (settings.n_envs, dict(settings.set)) == (16, {})


TINY = "--env memrl/TMaze-v0 --core gru --steps 64 --n-envs 2 --eval-episodes 2 --env-set length=2 --set hidden_size=8"


def test_run_says_its_preset_and_stays_what_it_is_when_presets_change(tmp_path, monkeypatch, capsys):
    assert main(["train", *TINY.split(), "n_steps=16"]) == 0
    assert "preset      tmaze;" in capsys.readouterr().out
    (config,) = tmp_path.glob("runs/*/*/*/config.yaml")
    settings = load_settings(config.parent)
    assert settings.from_preset == "tmaze"
    assert settings.set["agent.learning_rate"] == "lin_1e-3"
    assert settings.set["agent.n_steps"] == 16
    assert yaml.safe_load(config.read_text())["from_preset"] == "tmaze"

    changed = replace(PRESETS["tmaze"], name="other", n_envs=7, set={"gamma": 0.5, "policy.ortho_init": False})
    monkeypatch.setattr(importlib.import_module("memrl.agents.presets"), "list_presets", lambda folder=None: (changed,))
    assert train(f"--config {config}") == settings
    assert train("--env memrl/TMaze-v0 --core gru --steps 64").n_envs == 7  # while the change is in force
    # What matters is the values: a run counts as the same training whoever proposed them.
    assert find_finished(replace(settings, from_preset=None)).samefile(config.parent)


def test_comparison_says_its_preset_and_stays_what_it_is(tmp_path, monkeypatch, capsys):
    words = TINY.replace("--core", "--cores") + " --seeds 1 --jobs 1 --set n_steps=16"
    seen = []
    monkeypatch.setattr(compare, "train_all", lambda todo, **_: seen.extend(todo) or [])
    assert main(["compare", *words.split()]) == 0
    (config,) = tmp_path.glob("runs/*/compare-*/config.yaml")
    again = re.search(r"# Again: memrl compare (.*)", config.read_text()).group(1)
    monkeypatch.setattr(parsing, "find_preset", lambda wanted, **_: None if wanted == "none" else pytest.fail(wanted))
    for line in (f"--config {config}", again):
        assert pairs(comparison(line))[0].set == seen[0].set
        assert comparison(line).n_envs == 2
    assert yaml.safe_load(config.read_text())["from_preset"] == "tmaze"


# --- --show-config


def test_show_config_prints_what_would_be_used_and_trains_nothing(tmp_path, capsys):
    line = "--env memrl/Warehouse-v0 --core gru --steps 5000 --set gamma=0.9"
    assert main(["train", "--show-config", *line.split()]) == 0
    text = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert comments[0].startswith("# preset     warehouse: n_envs=64 learning_rate=lin_2e-3 ent_coef=0.01 n_steps=64")
    assert "gamma" not in comments[0]
    assert comments[1] == "# overruled  gamma=0.98"
    assert comments[2] == f"# measured   {PRESETS['warehouse'].command}"
    assert comments[3] == f"# result     {PRESETS['warehouse'].result}"
    (tmp_path / "shown.yaml").write_text(text)
    assert train("--config shown.yaml") == resolve(train(line))
    assert yaml.safe_load(text)["set"]["agent.gamma"] == 0.9


def test_show_config_without_a_preset_says_so(capsys):
    line = "--show-config --env memrl/TMaze-v0 --core gru --steps 5 --preset none"
    assert main(["train", *line.split()]) == 0
    assert capsys.readouterr().out.startswith("# preset     none")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--preset tmase", "--preset: no preset 'tmase'; did you mean 'tmaze'?"),
        ("--preset warehouse --algo a2c", "--preset warehouse: for --algo ppo, a2c given"),
        ("--preset tmaze_long --core dnc", "--set chrono_span: neither core 'dnc' nor the agent has this option"),
        ("--show-config --env memrl/TMase-v0", "unknown environment 'memrl/TMase-v0'"),
        ("--show-config --set hidden_sizes=3", "did you mean 'hidden_size'?"),
        ("--show-config --n-envs 0", "--n-envs: 0 given, at least 1 needed"),
    ],
)
def test_bad_input_ends_in_one_line(line, message, capsys, tmp_path):
    base = "train --env memrl/TMaze-v0 --core lstm --steps 100 "
    assert main((base + line).split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- malformed files

GOOD = "- {name: mine, envs: ['*'], n_envs: 4, set: {gamma: 0.9}, command: c, result: r}\n"


def test_folder_of_ones_own_is_read(tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no preset")
    assert list_presets(tmp_path) == (
        Preset(name="mine", envs=["*"], n_envs=4, set={"gamma": 0.9}, command="c", result="r"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "presets/bad.yaml: "),
        ("name: mine", "presets/bad.yaml: a list of presets needed"),
        ("- 3", "presets/bad.yaml: a mapping with a name needed, 3 given"),
        ("- {envs: ['*']}", "presets/bad.yaml: a mapping with a name needed"),
        (GOOD.replace("n_envs", "n_env"), "presets/bad.yaml: mine: unknown key 'n_env'; did you mean 'n_envs'?"),
        (GOOD.replace("n_envs: 4", "n_envs: four"), "mine: n_envs: 'four' is not of the right type"),
        (GOOD.replace("n_envs: 4", "n_envs: 0"), "mine: n_envs: 0 given, at least 1 needed"),
        (GOOD.replace("{gamma: 0.9}", "[gamma]"), "mine: set: ['gamma'] is not of the right type"),
        (GOOD.replace("['*']", "all"), "mine: envs: 'all' is not of the right type"),
        (GOOD.replace(", result: r", ""), "missing 1 required keyword-only argument: 'result'"),
        (GOOD.replace("n_envs: 4", "n_envs: 4, where: {length: 3}"), "mine: where"),
        (GOOD.replace("n_envs: 4", "n_envs: 4, where: {length: {least: 3}}"), "mine: where: length: numbers for min"),
        (GOOD + GOOD, "two are called 'mine'"),
        ("- !!python/object/apply:os.getcwd []", "presets/bad.yaml: could not determine a constructor"),
    ],
)
def test_malformed_file_is_told_in_one_line(text, message, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        list_presets(tmp_path)
    assert "\n" not in str(error.value)
