"""What all benchmarks share: measuring in turns, medians, and tables that say how they were measured."""

import csv
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.table import Table

from .console import bars, plain_console
from .errors import UsageError, usage_errors

Row = dict[str, str | int | float | None]
Name = TypeVar("Name")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measurements:
    """One table of a benchmark."""

    name: str  # of the table, in the CSV file
    title: str
    rows: Sequence[Row]  # a key for each column, with its unit; None: not measured
    shown: Sequence[str]  # columns that are printed; the CSV file has all of them
    notes: Sequence[str]  # what a reader must know to read the numbers right


def conditions(num_threads: int, repetitions: int) -> Row:
    """Under what the numbers were taken: machine and settings."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu_cores": cores,
        "threads": num_threads,
        "torch": torch.__version__,
        "repetitions": repetitions,
    }


@contextmanager
def use_threads(number: int) -> Iterator[None]:
    """Let torch use this many threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds_per_call(call: Callable[[], object], at_least: float) -> float:
    """Call again and again until `at_least` seconds are over, once or more; the mean time of a call."""
    calls = 0
    began = time.perf_counter()
    while True:
        call()
        calls += 1
        elapsed = time.perf_counter() - began
        if elapsed >= at_least:
            return elapsed / calls


def in_turns(
    what: str, measure: Mapping[Name, Callable[[], Result]], repetitions: int, console: Console
) -> dict[Name, list[Result]]:
    """Measure all candidates one after the other, `repetitions` times over, after a warm-up.

    Turns spread a disturbance of the machine over all, so that ratios within a repetition can be trusted.

    Args:
        what: stands before the progress bar.
        measure: a function for each candidate.
        repetitions: turns of each candidate.
        console: where progress is shown.

    Returns:
        The results of each candidate, in the order of the turns, without the warm-up.
    """
    results: dict[Name, list[Result]] = {name: [] for name in measure}
    with bars(console) as bar:
        task = bar.add_task(what, total=(repetitions + 1) * len(measure), recent="")
        for repetition in range(repetitions + 1):
            turn = f"repetition {repetition} of {repetitions}" if repetition else "warm-up"
            for name, candidate in measure.items():
                bar.update(task, recent=turn)
                result = candidate()
                if repetition:
                    results[name].append(result)
                bar.advance(task)
    return results


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Median of the ratios within each repetition.

    >>> median_ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0])
    3.0
    """
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def require_at_least(minimum: int, **options: int | Sequence[int]) -> None:
    """Refuse options below a minimum.

    Raises:
        UsageError: the first option that is too small.
    """
    for name, value in options.items():
        numbers = [value] if isinstance(value, int) else value
        if not numbers:
            raise UsageError(f"--{name.replace('_', '-')}: nothing given, one number or more needed")
        for number in numbers:
            if number < minimum:
                raise UsageError(f"--{name.replace('_', '-')}: {number} given, at least {minimum} needed")


def check_out(out: Path | None) -> None:
    """Refuse a file that cannot be written, before any work.

    Raises:
        UsageError: it is a folder, or its folder cannot be made or written to.
    """
    if out is None:
        return
    if out.is_dir():
        raise UsageError(f"--out {out}: a folder given, a file such as {out / 'bench.csv'} needed")
    with usage_errors(OSError, about=f"--out {out}: "):
        out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise UsageError(f"--out {out}: no permission to write there")


def report(tables: Sequence[Measurements], measured: Row, out: Path | None) -> None:
    """Print tables, and write them to one CSV file, which has the columns of all of them."""
    console = plain_console()
    caption = ", ".join(f"{_heading(key)} {value}" for key, value in measured.items())
    for table in tables:
        console.print()
        console.print(_rich_table(table, caption))
        for note in table.notes:
            console.print(f"- {note}", soft_wrap=False)
    if out is None:
        return
    records = [{"table": table.name, **row, **measured} for table in tables for row in table.rows]
    columns = list(dict.fromkeys(column for record in records for column in record))
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)
    console.print(f"\nwritten to  {out}")


def _rich_table(table: Measurements, caption: str) -> Table:
    shown = Table(title=table.title, caption=caption, title_justify="left", caption_justify="left")
    for column in table.shown:
        words = any(isinstance(row[column], str) for row in table.rows)
        shown.add_column(_heading(column), justify="left" if words else "right")
    for row in table.rows:
        shown.add_row(*(_cell(row[column]) for column in table.shown))
    return shown


def _heading(column: str) -> str:
    """A column's name as people write it.

    >>> _heading("steps_per_s")
    'steps/s'
    """
    return column.replace("_per_", "/").replace("_", " ")


def _cell(value: str | int | float | None) -> str:
    """A value for people; no more digits than a timing is worth.

    >>> _cell(12345.6), _cell(0.123456), _cell(7), _cell(None)
    ('12346', '0.123', '7', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
