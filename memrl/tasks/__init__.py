"""Supervised tasks: data, head and metric under a name, for any core.

task = make_task("copy", max_length=10)
head = task.head(make_core("ntm", task.input_size))
"""

from memrl.tasks.registry import list_tasks, make_task, register_task, task_entry
from memrl.tasks.task import Published, Task

__all__ = ["Published", "Task", "list_tasks", "make_task", "register_task", "task_entry"]
