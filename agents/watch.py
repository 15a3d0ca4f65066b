"""The callback that looks over a training: progress, stopping, evaluations on the way, the end of the log."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from .evaluate import Evaluation
from .on_policy import MemoryOnPolicyAlgorithm
from .settings import TrainSettings
from .stopping import StopSignals

WINDOW = 100  # training episodes that recent results are taken over
REPORT_EVERY = 0.1  # seconds


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    env_steps: int
    total_steps: int
    steps_per_second: float
    recent_return: float | None  # mean over the last 100 training episodes; None before the first has ended
    recent_success: float | None  # None where the environment does not report is_success
    ended: bool = False  # whether training is over and only the evaluation is left


class Watch(BaseCallback):
    """Report progress, evaluate every `eval_freq` steps, and end training at `stop_at` or on a signal.

    The environment reports an episode's return through `VecMonitor` and its success as `info["is_success"]`.

    Args:
        settings: of the training.
        signals: a signal ends the training.
        evaluate: plays the evaluation episodes.
        report: gets progress now and then.

    Attributes:
        seconds: of training so far, without evaluations.
        stopped_early: whether `stop_at` was reached.
        episodes: training episodes so far.
    """

    def __init__(
        self,
        settings: TrainSettings,
        signals: StopSignals,
        evaluate: Callable[[MemoryOnPolicyAlgorithm], Evaluation],
        report: Callable[[Progress], None] | None,
    ) -> None:
        super().__init__()
        self.settings, self.signals, self.evaluate, self.report = settings, signals, evaluate, report
        self.stopped_early = False
        self.episodes = 0
        self._returns: deque[float] = deque(maxlen=WINDOW)
        self._successes: deque[bool] = deque(maxlen=WINDOW)
        self._seconds = self._mark = self._reported = 0.0
        self._next_evaluation = settings.eval_freq

    @property
    def seconds(self) -> float:
        """Seconds of training, up to the last step or update."""
        return self._seconds

    def _on_training_start(self) -> None:
        self._mark = time.perf_counter()

    def _on_step(self) -> bool:
        for done, info in zip(self.locals["dones"], self.locals["infos"], strict=True):
            if done:
                self.episodes += 1
                self._returns.append(float(info["episode"]["r"]))
                if "is_success" in info:
                    self._successes.append(bool(info["is_success"]))
        self._count_time()
        if self.signals.received is not None:
            return False
        if self.settings.stop_at is not None and self.settings.stop_at <= self._recent(full=True):
            self.stopped_early = True
            return False
        if self.settings.eval_freq and self.num_timesteps >= self._next_evaluation:
            self._next_evaluation += self.settings.eval_freq
            self._evaluate()
        if self.report is not None and self._mark - self._reported > REPORT_EVERY:
            self._report()
        return True

    def _on_rollout_end(self) -> None:
        self._count_time()
        self.logger.record("time/episodes", self.episodes)

    def _on_training_end(self) -> None:
        self._count_time()
        self._report(ended=True)

    def final_row(self, evaluation: Evaluation | None) -> None:
        """Log where training ended, perhaps inside a rollout, and the final evaluation if there is one."""
        if self._returns:
            self.logger.record("rollout/ep_rew_mean", float(np.mean(self._returns)))
        if self._successes:
            self.logger.record("rollout/success_rate", float(np.mean(self._successes)))
        self._log(evaluation)

    def _evaluate(self) -> None:
        self._log(self.evaluate(self.model))  # type: ignore[arg-type]  # our agents use it, no others
        self._mark = time.perf_counter()  # the evaluation's time does not count

    def _log(self, evaluation: Evaluation | None) -> None:
        if evaluation is not None:
            self.logger.record("eval/mean_reward", evaluation.mean_return)
            self.logger.record("eval/mean_ep_length", evaluation.mean_length)
            if evaluation.success_rate is not None:
                self.logger.record("eval/success_rate", evaluation.success_rate)
        self.logger.record("time/episodes", self.episodes)
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def _recent(self, full: bool = False) -> float:
        """Success rate, or mean return where there is none, of the last episodes; -inf while too few."""
        recent = self._successes or self._returns
        return float(np.mean(recent)) if len(recent) >= (WINDOW if full else 1) else float("-inf")

    def _count_time(self) -> None:
        now = time.perf_counter()
        self._seconds += now - self._mark
        self._mark = now

    def _report(self, ended: bool = False) -> None:
        self._reported = self._mark
        if self.report is not None:
            self.report(
                Progress(
                    env_steps=self.num_timesteps,
                    total_steps=self.settings.steps,
                    steps_per_second=self.num_timesteps / max(self._seconds, 1e-9),
                    recent_return=float(np.mean(self._returns)) if self._returns else None,
                    recent_success=float(np.mean(self._successes)) if self._successes else None,
                    ended=ended,
                )
            )
