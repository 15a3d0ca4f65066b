"""A pendulum to swing up, of which only the angle, only the velocity or only a noisy angle is seen."""

from math import cos, pi, sin
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .cards import EnvCard, register_env
from .chance import Chance
from .noise import add_noise
from .pictures import AGENT, CUE, INK, WRONG, Canvas
from .vector import Array, ArrayEnv, Outcome, one_of

# Of Gymnasium's Pendulum-v1: a rod of 1 kg and 1 m, times in s, angles in rad.
_GRAVITY, _MASS, _LENGTH, _STEP = 10.0, 1.0, 1.0, 0.05
_FASTEST, _STRONGEST = 8.0, 2.0  # rad/s, N m
_FALL = 3 * _GRAVITY / (2 * _LENGTH)  # angular acceleration by gravity is this times sin θ
_WORST = -16.2736044  # POPGym's bound on Gymnasium's reward: -(π² + 0.1 · 8² + 0.001 · 2²)

# Best linear feedback on (θ, θ̇) near the upright for Gymnasium's costs: solution of the discrete Riccati equation.
_GAINS = (19.69321655, 5.26250008)
_NEAR = 8.0  # feedback takes over where it asks for no more than this

_STEPS = {"easy": 200, "medium": 150, "hard": 100}
_DEVIATIONS = {"easy": 0.1, "medium": 0.2, "hard": 0.3}
_OPTIMAL = 0.917  # bound; tests/envs/test_pendulum.py computes the optimum


