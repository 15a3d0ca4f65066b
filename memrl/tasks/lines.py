"""Lines of real data, one after the other, with errors that say which line is wrong and where to get the file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


def numbered_lines(path: str | Path, source: str, encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """Stream a text: the place of each line, for messages ("FILE, line 3"), and the line without its end.

    Args:
        path: the file, which stays open only while it is read.
        source: where the file is to be had from, for the message when it is missing.
        encoding: of the text.

    Raises:
        FileNotFoundError: no such file.
        ValueError: bytes that are no text in that encoding, by the line.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: no such file; it is to be had from {source}") from None
    with file:
        for number, line in enumerate(file, start=1):
            place = f"{path}, line {number}"
            try:
                yield place, line.decode(encoding).rstrip("\r\n")
            except UnicodeDecodeError as problem:
                raise ValueError(f"{place}: no text in {encoding} ({problem.reason})") from None


def enough(items: Sequence[Item], least: int, what: str, path: str | Path, source: str) -> Sequence[Item]:
    """What was read from a file, if there is enough of it.

    Args:
        items: what was read.
        least: how many are needed.
        what: they are, for the message, e.g. "questions".
        path: the file.
        source: where the file is to be had from.

    Raises:
        ValueError: fewer than needed.

    >>> enough(["who ?"], 2, "questions", "train.txt", "https://example.org")
    Traceback (most recent call last):
    ValueError: train.txt: questions: 1 found, at least 2 needed; it is to be had from https://example.org
    """
    if len(items) < least:
        raise ValueError(f"{path}: {what}: {len(items)} found, at least {least} needed; it is to be had from {source}")
    return items
