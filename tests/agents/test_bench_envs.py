"""`memrl bench envs` counts every copy's steps, draws actions beforehand, and pairs each twin with its original."""

import csv
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from memrl.agents import bench_envs as module
from memrl.agents.bench_envs import BATCHES, Task, bench_envs, choose_tasks, single_round, vector_round
from memrl.agents.cli import main
from memrl.agents.errors import UsageError
from memrl.envs import list_envs

pytest.importorskip("popgym")


class Counted(gym.Env[int, int]):
    """Episodes of three steps; counts what is done with it."""

    observation_space = action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.action_space = spaces.Discrete(2)
        self.steps = self.resets = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.resets += 1
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        self.steps += 1
        return 0, 0.0, self.steps % 6 == 3, self.steps % 6 == 0, {}


def no_more(*_: object) -> None:
    raise AssertionError("an action was drawn while the clock was running")


def test_a_round_of_a_single_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Counted()
    take, steps = single_round(env, seed=0)
    monkeypatch.setattr(spaces.Discrete, "sample", no_more)
    take()
    take()
    assert env.steps == 2 * steps
    assert env.resets == 1 + 2 * steps // 3  # also where an episode was cut off


def test_a_round_of_many_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[np.ndarray] = []
    make_vec = gym.make_vec

    def watched(*words: Any, **keywords: Any) -> Any:
        envs = make_vec(*words, **keywords)
        step = envs.step
        monkeypatch.setattr(envs, "step", lambda actions: (taken.append(actions), step(actions)))
        return envs

    monkeypatch.setattr(gym, "make_vec", watched)
    take, steps = vector_round(Task("memrl/TMaze-v0", {"length": 2}, None), 5, seed=0)
    monkeypatch.setattr(spaces.MultiDiscrete, "sample", no_more)
    take()
    assert sum(len(actions) for actions in taken) == steps == 5 * BATCHES
    assert len({actions.tobytes() for actions in taken}) > BATCHES / 2  # not the same again and again


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rates_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # Warm-up and two repetitions of single, 2 copies, 8 copies and peer, whose rounds then take so many seconds.
    clock = iter([9, 9, 9, 9, 1, 2, 4, 0.5, 2, 2, 2, 1])
    monkeypatch.setattr(module, "seconds_per_call", lambda call, at_least: next(clock))
    options: dict[str, Any] = {"copies": (2, 8), "repetitions": 2, "out": tmp_path / "envs.csv"}
    monkeypatch.setenv("COLUMNS", "200")  # no name in the table is cut
    bench_envs(envs=("RepeatPrevious",), **options)
    (row,) = read(tmp_path / "envs.csv")
    assert (row["environment"], row["keywords"]) == ("memrl/RepeatPrevious-v0", "difficulty=easy")
    assert row["peer"] == "popgym-RepeatPreviousEasy-v0"
    single, many = 4 * BATCHES, 8 * BATCHES
    assert (float(row["single_low"]), float(row["single_high"])) == (single / 2, single / 1)
    assert float(row["2_copies"]) == 2 * BATCHES / 2
    assert float(row["8_copies"]) == pytest.approx((many / 4 + many / 2) / 2)
    # Ratios within the repetitions: (many / 4) / (single / 0.5) and (many / 2) / (single / 1).
    assert float(row["ratio"]) == pytest.approx((many / 8 / single + many / 2 / single) / 2)
    printed = capsys.readouterr().out
    for word in ("RepeatPreviousEasy", "2 copies", "8 copies", "peer/s", "ratio", "cpu cores", "popgym 1"):
        assert word in printed


def test_every_environment_is_measured_and_twins_beside_their_originals() -> None:
    tasks = choose_tasks([], every_twin=False)
    assert {task.env for task in tasks} == {card.id for card in list_envs()}
    everything = choose_tasks([], every_twin=True)
    pairs = {(task.peer, task.env, *task.env_kwargs.items()) for task in everything}
    for card in list_envs():
        for peer, keywords in card.twin_of.items():
            assert (peer, card.id, *keywords.items()) in pairs
            assert any(task.peer == peer for task in tasks) == ("Easy" in peer)
    for task in everything:  # the same task: the same spaces
        if task.peer is not None and task.peer.startswith("popgym"):
            ours, theirs = (
                module.make_env(task.env, **task.env_kwargs),
                module.make_env(task.peer),
            )
            assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["tmaze"], ["memrl/TMaze-v0"]),
        (["popgym-repeatfirst"], ["memrl/RepeatFirst-v0 difficulty=easy"]),
        (["TMaze", "RepeatFirst"], ["memrl/RepeatFirst-v0 difficulty=easy", "memrl/TMaze-v0"]),
        (["nothing"], []),
    ],
)
def test_environments_are_chosen_by_a_part_of_their_ids(texts: list[str], found: list[str]) -> None:
    assert [str(task) for task in choose_tasks(texts, every_twin=False)] == found


def test_command_line_measures_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "envs", "--quick", "--out", str(tmp_path / "new" / "envs.csv")]) == 0
    rows = read(tmp_path / "new" / "envs.csv")
    assert [row["environment"] for row in rows] == [task.env for task in choose_tasks([], every_twin=False)]
    for row in rows:
        assert float(row["single"]) > 0
        assert float(row["8_copies"]) > 0
        assert (row["ratio"] == "") == (row["peer"] == "")
    assert capsys.readouterr().out.count("repetitions 1") >= 1


def test_without_peers_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_envs(quick=True, envs=("TMaze",), peers=False, out=tmp_path / "envs.csv")
    (row,) = read(tmp_path / "envs.csv")
    assert (row["peer"], row["peer_per_s"], row["ratio"]) == ("", "", "")
    assert "ratio" not in capsys.readouterr().out


def test_missing_popgym_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "single_round", None)
    with pytest.raises(UsageError, match=r"memrl\[popgym\].*--no-peers"):
        bench_envs(quick=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(bench_envs, copies=(1, 0)), "--copies: 0 given"),
        (partial(bench_envs, copies=()), "--copies: nothing given"),
        (partial(bench_envs, copies=(4, 4)), "--copies: 4 4 names a number twice"),
        (partial(bench_envs, repetitions=0), "--repetitions: 0 given"),
        (partial(bench_envs, envs=("abc", "xyz")), "--envs: no environment contains 'abc' or 'xyz'"),
    ],
)
def test_bad_options_are_refused(call: Callable[[], None], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_folder_is_no_csv_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--out .*a folder given"):
        bench_envs(quick=True, out=tmp_path)
