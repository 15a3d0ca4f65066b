"""A pole on a cart of which only the positions, only the velocities or only noisy positions are seen."""

from math import cos, pi, sin
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .cards import EnvCard, register_env
from .chance import Chance
from .noise import add_noise
from .pictures import AGENT, CUE, INK, WALL, Canvas, Color
from .vector import Array, ArrayEnv, Outcome, one_of

LEFT, RIGHT = 0, 1

# Of Gymnasium's CartPole-v1; lengths in m, masses in kg, times in s, angles in rad.
_GRAVITY, _FORCE, _STEP = 9.8, 10.0, 0.02
_POLE_MASS, _MASS = 0.1, 0.1 + 1.0  # of the pole, and of pole and cart
_HALF_POLE = 0.5
_FARTHEST, _STEEPEST = 2.4, 12 * 2 * pi / 360  # where the pole counts as fallen

# Best linear feedback on (x, ẋ, θ, θ̇) of the pole near the upright, where every state costs its square and every
# force F costs F²: solution of the discrete Riccati equation.
_GAINS = np.array([-0.91012638, -2.13248802, -30.594563, -7.84150551])

_NAMES = ("cart position", "cart velocity", "pole angle", "pole velocity")
_UNITS = ("m", "m/s", "rad", "rad/s")

_STEPS = {"easy": 200, "medium": 400, "hard": 600}
_DEVIATIONS = {"easy": 0.1, "medium": 0.2, "hard": 0.3}

# Twice the places where an episode ends, as in Gymnasium.
_HIGH_POSITIONS = np.array([2 * _FARTHEST, 2 * _STEEPEST], np.float32)
# No episode gets faster than this: it has too little way to speed up on. tests/envs/test_cartpole.py has the sum.
_HIGH_VELOCITIES = np.array([11.0, 5.0], np.float32)


class CartPole(ArrayEnv):
    """What the tasks with cart and pole have in common: everything but what is seen.

    The dynamics are those of Gymnasium's CartPole-v1 (Barto, Sutton & Anderson 1983, "Neuronlike adaptive elements that
    can solve difficult learning control problems"), rewards and endings those of POPGym.
    """

    seen: ClassVar[tuple[int, int]]  # which of the four quantities of `state`

    def __init__(self, num_envs: int, high: Array, horizon: int, render_mode: str | None) -> None:
        self.box = spaces.Box(-high, high, dtype=np.float32)
        super().__init__(num_envs, self.box, spaces.Discrete(2), horizon, render_mode)
        self.state = np.zeros((4, num_envs))  # x, ẋ, θ, θ̇

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.state[:, rows] = chance.uniform(4, low=-0.05, high=0.05).T

    def _step(self, actions: Array) -> Outcome:
        self.state = moved(self.state, np.where(actions == RIGHT, _FORCE, -_FORCE))
        fallen = (abs(self.state[0]) > _FARTHEST) | (abs(self.state[2]) > _STEEPEST)
        return Outcome(np.full(self.num_envs, 1 / self.horizon), fallen, ~fallen, self.steps >= self.horizon)

    def _observe(self) -> Array:
        seen = np.empty((self.num_envs, 2), np.float32)
        seen[:, 0], seen[:, 1] = self.state[self.seen[0]], self.state[self.seen[1]]
        return seen

    def oracle(self) -> Array:
        """Linear feedback on the whole state."""
        return np.where(_GAINS @ self.state < 0, RIGHT, LEFT)

    def text(self, copy: int = 0) -> str:
        """All four quantities, and which of them are seen, and how."""
        return "".join(f"{name:13} {value:12} {seen}".rstrip() + "\n" for name, value, seen in self._story(copy))

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """Cart and pole between the ends of the track; where positions are seen, in yellow behind them what is seen."""
        canvas = Canvas(600, 330)
        canvas.line([(0, 190), (600, 190)], WALL, 2)
        for end in (-_FARTHEST, _FARTHEST):
            canvas.line([(_pixels(end), 170), (_pixels(end), 210)], WALL, 3)
        if self.seen == (0, 2):
            x, angle = self._observe()[copy].tolist()
            _draw(canvas, x, angle, CUE, CUE, width=17)
        _draw(canvas, float(self.state[0, copy]), float(self.state[2, copy]), INK, AGENT, width=8)
        for row, line in enumerate(self._story(copy)):
            for column, words in zip((20, 150, 260), line, strict=True):
                canvas.text(column, 225 + 20 * row, words, size=14)
        return canvas.pixels()

    def _story(self, copy: int) -> list[tuple[str, str, str]]:
        """Lines of a name, a value and how it is seen."""
        seen = dict(zip(self.seen, self._observe()[copy], strict=True))
        lines = [
            (name, f"{value:+.3f} {unit}", f"seen as {seen[place]:+.3f}" if place in seen else "hidden")
            for place, (name, unit, value) in enumerate(zip(_NAMES, _UNITS, self.state[:, copy], strict=True))
        ]
        return [*lines, ("step", f"{self.steps[copy]} of {self.horizon}", "")]


