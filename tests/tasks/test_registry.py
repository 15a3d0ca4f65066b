"""Tasks by name: what the registry takes, finds and refuses; what every shipped task says of itself; where data is."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from memrl import heads
from memrl.heads import Head
from memrl.recipe import Recipe
from memrl.tasks import Published, Task, list_tasks, make_task, register_task, task_entry
from memrl.tasks import registry as tasks_registry
from memrl.tasks.data import data_file


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    list_tasks()  # all of ours are there before anything is added
    monkeypatch.setattr(tasks_registry, "_TASKS", dict(tasks_registry._TASKS))


def a_task(name="Mine", **fields):
    """A task class made for a test; its methods are never called."""
    methods = ("input_size", "head", "train", "evaluation", "scores")
    body = {"metric": "accuracy", "__module__": __name__, **dict.fromkeys(methods)}
    return dataclass(frozen=True)(type(name, (Task,), {**body, "__annotations__": fields, **dict.fromkeys(fields, 1)}))


def test_a_task_of_ones_own_is_found():
    register_task("mine", paper="an example", order=1000)(a_task(size=int))
    assert list_tasks()[-1] == "mine"
    assert make_task("mine", size=3).size == 3
    assert task_entry("mine").paper == "an example"
    with pytest.raises(ValueError, match="task 'mine' has no option 'sise'; did you mean 'size'"):
        make_task("mine", sise=3)


def test_the_same_class_may_come_again_and_another_may_not():
    register_task("mine", paper="an example")(a_task())
    register_task("mine", paper="an example")(a_task())
    with pytest.raises(ValueError, match="task 'mine': already registered by Mine"):
        register_task("mine", paper="an example")(a_task("Yours"))
    with pytest.raises(ValueError, match="task 'copy': already registered by Copy"):
        register_task("copy", paper="an example")(a_task())


def test_what_is_no_dataclass_or_lacks_a_default_is_refused():
    class Plain(Task):
        pass

    with pytest.raises(ValueError, match="must be a frozen dataclass"):
        register_task("plain", paper="an example")(Plain)

    @dataclass(frozen=True)
    class Bare(Task):
        size: int

    with pytest.raises(ValueError, match="task 'bare': 'size' needs a default"):
        register_task("bare", paper="an example")(Bare)


@pytest.mark.parametrize("name", list_tasks())
def test_every_task_says_what_it_is(name):
    entry = task_entry(name)
    assert entry.paper
    assert entry.task.__doc__
    assert entry.task.metric
    assert entry.task.tests
    assert "valid" not in entry.task.tests
    assert all(isinstance(result, Published) for result in entry.task.published)
    assert dataclasses.is_dataclass(entry.task)
    assert entry.task.__dataclass_params__.frozen


@pytest.mark.parametrize("name", ["copy", "associative_recall", "graph_traversal"])
@pytest.mark.parametrize("core", ["ntm", "dnc", "lstm", "memformer"])
def test_recipes_are_there_for_every_core(name, core):
    assert isinstance(make_task(name).recipe(core), Recipe)


def test_data_is_where_the_path_says_or_the_environment(tmp_path, monkeypatch):
    (tmp_path / "trec").mkdir()
    file = tmp_path / "trec" / "train.txt"
    file.write_text("x")
    assert data_file(str(file), "trec/train.txt", "somewhere") == file
    monkeypatch.setenv("MEMRL_DATA", str(tmp_path))
    assert data_file("", "trec/train.txt", "somewhere") == file
    with pytest.raises(FileNotFoundError, match=r"test.txt does not exist; it is to be had from somewhere"):
        data_file("", "trec/test.txt", "somewhere")
    monkeypatch.delenv("MEMRL_DATA")
    with pytest.raises(FileNotFoundError, match=r"MEMRL_DATA, .* is not set; the data is to be had from somewhere"):
        data_file("", "trec/train.txt", "somewhere")


def test_the_page_on_heads_has_all_tasks_and_all_heads():
    page = Path(__file__).parents[2].joinpath("docs", "heads.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", page.partition("## Recipes")[0], re.M)
    named = [word for row in rows for word in re.findall(r"`(\w+)", row)]
    shipped = [name for name in list_tasks() if task_entry(name).task.__module__.startswith("memrl.tasks.")]
    assert [name for name in named if name.islower()] == shipped, "in the order of `memrl fit --list`"
    classes = [
        name for name in heads.__all__ if isinstance(thing := getattr(heads, name), type) and issubclass(thing, Head)
    ]
    assert sorted(name for name in named if not name.islower()) == sorted({*classes} - {"Head"})
