"""SNIPS: the reader, and the F1 of spans against cases counted by hand and a brute-force count."""

import itertools
import os
import random
from pathlib import Path

import pytest
import torch

from memrl import make_core
from memrl.heads import IGNORED
from memrl.tasks import make_task
from memrl.tasks.snips import Command, read_snips
from memrl.tasks.spans import Span, count_spans, spans

DATA = Path(os.environ.get("MEMRL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
SNIPS = DATA / "snips"
needs_data = pytest.mark.skipif(not SNIPS.exists(), reason=f"no data in {SNIPS}; set MEMRL_DATA")


def write(folder, words="play  some jazz \n", tags="O O B-genre\n", intents="PlayMusic\n"):
    for end, text in (("seq.in", words), ("seq.out", tags), ("label", intents)):
        (folder / f"train.{end}").write_text(text, encoding="utf-8")


def test_three_files_become_commands(tmp_path):
    write(tmp_path)
    assert list(read_snips(tmp_path, "train")) == [
        Command(["play", "some", "jazz"], ["O", "O", "B-genre"], "PlayMusic")
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tags": "O O\n"}, "train.seq.in, line 1: 3 words and 2 tags given"),
        ({"words": "\n", "tags": "\n"}, "line 1: 0 words"),
        ({"tags": "O O genre\n"}, "line 1: tag 'genre' given, O, B-slot or I-slot needed"),
        ({"tags": "O O B-\n"}, "line 1: tag 'B-' given"),
        ({"intents": "\n"}, "line 1: no intent in train.label"),
        ({"intents": "PlayMusic\nPlayMusic\n"}, "train.label, line 2: another of the three files ends before"),
        ({"words": "a b c\nd\n"}, "train.seq.in, line 2: another of the three files ends before"),
    ],
)
def test_malformed_files_are_named(tmp_path, changed, message):
    write(tmp_path, **changed)
    with pytest.raises(ValueError, match=message):
        list(read_snips(tmp_path, "train"))


def test_missing_file_and_unknown_split(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train.seq.in: no such file; it is to be had from https://github"):
        next(read_snips(tmp_path, "train"))
    with pytest.raises(ValueError, match="split: 'valid' given, one of train, dev, test needed"):
        next(read_snips(tmp_path, "valid"))


@needs_data
def test_published_counts():
    # Goo et al. 2018, table 1: 13,084 / 700 / 700 commands, 7 intents, 72 slot labels, O among them.
    commands = {split: list(read_snips(SNIPS, split)) for split in ("train", "dev", "test")}
    assert [len(part) for part in commands.values()] == [13084, 700, 700]
    assert len({command.intent for command in commands["train"]}) == 7
    assert len({tag for command in commands["train"] for tag in command.tags}) == 72


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("", []),
        ("O O", []),
        ("B-a", [Span("a", 0, 1)]),
        ("B-a I-a B-a", [Span("a", 0, 2), Span("a", 2, 3)]),
        ("B-a I-b", [Span("a", 0, 1), Span("b", 1, 2)]),
        ("O I-a I-a O", [Span("a", 1, 3)]),  # conlleval: nothing opened it, so it opens itself
        ("I-a B-a", [Span("a", 0, 1), Span("a", 1, 2)]),
        ("B-a O I-a", [Span("a", 0, 1), Span("a", 2, 3)]),
    ],
)
def test_spans_by_hand(tags, found):
    assert spans(tags.split()) == found


TAGS = ["O", "B-a", "I-a", "B-b", "I-b"]


def conlleval(predicted, target):
    """Counts in the manner of the Perl script: two open chunks that are compared word by word."""

    def starts(before, tag):
        return tag[0] == "B" or (tag[0] == "I" and (before[0] == "O" or before[2:] != tag[2:]))

    def ends(before, tag):
        return before[0] != "O" and (tag[0] in "OB" or before[2:] != tag[2:])

    found = there = agree = 0
    inside = False
    before_p = before_t = "O"
    for tag_p, tag_t in zip([*predicted, "O"], [*target, "O"], strict=True):
        if inside and (ends(before_p, tag_p) or ends(before_t, tag_t)):
            agree += ends(before_p, tag_p) and ends(before_t, tag_t)
            inside = False
        inside |= starts(before_p, tag_p) and starts(before_t, tag_t) and tag_p[2:] == tag_t[2:]
        found += starts(before_p, tag_p)
        there += starts(before_t, tag_t)
        before_p, before_t = tag_p, tag_t
    return agree, found, there


