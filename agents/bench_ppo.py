"""`memrl bench ppo`: MemoryPPO and sb3-contrib's RecurrentPPO do the same work, in turns, in one process."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gymnasium as gym
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from memrl.encoders import default_extractor
from memrl.envs import make_env

from .bench_tools import (
    Measurements,
    Row,
    check_out,
    conditions,
    in_turns,
    median_ratio,
    report,
    require_at_least,
    use_threads,
)
from .build import policy_name
from .console import plain_console
from .errors import usage_errors
from .options import show_pairs
from .ppo import MemoryPPO
from .settings import KeyValues

OURS, THEIRS = "MemoryPPO", "RecurrentPPO"

NOTES = (
    "Same encoder, LSTM size, layers (64 tanh units each for actor and critic), optimiser and settings.",
    "One LSTM for actor and critic: RecurrentPPO trains it by the actor's loss alone, MemoryPPO by both.",
    "Two LSTMs, one for the critic: RecurrentPPO's default, share_core=False in MemoryPPO.",
    "low, high: slowest and fastest repetition. rollout s, update s: seconds of one iteration, medians.",
    "ratio: MemoryPPO to RecurrentPPO, median of each repetition's ratio.",
)


@dataclass(frozen=True)
class Work:
    """What both sides have to do."""

    env: str
    env_set: Mapping[str, Any]
    n_envs: int
    n_steps: int
    n_epochs: int
    batch_size: int
    seq_len: int
    hidden_size: int
    seed: int


@dataclass(frozen=True)
class Turn:
    """What one side did in one repetition."""

    env_steps: int
    rollout_seconds: float
    update_seconds: float

    @property
    def steps_per_second(self) -> float:
        """Environment steps per second of training."""
        return self.env_steps / (self.rollout_seconds + self.update_seconds)


def bench_ppo(
    *,
    env: str = "memrl/TMaze-v0",
    env_set: KeyValues = MappingProxyType({}),
    n_envs: int = 16,
    n_steps: int = 128,
    n_epochs: int = 4,
    batch_size: int = 512,
    seq_len: int | None = None,
    hidden_size: int = 128,
    iterations: int = 4,
    repetitions: int = 3,
    threads: int = 1,
    seed: int = 0,
    out: Path | None = None,
    quick: bool = False,
) -> None:
    """Environment steps per second of MemoryPPO with an LSTM beside those of sb3-contrib's RecurrentPPO.

    Args:
        env: Environment id, e.g. memrl/TMaze-v0 or CartPole-v1.
        env_set: Keywords of the environment, e.g. length=100.
        n_envs: Copies of the environment, in SB3's DummyVecEnv.
        n_steps: Steps of each copy in one rollout.
        n_epochs: Passes over each rollout.
        batch_size: Steps in a minibatch.
        seq_len: MemoryPPO's backpropagation length in steps; RecurrentPPO's, which is n-steps, unless given.
        hidden_size: Units of an LSTM.
        iterations: Rollouts, each with its updates, in one repetition.
        repetitions: Turns of each side, after a warm-up.
        threads: Threads of torch.
        seed: Seed of environments and weights.
        out: CSV file to write.
        quick: A small version that shows whether it runs, not how fast.

    Raises:
        UsageError: an option is out of its range, or the environment does not exist.
    """
    if quick:
        n_envs, n_steps, batch_size, n_epochs, iterations, repetitions = 2, 16, 16, 1, 1, 1
    require_at_least(1, n_envs=n_envs, n_steps=n_steps, n_epochs=n_epochs, hidden_size=hidden_size)
    require_at_least(1, iterations=iterations, repetitions=repetitions, threads=threads)
    require_at_least(2, batch_size=batch_size)
    seq_len = n_steps if seq_len is None else seq_len
    require_at_least(1, seq_len=seq_len)
    check_out(out)
    work = Work(env, env_set, n_envs, n_steps, n_epochs, batch_size, seq_len, hidden_size, seed)

    with use_threads(threads):
        models = {
            (network, library): model
            for network, shared in (("one LSTM", True), ("two LSTMs", False))
            for library, model in build_models(work, shared).items()
        }
        # The warm-up is a turn like the others: a first rollout alone would leave the first update cold.
        turns = in_turns(
            "training",
            {key: partial(take_turn, model, iterations) for key, model in models.items()},
            repetitions,
            plain_console(),
        )
    for model in models.values():
        model.get_env().close()  # type: ignore[union-attr]  # it was built with one
    rows = [_row(key, model, turns) for key, model in models.items()]
    keywords = " ".join(show_pairs(env_set))
    rows = [row | vars(work) | {"env_set": keywords, "iterations": iterations} for row in rows]
    size = f"{n_envs} environments x {n_steps} steps, {n_epochs} epochs, batch {batch_size}, seq_len {seq_len}"
    shown = (
        "network",
        "library",
        "steps_per_s",
        "low",
        "high",
        "ratio",
        "rollout_s",
        "update_s",
        "parameters",
    )
    table = Measurements("ppo", f"{env} {keywords}".rstrip() + f", {size}, {hidden_size} units", rows, shown, NOTES)
    report([table], conditions(threads, repetitions), out)


def build_models(work: Work, shared: bool) -> dict[str, OnPolicyAlgorithm]:
    """MemoryPPO and RecurrentPPO with the same networks and settings, each with environments of its own.

    Args:
        work: sizes and settings.
        shared: one LSTM for actor and critic; False gives the critic an LSTM of its own.

    Raises:
        UsageError: the environment does not exist or cannot be used.
    """
    with usage_errors(ValueError, gym.error.Error, about="--env: "):
        envs = [DummyVecEnv([partial(make_env, work.env, **work.env_set)] * work.n_envs) for _ in range(2)]
        space = envs[0].observation_space
        encoder, encoder_options = default_extractor(space)
        policy = policy_name(space)
        settings: dict[str, Any] = {
            **{"n_steps": work.n_steps, "batch_size": work.batch_size, "n_epochs": work.n_epochs},
            **{
                "learning_rate": 3e-4,
                "gamma": 0.99,
                "gae_lambda": 0.95,
                "clip_range": 0.2,
                "clip_range_vf": None,
            },
            **{"ent_coef": 0.01, "vf_coef": 0.5, "max_grad_norm": 0.5, "normalize_advantage": True},
            **{"seed": work.seed, "device": "cpu"},
        }
        network: dict[str, Any] = {
            **{"net_arch": {"pi": [64], "vf": [64]}, "activation_fn": nn.Tanh},
            **{"features_extractor_class": encoder, "features_extractor_kwargs": encoder_options},
        }
        core = {"core": "lstm", "core_kwargs": {"hidden_size": work.hidden_size}, "share_core": shared}
        lstm = {"lstm_hidden_size": work.hidden_size, "shared_lstm": shared, "enable_critic_lstm": not shared}
        return {
            OURS: MemoryPPO(policy, envs[0], seq_len=work.seq_len, policy_kwargs=network | core, **settings),
            THEIRS: RecurrentPPO(policy.replace("Memory", "Lstm"), envs[1], policy_kwargs=network | lstm, **settings),
        }


def take_turn(model: OnPolicyAlgorithm, iterations: int) -> Turn:
    """Train for some iterations, from where the last turn ended."""
    before, phases = model.num_timesteps, Phases()
    steps = iterations * model.n_steps * model.n_envs
    # Without logging: tables of episode statistics are not what is compared.
    model.learn(steps, callback=phases, log_interval=steps, reset_num_timesteps=False)
    return Turn(model.num_timesteps - before, phases.rollout, phases.update)


def lstm_parameters(model: OnPolicyAlgorithm) -> int:
    """Weights and biases of all LSTMs of a policy."""
    lstms = [module for module in model.policy.modules() if isinstance(module, nn.LSTM)]
    return sum(parameter.numel() for lstm in lstms for parameter in lstm.parameters())


class Phases(BaseCallback):
    """Seconds spent in rollouts and, between them and after the last, in updates."""

    def __init__(self) -> None:
        super().__init__()
        self.rollout = self.update = 0.0
        self._rollout_began = self._rollout_ended = 0.0

    def _on_rollout_start(self) -> None:
        self._rollout_began = time.perf_counter()
        if self._rollout_ended:
            self.update += self._rollout_began - self._rollout_ended

    def _on_rollout_end(self) -> None:
        self._rollout_ended = time.perf_counter()
        self.rollout += self._rollout_ended - self._rollout_began

    def _on_training_end(self) -> None:
        self.update += time.perf_counter() - self._rollout_ended

    def _on_step(self) -> bool:
        return True


def _row(key: tuple[str, str], model: OnPolicyAlgorithm, turns: dict[tuple[str, str], list[Turn]]) -> Row:
    network, library = key
    speeds = {side: [turn.steps_per_second for turn in turns[network, side]] for side in (OURS, THEIRS)}
    iterations = turns[key][0].env_steps / (model.n_steps * model.n_envs)
    return {
        "network": network,
        "library": library,
        "steps_per_s": statistics.median(speeds[library]),
        "low": min(speeds[library]),
        "high": max(speeds[library]),
        "ratio": median_ratio(speeds[OURS], speeds[THEIRS]) if library == OURS else None,
        "rollout_s": statistics.median(turn.rollout_seconds for turn in turns[key]) / iterations,
        "update_s": statistics.median(turn.update_seconds for turn in turns[key]) / iterations,
        "env_steps": sum(turn.env_steps for turn in turns[key]),
        "parameters": sum(parameter.numel() for parameter in model.policy.parameters()),
        "lstm_parameters": lstm_parameters(model),
    }
