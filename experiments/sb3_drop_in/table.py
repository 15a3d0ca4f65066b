"""SB3 with and without memory, every way of remembering on the same task: `python experiments/sb3_drop_in/table.py`.

Each training is a row of results/runs.csv, written as it ends; what stands there is not trained again. Its curve is in
results/<task>/, and results/table.md is made from both and from results/speed.csv, which `--speed` writes.
"""

import argparse
import csv
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from methods import LABELS
from plot import plot
from settings import TASKS, Task
from speed import measure
from training import POINTS, train

from memrl.agents.runs import versions

RESULTS = Path(__file__).resolve().parent / "results"
EPISODES = 200

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add(path: Path, row: Row) -> None:
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def replace_row(path: Path, row: Row) -> None:
    """Put a row where one of the same task and method was."""
    old = [one for one in read(path) if (one["task"], one["method"]) != (row["task"], row["method"])]
    path.unlink(missing_ok=True)
    for one in [*old, row]:
        add(path, one)


def key(row: Row) -> tuple[str, str, int, int]:
    return row["task"], row["method"], int(row["seed"]), int(row["steps"])


def quick(task: Task) -> Task:
    """A version that shows whether it runs."""
    if task.algorithm == "PPO":
        return replace(task, n_envs=2, n_steps=16, settings=task.settings | {"batch_size": 16})
    settings = task.settings | {"batch_size": 16, "learning_starts": 50, "gradient_steps": 1, "train_freq": 16}
    return replace(task, n_envs=2, settings=settings)


def write_table(results: Path) -> None:
    rows, speeds = read(results / "runs.csv"), read(results / "speed.csv")
    parts = ["# SB3 with and without memory\n\n    python experiments/sb3_drop_in/table.py\n"]
    for name, task in TASKS.items():
        groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
        for row in rows:
            if row["task"] == name:
                groups[row["method"], int(row["steps"])].append(row)
        if groups:
            measured = {row["method"]: row for row in speeds if row["task"] == name}
            lines = []
            for (method, steps), group in sorted(groups.items(), key=lambda item: task.methods.index(item[0][0])):
                curves = [read(curve_path(results, name, method, int(row["seed"]), steps)) for row in group]
                lines.append(line(group, curves, task, measured.get(method)))
            parts.append("\n".join([f"## {task.title}\n", *header(task), *lines]) + "\n")
    parts.append(notes(speeds))
    (results / "table.md").write_text("\n".join(parts), encoding="utf-8")


def curve_path(results: Path, name: str, method: str, seed: int, steps: int) -> Path:
    return results / name / f"{method}-{seed}-{steps}.csv"


def header(task: Task) -> list[str]:
    reached = (f"steps to {task.threshold:g}", f"seconds to {task.threshold:g}")
    names = (
        "method",
        "return",
        "lowest, highest",
        "seeds",
        "steps",
        *reached,
        "steps/s",
        "steps/s, idle",
        "parameters",
    )
    return ["| " + " | ".join(names) + " |", "| " + " | ".join(["---"] * len(names)) + " |"]


def line(group: Sequence[Row], curves: Sequence[Sequence[Row]], task: Task, measured: Row | None) -> str:
    returns = [float(row["return"]) for row in group]
    method = group[0]["method"]
    label = LABELS[method]
    label += f", {task.stack} steps" if method == "stack" else ""
    label += f", {task.window} steps" if method.startswith("window") else ""
    reached = [point for curve in curves if (point := first_at(curve, task)) is not None]
    speed = statistics.median(int(row["steps"]) / float(row["cpu_seconds"]) for row in group)
    cells = (
        label,
        f"{statistics.mean(returns):.2f}",
        f"{min(returns):.2f}, {max(returns):.2f}",
        len(group),
        f"{int(group[0]['steps']):,}",
        mean_of(reached, "env_steps", len(group)),
        mean_of(reached, "cpu_seconds", len(group)),
        f"{speed:,.0f}",
        f"{float(measured['steps_per_s']):,.0f}" if measured else "",
        f"{int(group[0]['parameters']):,}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def first_at(curve: Sequence[Row], task: Task) -> Row | None:
    """The first point of a curve that is at the threshold."""
    full = (row for row in curve if int(row["episodes"]) >= task.last)
    return next((row for row in full if float(row["return"]) >= task.threshold), None)


def mean_of(points: Sequence[Row], column: str, seeds: int) -> str:
    if not points:
        return "never"
    some = "" if len(points) == seeds else f" ({len(points)} of {seeds})"
    return f"{statistics.mean(float(point[column]) for point in points):,.0f}{some}"


def notes(speeds: Sequence[Row]) -> str:
    idle = f" ({speeds[0]['machine']})" if speeds else ", not measured yet"
    return f"""\
Return: mean over seeds of {EPISODES} episodes of the deterministic policy on seeds that training never has, then the
lowest and the highest seed. Steps to, seconds to: until the mean return of the last 100 training episodes (SAC: 10)
reached it, looked at {POINTS} times in a training; the mean over the seeds that did, and how many did where not all.
Seconds, and steps/s of whole trainings (the median of the seeds), are CPU time of one thread, taken while other work
shared the machine. steps/s, idle: `--speed`, all methods in turns in one process{idle}.

{", ".join(f"{name} {version}" for name, version in versions().items())}.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    methods = sorted({method for task in TASKS.values() for method in task.methods})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, action="append", help="may be given again (default: all)")
    parser.add_argument("--method", choices=methods, action="append", help="may be given again (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="environment steps (default: by task, the same for all methods)")
    parser.add_argument("--out", type=Path, help="where results go (default: results/ beside this file)")
    parser.add_argument("--speed", action="store_true", help="measure steps per second and train nothing else")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see whether it runs; not into results/")
    given = parser.parse_args(arguments)
    for name in ("seeds", "steps"):
        number = getattr(given, name)
        if number is not None and number < 1:
            parser.error(f"--{name}: {number} given, at least 1 needed")
    results = given.out or (Path(tempfile.mkdtemp(prefix="sb3_drop_in-")) if given.quick else RESULTS)
    results.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    seeds, steps = (1, given.steps or 128) if given.quick else (given.seeds, given.steps)
    chosen = {name: replace(TASKS[name], steps=steps or TASKS[name].steps) for name in given.task or TASKS}
    for name, task in chosen.items():
        wanted = [method for method in task.methods if not given.method or method in given.method]
        chosen[name] = replace(quick(task) if given.quick else task, methods=tuple(wanted))
    if given.speed:
        for row in measure(chosen, repetitions=1 if given.quick else 3):
            print(*row.values(), flush=True)
            replace_row(results / "speed.csv", row)
    else:
        train_all(chosen, seeds, results, 2 if given.quick else EPISODES)
    write_table(results)
    for name in chosen:
        plot(results / name, replace(TASKS[name], steps=chosen[name].steps))
    print(f"table: {results / 'table.md'}")


def train_all(tasks: Mapping[str, Task], seeds: int, results: Path, episodes: int) -> None:
    """Every method with every seed, but for those that stand in runs.csv."""
    done = {key(row) for row in read(results / "runs.csv")}
    for name, task in tasks.items():
        (results / name).mkdir(exist_ok=True)
        for seed in range(seeds):
            for method in task.methods:
                if (name, method, seed, task.steps) not in done:
                    curve = curve_path(results, name, method, seed, task.steps)
                    row = train(task, name, method, seed, curve, episodes)
                    add(results / "runs.csv", row)
                    print(*row.values(), flush=True)
                    write_table(results)


if __name__ == "__main__":
    main(sys.argv[1:])
