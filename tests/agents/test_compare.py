"""Comparisons: every pair once, one that dies alone, tables and curves that say what the runs did."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from memrl.agents.cli import main
from memrl.agents.compare import CompareResult, command_of, compare, pairs
from memrl.agents.console import plain_console
from memrl.agents.curves import Curve, on_one_grid, read_curve
from memrl.agents.errors import UsageError
from memrl.agents.parsing import parse_with_config
from memrl.agents.plots import plot_curves
from memrl.agents.runs import final_evaluation
from memrl.agents.settings import CompareCommand, CompareSettings
from memrl.agents.summary import cells, summarise

ROOT = Path(__file__).resolve().parents[2]

# An environment of which one training raises an error and another one is killed, whichever comes first.
TREACHEROUS = """
import os, signal
from pathlib import Path
import gymnasium as gym
import numpy as np
from gymnasium import spaces

class Treacherous(gym.Env):
    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)
    met = False

    def __init__(self, fates):
        self.fates = Path(fates)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if not Treacherous.met:
            Treacherous.met = True
            for fate in ("raised", "killed"):
                try:
                    (self.fates / fate).mkdir()
                except FileExistsError:
                    continue
                if fate == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise RuntimeError("the roof fell in")
        return np.zeros(1, np.float32), 1.0, True, False, {}

