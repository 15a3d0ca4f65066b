"""bAbI: the reader against hand-written files and published counts; sentences and words against the papers."""

import importlib.util
import re
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from memrl import make_core
from memrl.heads import IGNORED, Classifier, StoryAnswer
from memrl.tasks import make_task
from memrl.tasks.babi_sentences import BagsOfWords
from memrl.tasks.babi_stories import Line, load_stories, number_words, parse_tasks, read_babi
from memrl.tasks.data import data_file

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "supervised" / "babi.py"
STORIES = """\
1 Mary moved to the bathroom.
2 John went back to the hallway.
3 Where is Mary?\tbathroom\t1
4 Mary got the football.
5 What is Mary carrying? \tfootball,Apple\t1 4
1 The office is north of the kitchen.
2 How do you go from the office to the kitchen?\ts\t1
"""


def babi():
    """The real files, or a skip."""
    try:
        return data_file("", "babi/en", "")
    except FileNotFoundError:
        folder = Path(__file__).parents[3] / "shared" / "data" / "babi" / "en"
        if not folder.exists():
            pytest.skip(f"no data in {folder}; set MEMRL_DATA")
        return folder


@pytest.fixture
def folder(tmp_path):
    """Eleven stories to learn from, so that validation keeps one, and two for the test."""
    (tmp_path / "qa2_made-up_train.txt").write_text(STORIES * 5 + STORIES[: STORIES.index("1 The")])
    (tmp_path / "qa2_made-up_test.txt").write_text(STORIES)
    return tmp_path


# The reader.


