"""Run studies of an experiment: `python experiments/run.py foundation tmaze_10`, or all of them without a name.

A study is one `memrl compare` command, which stands in the experiment's studies.py. Tables and curves go to
<experiment>/results/<study>/, runs to runs/. What is trained already is not trained again.
"""

import runpy
import shlex
import shutil
import sys
from pathlib import Path

from memrl.agents.cli import main

HERE = Path(__file__).resolve().parent
KEPT = ("table.csv", "table.md", "curves.csv", "curves.png", "config.yaml")


def run(results: Path, command: str) -> int:
    before = set(Path("runs").glob("*/compare-*"))
    code = main(["compare", *shlex.split(command), "--run-dir", "runs"])
    for comparison in set(Path("runs").glob("*/compare-*")) - before:
        results.mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            if (comparison / file).is_file():
                shutil.copy(comparison / file, results / file)
    return code


if __name__ == "__main__":
    experiments = sorted(path.parent.name for path in HERE.glob("*/studies.py"))
    if len(sys.argv) < 2 or sys.argv[1] not in experiments:
        sys.exit(f"usage: python experiments/run.py EXPERIMENT [STUDY ...]; experiments: {', '.join(experiments)}")
    studies = runpy.run_path(str(HERE / sys.argv[1] / "studies.py"))["STUDIES"]
    names = sys.argv[2:] or list(studies)
    if unknown := [name for name in names if name not in studies]:
        sys.exit(f"unknown study {unknown[0]!r}; known: {', '.join(studies)}")
    sys.exit(max(run(HERE / sys.argv[1] / "results" / name, studies[name]) for name in names))
