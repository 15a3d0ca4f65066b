"""What wrappers add to observations, for all copies of an environment at once."""

from typing import Any

import numpy as np
from gymnasium import spaces

from .chance import Chance
from .transforms import Parts, Source, Step, Transformation
from .vector import Array, whole_number


class AddPrevious(Transformation):
    """Adds the action and the reward that led to an observation."""

    def __init__(self, source: Source, action: bool, reward: bool) -> None:
        super().__init__(source)
        self.action, self.reward = _flag("action", action), _flag("reward", reward)
        if not (action or reward):
            raise ValueError("action and reward are both False; nothing to add")
        self.actions = source.action_space
        parts = {}
        if action:
            bounds = (-np.inf, np.inf) if isinstance(self.actions, spaces.Box) else (0.0, 1.0)
            parts["previous_action"] = spaces.Box(*bounds, (_width(self.actions),), np.float32)
        if reward:
            parts["previous_reward"] = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self._add(parts)

    def begin(self, rows: Array, seen: Parts, chance: Chance) -> Parts:
        """Nothing came before."""
        added = {}
        if self.action:
            added["previous_action"] = np.zeros((len(rows), _width(self.actions)), np.float32)
        if self.reward:
            added["previous_reward"] = np.zeros((len(rows), 1), np.float32)
        return seen | added

    def apply(self, seen: Parts, step: Step) -> Parts:
        """Add what came before."""
        added = {}
        if self.action:
            added["previous_action"] = _encoded(self.actions, step.actions)
        if self.reward:
            added["previous_reward"] = step.rewards.astype(np.float32)[:, None]
        return seen | added


class AddTime(Transformation):
    """Adds whether an episode begins, and how much of the longest one is over."""

    def __init__(self, source: Source, start: bool, time: bool, horizon: int | None) -> None:
        super().__init__(source)
        self.start, self.time = _flag("start", start), _flag("time", time)
        if not (start or time):
            raise ValueError("start and time are both False; nothing to add")
        horizon = source.horizon if horizon is None else horizon
        if time and horizon is None:
            raise ValueError("horizon: the environment does not tell how long its longest episode is; a number needed")
        self.horizon = whole_number("horizon", horizon, least=1) if time else 1
        unit = spaces.Box(0.0, 1.0, (1,), np.float32)
        self._add({name: unit for name, wanted in (("episode_start", start), ("episode_time", time)) if wanted})

    def begin(self, rows: Array, seen: Parts, chance: Chance) -> Parts:
        """An episode begins."""
        return self._shown(seen, np.zeros(len(rows)))

    def apply(self, seen: Parts, step: Step) -> Parts:
        """An episode goes on."""
        return self._shown(seen, step.steps)

    def _shown(self, seen: Parts, steps: Array) -> Parts:
        added = {}
        if self.start:
            added["episode_start"] = (steps == 0).astype(np.float32)[:, None]
        if self.time:
            added["episode_time"] = np.minimum(steps / self.horizon, 1).astype(np.float32)[:, None]
        return seen | added


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}: {value!r} given, True or False needed")
    return bool(value)


def _width(space: Any) -> int:
    """Numbers that an action becomes."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return int(np.prod(space.shape))
    raise ValueError(f"action space: {space} given; Discrete, MultiDiscrete, MultiBinary or Box needed")


def _encoded(space: Any, actions: Array) -> Array:
    """Actions (n, ...) as float vectors (n, width): one-hot for each discrete part, else as they are."""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return actions.reshape(len(actions), -1).astype(np.float32)
    counts = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec)
    first = np.cumsum(counts) - counts  # where each part's block of numbers begins
    choices = (actions - space.start).reshape(len(actions), len(counts))
    encoded = np.zeros((len(actions), counts.sum()), np.float32)
    np.put_along_axis(encoded, (choices + first).astype(np.int64), 1.0, axis=1)
    return encoded
