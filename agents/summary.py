"""The table of a comparison: one row per core, for people, for Markdown and as CSV."""

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from .curves import Curve
from .runs import versions
from .settings import CompareSettings
from .statistics import bootstrap_interval, iqm


@dataclass(frozen=True)
class Row:
    """What a core achieved over its seeds; empty cells are None."""

    core: str
    seeds: int  # finished trainings
    return_iqm: float  # interquartile mean over seeds of the final evaluation's mean return
    return_low: float | None  # bootstrap 95 % interval; None for a single seed
    return_high: float | None
    success_iqm: float | None  # likewise of the success rate; None where the environment does not report it
    success_low: float | None
    success_high: float | None
    env_steps: float  # mean over seeds
    env_steps_per_second: float  # of training, mean over seeds
    train_seconds: float  # mean over seeds
    parameters: int  # of the whole policy
    state_bytes: int  # recurrent state of one environment
    threshold: float | None  # of the recent training success rate or return
    reached: int | None  # seeds that reached it
    steps_to_threshold: float | None  # mean over those seeds


def summarise(core: str, records: Sequence[dict[str, Any]], curves: Sequence[Curve], threshold: float | None) -> Row:
    """The row of one core.

    Args:
        core: its name.
        records: the final evaluation of each seed, as in eval.json.
        curves: the learning curve of each seed.
        threshold: of success rate or return, to count steps to; None does not count.
    """
    return_iqm, return_low, return_high = _interval([record["mean_return"] for record in records])
    rates = [record["success_rate"] for record in records]
    success = _interval(rates) if all(rate is not None for rate in rates) else (None, None, None)
    steps = [curve.steps_to(threshold) for curve in curves] if threshold is not None else []
    reached = [value for value in steps if value is not None]
    return Row(
        core=core,
        seeds=len(records),
        return_iqm=return_iqm,
        return_low=return_low,
        return_high=return_high,
        success_iqm=success[0],
        success_low=success[1],
        success_high=success[2],
        env_steps=_mean(records, "env_steps"),
        env_steps_per_second=_mean(records, "env_steps_per_second"),
        train_seconds=_mean(records, "train_seconds"),
        parameters=records[0]["parameters"],
        state_bytes=records[0]["state_bytes"],
        threshold=threshold,
        reached=len(reached) if threshold is not None else None,
        steps_to_threshold=float(np.mean(reached)) if reached else None,
    )


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells as a person reads them; columns that no row has anything for are left out."""
    header = ["core", "return", "steps/s", "params", "state bytes", "seeds"]
    table = [
        [
            row.core,
            _with_interval(row.return_iqm, row.return_low, row.return_high),
            f"{row.env_steps_per_second:.0f}",
            f"{row.parameters}",
            f"{row.state_bytes}",
            f"{row.seeds}",
        ]
        for row in rows
    ]
    if any(row.success_iqm is not None for row in rows):
        header.insert(2, "success rate")
        for row, line in zip(rows, table, strict=True):
            line.insert(2, _with_interval(row.success_iqm, row.success_low, row.success_high))
    if rows[0].threshold is not None:
        header.append(f"steps to {rows[0].threshold:g}")
        for row, line in zip(rows, table, strict=True):
            steps = "-" if row.steps_to_threshold is None else f"{row.steps_to_threshold:.0f}"
            line.append(f"{steps} ({row.reached} of {row.seeds})")
    return header, table


def rich_table(rows: Sequence[Row]) -> Table:
    """The table for a terminal."""
    header, lines = cells(rows)
    title = "interquartile mean over seeds [bootstrap 95 % interval]"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in header:
        table.add_column(column, justify="left" if column == "core" else "right")
    for line in lines:
        table.add_row(*line)
    return table


def write_table(folder: Path, rows: Sequence[Row], settings: CompareSettings, command: str) -> None:
    """Write table.md and table.csv."""
    header, lines = cells(rows)
    text = [f"# {settings.env}", "", f"    {command}", ""]
    text += ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines)]
    text += [
        "",
        "Return and success rate: interquartile mean over seeds of the final evaluation "
        f"({settings.eval_episodes} episodes each, deterministic policy), in brackets the stratified "
        "bootstrap 95 % interval. steps/s: environment steps per second of one training, while others shared "
        "the machine. "
        "Params: trainable parameters of the whole policy. State bytes: recurrent state of one environment.",
    ]
    if rows[0].threshold is not None:
        text += [
            "",
            f"Steps to {rows[0].threshold:g}: environment steps until the last 100 training episodes reached "
            "this success rate, or mean return without success; mean over the seeds that did, how many did.",
        ]
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    text += ["", f"{os.cpu_count()} CPU cores; {made}."]
    (folder / "table.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    low, high = bootstrap_interval([values])
    return float(iqm(values)), *(None if math.isnan(end) else end for end in (low, high))  # type: ignore[return-value]


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _mean(records: Sequence[dict[str, Any]], key: str) -> float:
    return float(np.mean([record[key] for record in records]))
