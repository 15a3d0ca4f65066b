"""The command line: bad input in one line, what a run leaves behind, evaluations that are right, Ctrl-C."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import matplotlib.image
import numpy as np
import pytest
import torch
import yaml
from gymnasium import spaces
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from memrl.agents import MemoryA2C, MemoryPPO
from memrl.agents.build import add_previous, build_envs, build_model, env_seed
from memrl.agents.cli import COMMANDS, main
from memrl.agents.errors import UsageError
from memrl.agents.evaluate import play
from memrl.agents.parsing import call, condense
from memrl.agents.render import moments_of
from memrl.agents.runs import load_settings
from memrl.agents.settings import TrainSettings
from memrl.agents.train import train
from memrl.envs import EnvCard, list_envs

ROOT = Path(__file__).resolve().parents[2]
TINY = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "hidden_size": 8}


class Steady(gym.Env[np.ndarray, int]):
    """One step per episode, reward 1; reports success from the `fails`-th episode on, if at all."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, fails: int = 0, tells: bool = True) -> None:
        self.fails, self.tells, self.episode = fails, tells, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.episode += 1
        info = {"is_success": self.episode > self.fails} if self.tells else {}
        return np.zeros(1, np.float32), 1.0, True, False, info


class Odd(Steady):
    """Has an action space that no agent can use."""

    action_space = spaces.Text(3)


@pytest.fixture(autouse=True, scope="module")
def environments() -> Iterator[None]:
    gym.register("Steady-v0", entry_point=Steady, disable_env_checker=True)
    gym.register("Odd-v0", entry_point=Odd, disable_env_checker=True)
    gym.register("Coloured-v0", entry_point=Coloured, disable_env_checker=True)
    yield
    del gym.registry["Steady-v0"], gym.registry["Odd-v0"], gym.registry["Coloured-v0"]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tiny(**changes: object) -> TrainSettings:
    settings = TrainSettings(
        env="memrl/TMaze-v0",
        core="gru",
        steps=200,
        n_envs=4,
        set=TINY,
        env_set={"length": 2},
        eval_episodes=10,
    )
    return replace(settings, **changes)


def memrl(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`memrl` in a process of its own."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "memrl.agents.cli", *words],
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"PYTHONPATH": paths} | environment,
    )


# Bad input

