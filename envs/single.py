"""One copy of an array program as an ordinary Gymnasium environment.

`register_env` puts a class for each program into this module, where worker processes and pickles find it.
"""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from .vector import ArrayEnv


class SingleEnv(gym.Env[Any, Any]):
    """The same trajectories as one copy of the vector environment, without its automatic resets.

    Args:
        render_mode: "ansi" (text), "rgb_array" (picture) or None.
        keywords: of the program.
    """

    program: ClassVar[type[ArrayEnv]]
    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, **keywords: Any) -> None:
        self.copies = self.program(1, render_mode=render_mode, **keywords)
        self.render_mode = render_mode
        self.observation_space = self.copies.single_observation_space
        self.action_space = self.copies.single_action_space
        self._running = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; there are no options."""
        super().reset(seed=seed)
        self._running = True
        obs, _ = self.copies.reset(seed=[seed])
        return self.copies.observation_of(obs, 0), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Raises:
            ValueError: the action is not in the action space.
            ResetNeeded: the episode is over, or none has begun.
        """
        if not self._running:
            raise ResetNeeded("step: no episode is running; call reset first")
        obs, outcome, _ = self.copies.advance(np.asarray(action)[None])
        terminated = bool(outcome.terminated[0])
        truncated = outcome.truncated is not None and bool(outcome.truncated[0])
        info = self._info()
        if terminated or truncated:
            self._running = False
            info["is_success"] = bool(outcome.success[0])
        return self.copies.observation_of(obs, 0), float(outcome.rewards[0]), terminated, truncated, info

    @property
    def horizon(self) -> int:
        """Steps of the longest episode."""
        return self.copies.horizon

    def oracle(self) -> Any:
        """Best action now, as `ArrayEnv.oracle` has it."""
        return self.copies.oracle()[0]

    def render(self) -> Any:
        """A text or a picture, by `render_mode`."""
        pictures = self.copies.render()
        return None if pictures is None else pictures[0]

    def _info(self) -> dict[str, Any]:
        return {key: value[0].item() for key, value in self.copies.report().items()}


class MaskedSingleEnv(SingleEnv):
    """A single environment that says which actions count, as sb3-contrib's MaskablePPO asks for it."""

    def action_masks(self) -> Any:
        """True where a choice counts. Shape (choices,)."""
        return self.copies.action_masks()[0]  # type: ignore[attr-defined]


def forwarded(name: str) -> property:
    """An attribute of a single environment that is the one of its program."""

    def get(env: SingleEnv) -> Any:
        return getattr(env.copies, name)

    def put(env: SingleEnv, value: Any) -> None:
        setattr(env.copies, name, value)

    return property(get, put, doc=f"`{name}` of the program.")
