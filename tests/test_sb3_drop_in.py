"""experiments/sb3_drop_in: five lines add a memory to an SB3 script, and its study runs and goes on."""

import csv
import difflib
import importlib
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "sb3_drop_in"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def study():
    """`main` of table.py; its siblings have names that others may have too, so they leave with it."""
    names = [path.stem for path in FOLDER.glob("*.py")]
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("table").main
    sys.path.remove(str(FOLDER))
    for name in names:
        sys.modules.pop(name, None)


def code_of(script):
    """Without the docstring, which says what comes out, and without blank lines."""
    text = (FOLDER / script).read_text(encoding="utf-8").split('"""', 2)[2]
    return [line for line in text.splitlines() if line.strip()]


def test_a_memory_is_five_lines_at_most():
    changes = list(difflib.ndiff(code_of("plain.py"), code_of("with_memory.py")))
    added = [line for line in changes if line.startswith("+ ")]
    removed = [line for line in changes if line.startswith("- ")]
    assert 0 < len(added) <= 5
    assert len(removed) <= 1, removed  # each line of the old script but one stands as it was
    assert any("MemoryExtractor" in line for line in added)


@pytest.mark.parametrize("script", ["plain.py", "with_memory.py"])
def test_scripts_train(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "1"])
    runpy.run_path(str(FOLDER / script))
    assert capsys.readouterr().out.startswith("return ")


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_study_goes_on_where_it_ended(study, tmp_path):
    chosen = ["--quick", "--out", str(tmp_path), "--task", "tmaze_10", "--method", "stack", "--method", "window_gru"]
    study(chosen[:-2])
    (first,) = rows(tmp_path / "runs.csv")
    study(chosen)
    again, second = rows(tmp_path / "runs.csv")
    assert again == first  # with its seconds: it was not trained again
    assert (first["method"], second["method"]) == ("stack", "window_gru")
    curve = rows(tmp_path / "tmaze_10" / "window_gru-0-128.csv")
    assert int(curve[-1]["env_steps"]) <= int(second["steps"]) == 128
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| window, `gru`, 11 steps | -" in table
    assert "| SB3's `VecFrameStack`, 4 steps | -" in table


@pytest.mark.parametrize("task", ["repeat_previous_easy", "tmaze_5_dqn", "position_only_pendulum_sac"])
def test_every_method_of_a_task_can_be_measured(study, tmp_path, task):
    study(["--quick", "--speed", "--out", str(tmp_path), "--task", task])
    measured = rows(tmp_path / "speed.csv")
    assert [row["method"] for row in measured][:2] == ["mlp", "stack"]
    assert all(float(row["steps_per_s"]) > 0 for row in measured)


def test_the_table_is_that_of_the_runs(study, tmp_path):
    kept = FOLDER / "results"
    shutil.copytree(kept, tmp_path / "results")
    sys.modules[study.__module__].write_table(tmp_path / "results")
    tables = [(place / "table.md").read_text(encoding="utf-8").splitlines() for place in (kept, tmp_path / "results")]
    assert tables[0][:-1] == tables[1][:-1]  # the last line has the versions of the libraries


@pytest.mark.parametrize(("wrong", "said"), [(["--seeds", "0"], "at least 1"), (["--task", "tmaze"], "tmaze_10")])
def test_nonsense_is_refused(study, tmp_path, capsys, wrong, said):
    with pytest.raises(SystemExit):
        study(["--out", str(tmp_path / "results"), *wrong])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
