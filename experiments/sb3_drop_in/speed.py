"""Environment steps per second of every method, in turns in one process: `table.py --speed`."""

import os
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from methods import build, build_envs
from settings import Task
from stable_baselines3.common.base_class import BaseAlgorithm

OFF_POLICY_STEPS = 320  # of a turn; a turn of PPO is an iteration


def measure(tasks: Mapping[str, Task], repetitions: int) -> Iterator[dict[str, Any]]:
    """Medians over repetitions, of training from where the last turn ended; the first turn of each is not counted."""
    for name, task in tasks.items():
        models = {method: prepare(task, method) for method in task.methods}
        speeds: dict[str, list[float]] = {method: [] for method in models}
        for _ in range(repetitions):
            for method, model in models.items():
                speeds[method].append(turn(task, model))
        for method, found in speeds.items():
            yield {
                "task": name,
                "method": method,
                "steps_per_s": round(statistics.median(found), 1),
                "low": round(min(found), 1),
                "high": round(max(found), 1),
                "repetitions": repetitions,
                "machine": f"{os.cpu_count()} CPU cores, 1 thread",
            }


def prepare(task: Task, method: str) -> BaseAlgorithm:
    """A model after its first turn, which is slower than the others."""
    model = build(task, method, build_envs(task, method, task.n_envs, 0), 0)
    if task.algorithm != "PPO":
        model.learning_starts = task.n_envs  # type: ignore[attr-defined]
    turn(task, model)
    return model


def turn(task: Task, model: BaseAlgorithm) -> float:
    """Steps per second of one turn."""
    steps = task.n_envs * task.n_steps if task.algorithm == "PPO" else OFF_POLICY_STEPS
    before, began = model.num_timesteps, time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    return (model.num_timesteps - before) / (time.perf_counter() - began)