def test_stories_are_read(tmp_path):
    path = tmp_path / "qa2_made-up_test.txt"
    path.write_text(STORIES.replace("\n", "\r\n"))
    first, second = read_babi(path)
    assert [len(first), len(second)] == [5, 2]
    assert first[0] == Line(("mary", "moved", "to", "the", "bathroom", "."))
    assert first[2] == Line(("where", "is", "mary", "?"), ("bathroom",), (1,))
    assert first[4] == Line(("what", "is", "mary", "carrying", "?"), ("football", "apple"), (1, 4))
    assert second[1].answers == ("s",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Mary moved.", "'Mary moved.' given, `number sentence` or"),
        ("2 Where is Mary?\tbathroom", "given, `number sentence` or"),
        ("2", "'2' given, `number sentence` or"),
        ("", "'' given, `number sentence` or"),
        ("3 Mary moved.", "line 3 of a story given, 2 needed"),
        ("0 Mary moved.", "line 0 of a story given, 2 needed"),
        ("2 Where is Mary?\t\t1", "'' given as the answer, a word"),
        ("2 Where is Mary?\tkitchen,\t1", "'kitchen,' given as the answer, a word"),
        ("2 Where is Mary?\tkitchen\t2", "supporting lines '2' given, numbers of lines before this one needed"),
        ("2 Where is Mary?\tkitchen\tone", "supporting lines 'one' given, numbers of lines"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, message):
    path = tmp_path / "qa1_train.txt"
    path.write_text(f"1 John moved.\n1 Mary moved.\n{line}\n2 John moved.\n")
    stories = read_babi(path)
    assert next(stories)[0].words == ("john", "moved", "."), "what comes before the error is streamed"
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 3: ") + ".*" + re.escape(message)):
        next(stories)


def test_missing_files_say_where_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file; it is to be had from http://www\.thespermwhale"):
        next(read_babi(tmp_path / "qa1_train.txt"))
    with pytest.raises(FileNotFoundError, match=r"one file qa3_\*_train.txt needed, none there; .* from http"):
        load_stories(tmp_path, 3, "train")
    (tmp_path / "qa4_empty_test.txt").touch()


@pytest.mark.parametrize("name", ["babi", "babi_sentences"])
@pytest.mark.parametrize(
    ("part", "text", "found"),
    [
        ("train", "", "0 found, at least 2 needed"),
        ("train", STORIES[: STORIES.index("1 The")], "1 found, at least 2 needed"),  # validation would take it
        ("train", "1 Mary moved.\n2 John moved.\n" * 20, "0 found, at least 2 needed"),
        ("train", STORIES[: STORIES.index("1 The")] + "1 Mary moved.\n" * 20, "1 found, at least 2 needed"),
        ("test", "", "0 found, at least 1 needed"),
        ("test", "1 Mary moved.\n" * 20, "0 found, at least 1 needed"),
    ],
)
def test_a_part_without_questions_is_refused_by_its_file(folder, name, part, text, found):
    file = folder / f"qa2_made-up_{part}.txt"
    file.write_text(text)
    task = make_task(name, tasks="qa2", data=str(folder))
    message = re.escape(f"{file}: stories with a question: {found}; it is to be had from http")
    for use in (lambda: task.vocabulary, lambda: next(task.train(2, 0))):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize("name", ["babi", "babi_sentences"])
def test_two_stories_are_one_to_learn_from_and_one_to_validate_with(folder, name):
    (folder / "qa2_made-up_train.txt").write_text("1 Mary moved.\n" + STORIES)
    task = make_task(name, tasks="qa2", data=str(folder))
    for batch in islice(task.train(3, seed=0), 4):
        assert (batch.targets != IGNORED).any()
    (valid,) = task.evaluation("valid", 10)
    assert [task.vocabulary[answer] for answer in valid.targets.flatten() if answer != IGNORED] == ["s"]


def test_tasks_are_named():
    assert parse_tasks("qa3") == (3,)
    assert parse_tasks("1, 20") == (1, 20)
    assert parse_tasks("qa18-qa20,qa2") == (18, 19, 20, 2)


@pytest.mark.parametrize("tasks", ["", "qa", "qa1qa2", "0", "21", "a", "3-1", "1,", "1-2-3"])
def test_tasks_that_do_not_exist_are_refused(tasks):
    with pytest.raises(ValueError, match=f"tasks: '{tasks}' given, from qa1 to qa20 needed"):
        parse_tasks(tasks)
    with pytest.raises(ValueError, match="from qa1 to qa20 needed"):
        make_task("babi_sentences", tasks=tasks)
    with pytest.raises(ValueError, match="names a task twice"):
        parse_tasks("1-3,2")


def test_published_counts():
    # Weston et al. 2015: 1,000 questions each to learn from and for the test. Graves et al. 2016: 156 words and the
    # marks ".", "?" and "-" make 159, of which "-" is in no file.
    stories = [load_stories(babi(), task, part) for task in range(1, 21) for part in ("train", "test")]
    assert [sum(bool(line.answers) for story in told for line in story) for told in stories] == [1000] * 40
    assert len(number_words([story for told in stories for story in told])) == 158
    lists = stories[2 * 7], stories[2 * 18]  # tasks 8 and 19 have answers of several words
    for told in lists:
        assert max(len(line.answers) for story in told for line in story) > 1


# Sentences.


def test_sentences_and_their_question(folder):
    task = make_task("babi_sentences", tasks="qa2", data=str(folder), num_sentences=2)
    (batch,) = task.evaluation("test", 10)
    spell = ["", *task.vocabulary]

    def said(row):
        return [" ".join(spell[word] for word in sentence if word) for sentence in batch.inputs[:, row].tolist()]

    assert batch.lengths.tolist() == [3, 3, 2]
    assert said(0) == ["mary moved to the bathroom", "john went back to the hallway", "where is mary"]
    # The question before is no part of the story, and only the last two sentences are.
    assert said(1) == ["john went back to the hallway", "mary got the football", "what is mary carrying"]
    assert said(2) == ["the office is north of the kitchen", "how do you go from the office to the kitchen", ""]
    assert [task.vocabulary[answer] for answer in batch.targets] == ["bathroom", "football,apple", "s"]
    assert batch.reset[0].all()
    assert not batch.reset[1:].any()


def test_the_last_tenth_is_for_validation(folder):
    task = make_task("babi_sentences", tasks="qa2", data=str(folder))
    assert [sum(len(batch.targets) for batch in task.evaluation(part, 4)) for part in ("train", "valid")] == [15, 2]
    batches = task.train(4, seed=0)
    learned = torch.cat([next(batches).targets for _ in range(15)])  # four passes
    assert (
        learned.bincount().tolist()
        == (4 * torch.cat([b.targets for b in task.evaluation("train", 4)]).bincount()).tolist()
    )
    assert torch.equal(next(task.train(4, seed=1)).inputs, next(task.train(4, seed=1)).inputs)


@pytest.mark.parametrize("name", ["babi", "babi_sentences"])
def test_validation_has_the_last_stories_and_no_other(folder, name):
    places = [f"room{number}" for number in range(10, 30)]  # each in one of 20 stories
    text = "".join(f"1 Mary moved to the {place}.\n2 Where is Mary?\t{place}\t1\n" for place in places)
    (folder / "qa2_made-up_train.txt").write_text(text)
    task = make_task(name, tasks="qa2", data=str(folder))
    first = task.vocabulary.index(places[0])  # rooms stand side by side in the vocabulary
    asked = {
        "valid": [batch.targets for batch in task.evaluation("valid", 1)],
        "train": [batch.targets for batch in islice(task.train(1, seed=0), 18)],
    }
    found = {part: sorted(int(targets.max()) - first for targets in batches) for part, batches in asked.items()}
    assert found == {"train": list(range(18)), "valid": [18, 19]}


def words_to_logits(p, width, hops, story, question):
    """Sukhbaatar et al. 2015, sections 2 and 4.1, from words (numbers from 1) to logits; adjacent tying."""

    def encoded(matrix, sentence):
        total = np.zeros(width)
        for j, word in enumerate(sentence, start=1):
            for k in range(1, width + 1):
                level = (1 - j / len(sentence)) - (k / width) * (1 - 2 * j / len(sentence))
                total[k - 1] += 2 * level * matrix[word - 1, k - 1]  # the task's departure: a word counts 1 on average
        return total

    u = encoded(p["core.embeddings.0"], question)
    for hop in range(hops):
        ages = range(len(story), 0, -1)  # 1 is the newest
        m = [
            encoded(p[f"core.embeddings.{hop}"], sentence) + p[f"core.times.{hop}"][-age]
            for sentence, age in zip(story, ages, strict=True)
        ]
        c = [
            encoded(p[f"core.embeddings.{hop + 1}"], sentence) + p[f"core.times.{hop + 1}"][-age]
            for sentence, age in zip(story, ages, strict=True)
        ]
        weights = np.exp([u @ m_i for m_i in m])
        u = u + sum(weight * c_i for weight, c_i in zip(weights / weights.sum(), c, strict=True))
    return p[f"core.embeddings.{hops}"] @ u


def test_answers_are_those_of_the_paper(folder):
    task = make_task("babi_sentences", tasks="qa2", data=str(folder))
    torch.manual_seed(0)
    core = make_core("memn2n", task.input_size, hidden_size=4, num_slots=3, num_hops=2, position_encoding=True)
    head = task.head(core).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(8.0)
    (batch,) = task.evaluation("test", 10)
    p = {name: value.detach().numpy() for name, value in head.named_parameters()}
    assert set(p) == {f"core.{kind}.{k}" for kind in ("embeddings", "times") for k in range(3)}  # no W of its own
    torch.set_default_dtype(torch.float64)
    try:
        logits, _ = head.answer(batch)
    finally:
        torch.set_default_dtype(torch.float32)
    for row, length in enumerate(batch.lengths.tolist()):
        sentences = [[word for word in sentence if word] for sentence in batch.inputs[:length, row].tolist()]
        expected = words_to_logits(p, 4, 2, sentences[:-1][-3:], sentences[-1])
        np.testing.assert_allclose(logits[row].detach(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["memn2n", "lstm"])
def test_one_look_gives_what_a_look_at_every_step_gives(name):
    torch.manual_seed(0)
    core = make_core(name, 4, hidden_size=6).double()
    once, always = StoryAnswer(core, 5).double(), Classifier(core, 5).double()
    once.output = always.output
    x, lengths = torch.randn(7, 3, 4).double(), torch.tensor([3, 7, 1])
    for reset in (None, torch.zeros(7, 3, dtype=torch.bool)):
        if reset is not None:
            reset[0, 1] = True
        state = always(x, None, None, lengths)[1] if reset is not None else None
        for found, expected in zip(once(x, state, reset, lengths), always(x, state, reset, lengths), strict=True):
            for a, b in zip(
                found if isinstance(found, tuple) else [found],
                expected if isinstance(expected, tuple) else [expected],
                strict=True,
            ):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_an_answer_that_cannot_be_tied_is_refused():
    with pytest.raises(ValueError, match="tied: a core with an answer_weight of 5 words needed, it is None"):
        StoryAnswer(make_core("lstm", 4), 5, tied=True)
    with pytest.raises(ValueError, match=r"answer_weight of 5 words needed, it is \(4, 64\)"):
        StoryAnswer(make_core("memn2n", 4), 5, tied=True)
    with pytest.raises(ValueError, match="needed, it is None"):
        StoryAnswer(make_core("memn2n", 4, tying="layerwise"), 4, tied=True)


def test_a_tied_head_can_be_saved(tmp_path):
    """Files of weights do not take one parameter under two names."""
    head = StoryAnswer(make_core("memn2n", 6, hidden_size=4), 6, tied=True)
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    loaded = StoryAnswer(make_core("memn2n", 6, hidden_size=4), 6, tied=True)
    loaded.load_state_dict(load_file(tmp_path / "head.safetensors"))
    x = torch.randn(3, 2, 6)
    assert torch.equal(loaded(x)[0], head(x)[0])


def test_bags_do_not_count_padding():
    bags = BagsOfWords(4)
    assert torch.equal(bags(torch.tensor([[[3, 1]]])), bags(torch.tensor([[[3, 1, 0, 0]]])))
    assert not bags(torch.zeros(1, 1, 3, dtype=torch.long)).any()


# Words.


def test_words_and_what_is_due(folder):
    task = make_task("babi", tasks="qa2", data=str(folder))
    (batch,) = task.evaluation("test", 10)
    stories = list(read_babi(folder / "qa2_made-up_test.txt"))
    spell = {number: word for word, number in number_words(stories).items()} | {int(batch.inputs.max()): "-"}

    def said(row, numbers):
        return " ".join(spell.get(number, "_") for number in numbers[: batch.lengths[row], row].tolist())

    assert said(0, batch.inputs) == (
        "mary moved to the bathroom . john went back to the hallway . where is mary ? - "
        "mary got the football . what is mary carrying ? - -"
    )
    due = batch.targets[:, 0]
    assert said(0, batch.targets).split("_")[-1].split() == ["football", "apple"]
    assert (due != IGNORED).nonzero().flatten().tolist() == [17, 28, 29]  # where "-" stands
    assert [spell[int(number)] for number in due[due != IGNORED]] == ["bathroom", "football", "apple"]
    assert batch.targets[int(batch.lengths[1]) :, 1].eq(IGNORED).all()


def test_wrong_words_are_counted(folder):
    """Of the four words that are due in the test, two are right."""
    task = make_task("babi", tasks="qa2", data=str(folder))
    head = task.head(make_core("none", task.input_size))
    batches = list(task.evaluation("test", 1))
    answers = iter([1, 0, 1, 0])

    def pretend(batch, state=None):
        logits = torch.zeros(*batch.targets.shape, head.output.out_features)
        for t, b in (batch.targets != IGNORED).nonzero().tolist():
            logits[t, b, int(batch.targets[t, b]) if next(answers) else 0] = 1.0
        return logits, ()

    head.answer = pretend
    assert task.scores(head, batches) == {"error_percent": 50.0}


@pytest.mark.parametrize("name", ["babi", "babi_sentences"])
def test_tasks_learned_jointly_have_a_test_set_each(name, folder):
    """Whose sequences, one task after the other, are those of the test of all."""
    (folder / "qa1_made-up_train.txt").write_text(STORIES * 5)
    (folder / "qa1_made-up_test.txt").write_text(STORIES.replace("Mary", "Sandra"))
    task = make_task(name, tasks="qa2,qa1", data=str(folder))
    assert task.tests == ("test", "qa2", "qa1")
    assert make_task(name, tasks="qa2", data=str(folder)).tests == ("test",)
    both, *each = [list(task.evaluation(split, 1)) for split in task.tests]
    for alone, together in zip(each[0] + each[1], both, strict=True):
        assert alone.inputs.equal(together.inputs)
        assert alone.targets.equal(together.targets)
    assert not each[0][0].inputs.equal(each[1][0].inputs), "Mary and Sandra are different words"


# The study.


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("babi_study", EXPERIMENT)
    module = sys.modules["babi_study"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["babi_study"]


def test_networks_side_by_side_are_the_heads(study, folder):
    task = make_task("babi_sentences", tasks="qa2", data=str(folder))
    networks = study.Networks(task, range(3))
    networks.core.eval()
    questions = networks.tell(networks.encode(task, "train"))
    for softmax in (False, True):
        networks.learn(questions, rate=0.01, softmax=softmax)
    networks.give_back()
    (batch,) = task.evaluation("train", 100)
    logits = networks.logits(questions, softmax=True)
    for head, expected in zip(networks.heads, logits, strict=True):
        torch.testing.assert_close(head.eval().answer(batch)[0], expected, rtol=0, atol=1e-5)
    assert (logits[0] - logits[1]).abs().max() > 0.01


def test_networks_learn_as_one_alone_does(study, folder):
    """One update of three networks side by side, and of the second head alone by torch's own optimiser."""
    task = make_task("babi_sentences", tasks="qa2", data=str(folder))
    networks = study.Networks(task, range(3))
    networks.core.eval()
    alone = study.Networks(task, [1]).heads[0].eval()
    (batch,) = task.evaluation("train", 100)
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.01)
    (alone.loss(alone.answer(batch)[0], batch.targets) * len(batch.targets)).backward()
    torch.nn.utils.clip_grad_norm_(alone.parameters(), 5.0)
    optimizer.step()
    networks.learn(networks.tell(networks.encode(task, "train")), rate=0.01, softmax=True, clip_norm=5.0)
    networks.give_back()
    for found, expected in zip(networks.heads[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_the_study_runs_and_does_nothing_twice(study, folder, tmp_path, monkeypatch):
    for data in ("en", "en-10k"):
        (tmp_path / "data" / "babi" / data).mkdir(parents=True)
        for file in folder.glob("*.txt"):
            for number in ("qa1", "qa2"):
                name = file.name.replace("qa2", number)
                (tmp_path / "data" / "babi" / data / name).write_text(file.read_text())
    monkeypatch.setenv("MEMRL_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(EXPERIMENT.parent)
    for _ in range(2):
        for name in ("memn2n", "dnc"):
            study.main([name, "--quick", "--tasks", "2", "--seeds", "2", "--results", str(tmp_path / "results")])
        study.main(["dnc", "--jointly", "--quick", "--tasks", "1,2", "--results", str(tmp_path / "results")])
    assert [row["seed"] for row in study.read(tmp_path / "results" / "memn2n_seeds.csv", 2)] == ["0", "1"]
    assert [row["task"] for row in study.read(tmp_path / "results" / "dnc.csv")] == ["2"]
    assert [row["task"] for row in study.read(tmp_path / "results" / "dnc_jointly.csv")] == ["1", "2"]
    assert (tmp_path / "results" / "dnc_jointly_qa1.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.chdir(tmp_path)  # without --results, what is quick stays away from the real ones
    study.main(["memn2n", "--quick", "--tasks", "2", "--seeds", "1"])
    assert [row["task"] for row in study.read(tmp_path / "runs" / "quick" / "babi" / "memn2n_seeds.csv")] == ["2"]


def test_the_table_has_the_network_that_validation_chooses(study):
    networks = [(1, 0.5, 0.1, 7.0), (1, 0.1, 0.9, 4.0), (1, 0.3, 0.2, 9.0), (4, 0.2, 0.2, 8.0), (4, 0.9, 0.9, 9.0)]
    keys = ("task", "valid_loss", "train_loss", "test_error", "cpu_seconds_of_all")
    rows = [dict(zip(keys, map(str, (*network, 5.0)), strict=True)) for network in networks]
    first, fourth, mean, failed = study.table(rows)
    assert (first["error"], first["by_training_loss"], first["median"], first["worst"], first["seeds"]) == (
        4,
        7,
        7,
        9,
        3,
    )
    assert (fourth["error"], fourth["published"], fourth["median"]) == (8, 4.4, 8.5)
    assert (mean["error"], mean["published"]) == (6, 2.25)
    assert (failed["error"], failed["published"], failed["worst"]) == (1, 0, 2)
