"""TREC-6: the reader against hand-written files and against the published counts."""

import os
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch

from memrl import make_core
from memrl.fit import fit
from memrl.recipe import Recipe
from memrl.tasks import make_task, words
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


# --- the task


@pytest.fixture
def small(tmp_path):
    """20 questions to learn from, of 1 to 5 words; the label of a question is its number of words."""
    lines = [
        f"{1 + place % 5} {' '.join(['Word', 'is', 'seen', 'often', 'Here'][: 1 + place % 5])}" for place in range(20)
    ]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "test.txt").write_text("2 word never\n1 HERE\n3 is often seen\n")
    return make_task("trec", data=str(tmp_path), embedding_size=4, least_count=2)


def test_every_pass_holds_every_question_once(small):
    # Every tenth question, 0 and 10, is for validation.
    batches = small.train(batch_size=4, seed=0)
    for _ in range(3):
        labels = torch.cat([next(batches).targets for _ in range(5)])
        assert Counter(labels.tolist()) == {1: 2, 2: 4, 3: 4, 4: 4, 5: 4}
    passes = [[batch.targets.tolist() for batch in islice(small.train(4, seed), 5)] for seed in (0, 0, 1)]
    assert passes[0] == passes[1] != passes[2]


def test_batches_are_padded_at_the_end_and_open_at_step_0(small):
    for batch in islice(small.train(batch_size=18, seed=0), 2):
        assert batch.inputs.shape == batch.reset.shape == (5, 18)
        assert torch.equal(batch.lengths, batch.targets), "the label of a question is its number of words"
        for row, length in enumerate(batch.lengths):
            assert (batch.inputs[:length, row] > 1).all()
            assert (batch.inputs[length:, row] == 0).all()
        assert batch.reset[0].all()
        assert not batch.reset[1:].any()


def test_words_of_the_test_are_those_of_training_in_lower_case(small):
    known = {word: set() for word in ("word", "is", "seen", "often", "here")}
    for batch in islice(small.train(batch_size=1, seed=0), 18):
        for word, number in zip(known, batch.inputs[:, 0].tolist(), strict=False):
            known[word].add(number)
    assert all(len(numbers) == 1 for numbers in known.values())
    number = {word: numbers.pop() for word, numbers in known.items()}
    assert sorted(number.values()) == [2, 3, 4, 5, 6]
    (batch,) = small.evaluation("test", 10)
    assert batch.inputs[:2, 0].tolist() == [number["word"], 1], "a word that was never met is unknown"
    assert batch.inputs[:1, 1].tolist() == [number["here"]]
    assert batch.inputs[:, 2].tolist() == [number["is"], number["often"], number["seen"]]


def test_score_is_the_share_of_right_classes_whatever_the_batch_size(small):
    head = small.head(make_core("lstm", small.input_size, hidden_size=8)).eval()
    with torch.no_grad():
        guesses = [head(batch.inputs)[0].argmax().item() for batch in small.evaluation("test", 1)]
        right = [guess == label for guess, label in zip(guesses, (2, 1, 3), strict=True)]
        for size in (1, 2, 10):
            assert small.scores(head, small.evaluation("test", size)) == {"accuracy": pytest.approx(sum(right) / 3)}
        (batch,) = small.evaluation("valid", 10)
        assert batch.targets.tolist() == [1, 1]


def test_what_is_learned_is_more_than_the_commonest_class(small):
    torch.manual_seed(0)
    head = small.head(make_core("gru", small.input_size, hidden_size=16))
    result = fit(small, head, Recipe(learning_rate=3e-2, steps=60, eval_every=60, batch_size=18))
    assert result.history[-1].loss < 0.1
    assert result.scores["valid"]["accuracy"] == 1


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("train", "", "train.txt: questions: 0 found, at least 2 needed; it is to be had from https://cogcomp"),
        ("train", "1 One ?\n", "train.txt: questions: 1 found, at least 2 needed"),  # which validation would take
        ("test", "", "test.txt: questions: 0 found, at least 1 needed; it is to be had from https://cogcomp"),
    ],
)
def test_a_part_without_questions_is_refused_by_its_file(small, part, text, message):
    file = Path(small.data, f"{part}.txt")
    file.write_text(text)
    for use in (lambda: next(small.train(2, 0)), lambda: small.head(make_core("gru", small.input_size))):
        with pytest.raises(ValueError, match=re.escape(f"{small.data}/{message}")):
            use()


def test_two_questions_are_one_to_learn_from_and_one_to_validate_with(small):
    Path(small.data, "train.txt").write_text("1 One ?\n2 Two ?\n")
    assert next(small.train(4, seed=0)).targets.tolist() == [2]
    assert [batch.targets.tolist() for batch in small.evaluation("valid", 4)] == [[1]]


def test_no_batches_are_made_of_nothing():
    with pytest.raises(ValueError, match="examples: none given, at least 1 needed"):
        next(words.shuffled([], 4, seed=0))


@pytest.mark.parametrize(("name", "dropout"), [("trec", 1.0), ("snips_intent", 2.0), ("snips_slots", 1.5)])
def test_dropout_of_everything_is_refused(name, dropout):
    with pytest.raises(ValueError, match=f"dropout: {dropout} given, a number from 0 to below 1 needed"):
        make_task(name, dropout=dropout)


def test_missing_data_says_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMRL_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"trec does not exist; it is to be had from https://cogcomp"):
        make_task("trec").head(make_core("lstm", 64))
