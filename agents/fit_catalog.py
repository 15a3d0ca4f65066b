"""`memrl fit --list`: the supervised tasks, what they are scored by, and what others have got."""

import dataclasses
import inspect

from rich import box
from rich.table import Table

from memrl.recipe import Recipe
from memrl.tasks import Task, list_tasks, task_entry

from .catalog import comments, shown
from .console import plain_console
from .errors import usage_errors


def show_tasks(name: str = "") -> int:
    """Print a table of all tasks, or one task with options and published results; returns the exit code.

    Raises:
        UsageError: no such task.
    """
    with usage_errors(ValueError):
        entries = [task_entry(known) for known in ([name] if name else list_tasks())]
    console = plain_console()
    if name:
        (entry,) = entries
        task = entry.task
        console.print(f"{name}: {inspect.cleandoc(task.__doc__ or '').partition(chr(10))[0]}")
        console.print(f"paper       {entry.paper}")
        console.print(f"metric      {metric_of(task)}, on {', '.join(task.tests)}")
        for result in task.published:
            console.print(f"published   {result.value}: {result.what} ({result.source})")
        table = Table("option", "default", "meaning", title="--set NAME=VALUE", title_justify="left")
        for prefix, config in (("", task), ("recipe.", Recipe)):
            bases = [base for base in reversed(config.__mro__) if "__dataclass_fields__" in vars(base)]
            meanings = {option: says for base in bases for option, says in comments(base).items()}
            for field in dataclasses.fields(config):
                # A task's own recipe may differ from the defaults of recipes.
                default = "by task" if prefix else shown(field.default)
                table.add_row(prefix + field.name, default, meanings.get(field.name, ""))
        console.print(table)
        return 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    table.add_column("paper")
    table.add_column("published")
    for entry in entries:
        published = "\n".join(f"{result.value}: {result.what} ({result.source})" for result in entry.task.published)
        table.add_row(entry.name, metric_of(entry.task), entry.paper, published or "-")
    console.print(table)
    console.print("`memrl fit --list TASK` shows the options of a task.")
    return 0


def metric_of(task: type[Task]) -> str:
    """The metric of a task and which way is better.

    >>> from memrl.tasks import task_entry
    >>> metric_of(task_entry("copy").task)
    'bits_per_sequence (lower is better)'
    """
    return f"{task.metric} ({'lower' if task.lower_is_better else 'higher'} is better)"
