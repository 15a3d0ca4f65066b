"""Tiny Shakespeare: nothing of the text is lost or changed."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from memrl import make_core
from memrl.tasks import make_task
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
    (tmp_path / "a.txt").write_text("a" * 38)
    with pytest.raises(ValueError, match=r"a\.txt: 39 characters given, at least 40 needed"):
        read_characters(tmp_path / "a.txt")


def test_the_shortest_texts_have_something_to_foretell_in_every_part(tmp_path):
    for length in range(40, 60):
        path = tmp_path / f"{length}.txt"
        path.write_text("a" * (length - 1))  # and a newline
        task = make_task("shakespeare", data=str(path))
        for split in ("valid", "test"):
            assert sum(batch.targets.numel() for batch in task.evaluation(split, 1)) >= 1


@pytest.mark.skipif(not TEXT.exists(), reason=f"no data in {TEXT}; set MEMRL_DATA")
def test_tiny_shakespeare():
    text = read_characters(TEXT)
    assert len(text.alphabet) == 65  # Karpathy 2015
    assert sum(map(len, text[1:])) == TEXT.stat().st_size == 1115394
    start = "".join(text.alphabet[place] for place in text.train[:14])
    assert start == "First Citizen:"


# --- the task


@pytest.fixture
def small(tmp_path):
    rng = np.random.default_rng(0)
    text = "".join("abcde"[letter] for letter in rng.integers(5, size=3999))
    (tmp_path / "a.txt").write_text(text)
    return make_task("shakespeare", data=str(tmp_path / "a.txt"), embedding_size=4, chunk=7), tmp_path / "a.txt"


def test_stretches_go_on_from_chunk_to_chunk(small):
    task, path = small
    text = read_characters(path).train
    batches = task.train(batch_size=3, seed=0)
    for _ in range(2):  # passes of 3 stretches of 1,200 characters, 7 at a time
        turn = [next(batches) for _ in range(-(-1199 // 7))]
        assert [bool(batch.reset.any()) for batch in turn] == [True] + [False] * (len(turn) - 1)
        assert turn[0].reset[0].all()
        assert not turn[0].reset[1:].any()
        inputs, targets = (torch.cat([getattr(batch, part) for batch in turn]) for part in ("inputs", "targets"))
        assert torch.equal(inputs[1:], targets[:-1])
        read = torch.cat([inputs, targets[-1:]]).T.flatten().numpy()
        start = next(place for place in range(len(text)) if (np.roll(text, -place)[:1200] == read[:1200]).all())
        assert (np.roll(text, -start) == read).all(), "all of the text, from somewhere on"
        assert all((batch.lengths == len(batch.inputs)).all() for batch in turn)


def test_passes_differ_by_seed_and_among_each_other(small):
    task, _ = small
    firsts = []
    for seed in (0, 1):
        batches = task.train(3, seed)
        firsts += [next(batches).inputs.tolist()]
        for _ in range(171):
            next(batches)
        firsts += [next(batches).inputs.tolist()]
    assert len({str(first) for first in firsts}) == 4
    assert next(task.train(3, 0)).inputs.tolist() == firsts[0]


def test_bits_of_a_guesser_are_those_of_the_alphabet(small):
    task, _ = small
    head = task.head(make_core("lstm", task.input_size, hidden_size=4))
    torch.nn.init.zeros_(head.output.weight)
    torch.nn.init.zeros_(head.output.bias)
    with torch.no_grad():
        for split in ("valid", "test"):
            scores = task.scores(head, task.evaluation(split, 4))
            assert scores == {"bits_per_character": pytest.approx(np.log2(6))}  # five letters and the newline


def test_bits_are_those_of_reading_on_without_chunks(small):
    task, path = small
    torch.manual_seed(0)
    head = task.head(make_core("gru", task.input_size, hidden_size=8)).eval()
    stretches = torch.from_numpy(read_characters(path).test.reshape(50, -1)).T
    with torch.no_grad():
        logits, _ = head(stretches[:-1])
        bits = torch.nn.functional.cross_entropy(logits.flatten(0, 1), stretches[1:].flatten()) / np.log(2)
        for size in (1, 30):
            scores = task.scores(head, task.evaluation("test", size))
            assert scores["bits_per_character"] == pytest.approx(bits.item(), rel=1e-5)


def test_evaluation_carries_the_state_from_chunk_to_chunk(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "a.txt").write_text("".join("abcde"[letter] for letter in rng.integers(5, size=39_999)))
    task = make_task("shakespeare", data=str(tmp_path / "a.txt"), embedding_size=4, chunk=7)
    torch.manual_seed(0)
    head = task.head(make_core("gru", task.input_size, hidden_size=8)).eval()
    stretches = torch.from_numpy(read_characters(tmp_path / "a.txt").test.reshape(50, 40)).T
    with torch.no_grad():
        head.output.weight.mul_(10)  # so that it matters what is remembered

        def bits(inputs, targets):
            return torch.nn.functional.cross_entropy(head(inputs)[0].flatten(0, 1), targets.flatten()) / np.log(2)

        whole = bits(stretches[:-1], stretches[1:]).item()
        afresh = [bits(stretches[t : min(t + 7, 39)], stretches[t + 1 : t + 8]) for t in range(0, 39, 7)]
        forgetful = (
            sum(b * len(stretches[t : min(t + 7, 39)]) for t, b in zip(range(0, 39, 7), afresh, strict=True)) / 39
        )
        score = task.scores(head, task.evaluation("test", 4))["bits_per_character"]
    assert abs(forgetful - whole) > 1e-3, "else this test says nothing"
    assert score == pytest.approx(whole, rel=1e-5)


def test_batch_that_needs_more_text_is_refused(small):
    task, _ = small
    with pytest.raises(ValueError, match="batch_size: 1800 given, the text has 3600 characters to learn from"):
        next(task.train(1800, 0))
