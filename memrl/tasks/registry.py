"""Tasks by name: `register_task` adds one, `make_task` builds one, `list_tasks` names them all."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from memrl.registry import check_options, suggest
from memrl.tasks.task import Task

AnyTask = TypeVar("AnyTask", bound=type[Task])


@dataclass(frozen=True)
class TaskEntry:
    """What the registry knows of a task."""

    name: str
    task: type[Task]
    paper: str  # where the task comes from
    order: int  # where it stands in the list


_TASKS: dict[str, TaskEntry] = {}


def register_task(name: str, *, paper: str, order: int = 100) -> Callable[[AnyTask], AnyTask]:
    """Class decorator: make a task known as `name` to `make_task` and to `memrl fit`.

    Args:
        name: a new, lower-case name.
        paper: where the task comes from: "Author Year, section".
        order: place in `list_tasks()`.

    Raises:
        ValueError: the name is taken, or the class is not a dataclass with defaults.
    """

    def register(task: AnyTask) -> AnyTask:
        if not task.__module__.startswith("memrl.tasks."):
            _discover()  # or a name of ours would look free until somebody asks for it
        taken = _TASKS.get(name)
        # The same class once more is a notebook cell that runs again.
        if taken and (taken.task.__module__, taken.task.__qualname__) != (task.__module__, task.__qualname__):
            raise ValueError(f"task {name!r}: already registered by {taken.task.__qualname__}")
        if "__dataclass_fields__" not in vars(task):
            raise ValueError(f"task {name!r}: {task.__qualname__} must be a frozen dataclass")
        for field in dataclasses.fields(task):
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise ValueError(f"task {name!r}: {field.name!r} needs a default")
        _TASKS[name] = TaskEntry(name, task, paper, order)
        return task

    return register


def list_tasks() -> tuple[str, ...]:
    """Names of all registered tasks.

    >>> list_tasks()[:2]
    ('copy', 'repeat_copy')
    """
    _discover()
    return tuple(entry.name for entry in sorted(_TASKS.values(), key=lambda e: (e.order, e.name)))


def task_entry(name: str) -> TaskEntry:
    """The entry of one task.

    Raises:
        ValueError: no task of that name; the message suggests the nearest.
    """
    _discover()
    if name not in _TASKS:
        raise ValueError(f"unknown task {name!r}{suggest(name, list_tasks())}")
    return _TASKS[name]


def make_task(name: str, **options: Any) -> Task:
    """Build a task by name.

    Args:
        name: one of `list_tasks()`.
        options: fields of the task; `memrl fit --list NAME` shows them.

    Raises:
        ValueError: unknown name or option (the message suggests the nearest), or a value out of its range.

    >>> make_task("copy", max_length=5).input_size
    9
    """
    entry = task_entry(name)
    check_options(f"task {name!r}", entry.task, options)
    return entry.task(**options)


def _discover() -> None:
    """Import every file in memrl/tasks, so that adding a task is adding one file."""
    package = importlib.import_module("memrl.tasks")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        importlib.import_module(f"memrl.tasks.{module.name}")
