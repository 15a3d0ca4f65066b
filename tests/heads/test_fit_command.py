"""`memrl fit`: run directory, scores, interruption, config files, lists, and errors in one line."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from memrl.agents import cli, fit
from memrl.agents.fit import load_fit
from memrl.fit import evaluate

SMALL = ["--set", "task.max_length=3", "hidden_size=6", "batch_size=4", "eval_every=5", "vector_bits=2"]


def run(capsys, *words):
    code = cli.main(["fit", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def fit_copy(tmp_path, capsys, *words):
    code, out, err = run(capsys, "copy", "--core", "gru", "--steps", "10", "--run-dir", str(tmp_path), *SMALL, *words)
    assert (code, err) == (0, "")
    (folder,) = (tmp_path / "copy" / "gru").iterdir()
    return folder, out


def test_a_run_has_everything(tmp_path, capsys):
    folder, out = fit_copy(tmp_path, capsys, "--seed", "3")
    assert folder.name.startswith("seed3-")
    assert f"run         {folder}" in out
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert (config["task"], config["core"], config["seed"]) == ("copy", "gru", 3)
    assert config["set"]["task.max_length"] == 3
    assert config["set"]["recipe.steps"] == 10
    assert config["set"]["recipe.optimizer"] == "adam"  # what was not given stands there too

    with (folder / "progress.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    looks = [row for row in rows if row["valid/bits_per_sequence"]]
    assert [float(row["time/batches"]) for row in looks] == [5, 10]
    assert [float(row["time/sequences"]) for row in looks] == [20, 40]

    (record,) = json.loads((folder / "eval.json").read_text(encoding="utf-8"))["evaluations"]
    assert record["metric"] == "bits_per_sequence"
    assert set(record["scores"]) == {"valid", "test", "length_50", "length_120"}
    assert record["scores"]["valid"]["bits_per_sequence"] == pytest.approx(
        min(float(row["valid/bits_per_sequence"]) for row in looks), rel=1e-4
    )
    assert f"test        bits_per_sequence {record['scores']['test']['bits_per_sequence']:.4g}" in out

    events = EventAccumulator(str(folder / "tb")).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "valid/bits_per_sequence", "test/bits_per_sequence", "length_50/bit_error"} <= tags
    assert [event.step for event in events.Scalars("valid/bits_per_sequence")] == [5, 10]

    task, head = load_fit(folder)
    assert evaluate(task, head, "test") == pytest.approx(record["scores"]["test"], rel=1e-5)


def test_a_run_can_be_done_again_from_its_config(tmp_path, capsys):
    folder, _ = fit_copy(tmp_path / "first", capsys, "--seed", "2")
    code, _, err = run(capsys, "--config", str(folder / "config.yaml"), "--run-dir", str(tmp_path / "second"))
    assert (code, err) == (0, "")
    (again,) = (tmp_path / "second" / "copy" / "gru").iterdir()
    scores = [json.loads((path / "eval.json").read_text())["evaluations"][0]["scores"] for path in (folder, again)]
    assert scores[0] == scores[1]
    # The command line wins over the file, with and without a prefix.
    code, _, err = run(
        capsys, "--config", str(folder / "config.yaml"), "--run-dir", str(tmp_path / "third"), "--steps", "5",
        "--set", "max_length=2", "core.hidden_size=4",
    )  # fmt: skip
    (third,) = (tmp_path / "third" / "copy" / "gru").iterdir()
    given = yaml.safe_load((third / "config.yaml").read_text(encoding="utf-8"))["set"]
    assert (given["task.max_length"], given["core.hidden_size"], given["recipe.steps"]) == (2, 4, 5)
    assert given["task.vector_bits"] == 2


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_what_was_learned(tmp_path, capsys, monkeypatch, signum):
    real = fit._record

    def record(logger, progress):
        real(logger, progress)
        if progress.step == 5:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(fit, "_record", record)
    previous = signal.signal(signum, signal.SIG_DFL)  # a shell's background job ignores SIGINT
    try:
        code, out, _ = run(capsys, "copy", "--core", "gru", "--steps", "1000", "--run-dir", str(tmp_path), *SMALL)
    finally:
        signal.signal(signum, previous)
    assert code == 128 + signum
    (folder,) = (tmp_path / "copy" / "gru").iterdir()
    assert "after 5 batches" in out
    assert (folder / "checkpoints" / "interrupted.safetensors").is_file()
    assert not (folder / "eval.json").exists()
    task, head = load_fit(folder)
    assert evaluate(task, head, "valid")["bits_per_sequence"] > 0


def test_a_loss_that_diverges_saves_the_best_weights(tmp_path, capsys):
    options = ["eval_every=1" if word == "eval_every=5" else word for word in SMALL]
    words = ["copy", "--core", "gru", "--steps", "1000", "--run-dir", str(tmp_path), *options]
    code, out, err = run(capsys, *words, "optimizer=sgd", "learning_rate=3e38", "clip_norm=0")
    assert (code, err) == (1, "")
    (folder,) = (tmp_path / "copy" / "gru").iterdir()
    checkpoint = folder / "checkpoints" / "interrupted.safetensors"
    assert "failed      the loss is inf" in out
    assert f"saved       {checkpoint}" in out
    load_fit(folder)


def test_core_options_of_the_task_are_used_unless_others_are_given(tmp_path, capsys):
    words = ["copy", "--core", "ntm", "--steps", "1", "--run-dir", str(tmp_path), "--set", "vector_bits=1"]
    code, *_ = run(capsys, *words, "max_length=1", "num_slots=5", "batch_size=1")
    assert code == 0
    (folder,) = (tmp_path / "copy" / "ntm").iterdir()
    _, head = load_fit(folder)
    assert (head.core.config.num_slots, head.core.config.slot_size, head.core.config.hidden_size) == (5, 20, 100)


def test_list_shows_metric_and_published_results(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    code, out, _ = run(capsys, "--list")
    assert code == 0
    assert "bits_per_sequence (lower is better)" in out
    assert "98.8 %" in out
    code, out, _ = run(capsys, "graph_traversal", "--list")
    assert code == 0
    assert "98.8 %: DNC, London Underground, 7 hops" in out
    assert "edges of the longest routes" in out
    assert "recipe.learning_rate" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--core", "gru"], "which task?"),
        (["copy"], "--core: needed; known: none, lstm"),
        (["coppy", "--core", "gru"], "unknown task 'coppy'; did you mean 'copy'?"),
        (["coppy", "--list"], "unknown task 'coppy'"),
        (["copy", "--core", "gro"], "unknown core 'gro'; did you mean 'gru'?"),
        (["copy", "--core", "gru", "--steps", "0"], "--steps: 0 given, at least 1 needed"),
        (["copy", "--core", "gru", "--threads", "0"], "--threads: 0 given"),
        (["copy", "--core", "gru", "--set", "learning_rate=.inf"], "learning_rate: inf given, a finite number"),
        pytest.param(
            ["copy", "--core", "gru", "--device", "cuda"],
            "--device: 'cuda' is not available here; use cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="here it is"),
        ),
        (["copy", "--core", "gru", "--seed", "-1"], "--seed: -1 given"),
        (["copy", "--core", "gru", "--device", "nowhere"], "--device: 'nowhere' is not available here"),
        (["copy", "--core", "gru", "--set", "hiden_size=3"], "did you mean 'hidden_size'?"),
        (["copy", "--core", "gru", "--set", "task.hidden_size=3"], "--set task.hidden_size: no such option"),
        (["copy", "--core", "gru", "--set", "agent.gamma=1"], "core., task. or recipe. can stand in front"),
        (["copy", "--core", "gru", "--set", "max_length=x"], "--set max_length: 'x' given, a whole number needed"),
        (["copy", "--core", "gru", "--set", "max_length=0"], "max_length: 0 given, a whole number of at least 1"),
        (["copy", "--core", "gru", "--set", "min_length=30"], "min_length: 30 given, at most max_length"),
        (["copy", "--core", "gru", "--set", "optimizer=sgdd"], "--set optimizer: 'sgdd' given"),
        (["copy", "--core", "gru", "--set", "schedule=halve"], "halve_every: 0 given"),
        (["copy", "--core", "gru", "--set", "batch_size=4", "recipe.batch_size=5"], "given twice"),
        (["copy", "--core", "gru", "--config", "missing.yaml"], "--config missing.yaml: No such file"),
        (["graph_traversal", "--core", "gru", "--set", "test_graph=nowhere"], "'nowhere' is no file or folder"),
    ],
    ids=lambda value: "-".join(value).replace("--", "") if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 2
    assert says in err
    assert err.startswith("memrl fit: ")
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_missing_data_says_where_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEMRL_DATA", raising=False)
    code, _, err = run(capsys, "trec", "--core", "gru")
    assert code == 2
    assert "MEMRL_DATA" in err
    assert "--set data=PATH" in err
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_diverges_is_said(tmp_path, capsys):
    words = [*SMALL, "optimizer=sgd", "learning_rate=1e38", "momentum=0", "clip_norm=0"]
    code, out, _ = run(capsys, "copy", "--core", "none", "--steps", "50", "--run-dir", str(tmp_path), *words)
    assert code == 1
    assert "failed      the loss is" in out


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="no run here"):
        load_fit(tmp_path)


def test_weights_of_the_core_stand_alone(tmp_path, capsys):
    from memrl import make_core

    folder, _ = fit_copy(tmp_path, capsys)
    _, head = load_fit(str(folder))
    core = make_core("gru", head.core.input_size, hidden_size=6)
    core.load_state_dict(head.core.state_dict())
    x, reset = torch.randn(3, 2, core.input_size), torch.zeros(3, 2, dtype=torch.bool)
    assert torch.equal(core(x, core.initial_state(2), reset)[0], head.core(x, core.initial_state(2), reset)[0])
    assert Path(folder / "checkpoints" / "final.safetensors").is_file()