TRAIN = "train --env memrl/TMaze-v0 --core lstm --steps 100"
COMPARE = "compare --env memrl/TMaze-v0 --cores none,dnc --steps 100"
BAD = [
    ("trian", "unknown command 'trian'; did you mean 'train'?"),
    ("train", "missing --core STR, --env STR"),
    (f"{TRAIN} --core lsmt", "unknown core 'lsmt'; did you mean 'lstm'?"),
    (f"{TRAIN} --env memrl/TMase-v0", "unknown environment 'memrl/TMase-v0'; did you mean 'memrl/TMaze-v0'?"),
    (f"{TRAIN} --env nowhere:Env-v0", "nowhere"),
    (f"{TRAIN} --env Odd-v0", "action space"),
    (f"{TRAIN} --steps -5", "--steps: -5 given, at least 1 needed"),
    (f"{TRAIN} --steps many", "--steps: 'many' given, a whole number needed"),
    (f"{TRAIN} --steps", "--steps: a value needed"),
    (f"{TRAIN} --seed -1", "--seed: -1 given, 0 to 2147483647 needed"),
    (f"{TRAIN} --n-envs 0", "--n-envs: 0 given, at least 1 needed"),
    (f"{TRAIN} --eval-episodes 0", "--eval-episodes: 0 given, at least 1 needed"),
    (f"{TRAIN} --algo dqn", "--algo: 'dqn' given, one of 'ppo', 'a2c' needed"),
    (f"{TRAIN} --stop-at soon", "--stop-at: 'soon' given, a number needed"),
    (f"{TRAIN} --stesp 3", "unknown option --stesp, 3; did you mean"),
    (f"{TRAIN} --set hidden_sizes=3", "did you mean 'hidden_size'?"),
    (f"{TRAIN} --set hidden_size", "--set: 'hidden_size' given, KEY=VALUE needed"),
    (f"{TRAIN} --set hidden_size=wide", "'wide' given, a whole number needed"),
    (f"{TRAIN} --set n_steps=0", "n_steps: 0 given, at least 1 needed"),
    (f"{TRAIN} --set num_slots=3", "--set num_slots: neither core 'lstm' nor the agent has this option"),
    (f"{TRAIN} --env-set lenght=3", "no keyword 'lenght'; did you mean 'length'?"),
    (f"{TRAIN} --env-set length=0", "length: 0 given"),
    (f"{TRAIN} --device warp", "--device: 'warp' is not available here"),
    (f"{TRAIN} --vec fast", "--vec: 'fast' given, one of 'auto', 'twin', 'dummy', 'subproc' needed"),
    (f"{TRAIN} --vec twin --env CartPole-v1", "--env: CartPoleVectorEnv: autoreset mode NEXT_STEP given"),
    (f"{TRAIN} --vec twin --env MiniGrid-MemoryS7-v0", "--env: vec: MiniGrid-MemoryS7-v0 has no vectorised twin"),
    (f"{COMPARE} --vec twin --env MiniGrid-MemoryS7-v0", "--env: vec: MiniGrid-MemoryS7-v0 has no vectorised twin"),
    (f"{TRAIN} --run-dir file/runs", "--run-dir: cannot write to file/runs"),
    (f"{TRAIN} --config missing.yaml", "--config missing.yaml: No such file"),
    (f"{COMPARE} --seeds 0", "--seeds: 0 given, at least 1 needed"),
    (f"{COMPARE} --jobs 0", "--jobs: 0 given, at least 1 needed"),
    (f"{COMPARE} --cores none,dcn", "unknown core 'dcn'; did you mean 'dnc'?"),
    (f"{COMPARE} --cores ,", "--cores: none given"),
    (f"{COMPARE} --cores dnc,dnc", "names a core twice"),
    (f"{COMPARE} --set ntm.num_slots=3", "ntm is not among --cores"),
    (f"{COMPARE} --set batch_size=0", "batch_size: 0 given"),
    (f"{COMPARE} --run-dir file", "--run-dir: cannot write to file"),
    ("eval missing", "missing: no such run"),
    ("eval .", "no run here (config.yaml is missing)"),
    ("eval", "missing RUN"),
    ("cores --core dmc", "unknown core 'dmc'; did you mean 'dnc'?"),
    ("cores --input-size 0", "input_size: 0 given"),
    ("envs --filter zzz", "no environment id contains 'zzz'"),
    ("envs --render memrl/TMase-v0", "did you mean 'memrl/TMaze-v0'?"),
    ("envs --render memrl/TMaze-v0 --env-set lenght=3", "no keyword 'lenght'; did you mean 'length'?"),
    ("envs --render memrl/TMaze-v0 --out sheet.jpg", "--out sheet.jpg: a name that ends in .png needed"),
    ("envs --render memrl/TMaze-v0 --out file/sheet.png", "--out file/sheet.png: "),
    ("envs --render memrl/TMaze-v0 --seed -1", "--seed: -1 given"),
    ("envs --render memrl/TMaze-v0 --filter maze", "--filter: lists ids, --render draws one"),
    ("envs --out sheet.png", "--out: goes with --render ID only"),
    ("envs --env-set length=3", "--env-set: goes with --render ID only"),
    ("envs --render Steady-v0", "--render Steady-v0: draws nothing; rgb_array needed"),
    ("envs --render Coloured-v0 --env-set broken=true", "--render: the environment cannot draw itself: no brush"),
    ("bench", "which benchmark?"),
    ("bench pppo", "unknown benchmark 'pppo'; did you mean 'ppo'?"),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    line: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err
    command = line.split()[0]
    assert printed.err.startswith(f"memrl {command}: " if command in COMMANDS else "memrl: ")
    assert "--help)" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # no work, not even a folder


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])  # tyro draws other boxes where there is no UTF-8
def test_bad_input_of_a_process(encoding: str) -> None:
    done = memrl(*TRAIN.split(), "--algo", "dqn", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "memrl train: --algo: 'dqn' given, one of 'ppo', 'a2c' needed (see memrl train --help)\n"


def test_condense_drops_colours_and_help() -> None:
    box = (
        "\x1b[31m╭─\x1b[0m Value error ───╮\n"
        "│ \x1b[91mError parsing --n:\x1b[0m invalid literal for int() with base 10: 'q' │\n"
        "│ ──────────────── │\n│ Argument helptext:   │\n│     --n INT          │\n│         Copies.      │\n"
        "│ ──────────────── │\n│ For full helptext, see memrl --help │\n╰────────╯"
    )
    assert condense(box) == "--n: 'q' given, a whole number needed"


# Help and lists


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        for name, command in COMMANDS.items():
            assert f"  {name:<8} {command.__doc__}" in lines


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "bench"])
def test_help_says_every_default(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: memrl {command}" in text
    flags = len(re.findall(r"^│? *(--\w|RUN)", text, re.M))
    assert flags
    assert text.count("(default: ") + text.count("(required)") >= flags


def measure(steps: int, name: str = "x") -> int:
    """Measure something.

    Args:
        steps: how many.
        name: what it is called.
    """
    print("out", name)
    print("err", file=sys.stderr)
    return steps + 1


def test_benchmark_functions_get_their_arguments_and_keep_their_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(measure, ["--steps", "3"], "bench x") == 4
    assert capsys.readouterr() == ("out x\n", "err\n")
    with pytest.raises(UsageError, match="--steps: 'q' given, a whole number needed"):
        call(measure, ["--steps", "q"], "bench x")
    with pytest.raises(SystemExit):
        call(measure, ["--help"], "bench x")
    text = capsys.readouterr().out
    assert "Measure something." in text
    assert "How many." in text or "how many." in text
    with pytest.raises(SystemExit, match="3"):  # what the benchmark itself does is its own affair
        call(lambda: sys.exit(3), [], "bench x")


def test_cores_lists_options_with_defaults_and_meanings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no line of a table is broken
    assert main(["cores", "--core", "lstm", "--input-size", "3"]) == 0
    text = capsys.readouterr().out
    reference = torch.nn.LSTM(3, 128)
    parameters = sum(weight.numel() for weight in reference.parameters())
    assert f"parameters  {parameters} " in text
    assert f"state       {2 * 128 * 4} bytes" in text  # hidden and cell, four bytes each
    assert "Hochreiter & Schmidhuber 1997" in text
    row = next(line for line in text.splitlines() if "num_layers" in line)
    assert "1" in row
    assert "each reading the hidden state of the one below" in row


def test_cores_lists_every_core(capsys: pytest.CaptureFixture[str]) -> None:
    from memrl.registry import list_cores

    assert main(["cores"]) == 0
    rows = capsys.readouterr().out.splitlines()
    for name in list_cores():
        assert any(line.startswith(f"│ {name} ") for line in rows)


def test_envs_shows_the_card_and_counts_the_suites(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no line of a table is broken
    assert main(["envs"]) == 0
    text = capsys.readouterr().out
    card = next(line for line in text.splitlines() if "memrl/TMaze-v0" in line)
    assert card.split()[-4:] == ["11", "10", "1", "0.5"]
    bound = next(line for line in text.splitlines() if "memrl/Battleship-v0" in line)
    assert bound.split()[-4:] == ["<=", "1", ">=", "-0.436"]
    minigrid = sum(env_id.startswith(("MiniGrid-", "BabyAI-")) for env_id in gym.registry)
    assert f"MiniGrid: {minigrid} ids" in text


@pytest.mark.parametrize("columns", [100, 120])
def test_envs_fits_on_a_screen(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["envs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith("With keywords"))
    table = [line.strip() for line in lines[:end]]
    assert max(map(len, lines[:end])) <= columns
    for card in list_envs():
        row = next(line for line in table if line.startswith(f"{card.id} "))
        *_, optimal, memoryless = (word for word in row.split() if word not in ("<=", ">="))
        assert (">=" in row.split()) == card.memoryless_is_found
        if card.memoryless_return is not None:
            assert float(memoryless) == pytest.approx(card.memoryless_return, abs=5.1e-4)
        assert float(optimal) == pytest.approx(card.optimal_return, abs=5.1e-4)


def test_envs_filter_lists_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "--filter", "memorys7"]) == 0
    assert capsys.readouterr().out.split() == ["MiniGrid-MemoryS7-v0"]


# Pictures of episodes


class Coloured(gym.Env[np.ndarray, int]):
    """Twenty steps; step t is a picture of one colour, and worth t."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as in Gymnasium
    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None, over: int = 20, broken: bool = False) -> None:
        self.render_mode, self.over, self.broken = render_mode, over, broken

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        return np.zeros(1, np.float32), float(self.steps), False, self.steps == self.over, {}

    def render(self) -> np.ndarray:
        if self.broken:
            raise gym.error.DependencyNotInstalled("no brush")
        return np.full((30, 450, 3), self.colour(self.steps), np.uint8)

    @staticmethod
    def colour(steps: int) -> tuple[int, int, int]:
        return 10 * steps, 100, 7


def test_render_shows_moments_in_reading_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "--render", "Coloured-v0", "--out", "new/sheet.png"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["episode     random actions, 20 steps, return 210.00", "picture     new/sheet.png"]
    pixels = (matplotlib.image.imread(tmp_path / "new" / "sheet.png")[..., :3] * 255).round().astype(int)
    places = []
    for step in moments_of(20):
        rows, columns = np.nonzero((pixels == Coloured.colour(step)).all(-1))
        assert len(rows) == 30 * 450, step  # pixel for pixel
        places.append((rows.min(), columns.min()))
    assert places == sorted(places)
    assert len({row for row, _ in places}) == 4  # three pictures side by side
    assert not (pixels == Coloured.colour(1)).all(-1).any()  # between two moments


@pytest.mark.parametrize("steps", [1, 2, 11, 12, 13, 100, 1445])
def test_first_and_last_moment_are_drawn(steps: int) -> None:
    moments = moments_of(steps)
    assert (moments[0], moments[-1], len(moments)) == (0, steps, min(12, steps + 1))
    assert np.ptp(np.diff(moments)) <= 1


def test_render_lets_the_oracle_play_and_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["envs", "--render", "memrl/TMaze-v0", "--seed", "3", "--env-set", "length=4", "--env-set", "active=true"]
    assert main(words) == 0
    assert "oracle, 7 steps, return 1.00, success" in capsys.readouterr().out
    first = tmp_path / "memrl_TMaze-v0-seed3.png"
    before = first.read_bytes()
    assert main(words) == 0
    second = tmp_path / "memrl_TMaze-v0-seed3-2.png"
    assert capsys.readouterr().out.endswith(f"picture     {second.name}\n")
    assert first.read_bytes() == before
    assert second.stat().st_size
    assert main([*words, "--out", first.name]) == 2
    assert "exists already" in capsys.readouterr().err
    assert first.read_bytes() == before


@pytest.mark.parametrize("env", ["MiniGrid-MemoryS7-v0", "popgym-PositionOnlyCartPoleEasy-v0"])
def test_render_draws_environments_of_others(env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "--render", env]) == 0
    assert "random actions" in capsys.readouterr().out
    assert (tmp_path / f"{env}-seed0.png").stat().st_size


def test_render_of_an_endless_episode_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("memrl.agents.render.LONGEST", 30)
    assert main(["envs", "--render", "Coloured-v0", "--env-set", "over=31"]) == 2
    assert "the episode has not ended after 30 steps" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# A run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training with two seeds' worth of everything that a run directory can hold."""
    folder = tmp_path_factory.mktemp("run")
    settings = tiny(run_dir=str(folder), checkpoint_freq=64, eval_freq=128, seed=3)
    return train(settings).run


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "progress.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_run_holds_what_the_documentation_says(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "progress.csv",
        "tb",
        "checkpoints",
        "eval.json",
    }
    # 200 steps are rounded up to whole rollouts of 4 x 16.
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {*(f"model_{steps}_steps.zip" for steps in (64, 128, 192, 256)), "final.zip"}


def test_progress_counts_environment_steps(run: Path) -> None:
    training = [row for row in rows_of(run) if row["time/fps"]]
    assert [int(row["time/total_timesteps"]) for row in training] == [64, 128, 192, 256]
    # T-Maze of length 2: every episode takes 3 steps, in each of 4 copies.
    assert [int(row["time/episodes"]) for row in training] == [4 * (16 * k // 3) for k in (1, 2, 3, 4)]
    assert all(float(row["rollout/ep_len_mean"]) == 3 for row in training)
    assert all(0 <= float(row["rollout/success_rate"]) <= 1 for row in training)


def test_evaluations_on_the_way_are_logged(run: Path) -> None:
    evaluated = [int(row["time/total_timesteps"]) for row in rows_of(run) if row["eval/mean_reward"]]
    assert evaluated == [128, 256, 256]  # every 128 steps, and the final one


def test_tensorboard_has_the_same_numbers(run: Path) -> None:
    events = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0})
    events.Reload()
    logged = {event.step: event.value for event in events.Scalars("rollout/ep_rew_mean")}
    for row in rows_of(run):
        if row["time/fps"]:
            steps, value = int(row["time/total_timesteps"]), float(row["rollout/ep_rew_mean"])
            assert logged[steps] == pytest.approx(value)
    assert {"eval/mean_reward", "eval/success_rate", "time/fps", "train/value_loss"} <= set(events.Tags()["scalars"])


def test_eval_json_says_how_it_was_evaluated(run: Path) -> None:
    (record,) = json.loads((run / "eval.json").read_text(encoding="utf-8"))["evaluations"]
    assert record["source"] == "train"
    assert record["deterministic"] is True
    assert record["episodes"] == 10
    assert record["env_steps"] == 256
    assert record["checkpoint"] == "checkpoints/final.zip"
    assert record["seed"] == 3
    assert record["env_seed"] == env_seed(3, evaluation=True)
    model = MemoryPPO.load(run / "checkpoints" / "final.zip", device="cpu")
    assert record["parameters"] == sum(weight.numel() for weight in model.policy.parameters())
    assert record["state_bytes"] == 8 * 4  # a GRU of 8 units
    assert record["versions"]["torch"] == torch.__version__


def test_the_same_config_gives_the_same_weights_and_evaluation(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--config", str(run / "config.yaml"), "--run-dir", "again"]) == 0
    printed = capsys.readouterr().out
    (again,) = (tmp_path / "again").glob("*/*/*")
    assert replace(load_settings(again), run_dir="") == replace(load_settings(run), run_dir="")
    old, new = (MemoryPPO.load(place / "checkpoints" / "final.zip", device="cpu") for place in (run, again))
    for name, weight in old.policy.state_dict().items():
        assert torch.equal(weight, new.policy.state_dict()[name]), name
    (before,), (after,) = (json.loads((place / "eval.json").read_text())["evaluations"] for place in (run, again))
    assert before["mean_return"] == after["mean_return"]
    # What it prints at the end.
    lines = printed.splitlines()
    relative = again.relative_to(tmp_path)
    assert f"run         {relative}" in lines
    assert f"look at it  tensorboard --logdir {relative}" in lines
    (evaluation,) = (line for line in lines if line.startswith("evaluation  return "))
    assert f"{after['mean_return']:.3f}" in evaluation
    assert f"success rate {after['success_rate']:.3f} [" in evaluation
    assert "10 episodes (95 % intervals, deterministic policy)" in evaluation


def test_command_line_wins_over_the_config(run: Path, tmp_path: Path) -> None:
    words = [
        "--config",
        str(run / "config.yaml"),
        "--run-dir",
        "other",
        "--steps",
        "64",
        "--eval-episodes",
        "2",
    ]
    assert main(["train", *words, "--set", "hidden_size=4", "--set", "gamma=0.5", "--env-set", "length=1"]) == 0
    (other,) = (tmp_path / "other").glob("*/*/*")
    settings = load_settings(other)
    assert (settings.steps, settings.seed, settings.env_set) == (64, 3, {"length": 1})
    options = settings.set
    assert (options["core.hidden_size"], options["agent.gamma"], options["agent.n_steps"]) == (4, 0.5, 16)


def test_another_core_on_the_command_line_takes_no_options_of_the_configs(run: Path, tmp_path: Path) -> None:
    words = [
        "--config",
        str(run / "config.yaml"),
        "--run-dir",
        "other",
        "--steps",
        "64",
        "--eval-episodes",
        "2",
    ]
    assert main(["train", *words, "--core", "none"]) == 0
    (other,) = (tmp_path / "other").glob("*/*/*")
    options = load_settings(other).set
    assert options["core.hidden_size"] == 128  # the default of this core, not the 8 of the other
    assert options["agent.n_steps"] == 16


def test_eval_repeats_the_final_evaluation_and_adds_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (final,) = json.loads((run / "eval.json").read_text())["evaluations"]
    assert main(["eval", str(run), "--episodes", "10"]) == 0
    assert "checkpoints/final.zip, after 256 steps" in capsys.readouterr().out
    assert main(["eval", str(run / "checkpoints" / "model_64_steps.zip"), "--episodes", "5", "--seed", "9"]) == 0
    kept, same, other = json.loads((run / "eval.json").read_text())["evaluations"]
    assert kept == final
    assert same["source"] == "eval"
    for key in (
        "mean_return",
        "return_interval",
        "success_rate",
        "success_interval",
        "env_seed",
        "env_steps",
    ):
        assert same[key] == final[key], key
    assert (other["checkpoint"], other["env_steps"]) == ("checkpoints/model_64_steps.zip", 64)
    assert (other["episodes"], other["seed"], other["env_seed"]) == (5, 9, env_seed(9, evaluation=True))


def test_damaged_model_is_told_in_one_line(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "config.yaml").write_text((run / "config.yaml").read_text())
    (broken / "checkpoints" / "final.zip").write_bytes((run / "checkpoints" / "final.zip").read_bytes()[:1000])
    assert main(["eval", str(broken)]) == 2
    error = capsys.readouterr().err
    assert "final.zip: cannot be read" in error
    assert error.count("\n") == 1


def test_every_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    settings = tiny(steps=64, eval_episodes=1)
    assert len({train(settings).run for _ in range(2)}) == 2


def test_other_agent_previous_inputs_and_schedule() -> None:
    options = {"n_steps": 8, "hidden_size": 4, "learning_rate": "lin_1e-3"}
    changes = {"algo": "a2c", "set": options, "previous_action": True, "previous_reward": True}
    result = train(tiny(**changes, eval_freq=100, steps=128))
    model = MemoryA2C.load(result.run / "checkpoints" / "final.zip", device="cpu")
    assert set(model.observation_space.spaces) == {"observation", "previous_action", "previous_reward"}
    assert model.lr_schedule(0.5) == pytest.approx(5e-4)
    config = yaml.safe_load((result.run / "config.yaml").read_text())
    assert config["set"]["agent.learning_rate"] == "lin_1e-3"
    assert main(["eval", str(result.run), "--episodes", "3"]) == 0


@pytest.mark.parametrize("env", ["MiniGrid-MemoryS7-v0", "popgym-RepeatPreviousEasy-v0"])
def test_environments_of_others_train_by_their_ids(env: str) -> None:
    keywords = {"view_size": 3, "actions": "left,right,forward"} if env.startswith("MiniGrid") else {}
    result = train(tiny(env=env, env_set=keywords, steps=64, n_envs=2, eval_episodes=2))
    assert result.evaluation.success_rate is not None  # MiniGrid's wrapper tells it, and so does POPGym's twin
    assert load_settings(result.run).vec == ("twin" if env.startswith("popgym") else "dummy")
    assert str(result.evaluation).startswith("return ")


def test_how_the_copies_run_changes_nothing() -> None:
    runs = [train(tiny(steps=64, n_envs=2, eval_episodes=3, vec=vec)) for vec in ("auto", "dummy", "subproc")]
    assert [load_settings(run.run).vec for run in runs] == ["twin", "dummy", "subproc"]
    twin, dummy, subproc = (MemoryPPO.load(run.run / "checkpoints" / "final.zip", device="cpu") for run in runs)
    for name, weight in twin.policy.state_dict().items():
        for other in (dummy, subproc):
            assert torch.equal(weight, other.policy.state_dict()[name]), name
    assert runs[0].evaluation == runs[1].evaluation == runs[2].evaluation


def test_a_run_from_before_there_were_twins_is_evaluated_as_it_was_trained(tmp_path: Path) -> None:
    pytest.importorskip("popgym")
    result = train(tiny(env="popgym-RepeatPreviousEasy-v0", env_set={}, steps=64, eval_episodes=2, vec="dummy"))
    config = result.run / "config.yaml"
    assert "vec: dummy\n" in config.read_text()
    assert main(["eval", str(result.run), "--episodes", "2"]) == 0
    trained, again = json.loads((result.run / "eval.json").read_text())["evaluations"]
    assert again["mean_return"] == trained["mean_return"]
    assert again["success_rate"] is None  # POPGym does not tell


@pytest.mark.parametrize("card", list_envs(), ids=lambda card: card.id)
def test_every_twin_trains(card: EnvCard) -> None:
    settings = tiny(env=card.id, env_set={}, n_envs=3, previous_action=True, previous_reward=True)
    with closing(build_envs(settings, 3, evaluation=False)) as envs:
        model = build_model(settings, envs).learn(2 * 3 * TINY["n_steps"])
        assert model.num_timesteps == 2 * 3 * TINY["n_steps"]
        assert play(model, add_previous(settings, envs), 3, env_seed=1).episodes == 3


# Evaluation


class AlwaysUp:
    """Right along the corridor, up at the junction: wins whenever the goal is above."""

    def predict(self, obs: np.ndarray, *_: object) -> tuple[np.ndarray, None]:
        return np.where(obs[:, 0] == 1, 1, 0), None


def test_evaluation_counts_what_the_environment_does() -> None:
    envs = build_envs(tiny(), 4, evaluation=True)
    evaluation = play(AlwaysUp(), envs, 10, env_seed=77)
    # The same episodes, one environment after the other: 10 episodes over 4 copies are 2, 2, 3 and 3.
    wins = []
    for copy, episodes in enumerate((2, 2, 3, 3)):
        env = gym.make("memrl/TMaze-v0", length=2)
        for episode in range(episodes):
            (_, side), _ = env.reset(seed=77 + copy if episode == 0 else None)
            wins.append(side == 1)
    assert 0 < sum(wins) < 10
    assert evaluation.success_rate == sum(wins) / 10
    assert evaluation.mean_return == pytest.approx(sum(wins) / 10)  # rewards are float32
    assert evaluation.mean_length == 3
    low, high = evaluation.success_interval
    p, z = sum(wins) / 10, 1.959964  # Wilson's formula
    middle, half = (
        (p + z**2 / 20) / (1 + z**2 / 10),
        z * np.sqrt(p * (1 - p) / 10 + z**2 / 400) / (1 + z**2 / 10),
    )
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_training_and_evaluation_never_share_an_episode() -> None:
    for seed in [*range(2000), 2**31 - 1]:
        assert 0 <= env_seed(seed, evaluation=False) < 2**30 - 2**20
        assert 2**30 <= env_seed(seed, evaluation=True) < 2**31 - 2**20  # room for copies before SB3's bound


def test_neighbouring_seeds_do_not_share_environments() -> None:
    # Copies get seeds counted up from the first: with 16 copies, firsts that are 16 apart or more share none.
    firsts = np.sort([env_seed(seed, evaluation=False) for seed in range(100)])
    assert np.diff(firsts).min() >= 16


# Stopping


@pytest.mark.parametrize(
    ("keywords", "stop_at", "steps"),
    [
        ({}, 0.95, 100),  # the first 100 episodes, each of one step
        ({"fails": 25}, 0.9, 192),  # 25 failures of each copy: at 4 x 48, 92 of the last 100 succeed
        ({"tells": False}, 1.0, 100),  # no success: the mean return counts
    ],
)
def test_training_stops_as_soon_as_100_episodes_reach_it(keywords: dict, stop_at: float, steps: int) -> None:
    settings = tiny(env="Steady-v0", env_set=keywords, steps=1000, stop_at=stop_at, eval_episodes=1)
    result = train(settings)
    assert result.stopped_early
    assert result.env_steps == steps
    last = rows_of(result.run)[-1]
    assert int(last["time/total_timesteps"]) == steps
    assert float(last.get("rollout/success_rate") or last["rollout/ep_rew_mean"]) >= stop_at


def test_training_that_does_not_reach_it_goes_on_to_the_end() -> None:
    result = train(tiny(env="Steady-v0", env_set={}, steps=256, stop_at=1.01, eval_episodes=1))
    assert not result.stopped_early
    assert result.env_steps == 256


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_model_and_says_so(signum: signal.Signals, code: int, tmp_path: Path) -> None:
    words = "train --env memrl/TMaze-v0 --core gru --n-envs 2 --steps 100000000 --set n_steps=16"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "memrl.agents.cli", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size for path in tmp_path.glob("runs/*/*/*/progress.csv")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signum)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    (run,) = tmp_path.glob("runs/*/*/*")
    relative = run.relative_to(tmp_path)
    assert f"saved       {relative / 'checkpoints' / 'interrupted.zip'}" in printed.splitlines()
    assert f"go on       memrl eval {relative}" in printed.splitlines()
    assert not (run / "eval.json").exists()
    assert MemoryPPO.load(run / "checkpoints" / "interrupted.zip", device="cpu").num_timesteps > 0
    assert main(["eval", str(relative), "--episodes", "2"]) == 0


def test_settings_out_of_range_are_refused_from_python_too() -> None:
    with pytest.raises(UsageError, match="--steps: 0 given, at least 1 needed"):
        train(tiny(steps=0))


def test_export_writes_a_new_file_beside_the_run_and_says_how_well_it_agrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "--env",
        "memrl/TMaze-v0",
        "--core",
        "gru",
        "--steps",
        "64",
        "--n-envs",
        "2",
        "--set",
        "n_steps=16",
    ]
    assert main([*words, "--eval-episodes", "2", "--run-dir", str(tmp_path)]) == 0
    (run,) = tmp_path.glob("*/gru-ppo/seed0-*")
    assert main(["export", str(run), "--format", "torch"]) == 0
    assert (run / "policy.pt2").is_file()
    assert "differs from the policy by at most" in capsys.readouterr().out
    assert main(["export", str(run), "--format", "torch"]) == 2
    assert "writes new files only" in capsys.readouterr().err
    assert main(["export", str(run), "--format", "tflite"]) == 2
    assert main(["export", str(tmp_path / "nowhere")]) == 2
