"""Proof of memory: a line with a good and a bad end; which is which is shown for two steps."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .cards import EnvCard, register_env
from .chance import Chance
from .pictures import AGENT, CUE, FLOOR, GOAL, INK, WALL, WRONG, Canvas
from .vector import Array, ArrayEnv, Outcome, whole_number

LEFT, RIGHT = range(2)

_END = 5  # steps from the middle to either end
_NEAR = 2  # a start is no farther than this from the middle
_SHOWN = 2  # the last step after which the ends are shown
_STEP, _GOAL = -0.1, 1.6  # rewards
_POSITIONS = np.round(0.2 * np.arange(-_END, _END + 1), 2).astype(np.float32)


@register_env(
    EnvCard(
        id="memrl/ProofOfMemory-v0",
        horizon=16,
        remember="which end is the good one, shown for two steps",
        steps_to_remember=6,
        optimal_return=1.2,
        memoryless_return=0.34,
    )
)
class ProofOfMemory(ArrayEnv):
    """Walk to the good end of a line, which was shown at the start; PocMemory and its frozen form ProofofMemory.

    PocMemory is from Pleines 2021, "recurrent-ppo-truncated-bptt"; ProofofMemory, in CleanRL's ppo_trxl, is the same
    with `frozen=True` and a limit of 16 steps. The line has 11 places, 0.2 apart, from -1 to 1; the agent starts at
    -0.4, -0.2, 0, 0.2 or 0.4. One end is good, the other one bad, with equal chance.

    **What is seen**: three numbers: the left end, the position, the right end. An end is 1 (good) or -1 (bad) in the
    first observation and after the first two steps, later 0.

    **What must be remembered, and for how long**: which end is the good one, for up to 6 steps. Only in the frozen
    form: else three steps are taken with the ends in view, after which the agent stands on the good end's side of
    the middle, and its position is all the memory that it needs.

    **Actions**: 0 left, 1 right. In the frozen form the first two steps do not move the agent.

    **Rewards**: 1.6 at the good end, -1.6 at the bad one, -0.1 for any other step; 0 for the two frozen ones.

    **Ending**: terminated at either end, truncated after `time_limit` steps. (PocMemory has no limit, ProofofMemory 16
    steps.) `info["is_success"]`: the good end was reached.

    **Optimal return**: 1.2 in both forms. **Best memoryless return**: 0.34 if frozen, else 1.2 as well. The frozen
    agent still takes its third step with the ends in view; after it, all that can be done is to go to the nearer end.

    The oracle is a player who remembers the good end.

    Args:
        num_envs: lines.
        frozen: whether the agent is held for the first two steps.
        time_limit: steps, from 9, with which there is time to reach either end.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(
        self, num_envs: int, frozen: bool = True, time_limit: int = 16, render_mode: str | None = None
    ) -> None:
        if not isinstance(frozen, bool | np.bool_):
            raise ValueError(f"frozen: {frozen!r} given, True or False needed")
        self.frozen = bool(frozen)
        time_limit = whole_number("time_limit", time_limit, least=_SHOWN + _END + _NEAR)
        super().__init__(num_envs, spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Discrete(2), time_limit, render_mode)
        self.place = np.zeros(num_envs, np.int64)  # -5 to 5
        self.good = np.ones(num_envs, np.int64)  # 1: the right end is the good one, -1: the left end

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.place[rows] = chance.integers(2 * _NEAR + 1) - _NEAR
        self.good[rows] = 2 * chance.integers(2) - 1

    def _step(self, actions: Array) -> Outcome:
        move = 2 * actions.astype(np.int64) - 1
        rewards = np.full(self.num_envs, _STEP)
        if self.frozen:
            held = self.steps <= _SHOWN
            move[held] = 0
            rewards[held] = 0.0
        self.place += move
        terminated = np.abs(self.place) == _END
        success = self.place == _END * self.good
        rewards[terminated] = _GOAL * np.where(success[terminated], 1.0, -1.0)
        return Outcome(rewards, terminated, success, ~terminated & (self.steps == self.horizon))

    def _observe(self) -> Array:
        obs = np.empty((self.num_envs, 3), np.float32)
        obs[:, 2] = self.good * (self.steps <= _SHOWN)
        obs[:, 0] = -obs[:, 2]
        obs[:, 1] = _POSITIONS[self.place + _END]
        return obs

    def oracle(self) -> Array:
        """Towards the good end."""
        return (self.good > 0).astype(np.int64)

    def text(self, copy: int = 0) -> str:
        """The line: A is the agent, + the good end, - the bad one."""
        line = ["."] * len(_POSITIONS)
        line[0], line[-1] = "-+" if self.good[copy] > 0 else "+-"
        line[self.place[copy] + _END] = "A"
        return f"{''.join(line)}\n{self._caption(copy)}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The line; the good end is green, the bad one red, and yellow frames them as long as the agent sees them."""
        cell = 40
        canvas = Canvas(cell * (len(_POSITIONS) + 1), 3 * cell, WALL)
        bad_end = 0 if self.good[copy] > 0 else len(_POSITIONS) - 1
        for place in range(len(_POSITIONS)):
            left, top = cell * (place + 0.5), cell / 2
            is_end = place in (0, len(_POSITIONS) - 1)
            if is_end and self.steps[copy] <= _SHOWN:
                canvas.box(left - 4, top - 4, left + cell + 2, top + cell + 2, CUE)
            color = FLOOR if not is_end else WRONG if place == bad_end else GOAL
            canvas.box(left, top, left + cell - 2, top + cell - 2, color)
        canvas.disc(cell * (self.place[copy] + _END + 1) - 1, cell - 1, 0.36 * cell, AGENT, INK)
        canvas.text(cell / 2, 2 * cell, self._caption(copy), FLOOR, size=16)
        return canvas.pixels()

    def _caption(self, copy: int) -> str:
        return f"step {self.steps[copy]} of at most {self.horizon}"
