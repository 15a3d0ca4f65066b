"""Environments as array programs: one NumPy program steps all copies at once."""

from abc import abstractmethod
from collections.abc import Sequence
from operator import index
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from .chance import Chance, Streams
from .pictures import text_picture

Array = NDArray[Any]


class Outcome(NamedTuple):
    """What one step did, for each of n copies."""

    rewards: Array  # float, (n,)
    terminated: Array  # bool, (n,): the episode is over
    success: Array  # bool, (n,): read where the episode is over
    truncated: Array | None = None  # bool, (n,): cut off by a time limit that is not part of the task; None: nowhere


class ArrayEnv(VectorEnv[Any, Any, Array]):
    """Base of memrl's environments: n copies, stepped by array code, each with randomness of its own.

    A subclass sets up its arrays in `__init__` and writes `_begin`, `_step`, `_observe`, `oracle` and `text`. Whatever
    is random in an episode is drawn in `_begin`, or with `self._chance_now()` where it differs from step to step, so
    that copies stay independent and a step has no loop over copies. A finished copy starts its next episode in the same
    step (`AutoresetMode.SAME_STEP`); its last observation and info are in `infos["final_obs"]` and
    `infos["final_info"]`.

    Args:
        num_envs: n, copies, at least 1.
        observation_space: of one copy.
        action_space: of one copy.
        horizon: steps of the longest episode.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: an argument is not as above.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  # as in Gymnasium
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    settable: ClassVar[tuple[str, ...]] = ()  # attributes for users to change between episodes, in a single copy too
    steps: NDArray[np.int64]  # taken in the running episode, (n,); counted before `_step` is called

    def __init__(
        self,
        num_envs: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        horizon: int,
        render_mode: str | None = None,
    ) -> None:
        self.num_envs = whole_number("num_envs", num_envs, least=1)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode: {render_mode!r} given, None, 'ansi' or 'rgb_array' allowed")
        self.render_mode, self.horizon = render_mode, horizon
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(action_space, self.num_envs)
        self.metadata = dict(type(self).metadata)  # Gymnasium writes into it
        self.steps = np.zeros(self.num_envs, np.int64)
        self._streams: Streams | None = None  # until the first reset
        self._all = np.arange(self.num_envs)

    @abstractmethod
    def _begin(self, rows: Array, chance: Chance) -> None:
        """Open a new episode in the copies `rows` (k,), ascending; `chance` has their k rows of randomness."""

    @abstractmethod
    def _step(self, actions: Array) -> Outcome:
        """Take one valid action in every copy; `self.steps` counts it already."""

    @abstractmethod
    def _observe(self) -> Any:
        """What every copy sees now, in new arrays, as `self.observation_space` has it."""

    @abstractmethod
    def oracle(self) -> Array:
        """Best actions now (n, ...), of a player who forgets nothing and is told what the class's docstring says."""

    @abstractmethod
    def text(self, copy: int = 0) -> str:
        """One copy as text, with what is hidden."""

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """One copy as a picture (height, width, 3); the text, unless a subclass draws something better."""
        return text_picture(self.text(copy))

    def report(self) -> dict[str, Array]:
        """Quantities (n,) that every step's info has; none unless a subclass says so."""
        return {}

    def _chance_now(self) -> Chance:
        """Random numbers for this step of every copy, the same whenever they are asked for."""
        assert self._streams is not None  # `step` has seen to it
        return self._streams.at_step(self.steps)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every copy.

        Args:
            seed: copy i gets seed + i; a sequence gives one to each (None: goes on drawing where it is).
            options: {"reset_mask": bool (n,)} resets those copies only, as in Gymnasium.

        Raises:
            ValueError: not as many seeds as copies, or the mask is not as above.
        """
        seeds = [None] * self.num_envs if seed is None else seed
        if isinstance(seeds, int | np.integer):
            seeds = [int(seeds) + copy for copy in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: {len(seeds)} given, one for each of {self.num_envs} copies needed")
        rows = self._rows_to_reset((options or {}).get("reset_mask"))
        reset = set(rows.tolist())
        seeds = [seed if copy in reset else None for copy, seed in enumerate(seeds)]  # the others go on drawing
        if self._streams is None:
            self._streams = Streams(seeds)
        else:
            self._streams.reseed(seeds)
        self._open(rows)
        return self._observe(), self._infos()

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Take one action in every copy; copies whose episode ends start the next one at once.

        Raises:
            ResetNeeded: `reset` was never called.
            ValueError: an action is not in the action space.
        """
        obs, outcome, done = self.advance(actions)
        truncated = np.zeros(self.num_envs, bool) if outcome.truncated is None else outcome.truncated
        if not done.any():
            return obs, outcome.rewards, outcome.terminated, truncated, self._infos()
        rows = np.flatnonzero(done)
        final_obs = np.full(self.num_envs, None, object)
        for row in rows:
            final_obs[row] = self.observation_of(obs, int(row))
        final_info = {key: value.copy() for key, value in self.report().items()} | {
            "is_success": outcome.success & done
        }
        final_info |= {f"_{key}": done.copy() for key in final_info}
        self._open(rows)
        infos = self._infos() | {"final_obs": final_obs, "final_info": final_info}
        infos |= {"_final_obs": done.copy(), "_final_info": done.copy()}
        return self._observe(), outcome.rewards, outcome.terminated, truncated, infos

    def advance(self, actions: Any) -> tuple[Any, Outcome, Array]:
        """One step without starting new episodes: observations, what happened, and where an episode is over."""
        if self._streams is None:
            raise ResetNeeded("step: no episode is running; call reset first")
        actions = self._checked(actions)
        self.steps += 1
        outcome = self._step(actions)
        done = outcome.terminated if outcome.truncated is None else outcome.terminated | outcome.truncated
        return self._observe(), outcome, done

    def observation_of(self, obs: Any, copy: int) -> Any:
        """One copy's part of a batch of observations, in memory of its own."""
        if isinstance(obs, dict):
            return {key: self.observation_of(part, copy) for key, part in obs.items()}
        return obs[copy].copy()

    def render(self) -> tuple[Any, ...] | None:
        """A text or a picture of each copy, by `render_mode`."""
        if self.render_mode is None:
            gym.logger.warn("render: render_mode is None; make the environment with render_mode='rgb_array' or 'ansi'")
            return None
        if self._streams is None:
            raise ResetNeeded("render: no episode is running; call reset first")
        draw = self.text if self.render_mode == "ansi" else self.picture
        return tuple(draw(copy) for copy in range(self.num_envs))

    def _open(self, rows: Array) -> None:
        assert self._streams is not None
        self.steps[rows] = 0
        self._begin(rows, self._streams.next_episode(rows))

    def _rows_to_reset(self, mask: Any) -> Array:
        if mask is None:
            return self._all
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(f"reset_mask: {mask!r} given, a bool array ({self.num_envs},) with a true one needed")
        if self._streams is None and not mask.all():
            raise ResetNeeded("reset: some copies have never been reset; reset all of them first")
        return np.flatnonzero(mask)

    def _infos(self) -> dict[str, Any]:
        report = self.report()
        if not report:
            return {}
        masks = {f"_{key}": np.ones(self.num_envs, bool) for key in report}
        return {key: value.copy() for key, value in report.items()} | masks

    def _checked(self, actions: Any) -> Array:
        """Actions as an array with a known range, or an error that names the first bad one."""
        actions, space = np.asarray(actions), self.single_action_space
        shape = (self.num_envs, *(space.shape or ()))
        if actions.shape != shape:
            raise ValueError(f"actions: shape {actions.shape} given, {shape} needed")
        if isinstance(space, spaces.Box):
            if not np.isfinite(actions).all():
                raise ValueError("actions: not a finite number in every place")
            return np.asarray(np.clip(actions, space.low, space.high))
        if actions.dtype.kind not in "iu":
            raise ValueError(f"actions: {actions.dtype} given, whole numbers needed")
        count = space.n if isinstance(space, spaces.Discrete) else space.nvec  # type: ignore[attr-defined]
        if actions.min() < 0 or (actions >= count).any():
            copy = np.argwhere((actions < 0) | (actions >= count))[0][0]
            raise ValueError(f"action: {actions[copy]} given for copy {copy}, {space} allowed")
        return np.asarray(actions)


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """Check a keyword that counts something.

    Raises:
        ValueError: not a whole number, or out of [least, most].
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or index(value) < least:
        raise ValueError(f"{name}: {value!r} given, a whole number of at least {least} needed")
    if most is not None and value > most:
        raise ValueError(f"{name}: {value!r} given, at most {most} allowed")
    return int(value)


def one_of(name: str, value: object, allowed: Sequence[Any]) -> Any:
    """Check a keyword that is one of a few words or numbers.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or value not in allowed:
        raise ValueError(f"{name}: {value!r} given, one of {', '.join(map(repr, allowed))} needed")
    return value
