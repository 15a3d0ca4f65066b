"""What `memrl train`, `memrl eval` and `memrl export` show: a progress bar, where the run is, and how well it did."""

import os
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .errors import Interrupted, usage_errors
from .evaluate import evaluate, load_run
from .export import SUFFIX, export_policy
from .settings import EvalSettings, ExportSettings, TrainSettings
from .train import train
from .watch import Progress as TrainingProgress


def train_and_report(settings: TrainSettings) -> int:
    """Train with a progress bar and print the result; returns the exit code."""
    console = plain_console()
    bar = bars(console)
    task = bar.add_task(f"{settings.core}-{settings.algo}", total=settings.steps, recent="")

    def report(progress: TrainingProgress) -> None:
        bar.start()  # not before the settings have turned out to be good
        bar.update(task, completed=progress.env_steps, recent=describe(progress))

    try:
        result = train(settings, report)
    except Interrupted as stop:
        finish(bar)
        tell_interrupted(console, stop)
        raise
    finally:
        finish(bar)
    per_second = result.env_steps / result.seconds
    early = f", stopped early at {settings.stop_at:g}" if result.stopped_early else ""
    console.print(f"trained     {result.env_steps} steps in {result.seconds:.0f} s, {per_second:.0f} steps/s{early}")
    if settings.from_preset is not None:
        console.print(f"preset      {settings.from_preset}; --show-config says what it sets, and why")
    console.print(f"run         {result.run}")
    console.print(f"evaluation  {result.evaluation}")
    console.print(f"look at it  tensorboard --logdir {result.run}")
    return 0


def evaluate_and_report(settings: EvalSettings) -> int:
    """Evaluate with a progress bar and print the result; returns the exit code."""
    console = plain_console()
    bar = bars(console)
    task = bar.add_task("evaluating", total=settings.episodes, recent="episodes")

    def report(finished: int) -> None:
        bar.start()
        bar.update(task, completed=finished)

    try:
        loaded, evaluation = evaluate(settings, report)
    finally:
        finish(bar)
    console.print(f"run         {loaded.run}")
    console.print(f"model       {loaded.checkpoint.relative_to(loaded.run)}, after {loaded.model.num_timesteps} steps")
    console.print(f"evaluation  {evaluation}")
    console.print(f"written to  {loaded.run / 'eval.json'}")
    return 0


def export_and_report(settings: ExportSettings) -> int:
    """Export a run's policy and print where it is and how well it agrees; returns the exit code."""
    loaded = load_run(Path(settings.run))
    path = loaded.run / f"policy{SUFFIX[settings.format]}" if settings.out is None else Path(settings.out)
    with usage_errors(FileExistsError, ValueError, OSError):
        difference = export_policy(loaded.model, path, settings.format)
    console = plain_console()
    console.print(f"model       {loaded.checkpoint}")
    console.print(f"written to  {path}")
    console.print(f"checked     differs from the policy by at most {difference:.1e} in 20 steps with states of its own")
    return 0


def tell_interrupted(console: Console, stop: Interrupted) -> None:
    """Say where an interrupted training left its model and what can be done with it."""
    again = "with" if stop.signum == signal.SIGINT else "by"
    how = "Ctrl-C" if stop.signum == signal.SIGINT else signal.Signals(stop.signum).name
    console.print(f"stopped     {again} {how} after {stop.env_steps} steps, not evaluated")
    console.print(f"saved       {stop.checkpoint}")
    console.print(f"go on       memrl eval {stop.run}")
    console.print(f"            memrl train --config {stop.run / 'config.yaml'}  (from the start)")


def bars(console: Console) -> Progress:
    """Progress bars with a column `recent` for how it is going."""
    return Progress(
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=10),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[recent]}"),
        console=console,
    )


def finish(bar: Progress) -> None:
    """Stop bars; those that were never shown leave no trace."""
    if bar.live.is_started:
        bar.stop()


def describe(progress: TrainingProgress) -> str:
    """Speed and recent results in a few words.

    >>> describe(TrainingProgress(2048, 10_000, 5000.4, 0.5, None))
    '5000 steps/s, return 0.50'
    """
    if progress.ended:
        return "evaluating"
    text = f"{progress.steps_per_second:.0f} steps/s"
    if progress.recent_return is not None:
        text += f", return {progress.recent_return:.2f}"
    if progress.recent_success is not None:
        text += f", success {progress.recent_success:.2f}"
    return text


def plain_console() -> Console:
    """A console that neither colours numbers nor breaks long paths, and is wide where nobody watches."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False, width=width)
