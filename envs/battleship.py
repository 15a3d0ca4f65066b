"""Battleship: find ships on a board of which only hits and misses are told."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .cards import EnvCard, register_env
from .chance import Chance
from .pictures import FLOOR, WRONG, Canvas
from .vector import Array, ArrayEnv, Outcome, one_of

SHIPS = (2, 3, 3, 4)  # lengths

_SIZES = {"easy": 8, "medium": 10, "hard": 12}
_HIT_WEIGHT = np.float32(5)  # of a place, for each hit in it; tried: 2 to 100
_SHIP, _SEA = (70, 70, 82), (120, 160, 200)


@register_env(
    EnvCard(
        id="memrl/Battleship-v0",
        horizon=64,
        remember="the squares that were shot at, and whether a ship was there",
        steps_to_remember=62,
        optimal_return=1.0,
        optimal_is_bound=True,
        memoryless_return=-0.436,
        memoryless_is_found=True,
        twin_of={f"popgym-Battleship{level.title()}-v0": {"difficulty": level} for level in _SIZES},
    )
)
class Battleship(ArrayEnv):
    """Find a hidden fleet shot by shot, told hit or miss only; the twin of POPGym's Battleship.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning". The board has 8 x 8 (easy),
    10 x 10 (medium) or 12 x 12 squares (hard). Ships of 2, 3, 3 and 4 squares are placed one after the other, each at
    a random free place; they may touch.

    **What is seen**: 1 if the last shot hit a ship where it had not been hit before, else 0; 0 at the start. As in
    POPGym, it does not say where that shot went, and without that the game cannot be learned: `PreviousInputs` puts
    the last action into the observation (`VectorPreviousInputs`, and `memrl.agents.VecPreviousInputs` for agents).

    **What must be remembered, and for how long**: each shot with its outcome, to the end: up to 62 steps (easy), 98
    (medium), 142 (hard).

    **Actions**: two numbers, row and column of a square.

    **Rewards**: 1/12 for a hit, else -1/(s - 12), where s is the number of squares. A square that was shot at before is
    a miss.

    **Ending**: terminated when all ships are sunk, truncated after s steps (both at once if the last shot sinks the
    last ship). `info["is_success"]`: all ships were sunk.

    **Optimal return**: below 1, which takes 12 hits without a miss; the best is not known. **Best memoryless return**:
    -0.436 (easy), -0.404 (medium), -0.389 (hard), by random shots, somewhat more often where ships are likelier. That
    is the best of the policies that shoot alike after a hit and after a miss, but not of all: on 3 x 3 squares with one
    ship of 2, exact returns are -0.93 by the best map from observations to squares, -0.238 by shots that are always
    alike, and -0.139 by the best of all that gradient ascent finds, which keeps the middle for after a hit. On 8 x 8
    squares, keeping some so gained less than 0.003 in what was tried. Whoever sees its last action can go through the
    squares in order, which earns at least 0.

    The oracle remembers all shots and fires at the square covered by most of the places that the ships may have, where
    a place counts five times as much for each hit in it. It gets 0.56 (easy), 0.59 (medium), 0.61 (hard).

    Args:
        num_envs: games.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        self.size = size = _SIZES[one_of("difficulty", difficulty, tuple(_SIZES))]
        squares = size * size
        super().__init__(
            num_envs, spaces.Discrete(2), spaces.MultiDiscrete(np.array([size, size])), squares, render_mode
        )
        self.ships = np.zeros((num_envs, squares), bool)
        self.shot_at = np.zeros((num_envs, squares), bool)
        self.hits = np.zeros(num_envs, np.int64)
        self.hit = np.zeros(num_envs, bool)  # by the last shot
        self._places = {length: ship_places(size, length) for length in SHIPS}
        self._apart = {(one, other): self._places[one] @ self._places[other].T == 0 for one in SHIPS for other in SHIPS}

    def _begin(self, rows: Array, chance: Chance) -> None:
        fleet = np.zeros((len(rows), self.size**2), np.float32)
        placed: list[tuple[int, Array]] = []
        for length in SHIPS:
            free = np.ones((len(rows), len(self._places[length])), bool)
            for other, place in placed:
                free &= self._apart[other, length][place]
            place = _one_of_the_true(free, chance)
            fleet += self._places[length][place]
            placed.append((length, place))
        self.ships[rows] = fleet > 0
        self.shot_at[rows] = False
        self.hits[rows] = 0
        self.hit[rows] = False

    def _step(self, actions: Array) -> Outcome:
        actions = actions.astype(np.int64, copy=False)
        squares = (self._all * self.size + actions[:, 0]) * self.size + actions[:, 1]  # of all boards in a row
        shot_at = self.shot_at.reshape(-1)
        self.hit = self.ships.take(squares) & ~shot_at.take(squares)
        shot_at[squares] = True
        self.hits += self.hit
        sunk = self.hits == sum(SHIPS)
        rewards = np.where(self.hit, 1 / sum(SHIPS), -1 / (self.horizon - sum(SHIPS)))
        return Outcome(rewards, sunk, sunk, self.steps >= self.horizon)

    def _observe(self) -> Array:
        return self.hit.astype(np.int64)

    def oracle(self) -> Array:
        """The square that most ships may cover, by what the shots have told."""
        hits, misses = (self.shot_at & self.ships).astype(np.float32), (self.shot_at & ~self.ships).astype(np.float32)
        score = np.zeros(hits.shape, np.float32)
        for length in SHIPS:
            places = self._places[length]
            score += ((misses @ places.T == 0) * _HIT_WEIGHT ** (hits @ places.T)) @ places
        score[self.shot_at] = -1
        return np.stack(np.divmod(score.argmax(axis=1), self.size), axis=1)

    def text(self, copy: int = 0) -> str:
        """The board: "X" a hit, "o" a miss, "#" a ship not yet hit there."""
        signs = np.array([[".", "o"], ["#", "X"]])[self.ships[copy].astype(int), self.shot_at[copy].astype(int)]
        board = "\n".join(" ".join(line) for line in signs.reshape(self.size, self.size))
        return f"{board}\n{self._caption(copy)}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The board: ships dark, hits red, misses white."""
        square = 336 // self.size
        side = square * self.size
        canvas = Canvas(side + 1, side + 28)
        for place in range(self.size**2):
            top, left = (square * part for part in divmod(place, self.size))
            color = _SHIP if self.ships[copy, place] else _SEA
            canvas.box(left + 1, top + 1, left + square - 1, top + square - 1, color)
            if self.shot_at[copy, place]:
                shot = WRONG if self.ships[copy, place] else FLOOR
                canvas.disc(left + square / 2, top + square / 2, 0.3 * square, shot)
        canvas.text(6, side + 5, self._caption(copy), size=15)
        return canvas.pixels()

    def _caption(self, copy: int) -> str:
        return f"{self.hits[copy]} of {sum(SHIPS)} hits, step {self.steps[copy]} of {self.horizon}"


def ship_places(size: int, length: int) -> NDArray[np.float32]:
    """All places of a ship on an empty board: 1 where it lies, else 0. Shape (places, squares)."""
    squares = np.arange(size * size).reshape(size, size)
    starts = squares[:, : size - length + 1].ravel()
    lying = starts[:, None] + np.arange(length)
    both = np.concatenate([lying, squares.T.ravel()[lying]])
    places = np.zeros((len(both), size * size), np.float32)
    np.put_along_axis(places, both, 1, axis=1)
    return places


def _one_of_the_true(which: Array, chance: Chance) -> Array:
    """A random true place of each row. Shape (rows,)."""
    rows, columns = which.shape
    counts = np.count_nonzero(which, axis=1)
    before = counts.cumsum() - counts
    places: Array = np.flatnonzero(which)[before + chance.integers(counts)] - columns * np.arange(rows)
    return places
