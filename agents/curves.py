"""Learning curves as they were logged: read from progress.csv, measured, and written as one table."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WINDOW = 100  # training episodes that every point is a mean over


@dataclass(frozen=True)
class Curve:
    """Recent training results of one run, point by point."""

    env_steps: NDArray[np.float64]  # rising, (points,)
    returns: NDArray[np.float64]  # mean over the last 100 training episodes, (points,)
    success: NDArray[np.float64] | None  # likewise in [0, 1]; None where the environment does not report it
    episodes: NDArray[np.float64]  # training episodes so far, (points,)

    @property
    def score(self) -> NDArray[np.float64]:
        """Success rate where there is one, else return."""
        return self.returns if self.success is None else self.success

    def steps_to(self, threshold: float) -> float | None:
        """Environment steps at the first point where 100 episodes reach the threshold; None if none does."""
        reached = (self.score >= threshold) & (self.episodes >= WINDOW)
        return float(self.env_steps[reached.argmax()]) if reached.any() else None


def read_curve(run: Path) -> Curve:
    """The learning curve of a run, from its progress.csv."""
    points: dict[int, tuple[float, float, float]] = {}
    with (run / "progress.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            steps, value = row.get("time/total_timesteps"), row.get("rollout/ep_rew_mean")
            if steps and value:  # rows of evaluations have no training result
                rate = float(row.get("rollout/success_rate") or "nan")
                episodes = float(row.get("time/episodes") or 0)
                points[int(float(steps))] = (float(value), rate, episodes)
    ordered = sorted(points)
    table = np.array([points[steps] for steps in ordered], dtype=np.float64).reshape(-1, 3)
    success = None if np.isnan(table[:, 1]).all() else table[:, 1]
    return Curve(np.array(ordered, dtype=np.float64), table[:, 0], success, table[:, 2])


def write_curves(path: Path, curves: Mapping[str, Mapping[int, Curve]]) -> None:
    """All points of all runs, by core and seed, as a CSV table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["core", "seed", "env_steps", "episodes", "return", "success_rate"])
        for core, seeds in curves.items():
            for seed, curve in seeds.items():
                success = [""] * len(curve.env_steps) if curve.success is None else curve.success
                points = zip(curve.env_steps, curve.episodes, curve.returns, success, strict=True)
                for steps, episodes, value, rate in points:
                    writer.writerow([core, seed, int(steps), int(episodes), value, rate])


def on_one_grid(curves: list[Curve], score: str, points: int = 300) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interpolate curves at common steps; a run that ended early keeps its last value.

    Args:
        curves: at least one, each with at least one point.
        score: "returns" or "success".
        points: how many steps.

    Returns:
        Steps (points,), from where all have begun to the end of the longest, and values (runs, points).
    """
    first = max(curve.env_steps[0] for curve in curves)
    last = max(curve.env_steps[-1] for curve in curves)
    grid = np.linspace(first, last, points)
    return grid, np.stack([np.interp(grid, curve.env_steps, getattr(curve, score)) for curve in curves])
