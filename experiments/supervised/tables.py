"""CSV tables that grow row by row, so that what is done is kept when a study is stopped."""

import csv
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, lines: list[dict[str, Any]]) -> None:
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0])
        if new:
            writer.writeheader()
        writer.writerows(lines)
