"""The study of copy and associative recall runs, keeps what is done, and draws what a memory did."""

import csv
import subprocess
import sys
from pathlib import Path

STUDY = Path(__file__).resolve().parents[2] / "experiments" / "supervised" / "algorithmic.py"


def run(out: Path) -> str:
    words = ["copy", "--quick", "--cores", "ntm,lstm", "--seeds", "0", "--out", str(out)]
    done = subprocess.run([sys.executable, STUDY, *words], capture_output=True, text=True, timeout=600, check=True)
    return done.stdout


def test_quick_study_writes_table_curves_and_picture_once(tmp_path):
    assert "ntm seed 0: 8 sequences" in run(tmp_path)
    with (tmp_path / "copy" / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["core"] for row in rows] == ["ntm", "lstm"]
    assert all(70 < float(row["bits_10"]) < 90 for row in rows)  # 80 bits, guessed
    assert len((tmp_path / "copy" / "curves.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4
    assert (tmp_path / "copy" / "weights_ntm.png").read_bytes().startswith(b"\x89PNG")
    assert run(tmp_path) == ""  # nothing is trained again
