"""Key to door: take a colored key, pick apples for a long time, then open the door of the key's color."""

from math import isfinite

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .cards import EnvCard, register_env
from .chance import Chance
from .pictures import AGENT, FLOOR, INK, WALL, Canvas, Color
from .vector import Array, ArrayEnv, Outcome, whole_number

NORTH, SOUTH, WEST, EAST = range(4)

_SIZE = 5  # cells on each side of a room
_CELLS = _SIZE**2
_ENTRANCE = _CELLS - 1 - _SIZE // 2  # middle of the lowest row
_KEY_STEPS, _DOOR_STEPS = 15, 15
_DOWN, _RIGHT = np.array([-1, 1, 0, 0]), np.array([0, 0, -1, 1])  # by action

_COLORS: dict[str, Color] = {
    "red": (200, 60, 60),
    "green": (70, 160, 80),
    "blue": (60, 100, 200),
    "yellow": (235, 195, 60),
    "violet": (150, 80, 180),
}
_APPLE: Color = (225, 90, 40)


@register_env(
    EnvCard(
        id="memrl/KeyToDoor-v0",
        horizon=90,
        remember="the color of a key",
        steps_to_remember=61,
        optimal_return=1.97856,
        memoryless_return=1.31189,
    )
)
class KeyToDoor(ArrayEnv):
    """Take a key, pick apples for a long time, then open the door that has the key's color.

    After Hung et al. 2019, "Optimizing agent behavior over long time scales by transporting value", and Ni et al. 2023,
    "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment": the three phases of their Key-to-Door,
    with several doors as in their Visual Match. Each phase plays in a room of 5 x 5 cells of its own.

    1. Key, 15 steps. The agent starts in a random cell of the lowest row; a key of random color lies in a random cell
       of the upper two. Stepping on it takes it.
    2. Apples, `distractor` steps. The agent starts in the middle of the lowest row. There is always one apple, in a
       random cell; stepping on it picks it, and another one appears in a random cell without the agent.
    3. Doors, 15 steps. The agent starts as in phase 2. A door of each color is in the upper row, in random order, as
       far from each other as possible (three: in columns 0, 2 and 4). Stepping on a door ends the episode.

    The published ones have ten apples that grow again after 20 steps, a single color (Key-to-Door) or no key to take
    (Visual Match), and larger rooms, of which 5 x 5 cells around the agent are seen.

    **What is seen**: one-hot, the agent's cell (25 numbers, row by row from above), the cell of key or apple (25; no 1
    if there is none), what lies there (colors + 1: a key of each color, an apple), and the color of each door from left
    to right (colors numbers each; no 1 outside phase 3). Not whether the agent has the key.

    **What must be remembered, and for how long**: the key's color, from when it is taken to the doors: `distractor` + 1
    steps if it is taken with the last step of phase 1, more if earlier.

    **Actions**: 0 north, 1 south, 2 west, 3 east. A step into the wall does nothing.

    **Rewards**: for an apple, `apple_reward` in every other episode on average and a tenth of it in the others; 1 for
    the door of the key's color, if the agent has the key; else 0.

    **Ending**: terminated at a door, or after 15 + `distractor` + 15 steps; never truncated. `info["is_success"]`: the
    right door was opened.

    **Optimal return**: 1 for the door and what the apples bring: at best 17.792 apples in 60 steps, worth 0.055 each on
    average. **Best memoryless return**: as many apples and 1/colors for the door, as what is seen of phase 3 tells
    nothing about the key: 1.31189.

    The oracle is a player who remembers the key's color, and whether it was taken.

    Args:
        num_envs: games.
        distractor: steps of phase 2, from 0.
        colors: of keys and doors, 2 to 5.
        apple_reward: the most that an apple can bring, at least 0.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(
        self,
        num_envs: int,
        distractor: int = 60,
        colors: int = 3,
        apple_reward: float = 0.1,
        render_mode: str | None = None,
    ) -> None:
        self.distractor = whole_number("distractor", distractor, least=0)
        self.colors = whole_number("colors", colors, least=2, most=len(_COLORS))
        numeric = isinstance(apple_reward, int | float | np.integer | np.floating) and not isinstance(
            apple_reward, bool
        )
        if not numeric or not isfinite(apple_reward) or apple_reward < 0:
            raise ValueError(f"apple_reward: {apple_reward!r} given, a number of at least 0 needed")
        self.apple_reward = float(apple_reward)
        self.doors_open = _KEY_STEPS + self.distractor  # the step after which the doors are seen
        self._width = 2 * _CELLS + self.colors + 1 + self.colors**2  # of an observation
        space = spaces.Box(0.0, 1.0, (self._width,), np.float32)
        super().__init__(num_envs, space, spaces.Discrete(4), self.doors_open + _DOOR_STEPS, render_mode)

        self._door_cells = np.linspace(0, _SIZE - 1, self.colors).round().astype(np.int64)
        self._door_of = np.full(_CELLS, -1)
        self._door_of[self._door_cells] = np.arange(self.colors)
        y, x = np.divmod(np.arange(_CELLS), _SIZE)
        self._next_cell = np.clip(y + _DOWN[:, None], 0, _SIZE - 1) * _SIZE + np.clip(x + _RIGHT[:, None], 0, _SIZE - 1)

        self.cell, self.key_cell, self.key_color, self.apple_cell = (np.zeros(num_envs, np.int64) for _ in range(4))
        self.has_key = np.zeros(num_envs, bool)
        self.worth = np.zeros(num_envs)  # of an apple
        self.door_colors = np.zeros((num_envs, self.colors), np.int64)  # from left to right

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.cell[rows] = _CELLS - 1 - chance.integers(_SIZE)
        self.key_cell[rows], self.key_color[rows] = chance.integers(2 * _SIZE), chance.integers(self.colors)
        self.has_key[rows] = False
        self.worth[rows] = self.apple_reward * np.where(chance.integers(2) == 1, 1.0, 0.1)
        self.apple_cell[rows] = _other_cell(chance, _ENTRANCE)
        self.door_colors[rows] = chance.permutation(self.colors)

    def _step(self, actions: Array) -> Outcome:
        time = self.steps - 1  # of what the player saw
        self.cell = self._next_cell[actions, self.cell]

        self.has_key |= (time < _KEY_STEPS) & (self.cell == self.key_cell)
        picked = (time >= _KEY_STEPS) & (time < self.doors_open) & (self.cell == self.apple_cell)
        rewards = picked * self.worth
        if picked.any():
            self.apple_cell = np.where(picked, _other_cell(self._chance_now(), self.cell), self.apple_cell)
        door = np.where(time >= self.doors_open, self._door_of[self.cell], -1)
        success = (door >= 0) & self.has_key & (self.door_colors[self._all, door] == self.key_color)
        rewards += success

        self.cell[(self.steps == _KEY_STEPS) | (self.steps == self.doors_open)] = _ENTRANCE
        return Outcome(rewards, (door >= 0) | (self.steps == self.horizon), success)

    def _observe(self) -> Array:
        obs = np.zeros((self.num_envs, self._width), np.float32)
        obs[self._all, self.cell] = 1
        keys, apples, doors = self._in_view()
        obs[keys, _CELLS + self.key_cell[keys]] = 1
        obs[keys, 2 * _CELLS + self.key_color[keys]] = 1
        obs[apples, _CELLS + self.apple_cell[apples]] = 1
        obs[apples, 2 * _CELLS + self.colors] = 1
        first = 2 * _CELLS + self.colors + 1
        obs[doors[:, None], first + self.colors * np.arange(self.colors) + self.door_colors[doors]] = 1
        return obs

    def _in_view(self) -> tuple[Array, Array, Array]:
        """Copies in which a key, an apple, doors are in view."""
        in_key_room, at_doors = self.steps < _KEY_STEPS, self.steps >= self.doors_open
        keys, apples = in_key_room & ~self.has_key, ~in_key_room & ~at_doors
        return np.flatnonzero(keys), np.flatnonzero(apples), np.flatnonzero(at_doors)

    def oracle(self) -> Array:
        """To the key, to the apple, to the right door on a way past the others."""
        right_door = self._door_cells[(self.door_colors == self.key_color[:, None]).argmax(axis=1)]
        goal = np.where(self.steps < _KEY_STEPS, self.key_cell, self.apple_cell)
        goal = np.where(self.steps >= self.doors_open, right_door, goal)
        down, right = goal // _SIZE - self.cell // _SIZE, goal % _SIZE - self.cell % _SIZE
        sideways = np.where(right > 0, EAST, WEST)
        actions = np.where(right != 0, sideways, np.where(down > 0, SOUTH, NORTH))
        in_door_row = (self.steps >= self.doors_open) & (self.cell < _SIZE) & (right != 0)
        return np.where(in_door_row, SOUTH, actions)

    def text(self, copy: int = 0) -> str:
        """The room: A is the agent, k the key, a the apple; doors have the first letters of their colors."""
        cells = ["."] * _CELLS
        keys, apples, doors = self._in_view()
        names = list(_COLORS)
        if copy in keys:
            cells[self.key_cell[copy]] = "k"
        elif copy in apples:
            cells[self.apple_cell[copy]] = "a"
        elif copy in doors:
            for cell, color in zip(self._door_cells, self.door_colors[copy], strict=True):
                cells[cell] = names[color][0]
        cells[self.cell[copy]] = "A"
        room = "\n".join("".join(cells[row * _SIZE : (row + 1) * _SIZE]) for row in range(_SIZE))
        return f"{room}\n{self._caption(copy)}\n"

    def _caption(self, copy: int) -> str:
        color = list(_COLORS)[self.key_color[copy]]
        return f"{color} key{' taken' if self.has_key[copy] else ''}, step {self.steps[copy]} of {self.horizon}"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The room from above, with key, apple or doors; below it the key's color and whether the agent has it."""
        cell = 56
        canvas = Canvas(_SIZE * cell + 40, _SIZE * cell + 70, WALL)
        keys, apples, doors = self._in_view()
        colors = list(_COLORS.values())

        def middle(place: int) -> tuple[float, float]:
            return 19 + (place % _SIZE + 0.5) * cell, 19 + (place // _SIZE + 0.5) * cell

        door_colors = dict(zip(self._door_cells.tolist(), self.door_colors[copy], strict=True)) if copy in doors else {}
        for place in range(_CELLS):
            left, top = 20 + place % _SIZE * cell, 20 + place // _SIZE * cell
            color = colors[door_colors[place]] if place in door_colors else FLOOR
            canvas.box(left, top, left + cell - 2, top + cell - 2, color)
        if copy in keys:
            _draw_key(canvas, *middle(self.key_cell[copy]), cell, colors[self.key_color[copy]])
        if copy in apples:
            canvas.disc(*middle(self.apple_cell[copy]), 0.22 * cell, _APPLE, INK)
        canvas.disc(*middle(self.cell[copy]), 0.36 * cell, AGENT, INK)
        _draw_key(canvas, 40, _SIZE * cell + 45, 44, colors[self.key_color[copy]])
        canvas.text(66, _SIZE * cell + 34, self._caption(copy), FLOOR, size=16)
        return canvas.pixels()


def _other_cell(chance: Chance, cells: Array | int) -> Array:
    """A random cell for each row that is not the one in `cells`."""
    drawn = chance.integers(_CELLS - 1)
    return drawn + (drawn >= cells)


def _draw_key(canvas: Canvas, x: float, y: float, size: float, color: Color) -> None:
    canvas.disc(x - 0.2 * size, y, 0.16 * size, color, INK)
    canvas.line([(x - 0.05 * size, y), (x + 0.36 * size, y)], color, 5)
    canvas.line([(x + 0.3 * size, y), (x + 0.3 * size, y + 0.16 * size)], color, 5)
