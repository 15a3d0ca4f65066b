"""T-Maze: a sign at the start says which way to turn at the end of a corridor."""

from operator import index
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from .cards import EnvCard, register_env
from .chance import Chance, Streams
from .vector import Array, ArrayEnv, Outcome, whole_number

RIGHT, UP, LEFT, DOWN = range(4)

# Copied for every step: several times faster than building an array of two numbers.
_OBSERVATIONS = {
    (first, second): np.array([first, second], np.float32)
    for first, second in [(0, 0), (0, 1), (0, -1), (1, 0), (1, 1), (1, -1)]
}

_ONE = np.zeros(1, np.int64)  # the only copy of a single environment

_WALL, _FLOOR, _SIGN, _GOAL, _WRONG, _AGENT = (
    np.array(rgb, np.uint8)
    for rgb in [(40, 40, 48), (225, 225, 220), (240, 200, 70), (80, 170, 90), (205, 85, 75), (50, 95, 190)]
)


class TMaze(gym.Env[NDArray[np.float32], int]):
    """Walk a corridor of L cells, then turn to the side that a sign showed once.

    After Bakker 2001, "Reinforcement Learning with Long Short-Term Memory", in the form of Ni et al. 2023,
    "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment", with their rewards. ::

        passive, L = 6        active, L = 6
                    G                       G
        o . . . . . +         o s . . . . . +
                    .                       .

    o is the sign (x = 0), + the junction, G the goal, above or below the junction with equal chance. In the
    passive maze the agent starts on the sign, in the active one at s, and may choose to go and look.

    **What is seen**: two numbers. On the sign, at the first visit only, (0, side), where side is 1 (goal
    above) or -1 (below); anywhere else in the corridor, and on the sign again, (0, 0); at the junction and
    beyond it (1, y), where y is 1 above, 0 at the junction and -1 below.

    **What must be remembered, and for how long**: the side, for L steps (passive) or L + 1 steps (active).

    **Actions**: 0 right, 1 up, 2 left, 3 down. A move into a wall does nothing.

    **Rewards**: the last step gives 1 if the agent stands at the height of the goal (y = side), else 0. Every
    step t before it costs 1/L if the agent is behind the straight path: x < t (passive), x < t - 1 (active).
    So an episode costs at most 1 (passive) or 1 + 1/L (active).

    **Ending**: terminated after L + 1 (passive) or L + 3 (active) steps, never earlier, never truncated;
    `info["is_success"]` then says whether the goal was reached.

    **Optimal return**: 1. **Best memoryless return**: 0.5, for random policies too: whoever has seen the sign
    must go straight to the junction to be in time, and sees the same there, at the same step, for both sides.

    Args:
        length: L, cells from start to junction, at least 1.
        active: put the sign a step behind the start.
        render_mode: "ansi" (text), "rgb_array" (picture) or None. Pictures show the goal in green, which the
            agent cannot see.

    Raises:
        ValueError: a keyword is not as above.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 8}  # noqa: RUF012  # as in Gymnasium

    def __init__(self, length: int = 10, active: bool = False, render_mode: str | None = None) -> None:
        _check(length, active)
        if render_mode not in (None, "ansi", "rgb_array"):
            raise ValueError(f"render_mode: {render_mode!r} given, None, 'ansi' or 'rgb_array' allowed")
        self.length, self.active, self.render_mode = int(length), bool(active), render_mode
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(4)  # type: ignore[assignment]  # actions may be any kind of integer

        self.start = 1 if active else 0
        self.junction = self.start + self.length
        self.horizon = self.length + 1 + 2 * self.start
        self._behind = -1.0 / self.length  # reward of a step behind the straight path
        self._time = self.horizon  # as after an episode: a reset is due
        self._x, self._y, self._side, self._sign_seen = self.start, 0, 1, False
        self._streams: Streams | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Back to the start, with the goal on a random side; there are no options."""
        super().reset(seed=seed)
        if self._streams is None:
            self._streams = Streams([seed])
        else:
            self._streams.reseed([seed])
        self._side = int(_sides(self._streams.next_episode(_ONE))[0])
        self._x, self._y, self._sign_seen, self._time = self.start, 0, False, 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move one cell.

        Raises:
            ValueError: the action is not 0, 1, 2 or 3.
            ResetNeeded: the episode is over, or none has begun.
        """
        if self._time >= self.horizon:
            raise ResetNeeded("step: no episode is running; call reset first")
        action = index(action)
        if action == RIGHT:
            if self._x < self.junction:
                self._x += 1
        elif action == UP:
            if self._x == self.junction and self._y < 1:
                self._y += 1
        elif action == LEFT:
            if self._x > 0 and self._y == 0:
                self._x -= 1
        elif action == DOWN:
            if self._x == self.junction and self._y > -1:
                self._y -= 1
        else:
            raise ValueError(f"action: {action} given, 0 (right), 1 (up), 2 (left) or 3 (down) allowed")

        self._time = time = self._time + 1
        if time < self.horizon:
            reward = self._behind if self._x < time - self.start else 0.0
            return self._observe(), reward, False, False, {}
        success = self._y == self._side
        return self._observe(), float(success), True, False, {"is_success": success}

    def _observe(self) -> NDArray[np.float32]:
        if self._x == 0:
            seen = (0, 0) if self._sign_seen else (0, self._side)
            self._sign_seen = True
        else:
            seen = (0, 0) if self._x < self.junction else (1, self._y)
        return _OBSERVATIONS[seen].copy()

    def oracle(self) -> int:
        """Best action now, as `VectorTMaze.oracle` has it."""
        if self.active and self._x > 0 and not self._sign_seen and self._time <= self._x - 1:
            return LEFT
        if self._x < self.junction:
            return RIGHT
        return UP if self._side > 0 else DOWN

    def render(self) -> Any:
        """The maze from above, with the goal: text or a picture (height, width, 3), by `render_mode`."""
        if self.render_mode is not None and self._streams is None:
            raise ResetNeeded("render: no episode is running; call reset first")
        if self.render_mode == "ansi":
            return self.text()
        if self.render_mode == "rgb_array":
            return self.picture()
        gym.logger.warn("render: render_mode is None; use gymnasium.make(..., render_mode='rgb_array') or 'ansi'")
        return None

    def text(self) -> str:
        """The maze from above as text, with the goal."""
        rows = [[" "] * (self.junction + 1) for _ in range(3)]
        rows[1] = ["o", *"." * (self.junction - 1), "+"]
        rows[1 - self._side][-1], rows[1 + self._side][-1] = "G", "."
        rows[1 - self._y][self._x] = "A"
        maze = "\n".join("".join(row) for row in rows)
        return f"{maze}\nstep {self._time} of {self.horizon}\n"

    def picture(self) -> NDArray[np.uint8]:
        """The maze from above as a picture (height, width, 3), with the goal in green."""
        cell = max(6, min(32, 960 // (self.junction + 3)))  # pixels
        picture = np.empty((5 * cell, (self.junction + 3) * cell, 3), np.uint8)
        picture[:] = _WALL

        def block(x: int, y: int) -> NDArray[np.uint8]:
            top, left = (2 - y) * cell, (x + 1) * cell
            return picture[top : top + cell - 1, left : left + cell - 1]  # the missing pixel makes a grid line

        for x in range(self.junction + 1):
            block(x, 0)[:] = _SIGN if x == 0 else _FLOOR
        block(self.junction, self._side)[:] = _GOAL
        block(self.junction, -self._side)[:] = _WRONG
        offset = np.arange(cell - 1) - (cell - 2) / 2
        disc = offset[:, None] ** 2 + offset**2 <= (0.36 * cell) ** 2
        block(self._x, self._y)[disc] = _AGENT
        return picture


@register_env(
    EnvCard(
        id="memrl/TMaze-v0",
        horizon=11,
        remember="the goal's side, shown at the start and needed at the junction",
        steps_to_remember=10,
        optimal_return=1.0,
        memoryless_return=0.5,
    ),
    single_env=TMaze,
)
class VectorTMaze(ArrayEnv):
    """Many mazes at once, with the trajectories of `TMaze`, which describes them.

    The oracle knows the side of the goal, and in the active maze goes to see the sign first, as it has the time.

    Args:
        num_envs: mazes.
        length: L, cells from start to junction, at least 1.
        active: put the sign a step behind the start.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(self, num_envs: int, length: int = 10, active: bool = False, render_mode: str | None = None) -> None:
        _check(length, active)
        self.length, self.start = int(length), 1 if active else 0
        self.junction = self.start + self.length
        horizon = self.length + 1 + 2 * self.start
        super().__init__(num_envs, spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(4), horizon, render_mode)
        self.x, self.y, self.side = (np.zeros(num_envs, np.int64) for _ in range(3))
        self.sign_seen = np.zeros(num_envs, bool)  # in an earlier step
        self._drawn = TMaze(length, active, render_mode)

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.side[rows] = _sides(chance)
        self.x[rows], self.y[rows], self.sign_seen[rows] = self.start, 0, False

    def _step(self, actions: Array) -> Outcome:
        self.sign_seen |= self.x == 0
        at_junction = self.x == self.junction
        self.y += at_junction * ((actions == UP).astype(np.int64) - (actions == DOWN))
        np.clip(self.y, -1, 1, out=self.y)
        self.x += (actions == RIGHT).astype(np.int64) - ((actions == LEFT) & (self.y == 0))
        np.clip(self.x, 0, self.junction, out=self.x)
        over = self.steps == self.horizon
        success = self.y == self.side
        rewards = np.where(over, success, np.where(self.x < self.steps - self.start, -1.0 / self.length, 0.0))
        return Outcome(rewards, over, success)

    def _observe(self) -> Array:
        obs = np.zeros((self.num_envs, 2), np.float32)
        at_junction = self.x == self.junction
        obs[:, 0] = at_junction
        obs[:, 1] = np.where(at_junction, self.y, (self.x == 0) & ~self.sign_seen) * np.where(at_junction, 1, self.side)
        return obs

    def oracle(self) -> Array:
        """The sign first, if there is time for it, then the junction, then the goal."""
        look = (self.start > 0) & (self.x > 0) & ~self.sign_seen & (self.steps <= self.x - 1)
        turn = np.where(self.side > 0, UP, DOWN)
        return np.where(look, LEFT, np.where(self.x < self.junction, RIGHT, turn))

    def text(self, copy: int = 0) -> str:
        """As `TMaze` draws it."""
        return self._as_single(copy).text()

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """As `TMaze` draws it."""
        return self._as_single(copy).picture()

    def _as_single(self, copy: int) -> TMaze:
        maze = self._drawn
        maze._x, maze._y, maze._side = int(self.x[copy]), int(self.y[copy]), int(self.side[copy])
        maze._time = int(self.steps[copy])
        return maze


def _sides(chance: Chance) -> NDArray[np.int64]:
    return 1 - 2 * chance.integers(2)


def _check(length: object, active: object) -> None:
    whole_number("length", length, least=1, most=1_000_000)
    if not isinstance(active, bool | np.bool_):
        raise ValueError(f"active: {active!r} given, True or False needed")
