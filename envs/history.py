"""The last observations as one observation: what the window route of `memrl.MemoryExtractor` needs."""

from typing import Any

import numpy as np
from gymnasium import spaces

from .chance import Chance
from .hosts import AnyEnv, AnyVectorEnv, Host, VectorHost
from .transforms import WHOLE, Parts, Source, Space, Step, Transformation, with_zero
from .vector import Array, whole_number
from .wrappers import PreviousInputs, VectorPreviousInputs


class Window(Transformation):
    """Shows the last observations of the running episode, oldest first, zeros where there were none yet."""

    def __init__(self, source: Source, steps: int) -> None:
        super().__init__(source)
        self.steps = whole_number("steps", steps, least=1, most=100_000)
        if "mask" in self.before:
            raise ValueError("observation space: it has 'mask' already, which a window needs for itself")
        alone = not isinstance(self.space, spaces.Dict)
        self._names = {name: "window" if alone and name == WHOLE else name for name in self.before}
        parts = {self._names[name]: _windows(part, self.steps) for name, part in self.before.items()}
        self.space = spaces.Dict({**parts, "mask": spaces.MultiBinary(self.steps)})
        # Twice as long as the window: what is seen is appended, and moved to the front once in `steps` steps only.
        shapes = {name: (part.shape or (), part.dtype) for name, part in self.before.items()}
        self._seen = {
            name: np.zeros((source.num_envs, 2 * self.steps, *shape), dtype) for name, (shape, dtype) in shapes.items()
        }
        self._valid = np.zeros((source.num_envs, 2 * self.steps), np.int8)
        self._last = self.steps - 1  # where the newest observation is

    def begin(self, rows: Array, seen: Parts, chance: Chance) -> Parts:
        """A window with one observation in it."""
        for name, part in seen.items():
            self._seen[name][rows] = 0
            self._seen[name][rows, self._last] = part
        self._valid[rows] = 0
        self._valid[rows, self._last] = 1
        return self._shown(rows)

    def apply(self, seen: Parts, step: Step) -> Parts:
        """The newest observation comes in, the oldest drops out."""
        self._last += 1
        if self._last == 2 * self.steps:
            for ring in (*self._seen.values(), self._valid):
                ring[:, : self.steps - 1] = ring[:, self.steps + 1 :]
            self._last = self.steps - 1
        for name, part in seen.items():
            self._seen[name][:, self._last] = part
        self._valid[:, self._last] = 1
        return self._shown(slice(None))

    def _shown(self, rows: Any) -> Parts:
        span = slice(self._last - self.steps + 1, self._last + 1)
        windows = {}
        for name, ring in self._seen.items():
            window = ring[rows, span]
            shape = self.space[self._names[name]].shape  # type: ignore[index]
            # An array of rows has been copied by indexing already.
            windows[self._names[name]] = (window.copy() if isinstance(rows, slice) else window).reshape(-1, *shape)
        mask = self._valid[rows, span]
        return windows | {"mask": mask.copy() if isinstance(rows, slice) else mask}


def _windows(space: Any, steps: int) -> Space:
    """The space of `steps` observations at once."""
    if isinstance(space, spaces.Box):
        space = with_zero(space)
        # A picture in grey tones gets an axis for its one channel: several of them would look like one in color.
        shape = (1, *space.shape) if len(space.shape) == 2 and space.dtype == np.uint8 else space.shape
        low, high = (np.broadcast_to(bound.reshape(shape), (steps, *shape)) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=space.dtype.type)
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiBinary((steps, *space.shape))
    return spaces.MultiDiscrete(np.tile(space.nvec if isinstance(space, spaces.MultiDiscrete) else [space.n], steps))


class HistoryWindow(Host):
    """Show the last observations of the episode, so that a policy without state can remember.

    The observation becomes a Dict: "window", the last `steps` observations, oldest first, with zeros where there were
    none yet, and "mask", 1 where there was one. A Dict observation keeps its keys, each with a window, beside "mask".
    `memrl.MemoryExtractor` reads it in any Stable-Baselines3 algorithm. Normalise observations inside, not outside, of
    the window: padding then stays zero, and statistics do not count an observation `steps` times.

    Box (s...) becomes Box (steps, s...), Discrete and MultiDiscrete a MultiDiscrete of `steps` times as many numbers,
    MultiBinary n a MultiBinary (steps, n).

    Args:
        env: whose discrete observations, if any, count from 0.
        steps: observations in the window, 1 to 100,000; as many as an episode is long, and nothing is forgotten.
        previous_action: put the last action beside each observation, as `PreviousInputs` does.
        previous_reward: put the last reward beside each observation.

    Raises:
        ValueError: an argument is not as above.

    >>> import gymnasium as gym
    >>> env = HistoryWindow(gym.make("CartPole-v1"), 8)
    >>> observation, _ = env.reset(seed=0)
    >>> observation["window"].shape, observation["mask"].tolist()
    ((8, 4), [0, 0, 0, 0, 0, 0, 0, 1])
    """

    def __init__(
        self, env: AnyEnv, steps: int = 16, *, previous_action: bool = False, previous_reward: bool = False
    ) -> None:
        if previous_action or previous_reward:
            env = PreviousInputs(env, action=previous_action, reward=previous_reward)
        super().__init__(env, Window, steps=steps)


class VectorHistoryWindow(VectorHost):
    """`HistoryWindow` for vector environments with same-step resets; last observations of episodes are windows too."""

    def __init__(
        self, env: AnyVectorEnv, steps: int = 16, *, previous_action: bool = False, previous_reward: bool = False
    ) -> None:
        if previous_action or previous_reward:
            env = VectorPreviousInputs(env, action=previous_action, reward=previous_reward)
        super().__init__(env, Window, steps=steps)