@register_env(
    EnvCard(
        id="memrl/PositionOnlyCartPole-v0",
        horizon=200,
        remember="the positions of a step ago, which give the velocities",
        steps_to_remember=1,
        optimal_return=1.0,
        memoryless_return=0.256,
        memoryless_is_found=True,
        twin_of={f"popgym-PositionOnlyCartPole{level.title()}-v0": {"difficulty": level} for level in _STEPS},
    )
)
class PositionOnlyCartPole(CartPole):
    """Balance a pole on a cart without seeing how fast they move; the twin of POPGym's PositionOnlyCartPole.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning"; dynamics of Gymnasium's
    CartPole-v1.

    **What is seen**: the position of the cart, in m from the middle of the track, and the angle of the pole, in rad
    from the upright, to the right positive.

    **What must be remembered, and for how long**: the positions of the step before, for one step: the differences are
    the velocities.

    **Actions**: 0 push left, 1 push right, with 10 N for 0.02 s.

    **Rewards**: 1/T for every step, the last one included. T is 200 (easy), 400 (medium), 600 (hard).

    **Ending**: terminated when the cart is more than 2.4 m from the middle or the pole more than 12° from the upright;
    truncated after T steps. `info["is_success"]`: the pole has not fallen.

    **Optimal return**: 1. **Best memoryless return**: 0.256 (easy), the best found among random policies that push
    right with a probability σ(a x + b θ), thresholds on them, and both with a small network in their place. It shakes
    the pole, which keeps it up for 51 of the 200 steps; the harder tasks only last longer: 0.127, 0.085.

    The oracle sees the velocities too. Two observations tell them, so that memory is enough for the same return.

    Args:
        num_envs: carts.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    seen = (0, 2)

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        horizon = _STEPS[one_of("difficulty", difficulty, tuple(_STEPS))]
        super().__init__(num_envs, _HIGH_POSITIONS, horizon, render_mode)


@register_env(
    EnvCard(
        id="memrl/NoisyPositionOnlyCartPole-v0",
        horizon=200,
        remember="noisy positions, to average them and to tell velocities",
        steps_to_remember=20,
        optimal_return=1.0,
        optimal_is_bound=True,
        memoryless_return=0.254,
        memoryless_is_found=True,
        twin_of={f"popgym-NoisyPositionOnlyCartPole{level.title()}-v0": {"difficulty": level} for level in _DEVIATIONS},
    )
)
class NoisyPositionOnlyCartPole(CartPole):
    """Balance a pole on a cart by noisy positions; the twin of POPGym's NoisyPositionOnlyCartPole.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning"; dynamics of Gymnasium's
    CartPole-v1.

    **What is seen**: the position of the cart, in m from the middle of the track, and the angle of the pole, in rad
    from the upright, each with normal noise of its own, in the first observation too: σ = 0.1 (easy), 0.2 (medium),
    0.3 (hard). They are clipped to twice the positions that end an episode.

    **What must be remembered, and for how long**: the positions of some twenty steps, to average them (the pole falls
    at 0.21 rad, which is no more than twice the noise) and to tell the velocities.

    **Actions**: 0 push left, 1 push right, with 10 N for 0.02 s.

    **Rewards**: 1/200 for every step, the last one included.

    **Ending**: terminated when the cart truly is more than 2.4 m from the middle or the pole more than 12° from the
    upright; truncated after 200 steps. `info["is_success"]`: the pole has not fallen.

    **Optimal return**: 1 is a bound, nearly reached in the easy task only: a Kalman filter with linear feedback gets
    0.99, 0.61, 0.37. **Best memoryless return**: 0.254 (easy), the best found among thresholds on a x + b θ, random
    policies that push right with a probability σ(a x + b θ), and both with a small network in their place; 0.20
    (medium) and 0.17 (hard) without the networks.

    The oracle knows the state, which noise hides from everybody else: it has perfect knowledge, not perfect memory.

    Args:
        num_envs: carts.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    seen = (0, 2)

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        self.deviation = _DEVIATIONS[one_of("difficulty", difficulty, tuple(_DEVIATIONS))]
        super().__init__(num_envs, _HIGH_POSITIONS, _STEPS["easy"], render_mode)

    def _observe(self) -> Array:
        return add_noise(super()._observe(), self.deviation, self._chance_now(), self.box)