class Pendulum(ArrayEnv):
    """What the tasks with a pendulum have in common: everything but what is seen.

    The dynamics are those of Gymnasium's Pendulum-v1, rewards and endings those of POPGym.
    """

    hidden: ClassVar[str]  # for people

    def __init__(self, num_envs: int, high: Array, horizon: int, render_mode: str | None) -> None:
        self.box = spaces.Box(-high, high, dtype=np.float32)
        torques = spaces.Box(-_STRONGEST, _STRONGEST, (1,), np.float32)
        super().__init__(num_envs, self.box, torques, horizon, render_mode)
        self.state = np.zeros((2, num_envs))  # θ, as often around as it went, and θ̇
        self.torques = np.zeros(num_envs)  # of the last step

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.state[:, rows] = (chance.uniform(2, low=-1.0, high=1.0) * [pi, 1.0]).T
        self.torques[rows] = 0.0

    def _step(self, actions: Array) -> Outcome:
        torques = actions[:, 0]
        costs = _upright(self.state[0]) ** 2 + 0.1 * self.state[1] ** 2 + 0.001 * torques**2
        self.state, self.torques = moved(self.state, torques), torques
        over = self.steps >= self.horizon
        standing = (abs(_upright(self.state[0])) < 0.2) & (abs(self.state[1]) < 1.0)
        rewards = (-_WORST / 2 - costs) / (-_WORST / 2) / self.horizon
        return Outcome(rewards, np.zeros(self.num_envs, bool), standing, over)

    def _observe(self) -> Array:
        seen = np.empty((self.num_envs, 2), np.float32)
        seen[:, 0], seen[:, 1] = np.cos(self.state[0]), np.sin(self.state[0])
        return seen

    def oracle(self) -> Array:
        """Pumps energy until the pendulum gets to the top (Åström & Furuta 2000), then linear feedback."""
        angle, velocity = _upright(self.state[0]), self.state[1]
        energy = velocity**2 / 2 + _FALL * (np.cos(angle) - 1)  # 0 at rest at the top; per moment of inertia
        pump = -energy * np.where(velocity >= 0, 1.0, -1.0)
        balance = -(_GAINS[0] * angle + _GAINS[1] * velocity)
        torques = np.clip(np.where(abs(balance) < _NEAR, balance, pump), -_STRONGEST, _STRONGEST)
        return np.asarray(torques, np.float32)[:, None]

    def text(self, copy: int = 0) -> str:
        """The state, the last torque, and what is seen."""
        return "".join(f"{name:8} {value}\n" for name, value in self._story(copy))

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The rod, in red how fast its end moves, and where an angle is seen, in yellow behind it what is seen."""
        canvas = Canvas(360, 500)
        middle, length = 180.0, 125.0
        angle, velocity = self.state[:, copy].tolist()
        x, y = middle + length * sin(angle), middle - length * cos(angle)
        seen = self._observe()[copy]
        if len(seen) == 2:  # cos θ, sin θ
            canvas.line([(middle, middle), (middle + length * seen[1], middle - length * seen[0])], CUE, 22)
        canvas.line([(middle, middle), (x, y)], AGENT, 12)
        canvas.disc(middle, middle, 9, INK)
        speed = 5 * velocity  # pixels
        canvas.line([(x, y), (x + speed * (middle - y) / length, y + speed * (x - middle) / length)], WRONG, 4)
        for row, (name, value) in enumerate(self._story(copy)):
            canvas.text(20, 370 + 20 * row, name, size=14)
            canvas.text(90, 370 + 20 * row, value, size=14)
        return canvas.pixels()

    def _story(self, copy: int) -> list[tuple[str, str]]:
        """Lines of a name and a value."""
        return [
            ("angle", f"{_upright(self.state[0, copy]):+.3f} rad from the upright"),
            ("velocity", f"{self.state[1, copy]:+.3f} rad/s"),
            ("torque", f"{self.torques[copy]:+.3f} N m"),
            ("hidden", self.hidden),
            ("seen", "  ".join(f"{value:+.3f}" for value in self._observe()[copy])),
            ("step", f"{self.steps[copy]} of {self.horizon}"),
        ]


@register_env(
    EnvCard(
        id="memrl/PositionOnlyPendulum-v0",
        horizon=200,
        remember="the angle of a step ago, which gives the velocity",
        steps_to_remember=1,
        optimal_return=_OPTIMAL,
        optimal_is_bound=True,
        memoryless_return=0.368,
        memoryless_is_found=True,
        twin_of={f"popgym-PositionOnlyPendulum{level.title()}-v0": {"difficulty": level} for level in _STEPS},
    )
)
class PositionOnlyPendulum(Pendulum):
    """Swing a pendulum up without seeing how fast it is; the twin of POPGym's PositionOnlyPendulum.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning"; dynamics of Gymnasium's
    Pendulum-v1.

    **What is seen**: the cosine and sine of θ, the angle from the upright, clockwise positive.

    **What must be remembered, and for how long**: the angle of the step before, for one step: the difference is the
    velocity.

    **Actions**: a torque in [-2, 2] N m for 0.05 s, clockwise positive, too weak to lift the pendulum at once.

    **Rewards**: (1 - c / 8.137) / T for every step, where c = θ² + 0.1 θ̇² + 0.001 torque², before the step, θ in
    [-π, π). T is 200 (easy), 150 (medium), 100 (hard).

    **Ending**: truncated after T steps. `info["is_success"]`: the pendulum stands, |θ| < 0.2 and |θ̇| < 1.

    **Optimal return**: 0.917 is a bound (easy); the optimum is 0.915 to 0.916 by value iteration, and the oracle gets
    0.908. **Best memoryless return**: 0.368 (easy), the best found among torques that are tables of the angle, Fourier
    series of it up to the sixth order, small networks, and these with normal noise. Whatever pushes by the angle alone
    brakes no swing: best is to hold against gravity, which makes the pendulum slow.

    The oracle sees the velocity too: it pumps energy until the pendulum gets to the top, then it balances.

    Args:
        num_envs: pendulums.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    hidden = "velocity"

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        horizon = _STEPS[one_of("difficulty", difficulty, tuple(_STEPS))]
        super().__init__(num_envs, np.ones(2, np.float32), horizon, render_mode)


