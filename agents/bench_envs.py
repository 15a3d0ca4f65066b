"""`memrl bench envs`: steps per second of the environments, one and many copies, beside those of other packages."""

import importlib.util
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from memrl.envs import list_envs, make_env

from .bench_tools import (
    Measurements,
    Row,
    check_out,
    conditions,
    in_turns,
    median_ratio,
    report,
    require_at_least,
    seconds_per_call,
)
from .console import plain_console
from .errors import UsageError
from .options import show_pairs

BATCHES = 64  # of actions, drawn before the clock starts
# MiniGrid's closest relatives: here too, a thing seen at the start says which way to turn at the end of a corridor.
KINDRED = {"memrl/TMaze-v0": "MiniGrid-MemoryS13-v0"}

NOTES = (
    "steps/s of all copies together, random actions, new episodes included; medians.",
    "single: the environment of gymnasium.make. 1 copy and more: the array program of gymnasium.make_vec.",
    "peer: a single environment of POPGym with the same rules (or of MiniGrid, a task of the same kind), unwrapped;",
    "beside it, the environment of memrl has the same difficulty.",
    "ratio: most copies to peer, median of each repetition's ratio.",
)


@dataclass(frozen=True)
class Task:
    """One environment of memrl, with keywords, and what it is measured beside."""

    env: str
    env_kwargs: Mapping[str, Any] = field(hash=False)
    peer: str | None  # id of another package's environment

    def __str__(self) -> str:
        return " ".join([self.env, *show_pairs(self.env_kwargs)])


def bench_envs(
    *,
    envs: tuple[str, ...] = (),
    copies: tuple[int, ...] = (1, 64, 1024),
    peers: bool = True,
    every_twin: bool = False,
    repetitions: int = 5,
    seconds: float = 0.2,
    seed: int = 0,
    out: Path | None = None,
    quick: bool = False,
) -> None:
    """Steps per second of memrl's environments, one and many copies, beside POPGym's and MiniGrid's own.

    Args:
        envs: Only environments whose id, or whose peer's, contains one of these texts; capitals do not matter.
        copies: Copies that one array program steps.
        peers: Measure the environments of other packages too.
        every_twin: Every difficulty of the environments that POPGym has too, not easy alone.
        repetitions: Turns of each candidate, after a warm-up.
        seconds: Length of a turn, in seconds.
        seed: Seed of environments and actions.
        out: CSV file to write.
        quick: A small version that shows whether it runs, not how fast.

    Raises:
        UsageError: an option is out of its range, no environment has the text, or POPGym is not installed.
    """
    if quick:
        copies, repetitions, seconds = tuple(min(number, 8) for number in copies[-1:]), 1, 0.0
    require_at_least(1, copies=copies, repetitions=repetitions)
    if len(set(copies)) < len(copies):
        raise UsageError(f"--copies: {' '.join(map(str, copies))} names a number twice")
    tasks = choose_tasks(envs, every_twin)
    if not tasks:
        raise UsageError(f"--envs: no environment contains {' or '.join(map(repr, envs))}; see memrl envs")
    if not peers:
        tasks = [replace(task, peer=None) for task in tasks]
    popgym = any(task.peer is not None and task.peer.startswith("popgym-") for task in tasks)
    if popgym and importlib.util.find_spec("popgym") is None:
        raise UsageError("--peers: POPGym is not installed; pip install 'memrl[popgym]', or --no-peers")
    check_out(out)

    rounds: dict[tuple[Task, str], tuple[Callable[[], None], int]] = {}
    for task in tasks:
        rounds[task, "single"] = single_round(make_env(task.env, **task.env_kwargs), seed)
        for number in copies:
            rounds[task, str(number)] = vector_round(task, number, seed)
        if task.peer is not None:
            rounds[task, "peer"] = single_round(make_env(task.peer).unwrapped, seed)
    measure = {key: partial(seconds_per_call, call, seconds) for key, (call, _) in rounds.items()}
    turns = in_turns("environments", measure, repetitions, plain_console())
    speeds = {key: [rounds[key][1] / turn for turn in turns[key]] for key in turns}

    rows = [_row(task, copies, speeds) for task in tasks]
    shown = ["environment", *(["keywords"] if every_twin else []), "single", *map(_heading, copies)]
    shown += ["peer", "peer_per_s", "ratio"] if peers else []
    title = "Environments: steps per second"
    packages = ("numpy", "gymnasium", "popgym", "minigrid") if popgym else ("numpy", "gymnasium", "minigrid")
    measured = conditions(1, repetitions) | {package: version(package) for package in packages}
    del measured["torch"]
    report([Measurements("envs", title, rows, shown, NOTES if peers else NOTES[:2])], measured, out)


def choose_tasks(texts: Sequence[str], every_twin: bool) -> list[Task]:
    """The environments with one of the texts in an id; all without texts.

    >>> [str(task) for task in choose_tasks(["repeatprev"], every_twin=True)][-1]
    'memrl/RepeatPrevious-v0 difficulty=hard'
    """
    tasks = []
    for card in list_envs():
        twins = [
            Task(card.id, keywords, peer)
            for peer, keywords in card.twin_of.items()
            if every_twin or not re.search("Medium|Hard", peer)
        ]
        tasks += twins or [Task(card.id, {}, KINDRED.get(card.id))]
    wanted = [text.lower() for text in texts]
    return [
        task
        for task in tasks
        if not wanted or any(text in name.lower() for text in wanted for name in (task.env, task.peer or ""))
    ]


def single_round(env: gym.Env[Any, Any], seed: int) -> tuple[Callable[[], None], int]:
    """A function that takes steps in one environment, and how many it takes."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    actions = [env.action_space.sample() for _ in range(4 * BATCHES)]

    def take() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return take, len(actions)


def vector_round(task: Task, copies: int, seed: int) -> tuple[Callable[[], None], int]:
    """The same for an array program; the steps of all copies count."""
    envs = gym.make_vec(task.env, num_envs=copies, vectorization_mode="vector_entry_point", **task.env_kwargs)
    envs.reset(seed=seed)
    envs.action_space.seed(seed)
    actions = [np.asarray(envs.action_space.sample()) for _ in range(BATCHES)]

    def take() -> None:
        for action in actions:
            envs.step(action)

    return take, len(actions) * copies


def _row(task: Task, copies: Sequence[int], speeds: Mapping[tuple[Task, str], list[float]]) -> Row:
    row: Row = {"environment": task.env, "keywords": " ".join(show_pairs(task.env_kwargs)), "peer": task.peer}
    columns = {"single": "single", **{_heading(number): str(number) for number in copies}, "peer_per_s": "peer"}
    for column, key in columns.items():
        speed = speeds.get((task, key))
        row[column] = None if speed is None else statistics.median(speed)
        row[f"{column}_low"] = None if speed is None else min(speed)
        row[f"{column}_high"] = None if speed is None else max(speed)
    peer = speeds.get((task, "peer"))
    row["ratio"] = None if peer is None else median_ratio(speeds[task, str(max(copies))], peer)
    return row


def _heading(copies: int) -> str:
    """A column for a number of copies.

    >>> _heading(1), _heading(64)
    ('1_copy', '64_copies')
    """
    return f"{copies}_{'copy' if copies == 1 else 'copies'}"
