"""Evaluation of a model: whole episodes on environments of their own, with intervals."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from memrl import tree

from .build import ALGORITHMS, add_previous, build_envs, check_device, env_seed
from .errors import UsageError, usage_errors
from .masks import MaskedPredictor
from .on_policy import MemoryOnPolicyAlgorithm
from .runs import add_evaluation, checkpoint_of, load_settings, versions
from .settings import EvalSettings, TrainSettings
from .statistics import bootstrap_interval, mean, wilson_interval


@dataclass(frozen=True)
class Evaluation:
    """What a model does in whole episodes; intervals are of 95 %."""

    episodes: int
    mean_return: float
    return_interval: tuple[float, float] | None  # bootstrap over episodes; None for a single one
    std_return: float
    success_rate: float | None  # None where the environment does not report is_success
    success_interval: tuple[float, float] | None  # Wilson
    mean_length: float  # environment steps
    deterministic: bool  # whether the most likely action was taken
    env_seed: int  # of the first copy of the environment

    def __str__(self) -> str:
        text = f"return {self.mean_return:.3f}"
        if self.return_interval is not None:
            text += f" [{self.return_interval[0]:.3f}, {self.return_interval[1]:.3f}]"
        if self.success_rate is not None and self.success_interval is not None:
            low, high = self.success_interval
            text += f", success rate {self.success_rate:.3f} [{low:.3f}, {high:.3f}]"
        return f"{text}, {self.episodes} episodes (95 % intervals, deterministic policy)"


def play(
    model: MemoryOnPolicyAlgorithm,
    envs: VecEnv,
    episodes: int,
    *,
    env_seed: int,
    on_step: Callable[[int], None] | None = None,
) -> Evaluation:
    """Play episodes with the deterministic policy.

    Args:
        model: what to evaluate.
        envs: where; nothing is learned from them.
        episodes: at least 1, shared evenly between the copies, lest short episodes count more than long ones.
        env_seed: of the first copy.
        on_step: called after every step with the number of finished episodes; may raise to stop.
    """
    envs.seed(env_seed)
    successes: list[bool] = []
    finished = 0

    def watch(local: dict[str, Any], _: dict[str, Any]) -> None:
        nonlocal finished
        if local["done"]:
            finished += 1
            if "is_success" in local["info"]:
                successes.append(bool(local["info"]["is_success"]))
        if on_step is not None:
            on_step(finished)

    returns, lengths = evaluate_policy(
        MaskedPredictor(model, envs), envs, episodes, deterministic=True, return_episode_rewards=True, callback=watch
    )
    known = len(successes) == len(returns)  # type: ignore[arg-type]  # lists, because of return_episode_rewards
    return Evaluation(
        episodes=episodes,
        mean_return=float(np.mean(returns)),
        return_interval=bootstrap_interval([returns], statistic=mean) if episodes > 1 else None,
        std_return=float(np.std(returns)),
        success_rate=float(np.mean(successes)) if known else None,
        success_interval=wilson_interval(sum(successes), len(successes)) if known else None,
        mean_length=float(np.mean(lengths)),
        deterministic=True,
        env_seed=env_seed,
    )


def record_of(evaluation: Evaluation, **more: Any) -> dict[str, Any]:
    """An evaluation as it stands in eval.json, with when and by what it was made."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**more, "utc": now, "versions": versions(), **asdict(evaluation)}


def size_of(model: MemoryOnPolicyAlgorithm) -> tuple[int, int]:
    """Trainable parameters of the policy, and bytes of recurrent state it carries for one environment."""
    parameters = sum(parameter.numel() for parameter in model.policy.parameters() if parameter.requires_grad)
    state = tree.leaves(model.policy.initial_state(1))
    return parameters, sum(leaf.numel() * leaf.element_size() for leaf in state)


@dataclass(frozen=True)
class LoadedRun:
    """A run's model, ready to be evaluated."""

    run: Path
    checkpoint: Path
    settings: TrainSettings
    model: MemoryOnPolicyAlgorithm


def load_run(place: Path, device: str = "cpu") -> LoadedRun:
    """Load the model of a run.

    Args:
        place: the run directory, or one of the models in its checkpoints folder.
        device: torch device.

    Raises:
        UsageError: there is no run or no model, or it cannot be read.
    """
    if not place.exists():
        raise UsageError(f"{place}: no such run; memrl train prints where a run is")
    run = place.parent.parent if place.is_file() else place
    settings = load_settings(run)
    checkpoint = place if place.is_file() else checkpoint_of(run)
    check_device(device)
    with usage_errors(OSError, ValueError, EOFError, about=f"{checkpoint}: cannot be read: "):
        model = ALGORITHMS[settings.algo].load(checkpoint, device=device)
    return LoadedRun(run, checkpoint, settings, model)


def evaluate(settings: EvalSettings, on_step: Callable[[int], None] | None = None) -> tuple[LoadedRun, Evaluation]:
    """Evaluate the model of a run again and add the result to its eval.json.

    Args:
        settings: which run, how many episodes.
        on_step: called with the number of finished episodes.

    Raises:
        UsageError: bad settings, or no run or model there.
    """
    settings.check()
    loaded = load_run(Path(settings.run), settings.device)
    seed = loaded.settings.seed if settings.seed is None else settings.seed
    copies = min(loaded.settings.n_envs, settings.episodes)
    envs = build_envs(loaded.settings, copies, evaluation=True, seed=seed)
    try:
        evaluation = play(
            loaded.model,
            add_previous(loaded.settings, envs),
            settings.episodes,
            env_seed=env_seed(seed, evaluation=True),
            on_step=on_step,
        )
    finally:
        envs.close()
    checkpoint = str(loaded.checkpoint.relative_to(loaded.run))
    env_steps = int(loaded.model.num_timesteps)
    add_evaluation(
        loaded.run,
        record_of(evaluation, source="eval", seed=seed, checkpoint=checkpoint, env_steps=env_steps),
    )
    return loaded, evaluation