@register_env(
    EnvCard(
        id="memrl/NoisyPositionOnlyPendulum-v0",
        horizon=200,
        remember="noisy angles, to average them and to tell the velocity",
        steps_to_remember=20,
        optimal_return=_OPTIMAL,
        optimal_is_bound=True,
        memoryless_return=0.343,
        memoryless_is_found=True,
        twin_of={f"popgym-NoisyPositionOnlyPendulum{level.title()}-v0": {"difficulty": level} for level in _DEVIATIONS},
    )
)
class NoisyPositionOnlyPendulum(Pendulum):
    """Swing a pendulum up by noisy angles; the twin of POPGym's NoisyPositionOnlyPendulum.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning"; dynamics of Gymnasium's
    Pendulum-v1.

    **What is seen**: the cosine and sine of θ, the angle from the upright, clockwise positive, each with normal noise
    of its own, in the first observation too: σ = 0.1 (easy), 0.2 (medium), 0.3 (hard). They are clipped to [-1, 1].

    **What must be remembered, and for how long**: the angles of some twenty steps, to average them and to tell the
    velocity.

    **Actions**: a torque in [-2, 2] N m for 0.05 s, clockwise positive, too weak to lift the pendulum at once.

    **Rewards**: (1 - c / 8.137) / 200 for every step, where c = θ² + 0.1 θ̇² + 0.001 torque², before the step, θ in
    [-π, π).

    **Ending**: truncated after 200 steps. `info["is_success"]`: the pendulum stands, |θ| < 0.2 and |θ̇| < 1.

    **Optimal return**: 0.917 is a bound, that of a player to whom noise hides nothing. **Best memoryless return**:
    0.343 (easy), the best found among torques that are Fourier series of the angle seen, up to the sixth order, and
    those of the first with normal noise.

    The oracle knows the state, which noise hides from everybody else: it has perfect knowledge, not perfect memory. It
    pumps energy until the pendulum gets to the top, then it balances, and gets 0.908.

    Args:
        num_envs: pendulums.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    hidden = "angle and velocity, behind noise"

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        self.deviation = _DEVIATIONS[one_of("difficulty", difficulty, tuple(_DEVIATIONS))]
        super().__init__(num_envs, np.ones(2, np.float32), _STEPS["easy"], render_mode)

    def _observe(self) -> Array:
        return add_noise(super()._observe(), self.deviation, self._chance_now(), self.box)


@register_env(
    EnvCard(
        id="memrl/VelocityOnlyPendulum-v0",
        horizon=200,
        remember="the velocities and torques, which give the angle",
        steps_to_remember=199,
        optimal_return=_OPTIMAL,
        optimal_is_bound=True,
        memoryless_return=0.639,
        memoryless_is_found=True,
    )
)
class VelocityOnlyPendulum(Pendulum):
    """Swing a pendulum up without seeing its angle, in the manner of POPGym, which has no such task.

    Dynamics of Gymnasium's Pendulum-v1; rewards and steps of POPGym's PositionOnlyPendulum.

    **What is seen**: the velocity θ̇, in rad/s, clockwise positive, at most 8.

    **What must be remembered, and for how long**: the angle. Each pair of velocities and the torque between them tell
    the sine of θ; which of the two angles it is, the next ones tell; the sum of the velocities keeps it from then on,
    for the rest of the episode.

    **Actions**: a torque in [-2, 2] N m for 0.05 s, clockwise positive, too weak to lift the pendulum at once.

    **Rewards**: (1 - c / 8.137) / T for every step, where c = θ² + 0.1 θ̇² + 0.001 torque², before the step, θ in
    [-π, π). T is 200 (easy), 150 (medium), 100 (hard).

    **Ending**: truncated after T steps. `info["is_success"]`: the pendulum stands, |θ| < 0.2 and |θ̇| < 1.

    **Optimal return**: 0.917 is a bound (easy), as in PositionOnlyPendulum. **Best memoryless return**: 0.639 (easy),
    the best found among torques that are step functions or piecewise linear in the velocity, odd or not, with and
    without normal noise; by the cross-entropy method, as experiments/environments/memoryless.py does it. It goes with
    fast swings and against very slow ones, so that the pendulum falls slowly from the top.

    The oracle sees the angle too: it pumps energy until the pendulum gets to the top, then it balances.

    Args:
        num_envs: pendulums.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    hidden = "angle"

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        horizon = _STEPS[one_of("difficulty", difficulty, tuple(_STEPS))]
        super().__init__(num_envs, np.full(1, _FASTEST, np.float32), horizon, render_mode)

    def _observe(self) -> Array:
        return np.asarray(self.state[1], np.float32)[:, None]


def moved(state: Array, torques: Array) -> Array:
    """The state (2, n) a step later, with a torque (n,) on each pendulum, in N m; the velocity moves first."""
    angle, velocity = state
    later = np.empty_like(state)
    later[1] = velocity + (_FALL * np.sin(angle) + 3.0 / (_MASS * _LENGTH**2) * torques) * _STEP
    np.clip(later[1], -_FASTEST, _FASTEST, out=later[1])
    later[0] = angle + later[1] * _STEP
    return later


def _upright(angle: Array) -> Array:
    """The same angle in [-π, π)."""
    return np.asarray((angle + pi) % (2 * pi) - pi)
