"""Learning curves of all methods of a task, against environment steps and against seconds."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from methods import LABELS
from settings import Task

AXES = (("env_steps", "environment steps"), ("cpu_seconds", "CPU seconds, one thread"))


def plot(folder: Path, task: Task) -> None:
    """Draw every seed of a task's folder into its curves.png; nothing if there is none."""
    curves: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    for path in sorted(folder.glob(f"*-{task.steps}.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if rows:
            curves[path.stem.split("-")[0]].append({name: np.array([float(r[name]) for r in rows]) for name in rows[0]})
    if not curves:
        return
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(AXES), sharey=True)
    for panel, (name, label) in zip(panels, AXES, strict=True):
        for index, method in enumerate(task.methods):
            for number, curve in enumerate(curves.get(method, [])):
                text = LABELS[method].replace("`", "") if number == 0 else None
                panel.plot(curve[name], curve["return"], color=f"C{index}", linewidth=1.2, alpha=0.8, label=text)
        panel.axhline(task.threshold, color="0.6", linewidth=0.8, linestyle="--")
        panel.set_xlabel(label)
    panels[0].locator_params(axis="x", nbins=4)
    panels[0].set_ylabel(f"return, last {task.last} training episodes")
    panels[-1].set_xscale("log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.suptitle(f"{task.title}; a line for each seed", fontsize=11)
    figure.savefig(folder / "curves.png", dpi=90)
