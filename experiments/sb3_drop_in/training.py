"""One training with its evaluation: `train(task, method, seed, ...) -> row`."""

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from methods import build, build_envs
from settings import Task
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

from memrl.agents.build import env_seed

COLUMNS = (
    "task",
    "method",
    "seed",
    "steps",
    "return",
    "episodes",
    "cpu_seconds",
    "parameters",
)
CURVE = ("env_steps", "cpu_seconds", "episodes", "return")
POINTS = 40  # rows of a curve


class Curve(BaseCallback):
    """Write the mean return of the last training episodes as it goes."""

    def __init__(self, path: Path, task: Task) -> None:
        super().__init__()
        self.path, self.every = path, max(1, task.steps // POINTS)
        self.episodes = self.due = 0
        self.began = time.process_time()

    def _on_training_start(self) -> None:
        self.path.write_text(",".join(CURVE) + "\n", encoding="utf-8")

    def _on_step(self) -> bool:
        self.episodes += int(np.sum(self.locals["dones"]))
        last = [episode["r"] for episode in self.model.ep_info_buffer or []]
        seconds = round(time.process_time() - self.began, 1)
        if self.num_timesteps >= self.due and last:
            self.due = (self.num_timesteps // self.every + 1) * self.every
            with self.path.open("a", newline="", encoding="utf-8") as file:
                row = (self.num_timesteps, seconds, self.episodes, round(float(np.mean(last)), 4))
                csv.writer(file).writerow(row)
        return True


def train(task: Task, name: str, method: str, seed: int, curve: Path, episodes: int) -> dict[str, Any]:
    """Train and evaluate, on episodes whose seeds training never has.

    Times are the process's own CPU seconds: with one thread they are what a clock shows on an idle machine, and work
    beside it hardly changes them.

    Args:
        task: what to learn, with which settings.
        name: its name in the table.
        method: one of `methods.LABELS`.
        seed: of weights and environments.
        curve: CSV file of the training, written as it goes.
        episodes: of the deterministic policy, shared evenly between the copies.
    """
    envs = build_envs(task, method, task.n_envs, seed)
    model = build(task, method, envs, seed)
    envs.seed(env_seed(seed, evaluation=False))  # building has seeded them with the seed of the weights
    watch = Curve(curve, task)
    model.learn(task.steps, callback=watch)
    seconds = time.process_time() - watch.began
    copies = build_envs(task, method, min(50, episodes), env_seed(seed, evaluation=True))
    mean, _ = evaluate_policy(model, copies, episodes)
    parameters = sum(parameter.numel() for parameter in model.policy.parameters() if parameter.requires_grad)
    row = (name, method, seed, task.steps, round(float(mean), 4), episodes, round(seconds, 1), parameters)
    return dict(zip(COLUMNS, row, strict=True))
