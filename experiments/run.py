"""Run one of the studies, or all: `python experiments/foundation/run.py tmaze_10`.

Tables and curves go to results/<study>/ beside this file, runs to runs/. What is trained already is not trained again.
"""

import shlex
import shutil
import sys
from pathlib import Path

from studies import STUDIES

from memrl.agents.cli import main

HERE = Path(__file__).resolve().parent
KEPT = ("table.csv", "table.md", "curves.csv", "curves.png", "config.yaml")


def run(name: str, jobs: str) -> int:
    before = set(Path("runs").glob("*/compare-*"))
    code = main(["compare", *shlex.split(STUDIES[name]), "--jobs", jobs, "--run-dir", "runs"])
    for comparison in set(Path("runs").glob("*/compare-*")) - before:
        target = HERE / "results" / name
        target.mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            if (comparison / file).is_file():
                shutil.copy(comparison / file, target / file)
    return code


if __name__ == "__main__":
    names = sys.argv[1:] or list(STUDIES)
    if unknown := [name for name in names if name not in STUDIES]:
        sys.exit(f"unknown study {unknown[0]!r}; known: {', '.join(STUDIES)}")
    sys.exit(max(run(name, jobs="2") for name in names))
