"""Tiny Shakespeare: nothing of the text is lost or changed."""

import os
from pathlib import Path

import numpy as np
import pytest

from memrl.tasks.shakespeare import read_characters

DATA = Path(os.environ.get("MEMRL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
TEXT = DATA / "text" / "tiny-shakespeare.txt"


def test_parts_follow_each_other(tmp_path):
    (tmp_path / "a.txt").write_text("née à Ω\n" * 10, encoding="utf-8", newline="")
    text = read_characters(tmp_path / "a.txt")
    assert text.alphabet == "\n enàéΩ"
    assert [len(part) for part in text[1:]] == [72, 4, 4]
    assert "".join(text.alphabet[place] for place in np.concatenate(text[1:])) == "née à Ω\n" * 10


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"to be had from https://raw\.githubusercontent"):
        read_characters(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"one\n\xff\xfe\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: no text in utf-8"):
        read_characters(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(ValueError, match="6 characters given, at least 20 needed"):
        read_characters(tmp_path / "a.txt")


@pytest.mark.skipif(not TEXT.exists(), reason=f"no data in {TEXT}; set MEMRL_DATA")
def test_tiny_shakespeare():
    text = read_characters(TEXT)
    assert len(text.alphabet) == 65  # Karpathy 2015
    assert sum(map(len, text[1:])) == TEXT.stat().st_size == 1115394
    start = "".join(text.alphabet[place] for place in text.train[:14])
    assert start == "First Citizen:"
