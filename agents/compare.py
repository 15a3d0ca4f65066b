"""`memrl compare`: every pair of core and seed trained once, then one table and one plot."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TaskID

from memrl.registry import core_entry, list_cores

from .build import ALGORITHMS, probe_env, rehearse, resolve
from .config import merge_options, write_config
from .console import bars, describe, plain_console
from .curves import Curve, read_curve, write_curves
from .errors import UsageError, usage_errors
from .evaluate import size_of
from .options import agent_options, has_option, nearest, show_pairs
from .plots import plot_curves
from .runs import env_slug, final_evaluation, find_finished, new_dir
from .settings import CompareSettings, SharedSettings, TrainSettings
from .stopping import StopSignals
from .summary import Row, rich_table, summarise, write_table
from .watch import Progress
from .workers import Outcome, train_all


@dataclass(frozen=True)
class CompareResult:
    """A finished comparison."""

    folder: Path  # table.md, table.csv, curves.csv, curves.png
    rows: list[Row]  # one per core, in the order asked for
    outcomes: list[Outcome]  # of every pair, found ones included
    signum: int | None  # the signal that stopped it


def compare_and_report(settings: CompareSettings) -> int:
    """Compare with progress bars and print the table; returns the exit code."""
    console = plain_console()
    result = compare(settings, console)
    if result.rows:
        console.print(rich_table(result.rows))
        if settings.from_preset is not None:
            console.print(f"preset      {settings.from_preset}, where --set and --n-envs say nothing else")
        console.print(f"table       {result.folder / 'table.md'}")
        console.print(f"plot        {result.folder / 'curves.png'}")
        console.print(f"look at it  tensorboard --logdir {result.folder.parent}")
    failed = [outcome for outcome in result.outcomes if outcome.error is not None]
    for outcome in failed:
        console.print(f"failed      {_name(outcome.settings)}: {outcome.error}")
    if result.signum is not None:
        missing = sum(outcome.run is None for outcome in result.outcomes)
        console.print(f"stopped     {missing} of {len(result.outcomes)} trainings not finished; finished ones stay")
        console.print(f"go on       {command_of('compare', settings)}")
        return 128 + result.signum
    return 1 if failed else 0


def compare(settings: CompareSettings, console: Console | None = None) -> CompareResult:
    """Train every pair of core and seed that is not finished yet, then write tables and plots.

    Args:
        settings: what to compare; `--help` of `memrl compare` explains every field.
        console: where progress is shown; nowhere unless given.

    Raises:
        UsageError: bad settings; raised before any work.
    """
    console = console or Console(quiet=True)
    settings.check()
    trainings = pairs(settings)
    probe_env(settings.env, settings.env_set)
    state_bytes = {training.core: size_of(rehearse(training))[1] for training in trainings}
    folder = new_dir(Path(settings.run_dir) / env_slug(settings.env), "compare")
    write_config(folder / "config.yaml", settings, [f"Again: {command_of('compare', settings)}"])

    finished = {training_key(training): find_finished(training) for training in trainings}
    found = [Outcome(training, run) for training in trainings if (run := finished[training_key(training)])]
    for outcome in found:
        console.print(f"found       {_name(outcome.settings)}: {outcome.run}, not trained again")
    # Large states first: they are slow, and a slow one that starts last leaves the other processes idle.
    todo = [training for training in trainings if finished[training_key(training)] is None]
    todo.sort(key=lambda training: (-state_bytes[training.core], training.seed))

    with StopSignals() as signals:
        outcomes = found + _train(todo, settings, folder, console, signals)
    order = [training_key(training) for training in trainings]
    outcomes.sort(key=lambda outcome: order.index(training_key(outcome.settings)))
    return CompareResult(folder, _write(settings, folder, outcomes), outcomes, signals.received)


def pairs(settings: CompareSettings) -> list[TrainSettings]:
    """The trainings of a comparison, resolved: all seeds of the first core, of the second, and so on.

    Raises:
        UsageError: an unknown core or option, or one that no core has.
    """
    cores = [name.strip() for name in settings.cores.split(",") if name.strip()]
    if not cores:
        raise UsageError("--cores: none given; write them as in --cores none,lstm,dnc")
    if len(set(cores)) < len(cores):
        raise UsageError(f"--cores: {settings.cores} names a core twice")
    with usage_errors(ValueError, about="--cores: "):
        for core in cores:
            core_entry(core)
    shared: dict[str, Any] = {field.name: getattr(settings, field.name) for field in fields(SharedSettings)}
    trainings = []
    for core in cores:
        own = resolve(TrainSettings(**{**shared, "core": core, "set": options_of(core, cores, settings)}))
        for seed in range(settings.seed, settings.seed + settings.seeds):
            trainings.append(replace(own, seed=seed))
    return trainings


def options_of(core: str, cores: Sequence[str], settings: CompareSettings) -> dict[str, object]:
    """The part of `--set` that is for one core: its own, and everybody's where it has such an option.

    Raises:
        UsageError: an option of a core that is not compared.
    """
    everybody: dict[str, object] = {}
    own: dict[str, object] = {}
    for key, value in settings.set.items():
        prefix, dot, rest = key.partition(".")
        if dot and prefix in list_cores():
            if prefix not in cores:
                raise UsageError(f"--set {key}: {prefix} is not among --cores{nearest(prefix, cores)}")
            if prefix == core:
                own[rest] = value
            continue
        option = key.removeprefix("core.")
        owners = [name for name in cores if has_option(option, core_entry(name).config)]
        if not dot and not owners and key not in agent_options(ALGORITHMS[settings.algo]):
            known = [field.name for name in cores for field in fields(core_entry(name).config)]
            known += agent_options(ALGORITHMS[settings.algo])
            raise UsageError(f"--set {key}: neither a core nor the agent has this option{nearest(key, known)}")
        # What no core has is the agent's, or nobody's, which `resolve` finds out.
        if core in owners or not owners:
            everybody[key] = value
    return merge_options(everybody, own)


def training_key(settings: TrainSettings) -> tuple[str, int]:
    """What tells the trainings of one comparison apart."""
    return settings.core, settings.seed


def command_of(name: str, settings: SharedSettings) -> str:
    """The command line that gives these settings, without what is default; no preset adds anything to it."""
    words = ["memrl", name, "--preset", "none"]
    for field in fields(settings):
        if field.name == "from_preset":
            continue
        value = getattr(settings, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if value == default:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *(show_pairs(value) if isinstance(value, dict) else [str(value)])]
    return shlex.join(words)


def _train(
    todo: Sequence[TrainSettings],
    settings: CompareSettings,
    folder: Path,
    console: Console,
    signals: StopSignals,
) -> list[Outcome]:
    if not todo:
        return []
    logs = folder / "logs"
    logs.mkdir()
    bar = bars(console)
    total = bar.add_task("all", total=settings.steps * len(todo), recent=f"0 of {len(todo)} trained")
    tasks: dict[tuple[str, int], TaskID] = {}
    steps = dict.fromkeys(map(training_key, todo), 0)
    trained = 0

    def on_progress(training: TrainSettings, progress: Progress | None) -> None:
        key = training_key(training)
        if progress is None:
            tasks[key] = bar.add_task(_name(training), total=settings.steps, recent="starting")
            return
        steps[key] = min(progress.env_steps, settings.steps)
        bar.update(tasks[key], completed=steps[key], recent=describe(progress))
        bar.update(total, completed=sum(steps.values()))

    def on_end(outcome: Outcome) -> None:
        nonlocal trained
        key = training_key(outcome.settings)
        bar.remove_task(tasks[key])
        if outcome.run is not None:
            trained += 1
            steps[key] = settings.steps
        bar.update(total, completed=sum(steps.values()), recent=f"{trained} of {len(todo)} trained")
        console.print(_told(outcome))

    # Where the system knows it, the cores that this process may use, which in a container are not all.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jobs = settings.jobs or cores or 1
    with bar:
        outcomes = train_all(
            todo,
            jobs=min(jobs, len(todo)),
            logs=logs,
            signals=signals,
            on_progress=on_progress,
            on_end=on_end,
        )
    if not any(logs.iterdir()):
        logs.rmdir()
    return outcomes


def _write(settings: CompareSettings, folder: Path, outcomes: Sequence[Outcome]) -> list[Row]:
    """Tables and plots of what is finished."""
    curves: dict[str, dict[int, Curve]] = {}
    records: dict[str, list[dict[str, Any]]] = {}
    for outcome in outcomes:
        if outcome.run is not None and (record := final_evaluation(outcome.run)) is not None:
            curves.setdefault(outcome.settings.core, {})[outcome.settings.seed] = read_curve(outcome.run)
            records.setdefault(outcome.settings.core, []).append(record)
    if not records:
        return []
    threshold = settings.threshold if settings.threshold is not None else settings.stop_at
    rows = [summarise(core, records[core], list(curves[core].values()), threshold) for core in records]
    write_table(folder, rows, settings, command_of("compare", settings))
    write_curves(folder / "curves.csv", curves)
    plot_curves(folder / "curves.png", curves, title=_title(settings))
    return rows


def _title(settings: CompareSettings) -> str:
    keywords = ", ".join(show_pairs(settings.env_set))
    return f"{settings.env}{f' ({keywords})' if keywords else ''}, {settings.algo.upper()}"


def _told(outcome: Outcome) -> str:
    name = _name(outcome.settings)
    if outcome.run is None:
        return f"failed      {name}: {outcome.error}" if outcome.error else f"stopped     {name}"
    record = final_evaluation(outcome.run)
    if record is None:
        return f"trained     {name}"
    success = "" if record["success_rate"] is None else f", success {record['success_rate']:.2f}"
    return f"trained     {name}: return {record['mean_return']:.2f}{success}"


def _name(settings: TrainSettings) -> str:
    return f"{settings.core} seed {settings.seed}"
