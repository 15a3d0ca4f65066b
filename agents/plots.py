"""The picture of a comparison: learning curves with bands over seeds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from .curves import WINDOW, Curve, on_one_grid
from .statistics import bootstrap_band, iqm

# Okabe & Ito 2008: told apart with every kind of colour vision. Yellow is left out, too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
CONTROL = "#666666"  # the memoryless control, dashed
STYLES = ("-", "-.", ":")  # for more cores than colours


def plot_curves(path: Path, curves: Mapping[str, Mapping[int, Curve]], *, title: str) -> None:
    """Draw success rate, where there is one, and return against environment steps.

    Lines are interquartile means over seeds, bands their bootstrap 95 % intervals.

    Args:
        path: a PNG file.
        curves: by core and seed.
        title: above the picture.
    """
    runs = [curve for seeds in curves.values() for curve in seeds.values()]
    panels = [("returns", "return")]
    if all(curve.success is not None for curve in runs):
        panels.insert(0, ("success", "success rate"))
    figure = Figure(figsize=(5.2 * len(panels) + 1.3, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (score, label) in zip(axes, panels, strict=True):
        _panel(axis, curves, score, label)
    if panels[0][0] == "success":
        axes[0].set_ylim(-0.03, 1.03)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, title="core")
    seeds = sorted({len(by_seed) for by_seed in curves.values()})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    band = f"IQM and bootstrap 95 % interval over {count} seeds" if seeds[-1] > 1 else "1 seed"
    figure.suptitle(f"{title}\n{band}", fontsize=11)
    figure.savefig(path, dpi=150)


def _panel(axis: Axes, curves: Mapping[str, Mapping[int, Curve]], score: str, label: str) -> None:
    coloured = 0
    for core, by_seed in curves.items():
        drawn = [curve for curve in by_seed.values() if len(curve.env_steps)]
        if core == "none":
            colour, style = CONTROL, "--"
        else:
            colour, style = COLOURS[coloured % len(COLOURS)], STYLES[coloured // len(COLOURS) % len(STYLES)]
            coloured += 1
        if not drawn:
            continue
        steps, values = on_one_grid(drawn, score)
        axis.plot(steps, iqm(values, axis=0), color=colour, linestyle=style, linewidth=1.8, label=core)
        low, high = bootstrap_band(values)
        if not np.isnan(low).all():
            axis.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.set_xlabel("environment steps")
    axis.set_ylabel(f"{label} (last {WINDOW} training episodes)")
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
