"""One training from settings to an evaluated run directory: `train(TrainSettings(...)) -> TrainResult`."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.logger import CSVOutputFormat, HParam, Logger, TensorBoardOutputFormat
from stable_baselines3.common.vec_env import VecEnv

from .build import add_previous, build_envs, build_model, env_seed, probe_env, resolve
from .errors import Interrupted
from .evaluate import Evaluation, play, record_of, size_of
from .on_policy import MemoryOnPolicyAlgorithm
from .runs import add_evaluation, create_run
from .settings import TrainSettings
from .stopping import StopSignals
from .watch import Progress, Watch


@dataclass(frozen=True)
class TrainResult:
    """A finished training."""

    run: Path  # the run directory
    evaluation: Evaluation
    env_steps: int
    seconds: float  # of training, evaluations not counted
    stopped_early: bool  # because of stop_at


def train(settings: TrainSettings, report: Callable[[Progress], None] | None = None) -> TrainResult:
    """Train one agent with one core, save and evaluate it.

    Args:
        settings: what to train; `--help` of `memrl train` explains every field.
        report: called every now and then with how far it is.

    Raises:
        UsageError: bad settings; raised before any work.
        Interrupted: SIGINT or SIGTERM came; what was learned is saved.
    """
    settings.check()
    settings = resolve(settings)
    probe_env(settings.env, settings.env_set)
    torch.set_num_threads(settings.threads)
    with StopSignals() as signals:
        envs = build_envs(settings, settings.n_envs, evaluation=False)
        with closing(envs), closing(_Examination(settings, signals)) as examination:
            model = build_model(settings, envs)
            return _train(settings, model, create_run(settings), examination, signals, report)


class _Examination:
    """Evaluations of a model in training, on environments that are made for the first one and kept."""

    def __init__(self, settings: TrainSettings, signals: StopSignals) -> None:
        self.settings, self.signals = settings, signals
        self.envs: VecEnv | None = None

    def __call__(self, model: MemoryOnPolicyAlgorithm) -> Evaluation:
        episodes, seed = self.settings.eval_episodes, env_seed(self.settings.seed, evaluation=True)
        if self.envs is None:
            envs = build_envs(self.settings, min(self.settings.n_envs, episodes), evaluation=True)
            self.envs = add_previous(self.settings, envs)
        return play(model, self.envs, episodes, env_seed=seed, on_step=lambda _: self.check())

    def check(self) -> None:
        """Stop if a signal came."""
        if self.signals.received is not None:
            raise _Stop

    def close(self) -> None:
        """End the environments."""
        if self.envs is not None:
            self.envs.close()


def _train(
    settings: TrainSettings,
    model: MemoryOnPolicyAlgorithm,
    run: Path,
    examination: _Examination,
    signals: StopSignals,
    report: Callable[[Progress], None] | None,
) -> TrainResult:
    logger = Logger(str(run), [CSVOutputFormat(str(run / "progress.csv")), TensorBoardOutputFormat(str(run / "tb"))])
    logger.record("hparams", _hparams(settings), exclude=("stdout", "log", "json", "csv"))
    model.set_logger(logger)
    watch = Watch(settings, signals, examination, report)
    callbacks: list[BaseCallback] = [watch]
    if settings.checkpoint_freq:
        every = max(1, settings.checkpoint_freq // settings.n_envs)
        callbacks.append(CheckpointCallback(every, str(run / "checkpoints"), name_prefix="model"))
    # A row per 2,048 steps or so, however short the agent's rollouts are; 50 rows or more for short runs.
    log_interval = max(1, min(2048, settings.steps // 50) // (model.n_steps * settings.n_envs))
    checkpoint = run / "checkpoints" / "final.zip"
    evaluation = None
    try:
        model.learn(settings.steps, callback=callbacks, log_interval=log_interval)
        examination.check()
        save(model, checkpoint)
        evaluation = examination(model)
    except _Stop:
        if not checkpoint.exists():
            checkpoint = checkpoint.with_name("interrupted.zip")
            save(model, checkpoint)
    watch.final_row(evaluation)
    logger.close()
    if evaluation is None:
        raise Interrupted(signals.received or signal.SIGINT, run, checkpoint, model.num_timesteps)
    parameters, state_bytes = size_of(model)
    record = record_of(
        evaluation,
        source="train",
        seed=settings.seed,
        checkpoint=str(checkpoint.relative_to(run)),
        env_steps=model.num_timesteps,
        stopped_early=watch.stopped_early,
        train_seconds=watch.seconds,
        env_steps_per_second=model.num_timesteps / watch.seconds,
        parameters=parameters,
        state_bytes=state_bytes,
    )
    add_evaluation(run, record)
    return TrainResult(run, evaluation, model.num_timesteps, watch.seconds, watch.stopped_early)


class _Stop(Exception):  # a wish, not an error
    """Leave an evaluation because a signal came."""


def save(model: MemoryOnPolicyAlgorithm, path: Path) -> None:
    """Save a model so that nobody ever sees half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    model.save(temporary)
    temporary.replace(path)


def _hparams(settings: TrainSettings) -> HParam:
    """The row of this run in TensorBoard's table of hyperparameters."""
    words = {"env": settings.env, "core": settings.core, "algo": settings.algo, "seed": settings.seed}
    given = {
        **words,
        "n_envs": settings.n_envs,
        **settings.set,
        **{f"env.{k}": v for k, v in settings.env_set.items()},
    }
    plain = {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in given.items()}
    return HParam(plain, {"eval/mean_reward": 0.0, "rollout/ep_rew_mean": 0.0})
