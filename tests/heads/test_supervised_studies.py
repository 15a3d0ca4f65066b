"""The studies of the algorithmic and graph tasks run, keep what is done, and draw what a memory did."""

import csv
import subprocess
import sys
from pathlib import Path

import torch

from memrl.tasks import make_task

STUDIES = Path(__file__).resolve().parents[2] / "experiments" / "supervised"


def run(script: str, *words: object) -> str:
    command = [sys.executable, STUDIES / script, *map(str, words), "--quick", "--seeds", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_algorithmic_writes_table_curves_and_picture_once(tmp_path):
    words = ("algorithmic.py", "copy", "--cores", "ntm,lstm", "--out", tmp_path)
    assert "ntm seed 0: 32 sequences" in run(*words)
    rows = table(tmp_path / "copy" / "table.csv")
    assert [row["core"] for row in rows] == ["ntm", "lstm"]
    assert all(70 < float(row["bits_10"]) < 90 for row in rows)  # 80 bits, guessed
    assert len(table(tmp_path / "copy" / "curves.csv")) == 4
    assert (tmp_path / "copy" / "weights_ntm.png").read_bytes().startswith(b"\x89PNG")
    assert run(*words) == ""  # nothing is trained again


def test_graph_traversal_writes_table_and_curve(tmp_path):
    run("graph_traversal.py", "--cores", "dnc", "--out", tmp_path)
    (row,) = table(tmp_path / "graph_traversal" / "table.csv")
    assert (row["core"], row["sequences"], row["stage"]) == ("dnc", "128", "2")
    assert float(row["routes"]) < 0.1
    looks = table(tmp_path / "graph_traversal" / "curves.csv")
    assert [(look["batches"], look["stage"], look["lesson"]) for look in looks] == [("2", "1", "1"), ("4", "2", "1")]


def test_stages_of_graph_traversal_go_on_from_each_others_weights(monkeypatch):
    monkeypatch.syspath_prepend(STUDIES)
    from graph_traversal import build

    task = make_task("graph_traversal", max_nodes=4, max_hops=1)
    first = build(task, "dnc", 8, None)
    second = build(task, "dnc", 16, first.state_dict())
    assert (first.core.config.num_slots, second.core.config.num_slots) == (8, 16)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
