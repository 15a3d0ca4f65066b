"""Run directories: `runs/<env>/<core>-<algo>/seed<S>-<utc>/`, what is in them, and finding them again.

config.yaml    enough to run it again: memrl train --config .../config.yaml
progress.csv   training scalars, a row per rollout, SB3's tags; time/total_timesteps counts environment steps
tb/            the same for TensorBoard
checkpoints/   model_<steps>_steps.zip while training, final.zip or interrupted.zip at the end
eval.json      every evaluation ever made of the run, oldest first
"""

import json
import platform
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .config import read_config, replace_text, write_config
from .errors import UsageError, usage_errors
from .settings import TrainSettings

# Settings that say where and how fast, not what comes out.
_BESIDE_THE_POINT = {"run_dir", "threads", "checkpoint_freq", "from_preset"}


def env_slug(env_id: str) -> str:
    """An environment's id as the name of a folder: whatever is not a letter, digit, dot, dash or _ becomes _.

    >>> env_slug("memrl/TMaze-v0")
    'memrl_TMaze-v0'
    """
    return re.sub(r"[^\w.-]", "_", env_id)


def pair_dir(settings: TrainSettings) -> Path:
    """The folder of all seeds of a core and an agent on an environment."""
    return Path(settings.run_dir) / env_slug(settings.env) / f"{settings.core}-{settings.algo}"


def new_dir(parent: Path, prefix: str) -> Path:
    """Make a folder `<prefix>-<utc>` that did not exist before.

    Raises:
        UsageError: it cannot be made or written to.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with usage_errors(OSError, about=f"--run-dir: cannot write to {parent}: "):
        parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1000):
            folder = parent / (f"{prefix}-{stamp}" + (f"-{attempt + 1}" if attempt else ""))
            try:
                folder.mkdir()
            except FileExistsError:  # another process had the same idea in the same second
                continue
            return folder
    raise UsageError(f"--run-dir: {parent} is full of {prefix}-{stamp}")


def create_run(settings: TrainSettings) -> Path:
    """A new run directory with its config.yaml.

    Args:
        settings: resolved, so that the file says everything.

    Raises:
        UsageError: it cannot be made or written to.
    """
    run = new_dir(pair_dir(settings), f"seed{settings.seed}")
    (run / "checkpoints").mkdir()
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    write_config(run / "config.yaml", settings, [f"Again: memrl train --config {run / 'config.yaml'}", made])
    return run


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("memrl", "torch", "stable_baselines3", "gymnasium", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def load_settings(run: Path) -> TrainSettings:
    """The settings of a run.

    Raises:
        UsageError: not a run directory, or its config.yaml cannot be read.
    """
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run}: no run here (config.yaml is missing); memrl train prints where a run is")
    config = read_config(run / "config.yaml", TrainSettings)
    with usage_errors(TypeError, about=f"{run / 'config.yaml'}: "):
        return TrainSettings(**config)


def checkpoint_of(run: Path) -> Path:
    """The model of a run: the final one, else where it was interrupted, else the latest saved while training.

    Raises:
        UsageError: nothing was saved.
    """
    folder = run / "checkpoints"
    periodic = sorted(folder.glob("model_*_steps.zip"), key=lambda path: int(path.stem.split("_")[1]))
    for path in (folder / "final.zip", folder / "interrupted.zip", *reversed(periodic)):
        if path.is_file():
            return path
    raise UsageError(f"{run}: no model saved yet in {folder}")


def find_finished(settings: TrainSettings) -> Path | None:
    """A run that was trained to the end with the same settings, the newest if there are several.

    Args:
        settings: resolved.
    """
    wanted = _essence(settings)
    for run in sorted(pair_dir(settings).glob(f"seed{settings.seed}-*"), reverse=True):
        try:
            if _essence(load_settings(run)) == wanted and final_evaluation(run) is not None:
                return run
        except UsageError:  # half written, or by another version: not one to rely on
            continue
    return None


def final_evaluation(run: Path) -> dict[str, Any] | None:
    """The evaluation at the end of training; None if training did not get there, or with another memrl."""
    for record in evaluations(run):
        by = record.get("versions", {}).get("memrl")
        if record.get("source") == "train" and by == versions()["memrl"]:
            return record
    return None


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Every evaluation of a run, oldest first.

    Raises:
        UsageError: eval.json is damaged.
    """
    path = run / "eval.json"
    if not path.is_file():
        return []
    with usage_errors(OSError, json.JSONDecodeError, KeyError, TypeError, about=f"{path}: damaged: "):
        return list(json.loads(path.read_text(encoding="utf-8"))["evaluations"])


def add_evaluation(run: Path, record: dict[str, Any]) -> None:
    """Add an evaluation to eval.json."""
    history = [*evaluations(run), record]
    replace_text(run / "eval.json", json.dumps({"evaluations": history}, indent=2) + "\n")


def _essence(settings: TrainSettings) -> dict[str, Any]:
    """What decides the result, in the form in which YAML gives it back."""
    data = {key: value for key, value in asdict(settings).items() if key not in _BESIDE_THE_POINT}
    # One by one or in processes, copies have the same episodes; so has the twin of an environment of ours, but one
    # that stands in for another package's draws its own.
    ours = settings.env.rpartition(":")[2].startswith("memrl/")
    data["vec"] = "twin" if settings.vec == "twin" and not ours else "copies"
    essence: dict[str, Any] = json.loads(json.dumps(data))  # tuples become lists, as YAML has them
    return essence
