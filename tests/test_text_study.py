"""experiments/supervised/text.py: every table runs and goes on where it stopped, and the baselines are right."""

import csv
import importlib.util
import os
import sys
from itertools import pairwise
from math import log2
from pathlib import Path

import numpy as np
import pytest
import torch

from memrl import list_cores

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "experiments" / "supervised"
DATA = Path(os.environ.get("MEMRL_DATA") or ROOT.parent / "shared" / "data")
needs_data = pytest.mark.skipif(not (DATA / "trec").exists(), reason=f"no data in {DATA}; set MEMRL_DATA")


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def baselines():
    return load("text_baselines")


@pytest.fixture
def study(baselines, monkeypatch):
    monkeypatch.setenv("MEMRL_DATA", str(DATA))
    threads = torch.get_num_threads()
    yield load("text")
    torch.set_num_threads(threads)


@needs_data
@pytest.mark.parametrize(
    "table", ["trec", "snips_intent", "snips_slots", "family_query", "family_claim", "shakespeare"]
)
def test_quick_runs_once_and_goes_on(study, table, tmp_path, monkeypatch, capsys):
    arguments = [table, "--quick", "--seeds", "1", "--results", str(tmp_path)]
    study.main([*arguments, "--cores", "lstm"])
    with (tmp_path / f"{table}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows][-1] == "lstm"
    assert len(rows) == {"shakespeare": 4, "family_query": 3}.get(table, 2), "each baseline, and the core"
    for row in rows:
        assert 0 <= float(row["test"]) <= (8 if table == "shakespeare" else 1)
    page = (tmp_path / f"{table}.md").read_text(encoding="utf-8")
    assert all(f"| {row['model']} | {float(row['test']):.3f}" in page for row in rows)
    assert page in capsys.readouterr().out
    # Everything stands there: nothing is trained again, and a core that is new is added.
    trained = []
    monkeypatch.setattr(study, "train", lambda study, name, seed: trained.append(name) or {"valid": 0.5, "test": 0.5})
    study.main([*arguments, "--cores", "lstm,none"])
    assert trained == ["none"]


def test_unknown_core_is_refused(study, capsys):
    with pytest.raises(SystemExit, match="2"):
        study.main(["trec", "--quick", "--cores", "lstm,lstn"])
    assert "lstn unknown; known: none, lstm, gru" in capsys.readouterr().err


@needs_data
def test_character_models_have_equal_parameters(study):
    shakespeare = study.STUDIES["shakespeare"]
    for name in list_cores():
        parameters = study.size_of(study.build(shakespeare, name))
        assert parameters == pytest.approx(100_000, rel=0.03), name


@needs_data
def test_too_few_parameters_are_refused(study):
    tiny = study.Study("trec", study.ADAM, (), parameters=1000)
    with pytest.raises(ValueError, match=r"core 'lstm': at least .* parameters, 1000 asked for"):
        study.build(tiny, "lstm")


def test_spread_is_over_seeds(study):
    rows = [
        {"model": "gru", "test": score, "valid": "1", "parameters": "10", "seconds": "3"} for score in ("0.5", "0.7")
    ]
    page = study.table(study.STUDIES["trec"], [*rows, {**rows[0], "model": "bag", "parameters": ""}])
    assert page.splitlines()[2:] == [
        "| bag | 0.500 | 1.000 | 1 | – | 3 |",
        "| gru | 0.600 ± 0.141 | 1.000 ± 0.000 | 2 | 10 | 3 |",
    ]


def test_n_grams_by_hand(baselines):
    # The text abab, alphabet of 3. p1(a) = (2 + 2/3) / (4 + 2); after a came b twice: p2(b|a) = (2 + p1(b)) / (2 + 1).
    model = baselines.NGrams(np.array([0, 1, 0, 1]), 3, order=2)
    assert model.probability(0, []) == pytest.approx((2 + 2 / 3) / 6)
    assert model.probability(1, [0]) == pytest.approx((2 + (2 + 2 / 3) / 6) / 3)
    assert model.probability(2, [0]) == pytest.approx((2 / 3 / 6) / 3)
    assert model.probability(0, [2]) == model.probability(0, []), "what nothing followed tells nothing"
    bits = -log2((2 + 2 / 3) / 6) - log2((2 + (2 + 2 / 3) / 6) / 3)
    assert model.bits_per_character(np.array([0, 1])) == pytest.approx(bits / 2)


def test_n_grams_add_up_to_1(baselines):
    text = np.random.default_rng(0).integers(5, size=300)
    model = baselines.NGrams(text, 5, order=4)
    for history in ([], [0], [3, 1], [4, 4, 4], text[10:20].tolist()):
        assert sum(model.probability(character, history) for character in range(5)) == pytest.approx(1)


def test_bag_of_words_is_where_the_gradient_is_0(baselines):
    rng = np.random.default_rng(0)
    texts = [([f"w{word}" for word in rng.integers(8, size=4)], int(rng.integers(3))) for _ in range(60)]
    model = baselines.BagOfWords(texts, penalty=0.5)
    features = np.zeros((60, len(model.column) + 1))
    features[:, 0] = 1
    for row, (words, _) in enumerate(texts):
        for feature in [*words, *pairwise(words)]:
            if feature in model.column:
                features[row, model.column[feature] + 1] = 1
    weight = model.weight.detach().double().numpy()
    scores = np.exp(features @ weight)
    errors = scores / scores.sum(1, keepdims=True) - np.eye(3)[[label for _, label in texts]]
    shrink = 2 * 0.5 * weight
    shrink[0] = 0
    assert np.abs((features.T @ errors + shrink) / 60).max() < 1e-3
    right = [scores[row].argmax() == label for row, (_, label) in enumerate(texts)]
    assert model.accuracy(texts) == pytest.approx(np.mean(right))


def test_commonest_tag_by_hand(baselines):
    tag = baselines.commonest_tags([(["To", "Rome"], ["O", "B-city"]), (["rome"], ["B-city"]), (["Rome"], ["O"])])
    assert tag(["rome", "to", "Paris"]) == ["B-city", "O", "O"]
