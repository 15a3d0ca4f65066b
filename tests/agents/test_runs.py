"""Run directories: never overwritten, found again by what they trained, and their history is never lost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memrl.agents import runs
from memrl.agents.build import resolve
from memrl.agents.errors import UsageError
from memrl.agents.settings import TrainSettings


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    given = {"num_slots": 8, "learning_rate": 3e-4}
    return resolve(
        TrainSettings(env="memrl/TMaze-v0", core="dnc", steps=100, set=given, run_dir=str(tmp_path / "runs"))
    )


def finish(run: Path, **changes: object) -> None:
    record = {"source": "train", "versions": runs.versions(), "mean_return": 1.0}
    runs.add_evaluation(run, {**record, **changes})


@pytest.mark.parametrize(
    ("env_id", "slug"),
    [
        ("memrl/TMaze-v0", "memrl_TMaze-v0"),
        ("module:ns/Name-v1", "module_ns_Name-v1"),
        ("a b/../c", "a_b_.._c"),
    ],
)
def test_slug_is_one_folder_name(env_id: str, slug: str) -> None:
    assert runs.env_slug(env_id) == slug


def test_run_lies_where_the_documentation_says(settings: TrainSettings, tmp_path: Path) -> None:
    run = runs.create_run(settings)
    assert run.parent == tmp_path / "runs" / "memrl_TMaze-v0" / "dnc-ppo"
    assert run.name.startswith("seed0-2")
    assert run.name.endswith("Z")


def test_runs_of_the_same_second_do_not_overwrite_each_other(settings: TrainSettings) -> None:
    made = {runs.create_run(settings) for _ in range(5)}
    assert len(made) == 5
    assert all((run / "config.yaml").is_file() for run in made)


def test_config_gives_the_settings_back(settings: TrainSettings) -> None:
    settings = replace(settings, env_set={"length": 5, "active": True}, stop_at=0.95, seed=7)
    assert runs.load_settings(runs.create_run(settings)) == settings


def test_config_holds_the_defaults_too(settings: TrainSettings) -> None:
    loaded = runs.load_settings(runs.create_run(settings)).set
    assert loaded["core.num_slots"] == 8
    assert loaded["core.slot_size"] == 16  # not given; today's default must not change tomorrow
    assert loaded["agent.learning_rate"] == 3e-4
    assert loaded["agent.gamma"] == 0.99


def test_unwritable_folder_is_refused_in_one_line(settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--run-dir: cannot write to .*file.*: Not a directory") as error:
        runs.create_run(replace(settings, run_dir=str(tmp_path / "file")))
    assert "\n" not in str(error.value)


def test_finished_run_is_found_and_an_unfinished_is_not(settings: TrainSettings) -> None:
    run = runs.create_run(settings)
    assert runs.find_finished(settings) is None
    finish(run, source="eval")  # `memrl eval` of an interrupted run does not finish it
    assert runs.find_finished(settings) is None
    finish(run)
    assert runs.find_finished(settings) == run


def test_an_option_written_differently_is_the_same_run(settings: TrainSettings) -> None:
    finish(run := runs.create_run(settings))
    spelled = {"core.num_slots": 8, "agent.learning_rate": 0.0003, "gamma": 0.99}
    assert runs.find_finished(resolve(replace(settings, set=spelled))) == run


def test_where_and_how_fast_do_not_matter(settings: TrainSettings) -> None:
    finish(run := runs.create_run(settings))
    assert runs.find_finished(replace(settings, threads=2, checkpoint_freq=7)) == run


@pytest.mark.parametrize("before", ["dummy", "subproc", "twin"])
@pytest.mark.parametrize("now", ["auto", "dummy", "subproc"])
def test_how_copies_run_does_not_matter_where_their_episodes_are_the_same(
    settings: TrainSettings, before: str, now: str
) -> None:
    finish(run := runs.create_run(replace(settings, vec=before)))
    assert runs.find_finished(resolve(replace(settings, vec=now))) == run


def test_a_twin_of_another_packages_environment_has_its_own_episodes(settings: TrainSettings) -> None:
    popgym = replace(settings, env="popgym-RepeatPreviousEasy-v0")
    finish(single := runs.create_run(resolve(replace(popgym, vec="dummy"))))
    assert runs.find_finished(resolve(replace(popgym, vec="subproc"))) == single
    assert runs.find_finished(resolve(replace(popgym, vec="auto"))) is None
    finish(twin := runs.create_run(resolve(replace(popgym, vec="auto"))))
    assert runs.load_settings(twin).vec == "twin"  # written down: what `auto` means may change
    assert runs.find_finished(resolve(replace(popgym, vec="auto"))) == twin
    with_keywords = replace(popgym, env_set={"num_decks": 2})  # POPGym's own, for which there is no twin
    assert resolve(replace(with_keywords, vec="auto")).vec == "dummy"


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 101},
        {"seed": 1},
        {"algo": "a2c"},
        {"core": "ntm"},
        {"env": "memrl/TMaze-v1"},
        {"env_set": {"length": 3}},
        {"set": {"num_slots": 9}},
        {"n_envs": 8},
        {"previous_action": True},
        {"stop_at": 0.9},
        {"eval_episodes": 10},
    ],
)
def test_other_settings_are_another_run(settings: TrainSettings, change: dict) -> None:
    finish(runs.create_run(settings))
    plain = replace(settings, set={"num_slots": 8, "learning_rate": 3e-4})
    assert runs.find_finished(resolve(replace(plain, **change))) is None


def test_run_of_another_version_is_not_relied_on(settings: TrainSettings) -> None:
    finish(runs.create_run(settings), versions={"memrl": "0.0.1"})
    assert runs.find_finished(settings) is None


def test_newest_of_several_is_found(settings: TrainSettings) -> None:
    older, newer = runs.create_run(settings), runs.create_run(settings)
    finish(older)
    finish(newer)
    assert runs.find_finished(settings) == newer


def test_half_written_run_does_not_disturb(settings: TrainSettings) -> None:
    finish(run := runs.create_run(settings))
    broken = runs.create_run(settings)
    (broken / "config.yaml").write_text("steps: [", encoding="utf-8")
    (runs.create_run(settings) / "eval.json").write_text('{"evalu', encoding="utf-8")
    assert runs.find_finished(settings) == run


def test_evaluations_are_added_and_nothing_is_lost(settings: TrainSettings) -> None:
    run = runs.create_run(settings)
    for number in range(3):
        finish(run, source="eval", mean_return=float(number))
    history = json.loads((run / "eval.json").read_text(encoding="utf-8"))["evaluations"]
    assert [record["mean_return"] for record in history] == [0.0, 1.0, 2.0]


def test_damaged_history_is_not_overwritten(settings: TrainSettings) -> None:
    run = runs.create_run(settings)
    (run / "eval.json").write_text('{"evaluations": [', encoding="utf-8")
    with pytest.raises(UsageError, match=r"eval.json: damaged"):
        finish(run)
    assert (run / "eval.json").read_text(encoding="utf-8") == '{"evaluations": ['


def test_model_of_a_run_is_the_last_one_saved(settings: TrainSettings) -> None:
    run = runs.create_run(settings)
    with pytest.raises(UsageError, match="no model saved yet"):
        runs.checkpoint_of(run)
    for name in ("model_9000_steps.zip", "model_10000_steps.zip", "interrupted.zip", "final.zip"):
        (run / "checkpoints" / name).touch()
        assert runs.checkpoint_of(run).name == name


def test_missing_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run here \(config.yaml is missing\)"):
        runs.load_settings(tmp_path)
