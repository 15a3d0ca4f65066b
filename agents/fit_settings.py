"""What `memrl fit` asks for, and whose option a key of its `--set` is."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from memrl.heads import Head
from memrl.recipe import Recipe
from memrl.registry import core_entry, list_cores, make_core
from memrl.tasks import Task, make_task, task_entry

from .config import read_config
from .errors import UsageError, usage_errors
from .options import config_hints, fitted, nearest
from .parsing import gather, parse, value_of
from .settings import KeyValues

_WHOSE = ("core", "task", "recipe")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What `fit` needs to know."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")] = ""
    """Supervised task, e.g. copy or trec; `memrl fit --list` shows them."""
    core: str = ""
    """Memory core, e.g. none, lstm or dnc; `memrl cores` lists them."""
    steps: int | None = None
    """Batches to learn from; the task's recipe says how many unless given."""
    seed: int = 0
    """Seed of weights and training data, 0 to 2147483647."""
    set: KeyValues = field(default_factory=dict)
    """Options of core, task or recipe: num_slots=32, max_length=10, learning_rate=3e-4."""
    run_dir: str = "runs"
    """Folder of all runs; a run gets its own new folder in it and never overwrites another."""
    device: str = "cpu"
    """Torch device: cpu, cuda, cuda:1, or auto (cuda where there is one)."""
    threads: int = 1
    """Torch threads."""

    def check(self) -> None:
        """Refuse what is missing or out of range.

        Raises:
            UsageError: the first field that is.
        """
        if not self.task:
            raise UsageError("which task? `memrl fit --list` shows them")
        if not self.core:
            raise UsageError(f"--core: needed; known: {', '.join(list_cores())}")
        for name, number in (("steps", self.steps), ("threads", self.threads)):
            if number is not None and number < 1:
                raise UsageError(f"--{name}: {number} given, at least 1 needed")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"--seed: {self.seed} given, 0 to {2**31 - 1} needed")


@dataclass(frozen=True, kw_only=True)
class FitCommand(FitSettings):
    """Train one memory core under the head of a supervised task, and score it on the task's test data.

    The weights that do best on the validation data are kept and tested.
    """

    list: bool = False
    """Show the tasks with metric and published results, or one task with its options."""
    config: str | None = None
    """YAML file with options, e.g. the config.yaml of a run; the command line wins over it."""

    def settings(self) -> FitSettings:
        """What is to be trained, without what belongs to the command line alone."""
        return FitSettings(**{item.name: getattr(self, item.name) for item in dataclasses.fields(FitSettings)})


def parse_fit(words: Sequence[str]) -> FitCommand:
    """The words behind `memrl fit`, with `--config FILE` filling in what they leave out.

    Raises:
        UsageError: the words or the file do not fit; one line.
        SystemExit: with code 0, after printing the help that was asked for.
    """
    path = value_of("--config", words)
    config = read_config(Path(path), FitSettings) if path is not None else {}
    config_set = config.pop("set", {})
    parsed = parse(FitCommand, gather(words), "fit", default=FitCommand(**config))
    # Options that belong to the file's core or task say nothing about another one named on the command line.
    for key in ("core", "task"):
        if getattr(parsed, key) != config.get(key, ""):
            config_set = {option: value for option, value in config_set.items() if not option.startswith(f"{key}.")}
    given = set(parsed.set)
    kept = {key: value for key, value in config_set.items() if not {key, key.partition(".")[2]} & given}
    return dataclasses.replace(parsed, set={**kept, **parsed.set})


@dataclass(frozen=True)
class Fitting:
    """A training that is ready to begin."""

    settings: FitSettings  # with every option of core, task and recipe in `set`
    task: Task
    head: Head
    recipe: Recipe


def build(settings: FitSettings) -> Fitting:
    """Find core, task and recipe, and give each its options; the head's weights are drawn by torch's generator.

    Raises:
        UsageError: an unknown name or option, or a value that does not fit.
    """
    settings.check()
    with usage_errors(ValueError):
        core, task_class = core_entry(settings.core), task_entry(settings.task).task
    options = _route(settings, core.config, task_class)
    with usage_errors(ValueError, FileNotFoundError, ImportError):
        task = make_task(settings.task, **options["task"])
        core_options = {**task.core_options.get(settings.core, {}), **options["core"]}
        recipe = dataclasses.replace(task.recipe(settings.core), **options["recipe"])
        made = make_core(settings.core, task.input_size, **core_options)
        head = task.head(made)
    full = {
        **{f"core.{name}": value for name, value in core_options.items()},
        **{f"task.{item.name}": getattr(task, item.name) for item in dataclasses.fields(task)},
        **{f"recipe.{item.name}": getattr(recipe, item.name) for item in dataclasses.fields(recipe)},
    }
    return Fitting(dataclasses.replace(settings, steps=None, set=full), task, head, recipe)


def _route(settings: FitSettings, core: type[Any], task: type[Any]) -> dict[str, dict[str, Any]]:
    """The options in `--set` by whose they are, `--steps` among the recipe's."""
    configs: dict[str, type[Any]] = {"core": core, "task": task, "recipe": Recipe}
    known = {whose: {option.name: hint for option, hint in config_hints(config)} for whose, config in configs.items()}
    routed: dict[str, dict[str, Any]] = {whose: {} for whose in _WHOSE}
    for key, value in settings.set.items():
        whose, name = _owner(key, settings, known)
        if name in routed[whose]:
            raise UsageError(f"--set {key}: given twice")
        routed[whose][name] = fitted(key, value, known[whose][name])
    if settings.steps is not None:
        routed["recipe"]["steps"] = settings.steps
    return routed


def _owner(key: str, settings: FitSettings, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    prefix, dot, rest = key.partition(".")
    prefix = {settings.core: "core", settings.task: "task"}.get(prefix, prefix)
    if dot:
        if prefix not in known:
            raise UsageError(f"--set {key}: core., task. or recipe. can stand in front")
        if rest not in known[prefix]:
            raise UsageError(f"--set {key}: no such option{nearest(rest, known[prefix])}")
        return prefix, rest
    owners = [whose for whose in _WHOSE if key in known[whose]]
    if len(owners) == 1:
        return owners[0], key
    if owners:
        raise UsageError(f"--set {key}: {' and '.join(owners)} have it; write {owners[0]}.{key} or {owners[1]}.{key}")
    everything = [name for options in known.values() for name in options]
    raise UsageError(f"--set {key}: neither core, task nor recipe has this option{nearest(key, everything)}")