gym.register("Treacherous-v0", entry_point=Treacherous, disable_env_checker=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def settings(folder: Path) -> CompareSettings:
    return CompareSettings(
        env="memrl/TMaze-v0",
        cores="none,gru",
        seeds=2,
        steps=640,
        n_envs=4,
        jobs=2,
        threshold=0.05,
        eval_episodes=10,
        run_dir=str(folder),
        set={"n_steps": 16, "batch_size": 64, "n_epochs": 1, "hidden_size": 8, "gru.hidden_size": 6},
        env_set={"length": 1},
    )


@pytest.fixture(scope="module")
def result(settings: CompareSettings) -> CompareResult:
    return compare(settings)


def test_every_pair_is_trained_once(result: CompareResult, folder: Path) -> None:
    trained = [(outcome.settings.core, outcome.settings.seed) for outcome in result.outcomes]
    assert trained == [("none", 0), ("none", 1), ("gru", 0), ("gru", 1)]
    assert all(outcome.run is not None and outcome.error is None for outcome in result.outcomes)
    assert len(list(folder.glob("*/*/seed*"))) == 4
    sizes = {outcome.settings.core: outcome.settings.set["core.hidden_size"] for outcome in result.outcomes}
    assert sizes == {"none": 8, "gru": 6}


def test_comparison_leaves_its_files_and_no_empty_logs(result: CompareResult) -> None:
    names = {path.name for path in result.folder.iterdir()}
    assert names == {"config.yaml", "table.md", "table.csv", "curves.csv", "curves.png"}
    assert result.folder.name.startswith("compare-2")


def test_table_says_what_the_runs_say(result: CompareResult) -> None:
    with (result.folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["core"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["none", "gru"]
    for core, row in rows.items():
        runs = [outcome.run for outcome in result.outcomes if outcome.settings.core == core]
        records = [json.loads((run / "eval.json").read_text())["evaluations"][0] for run in runs]
        for column, key in (("return_iqm", "mean_return"), ("success_iqm", "success_rate")):
            values = [record[key] for record in records]
            assert float(row[column]) == pytest.approx(np.mean(values))  # of two values, the IQM is the mean
        low, high = float(row["return_low"]), float(row["return_high"])
        returns = [record["mean_return"] for record in records]
        assert (low, high) == pytest.approx((min(returns), max(returns)))  # a quarter of resamples draw one twice
        speeds = [record["env_steps_per_second"] for record in records]
        assert float(row["env_steps_per_second"]) == pytest.approx(np.mean(speeds))
        assert int(row["parameters"]) == records[0]["parameters"]
    assert rows["none"]["state_bytes"] == "0"
    assert rows["gru"]["state_bytes"] == str(6 * 4)


def test_steps_to_threshold_agree_with_progress(result: CompareResult) -> None:
    for row in result.rows:
        firsts = []
        for outcome in result.outcomes:
            if outcome.settings.core != row.core:
                continue
            with (outcome.run / "progress.csv").open(encoding="utf-8", newline="") as file:
                for line in csv.DictReader(file):
                    rate = float(line["rollout/success_rate"] or 0)
                    if rate >= 0.05 and int(line["time/episodes"]) >= 100:
                        firsts.append(int(line["time/total_timesteps"]))
                        break
        assert row.reached == len(firsts)
        assert row.steps_to_threshold == (np.mean(firsts) if firsts else None)
    assert any(row.reached for row in result.rows)


def test_markdown_table_is_complete(result: CompareResult, settings: CompareSettings) -> None:
    text = (result.folder / "table.md").read_text(encoding="utf-8")
    header, *rows = (line for line in text.splitlines() if line.startswith("|") and "---" not in line)
    assert header == ("| core | return | success rate | steps/s | params | state bytes | seeds | steps to 0.05 |")
    assert [row.split("|")[1].strip() for row in rows] == ["none", "gru"]
    assert all(re.search(r"\| -?\d\.\d\d \[-?\d\.\d\d, -?\d\.\d\d\] \|", row) for row in rows)
    assert f"    {command_of('compare', settings)}" in text.splitlines()
    assert f"{os.cpu_count()} CPU cores" in text


def test_curves_hold_every_point_of_every_pair(result: CompareResult) -> None:
    with (result.folder / "curves.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for outcome in result.outcomes:
        own = [
            row for row in rows if row["core"] == outcome.settings.core and row["seed"] == str(outcome.settings.seed)
        ]
        assert [int(row["env_steps"]) for row in own] == list(range(64, 641, 64))
        with (outcome.run / "progress.csv").open(encoding="utf-8", newline="") as file:
            logged = [line for line in csv.DictReader(file) if line["time/fps"]]
        for column, tag in (("return", "rollout/ep_rew_mean"), ("success_rate", "rollout/success_rate")):
            assert [float(row[column]) for row in own] == pytest.approx([float(line[tag]) for line in logged])


def test_finished_pairs_are_not_trained_again(
    result: CompareResult, settings: CompareSettings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {outcome.run: (outcome.run / "eval.json").stat().st_mtime_ns for outcome in result.outcomes}
    again = compare(settings, plain_console())
    printed = capsys.readouterr().out
    assert {outcome.run: (outcome.run / "eval.json").stat().st_mtime_ns for outcome in again.outcomes} == before
    assert len(list(folder.glob("*/*/seed*"))) == 4
    for run in before:
        assert f"{run}, not trained again" in printed
    assert again.rows == result.rows
    assert again.folder != result.folder


def test_only_what_is_missing_is_trained(result: CompareResult, settings: CompareSettings, folder: Path) -> None:
    more = compare(replace(settings, cores="gru", seeds=3))
    found = [outcome.run for outcome in result.outcomes if outcome.settings.core == "gru"]
    assert [outcome.run for outcome in more.outcomes[:2]] == found
    assert more.outcomes[2].run not in found
    assert [row.seeds for row in more.rows] == [3]


def test_config_of_a_comparison_gives_its_settings_back(result: CompareResult, settings: CompareSettings) -> None:
    words = ["--config", str(result.folder / "config.yaml")]
    assert parse_with_config(CompareSettings, CompareCommand, words, "compare") == settings


def test_command_gives_the_settings_back(settings: CompareSettings) -> None:
    words = command_of("compare", settings).split()[2:]
    assert parse_with_config(CompareSettings, CompareCommand, words, "compare") == settings


def test_one_that_dies_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "treacherous.py").write_text(TREACHEROUS, encoding="utf-8")
    (tmp_path / "fates").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    line = "compare --env treacherous:Treacherous-v0 --cores none --seeds 3 --jobs 3 --steps 64 --n-envs 2"
    line += " --eval-episodes 2 --set n_steps=32 --env-set fates=fates"
    assert main(line.split()) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = {line for line in lines if line.startswith("failed ")}  # told when it happens and at the end
    assert len(failed) == 2
    (raised,) = (line for line in failed if "RuntimeError: the roof fell in" in line)
    (killed,) = (line for line in failed if "ended by SIGKILL" in line)
    log = Path(re.search(r"\(see (.*)\)", raised)[1])
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert killed != raised
    assert sum(line.startswith("trained     none seed") for line in lines) == 1
    (run,) = (path.parent for path in tmp_path.glob("runs/*/*/*/eval.json"))
    assert final_evaluation(run)["mean_return"] == 1.0
    table = next(tmp_path.glob("runs/*/compare-*/table.csv")).read_text(encoding="utf-8")
    assert len(table.splitlines()) == 2
    # Neither of the failed ones counts as finished: a second go trains them, and only them.
    assert main(line.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("trained ") for line in lines) == 2
    assert sum("not trained again" in line for line in lines) == 1


def members(group: int) -> list[str]:
    """Command lines of the living processes of a group."""
    alive = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, member_of = status.read_text().rpartition(")")[2].split()[:3]
            if int(member_of) == group and state != "Z":
                alive.append(status.with_name("cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return alive


def test_ctrl_c_stops_the_workers_and_keeps_what_is_finished(tmp_path: Path) -> None:
    words = "compare --env memrl/TMaze-v0 --cores gru --seeds 2 --jobs 2 --n-envs 2 --steps 100000000"
    words += " --set n_steps=16"
    process = subprocess.Popen(
        [sys.executable, "-m", "memrl.agents.cli", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while sum(path.stat().st_size > 0 for path in tmp_path.glob("runs/*/*/*/progress.csv")) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
        printed, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "stopped     2 of 2 trainings not finished; finished ones stay" in printed.splitlines()
    assert len(list(tmp_path.glob("runs/*/*/*/checkpoints/interrupted.zip"))) == 2  # each saved what it had
    deadline = time.monotonic() + 10
    while members(process.pid):  # nobody is left
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("cores", ["", "none,,none", "lstm,nope"])
def test_cores_that_cannot_be_compared(settings: CompareSettings, cores: str) -> None:
    with pytest.raises(UsageError, match="--cores"):
        pairs(replace(settings, cores=cores))


# Curves, table and plot by hand


def curve(values: list[float], success: list[float] | None = None, episodes: list[float] | None = None) -> Curve:
    steps = np.arange(1, len(values) + 1) * 10.0
    count = np.full(len(values), 1000.0) if episodes is None else np.array(episodes)
    return Curve(steps, np.array(values), None if success is None else np.array(success), count)


def test_threshold_needs_100_episodes() -> None:
    assert curve([0.9, 0.9, 0.9], episodes=[50, 99, 100]).steps_to(0.9) == 30
    assert curve([0.1, 0.9, 0.2]).steps_to(0.9) == 20
    assert curve([0.1, 0.2, 0.3]).steps_to(0.9) is None
    assert curve([9.0, 9.0], success=[0.0, 0.5]).steps_to(0.5) == 20  # success counts where there is one


def test_curve_is_read_from_progress(tmp_path: Path) -> None:
    (tmp_path / "progress.csv").write_text(
        "rollout/ep_rew_mean,time/episodes,eval/mean_reward,time/total_timesteps,rollout/success_rate\n"
        "0.5,10,,64,0.25\n"
        ",12,0.9,80,\n"  # an evaluation
        "0.75,20,,128,0.5\n"
        "0.8,20,0.95,128,0.55\n",  # the last row again, with the final evaluation
        encoding="utf-8",
    )
    read = read_curve(tmp_path)
    assert read.env_steps.tolist() == [64, 128]
    assert read.returns.tolist() == [0.5, 0.8]
    assert read.success.tolist() == [0.25, 0.55]
    assert read.episodes.tolist() == [10, 20]


def test_curve_without_success(tmp_path: Path) -> None:
    (tmp_path / "progress.csv").write_text("time/total_timesteps,rollout/ep_rew_mean\n64,0.5\n", encoding="utf-8")
    assert read_curve(tmp_path).success is None


def test_curve_of_a_run_without_a_finished_episode_is_empty(tmp_path: Path) -> None:
    (tmp_path / "progress.csv").write_text("time/total_timesteps,time/fps\n64,100\n", encoding="utf-8")
    assert len(read_curve(tmp_path).env_steps) == 0


def test_curves_meet_on_one_grid_and_an_early_end_keeps_its_value() -> None:
    long, short = curve([0.0, 1.0, 2.0, 3.0]), curve([5.0, 6.0])
    steps, values = on_one_grid([long, short], "returns", points=7)
    assert steps.tolist() == [10, 15, 20, 25, 30, 35, 40]
    assert values.tolist() == [[0, 0.5, 1, 1.5, 2, 2.5, 3], [5, 5.5, 6, 6, 6, 6, 6]]


def record(value: float, success: float | None) -> dict[str, object]:
    return {
        "mean_return": value,
        "success_rate": success,
        "env_steps": 100,
        "env_steps_per_second": 50.0,
        "train_seconds": 2.0,
        "parameters": 7,
        "state_bytes": 8,
    }


def test_row_by_hand() -> None:
    # Four seeds: a quarter is cut off at either end, so the outlier does not count.
    values = [0.0, 0.5, 0.7, 100.0]
    curves = [curve([1.0]), curve([0.0]), curve([1.0]), curve([0.0])]
    row = summarise("dnc", [record(value, None) for value in values], curves, threshold=1.0)
    assert row.return_iqm == pytest.approx(0.6)
    assert row.return_low < 0.6 < row.return_high
    assert row.success_iqm is None
    assert (row.seeds, row.reached, row.steps_to_threshold) == (4, 2, 10.0)
    header, ((*line,),) = cells([row])
    assert "success rate" not in header
    assert dict(zip(header, line, strict=True))["steps to 1"] == "10 (2 of 4)"


def test_row_of_one_seed_claims_no_interval() -> None:
    row = summarise("dnc", [record(0.5, 0.25)], [curve([0.5])], threshold=None)
    assert (row.return_low, row.success_high, row.reached) == (None, None, None)
    assert cells([row])[1] == [["dnc", "0.50", "0.25", "50", "7", "8", "1"]]


@pytest.mark.parametrize("success", [True, False])
def test_plot_draws_every_core_in_a_colour_of_its_own(tmp_path: Path, success: bool) -> None:
    cores = ("none", "lstm", "gru", "ntm", "dnc", "memformer")
    curves = {}
    for place, core in enumerate(cores):
        level = [0.1 + 0.15 * place] * 4
        curves[core] = {seed: curve(level, level if success else None) for seed in range(2)}
    plot_curves(tmp_path / "plot.png", curves, title="title")
    pixels = (matplotlib.image.imread(tmp_path / "plot.png")[..., :3] * 255).round().astype(int)
    height, width, _ = pixels.shape
    assert width > (1.5 if success else 1.1) * height  # one panel for each measure
    for colour in ("#666666", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"):
        rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        assert (pixels == rgb).all(-1).sum() > 500, colour


def test_plot_of_a_core_without_a_point_does_not_fail(tmp_path: Path) -> None:
    plot_curves(tmp_path / "plot.png", {"none": {0: curve([])}, "gru": {0: curve([0.1, 0.2])}}, title="title")
    assert (tmp_path / "plot.png").stat().st_size
