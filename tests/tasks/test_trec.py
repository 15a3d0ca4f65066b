"""TREC-6: the reader against hand-written files and against the published counts."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from memrl.tasks.trec import CLASSES, Question, read_trec

DATA = Path(os.environ.get("MEMRL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
TREC = DATA / "trec"


def write(tmp_path, text):
    (tmp_path / "train.txt").write_bytes(text)
    return tmp_path / "train.txt"


def test_lines_become_questions(tmp_path):
    path = write(tmp_path, b"3 Who was Galileo ?\r\n5  How far is it\n")
    assert list(read_trec(path)) == [
        Question(["Who", "was", "Galileo", "?"], 3),
        Question(["How", "far", "is", "it"], 5),
    ]


def test_old_encoding_is_understood(tmp_path):
    assert next(read_trec(write(tmp_path, "4 Where is Besançon ?\n".encode("latin-1")))).words[2] == "Besançon"


@pytest.mark.parametrize("line", ["6 What ?", "HUM What ?", "3", "3 ", "", "-1 What ?", "1.0 What ?"])
def test_malformed_line_is_named(tmp_path, line):
    path = write(tmp_path, f"0 What is it ?\n{line}\n".encode())
    questions = read_trec(path)
    assert next(questions).label == 0, "what comes before the error is streamed"
    with pytest.raises(ValueError, match=re.escape(f"train.txt, line 2: {line!r} given, a class from 0 to 5")):
        next(questions)


def test_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file; it is to be had from https://cogcomp"):
        next(read_trec(tmp_path / "train.txt"))


@pytest.mark.skipif(not TREC.exists(), reason=f"no data in {TREC}; set MEMRL_DATA")
def test_published_counts():
    # Li & Roth 2002: 5,500 questions less 48 duplicates, and 500; the classes of the 500 as in their table 1.
    train, test = (list(read_trec(TREC / f"{part}.txt")) for part in ("train", "test"))
    assert (len(train), len(test)) == (5452, 500)
    counts = Counter(CLASSES[question.label] for question in test)
    assert counts == {"description": 138, "entity": 94, "abbreviation": 9, "human": 65, "location": 81, "number": 113}
    assert (
        CLASSES[next(question for question in train if question.words[:3] == ["What", "films", "featured"]).label]
        == "entity"
    )
