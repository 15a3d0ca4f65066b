"""`memrl fit`: one supervised training from settings to a scored run directory, with a progress bar.

runs/<task>/<core>/seed<S>-<utc>/ holds config.yaml, progress.csv, tb/, checkpoints/ (final.safetensors, or
interrupted.safetensors after a signal or a loss that is no number: the best weights of the head so far, those of the
core among them as core.*) and eval.json, as the runs of agents do. The step of every scalar is a batch.
"""

import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from stable_baselines3.common.logger import CSVOutputFormat, HParam, Logger, TensorBoardOutputFormat
from stable_baselines3.common.utils import get_device

from memrl import tree
from memrl.fit import FitResult, Progress, fit, on_device
from memrl.heads import Head
from memrl.tasks import Task

from .build import check_device
from .config import read_config, write_config
from .console import bars, finish, plain_console
from .errors import Diverged, Interrupted, UsageError, usage_errors
from .fit_settings import FitSettings, Fitting, build
from .runs import add_evaluation, env_slug, new_dir, versions
from .stopping import StopSignals

LOG_EVERY = 50  # batches between two rows of progress.csv; validation scores make rows of their own


def fit_and_report(settings: FitSettings) -> int:
    """Train with a progress bar and print the scores; returns the exit code."""
    console = plain_console()
    bar = bars(console)
    line = bar.add_task(f"{settings.task}-{settings.core}", total=None, recent="")

    def report(progress: Progress, fitting: Fitting) -> None:
        bar.start()  # not before the settings have turned out to be good
        bar.update(line, completed=progress.step, total=fitting.recipe.steps, recent=describe(progress))

    try:
        run, result, fitting = fit_to_run(settings, report)
    except Interrupted as stop:
        finish(bar)
        _tell_interrupted(console, stop)
        raise
    except Diverged as error:
        finish(bar)
        console.print(f"failed      {error} (--set learning_rate=... or clip_norm=...)")
        if error.checkpoint is not None:
            console.print(f"saved       {error.checkpoint}, the best weights by validation")
        return 1
    finally:
        finish(bar)
    early = ", stopped early: the validation score got no better" if result.patience_ended else ""
    early = f", stopped early at {fitting.recipe.stop_at:g}" if result.reached else early
    per_second = result.steps / max(result.seconds, 1e-9)
    console.print(f"trained     {result.steps} batches in {result.seconds:.0f} s, {per_second:.1f} batches/s{early}")
    console.print(f"run         {run}")
    console.print(f"kept        the weights after {result.best_step} batches, by valid/{fitting.task.metric}")
    for split, scores in result.scores.items():
        console.print(f"{split:<11} " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items()))
    console.print(f"look at it  tensorboard --logdir {run}")
    return 0


def fit_to_run(
    settings: FitSettings, report: Callable[[Progress, Fitting], None] | None = None
) -> tuple[Path, FitResult, Fitting]:
    """Train one core under the head of a task, save it and score it.

    Args:
        settings: what to train; `memrl fit --help` explains every field.
        report: called after every batch.

    Returns:
        The run directory, what came out, and what was trained: task, head and recipe.

    Raises:
        UsageError: bad settings or missing data; raised before any work.
        Interrupted: SIGINT or SIGTERM came; what was learned is saved.
        Diverged: the loss became infinite or no number at all; the best weights so far are saved.
    """
    fitting = prepare(settings)
    settings, task, head = fitting.settings, fitting.task, fitting.head
    run = new_dir(Path(settings.run_dir) / env_slug(settings.task) / settings.core, f"seed{settings.seed}")
    (run / "checkpoints").mkdir()
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    write_config(run / "config.yaml", settings, [f"Again: memrl fit --config {run / 'config.yaml'}", made])
    logger = Logger(str(run), [CSVOutputFormat(str(run / "progress.csv")), TensorBoardOutputFormat(str(run / "tb"))])
    logger.record("hparams", _hparams(fitting), exclude=("stdout", "log", "json", "csv"))
    interrupted, looks = run / "checkpoints" / "interrupted.safetensors", 0

    def log(progress: Progress) -> None:
        nonlocal looks
        looks += progress.valid is not None
        if progress.valid is not None or progress.step % LOG_EVERY == 0 or progress.step == 1:
            _record(logger, progress)
        if report is not None:
            report(progress, fitting)

    try:
        with StopSignals() as signals:
            result = fit(
                task, head, fitting.recipe, seed=settings.seed, report=log, stop=lambda: signals.received is not None
            )
        checkpoint = interrupted if result.stopped else run / "checkpoints" / "final.safetensors"
        save_file(head.state_dict(), checkpoint)
        if result.stopped:
            raise Interrupted(signals.received or signal.SIGINT, run, checkpoint, result.steps)
        for split, scores in result.scores.items():
            for name, value in scores.items():
                logger.record(f"{split if split != 'valid' else 'best_valid'}/{name}", value)
        logger.dump(result.steps)
    except FloatingPointError as error:
        if looks:
            save_file(head.state_dict(), interrupted)
        raise Diverged(error, interrupted if looks else None) from error
    finally:
        logger.close()
    add_evaluation(run, _record_of(fitting, result, checkpoint.relative_to(run)))
    return run, result, fitting