@register_env(
    EnvCard(
        id="memrl/VelocityOnlyCartPole-v0",
        horizon=600,
        remember="the sum of all velocities, which gives the positions",
        steps_to_remember=599,
        optimal_return=1.0,
        memoryless_return=0.851,
        memoryless_is_found=True,
    )
)
class VelocityOnlyCartPole(CartPole):
    """Balance a pole on a cart without seeing where they are; POPGym's VelocityOnlyCartPole without a leak.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning"; dynamics of Gymnasium's
    CartPole-v1. Two things differ from POPGym 1.0.7, which shows the positions in the first observation of an episode,
    and whose observation space has no bounds.

    **What is seen**: the velocity of the cart, in m/s, and that of the pole, in rad/s, to the right positive.

    **What must be remembered, and for how long**: the angle of the pole, which the first two observations and the force
    between them tell, and from then on the sum of its velocities, for the rest of the episode.

    **Actions**: 0 push left, 1 push right, with 10 N for 0.02 s.

    **Rewards**: 1/T for every step, the last one included. T is 200 (easy), 400 (medium), 600 (hard, the default).

    **Ending**: terminated when the cart is more than 2.4 m from the middle or the pole more than 12° from the upright;
    truncated after T steps. `info["is_success"]`: the pole has not fallen.

    **Optimal return**: 1. **Best memoryless return**: 1.0 (easy), 0.998 (medium), 0.851 (hard), the best found among
    policies that push right where, or with a probability that grows with, a function of both velocities: linear, cubic
    with squashed terms, or a small network. So only the hard task asks for memory: pushing against the velocities lets
    the pole fall, but so slowly that it stands for 400 steps.

    The oracle sees the positions too. Memory is enough for the same return.

    Args:
        num_envs: carts.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    seen = (1, 3)

    def __init__(self, num_envs: int, difficulty: str = "hard", render_mode: str | None = None) -> None:
        horizon = _STEPS[one_of("difficulty", difficulty, tuple(_STEPS))]
        super().__init__(num_envs, _HIGH_VELOCITIES, horizon, render_mode)


def moved(state: Array, force: Array) -> Array:
    """The state (4, n) a step later, with a force (n,) on the cart, in N; Florian 2007 derives the equations.

    "Correct equations for the dynamics of the cart-pole system". No friction; Euler's method, as in Gymnasium.
    """
    x, x_velocity, angle, angle_velocity = state
    cosine, sine = np.cos(angle), np.sin(angle)
    moment = _POLE_MASS * _HALF_POLE
    push = (force + moment * np.square(angle_velocity) * sine) / _MASS
    angle_acceleration = (_GRAVITY * sine - cosine * push) / (
        _HALF_POLE * (4.0 / 3.0 - _POLE_MASS * np.square(cosine) / _MASS)
    )
    x_acceleration = push - moment * angle_acceleration * cosine / _MASS
    later = np.empty_like(state)
    later[0] = x + _STEP * x_velocity
    later[1] = x_velocity + _STEP * x_acceleration
    later[2] = angle + _STEP * angle_velocity
    later[3] = angle_velocity + _STEP * angle_acceleration
    return later


def _pixels(x: float) -> float:
    return 300 + 115 * x


def _draw(canvas: Canvas, x: float, angle: float, cart: Color, pole: Color, width: int) -> None:
    middle, length = _pixels(x), 115 * 2 * _HALF_POLE
    canvas.box(middle - 25 - width / 4, 165 - width / 4, middle + 25 + width / 4, 189, cart)
    canvas.line([(middle, 165), (middle + length * sin(angle), 165 - length * cos(angle))], pole, width)