def test_counts_agree_with_conlleval():
    pairs = list(itertools.product(itertools.product(TAGS, repeat=3), repeat=2))
    for predicted, target in random.Random(0).sample(pairs, 2000):
        assert count_spans([predicted], [target]) == conlleval(predicted, target), (predicted, target)
    predictions, targets = zip(*pairs[:50], strict=True)
    assert count_spans(predictions, targets) == tuple(
        map(sum, zip(*itertools.starmap(conlleval, pairs[:50]), strict=True))
    )


def test_f1_of_nothing_is_0():
    assert count_spans([["O"]], [["O"]]).f1() == 0


# --- the tasks


@pytest.fixture
def folder(tmp_path):
    lines = [
        ("play some jazz", "O O B-genre", "Play"),
        ("go to new york", "O O B-city I-city", "Go"),
        ("go", "O", "Go"),
    ]
    for split, commands in (("train", lines * 4), ("dev", lines[:2]), ("test", lines)):
        for end, column in (("seq.in", 0), ("seq.out", 1), ("label", 2)):
            text = "".join(line[column] + "\n" for line in commands)
            (tmp_path / f"{split}.{end}").write_text(text, encoding="utf-8")
    return str(tmp_path)


TAG = ["B-city", "B-genre", "I-city", "O"]  # sorted, as the classes are


@pytest.mark.parametrize("look_ahead", [0, 1, 3])
def test_tags_are_asked_for_later(folder, look_ahead):
    task = make_task("snips_slots", data=folder, look_ahead=look_ahead)
    (batch,) = task.evaluation("test", 10)
    assert batch.lengths.tolist() == [3 + look_ahead, 4 + look_ahead, 1 + look_ahead]
    for row, tags in enumerate((["O", "O", "B-genre"], ["O", "O", "B-city", "I-city"], ["O"])):
        column = batch.targets[:, row].tolist()
        assert column[:look_ahead] == [IGNORED] * look_ahead
        assert [TAG[tag] for tag in column[look_ahead : look_ahead + len(tags)]] == tags
        assert set(column[look_ahead + len(tags) :]) <= {IGNORED}
        assert (batch.inputs[: len(tags), row] > 1).all()
        assert (batch.inputs[len(tags) :, row] == 0).all(), "nothing is read while the last tags are given"


def test_scores_of_tags_by_hand(folder):
    task = make_task("snips_slots", data=folder)
    head = task.head(make_core("none", task.input_size))
    assert head.output.out_features == len(TAG)
    torch.nn.init.zeros_(head.output.weight)
    with torch.no_grad():
        head.output.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))  # B-genre for every word
    for size in (1, 10):
        scores = task.scores(head, task.evaluation("test", size))
        # 8 words make 8 spans; one of them is one of the two that are there.
        assert scores == {"slot_f1": pytest.approx(2 * 1 / (8 + 2)), "accuracy": pytest.approx(1 / 8)}


def test_intents_by_hand(folder):
    task = make_task("snips_intent", data=folder)
    head = task.head(make_core("none", task.input_size))
    torch.nn.init.zeros_(head.output.weight)
    with torch.no_grad():
        head.output.bias.copy_(torch.tensor([1.0, 0.0]))  # "Go", the first by the alphabet
        assert task.scores(head, task.evaluation("test", 2)) == {"accuracy": pytest.approx(2 / 3)}
        assert task.scores(head, task.evaluation("valid", 2)) == {"accuracy": 0.5}
    batch = next(task.train(12, seed=0))
    assert batch.targets.bincount().tolist() == [8, 4]
    assert batch.lengths.bincount().tolist() == [0, 4, 0, 4, 4]


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("name", ["snips_intent", "snips_slots"])
def test_a_part_without_commands_is_refused_by_its_file(folder, name, split):
    for end in ("seq.in", "seq.out", "label"):
        Path(folder, f"{split}.{end}").write_text("")
    message = rf"{split}\.seq\.in: commands: 0 found, at least 1 needed; it is to be had from https://github"
    with pytest.raises(ValueError, match=message):
        next(make_task(name, data=folder).train(2, seed=0))