def prepare(settings: FitSettings) -> Fitting:
    """Build everything and let it run once, so that whatever is wrong is said before any work.

    Raises:
        UsageError: settings that do not fit, missing or malformed data, or a missing extra.
    """
    settings.check()
    torch.set_num_threads(settings.threads)
    check_device(settings.device)
    torch.manual_seed(settings.seed)
    fitting = build(settings)
    task, head = fitting.task, fitting.head.to(get_device(settings.device))
    with torch.random.fork_rng(), torch.no_grad(), usage_errors(ValueError, OSError, ImportError):
        batch = next(on_device(task.lesson(0).train(fitting.recipe.batch_size, settings.seed), head))
        head.loss(head.answer(batch)[0], batch.targets)
        for split in ("valid", *task.tests):
            batch = next(on_device(task.evaluation(split, 1), head))
        with warnings.catch_warnings(action="ignore"):  # one sequence is too few for some scores, but enough to try
            task.scores(head.eval(), [batch])
    head.train()
    return fitting


def load_fit(run: str | Path) -> tuple[Task, Head]:
    """The task and the trained head of a run directory.

    Raises:
        UsageError: no run of `memrl fit` is there, or nothing was saved.

    >>> task, head = load_fit("runs/copy/ntm/seed0-20261125T060000Z")  # doctest: +SKIP
    """
    run = Path(run)
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run}: no run here (config.yaml is missing); memrl fit prints where a run is")
    settings = FitSettings(**read_config(run / "config.yaml", FitSettings))
    fitting = build(settings)
    for name in ("final", "interrupted"):
        path = run / "checkpoints" / f"{name}.safetensors"
        if path.is_file():
            fitting.head.load_state_dict(load_file(path))
            return fitting.task, fitting.head.eval()
    raise UsageError(f"{run}: no weights saved yet in {run / 'checkpoints'}")


def describe(progress: Progress) -> str:
    """Speed and loss in a few words.

    >>> describe(Progress(100, 3200, 0.25, 1.0, 1e-3, 0, 10.0))
    '10.0 batches/s, loss 0.250'
    """
    lesson = f", lesson {progress.lesson + 1}" if progress.lesson else ""
    return f"{progress.step / max(progress.seconds, 1e-9):.1f} batches/s, loss {progress.loss:.3f}{lesson}"


def _record(logger: Logger, progress: Progress) -> None:
    logger.record("train/loss", progress.loss)
    logger.record("train/gradient_norm", progress.gradient_norm)
    logger.record("train/learning_rate", progress.learning_rate)
    logger.record("train/lesson", progress.lesson)
    for name, value in (progress.valid or {}).items():
        logger.record(f"valid/{name}", value)
    logger.record("time/sequences", progress.sequences)
    logger.record("time/batches_per_second", progress.step / max(progress.seconds, 1e-9))
    logger.record("time/batches", progress.step, exclude="tensorboard")
    logger.dump(progress.step)


def _hparams(fitting: Fitting) -> HParam:
    """The row of this run in TensorBoard's table of hyperparameters."""
    settings = fitting.settings
    given = {"task": settings.task, "core": settings.core, "seed": settings.seed, **settings.set}
    plain = {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in given.items()}
    return HParam(plain, {f"valid/{fitting.task.metric}": 0.0, "train/loss": 0.0})


def _record_of(fitting: Fitting, result: FitResult, checkpoint: Path) -> dict[str, object]:
    """What eval.json keeps of a training."""
    state = tree.leaves(fitting.head.core.initial_state(1))
    return {
        "source": "fit",
        "seed": fitting.settings.seed,
        "checkpoint": str(checkpoint),
        "metric": fitting.task.metric,
        "scores": result.scores,
        "batches": result.steps,
        "best_batch": result.best_step,
        "stopped_early": result.patience_ended or result.reached,
        "train_seconds": result.seconds,
        "parameters": sum(parameter.numel() for parameter in fitting.head.parameters() if parameter.requires_grad),
        "state_bytes": sum(leaf.numel() * leaf.element_size() for leaf in state),
        "versions": versions(),
    }


def _tell_interrupted(console: Console, stop: Interrupted) -> None:
    console.print(f"stopped     after {stop.env_steps} batches, not scored")
    console.print(f"saved       {stop.checkpoint}")
    console.print(f"            memrl fit --config {stop.run / 'config.yaml'}  (from the start)")
