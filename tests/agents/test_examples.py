"""docs/examples.md, run from top to bottom; here it is held against what the tools left behind."""

import csv
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio_ffmpeg
import numpy as np
import optuna
import pytest
from stable_baselines3.common.vec_env import VecNormalize

from memrl.agents import MemoryPPO
from memrl.envs import make_vec_env

PAGE = Path(__file__).resolve().parents[2] / "docs" / "examples.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What the page's blocks define, each section's under the section's name, and the folder that they ran in."""
    folder = tmp_path_factory.mktemp("page")
    names: dict[str, Any] = {"__name__": "page"}
    found: dict[str, dict[str, Any]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
            for block in re.findall(r"```python\n(.*?)```", section, re.S):
                exec(compile(block, str(PAGE), "exec"), names)
            found[section.partition("\n")[0]] = dict(names)
    return SimpleNamespace(folder=folder, **{re.sub(r"\W.*", "", name): defined for name, defined in found.items()})


def test_callbacks_and_monitor(page):
    model = page.Callbacks["model"]
    rows = []
    for file in page.folder.glob("monitor/*.csv"):
        head, *lines = file.read_text().splitlines()
        assert json.loads(head[1:])["env_id"]
        rows += list(csv.DictReader(lines))
    # Every step is in an episode that was written, but for the last one of each copy.
    written = sum(int(row["l"]) for row in rows)
    assert 0 <= model.num_timesteps - written < 8 * 5
    assert {float(row["r"]) for row in rows} & {info["r"] for info in model.ep_info_buffer}
    saved = sorted(page.folder.glob("saved/*.zip"), key=lambda path: int(path.stem.split("_")[2]))
    assert [MemoryPPO.load(path).num_timesteps for path in saved] == [512, 1024]
    assert page.Callbacks["best"].num_timesteps in (512, 1024)


def test_vec_normalize(page):
    envs, model = page.VecNormalize["envs"], page.VecNormalize["model"]
    assert model.get_vec_normalize_env() is envs
    fresh = VecNormalize.load(
        str(page.folder / "cartpole.statistics"), make_vec_env("memrl/PositionOnlyCartPole-v0", 1)
    )
    assert fresh.obs_rms.count == pytest.approx(1024 + 8, abs=0.1)  # every observation trained on, and the first ones
    assert np.array_equal(fresh.obs_rms.mean, envs.obs_rms.mean)  # the evaluation changed nothing
    observation = np.array([[0.3, -0.1]], np.float32)
    normal = (observation - fresh.obs_rms.mean) / np.sqrt(fresh.obs_rms.var + 1e-8)
    assert np.allclose(envs.normalize_obs(observation), normal)


def test_vec_video_recorder(page):
    (film,) = page.folder.glob("films/*.mp4")
    envs = make_vec_env("memrl/TMaze-v0", 4, seed=0, render_mode="rgb_array", length=3)
    envs.reset()
    drawn = envs.render().astype(int)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(film), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    pictures = np.frombuffer(raw, np.uint8).reshape(-1, *drawn.shape).astype(int)
    assert len(pictures) == 13  # the first observation's and one for each step
    assert np.abs(pictures[0] - drawn).mean() < 8  # but for the film's compression
    assert max(np.abs(pictures[0] - picture).mean() for picture in pictures) > 1  # something moves


def test_optuna(page):
    trials = page.Optuna["study"].trials
    assert len(trials) == 4
    assert all(set(trial.intermediate_values) <= {512, 1024} and trial.intermediate_values for trial in trials)
    for trial in trials:
        if trial.state is optuna.trial.TrialState.COMPLETE:
            assert trial.value == trial.intermediate_values[1024]
    assert {trial.params["core"] for trial in trials} <= {"lstm", "gru"}


def test_optuna_prunes(page):
    """A bar that no policy reaches stops the training at the first evaluation."""
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(lower=2.0))
    study.optimize(page.Optuna["objective"], n_trials=1)
    (trial,) = study.trials
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert set(trial.intermediate_values) == {512}


def test_zoo(page):
    zoo, model = page.RL["zoo"], page.RL["model"]
    assert (zoo.n_timesteps, zoo.n_envs) == (100_000, 8)
    assert model.num_timesteps == 1024
    assert (model.n_steps, model.seq_len, model.batch_size, model.policy.core.output_size) == (32, 32, 256, 64)
    assert isinstance(model.env, VecNormalize)
    assert page.RL["envs"].gamma == zoo.arguments["gamma"] == 0.99
