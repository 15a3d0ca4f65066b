"""Mystery Path: an invisible path across a grid; a step beside it leads back to its start."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .cards import EnvCard, register_env
from .chance import Chance
from .headings import ARROWS, EAST, NORTH, SOUTH, STAY, WEST, draw_agent, draw_arrow, moved, tiles_ahead, towards
from .pictures import CUE, FLOOR, GOAL, INK, WALL, WRONG, Canvas, Color
from .vector import Array, ArrayEnv, Outcome, whole_number

_OFF = -1  # no way on: the tile is not on the path

# By border of the start (left, right, top, bottom): the way across, and the ways along the border, forth and back.
_WAYS = np.array([[EAST, SOUTH, NORTH], [WEST, SOUTH, NORTH], [SOUTH, EAST, WEST], [NORTH, EAST, WEST]])


@register_env(
    EnvCard(
        id="memrl/MysteryPath-v0",
        horizon=128,
        remember="the path so far, and where it does not go on",
        steps_to_remember=126,
        optimal_return=1.0,
        memoryless_return=0.145,  # the best known
        memoryless_is_found=True,
        optimal_is_bound=True,
    )
)
class MysteryPath(ArrayEnv):
    """Find and walk an invisible path; after MysteryPath-Grid of Memory Gym, with symbols for pixels.

    Pleines et al. 2023, "Memory Gym: Partially Observable Challenges to Memory-Based Agents", with their rules and step
    limit. An agent that turns and steps stands at the start of the path, a random tile on one of the four borders, and
    faces north; the goal is a random tile on the opposite border. A step to a tile beside the path is a fall: the next
    action does nothing but bring the agent back to the start, facing as before. Start and goal look like any tile.

    Only the generation of paths differs. There, A* with random costs runs between random walls; here each tile has a
    cost from 1 to 20, log-uniform, and the path is the cheapest of those that never step back towards the border of
    the start. (Of 3,000 paths of theirs, 5 step back.) Lengths agree: 10.06 tiles on average, standard deviation 1.7,
    two thirds as short as start and goal allow, in both.

    **What is seen**: one-hot, the agent's tile (grid_size² numbers, row by row) and its heading (4: north, west, south,
    east); at last 1 after a fall, else 0.

    **What must be remembered, and for how long**: which tiles are on the path and which are not, until the goal is
    reached.

    **Actions**: 0 stay, 1 turn left, 2 turn right, 3 step forward. A step into the wall does nothing.

    **Rewards**: 1 at the goal, else 0.

    **Ending**: terminated at the goal or after `time_limit` steps, which belong to the task; never truncated.
    `info["is_success"]`: the goal was reached.

    **Optimal return**: at most 1, and more than 0.99: that is what a player gets who remembers the path so far and all
    falls, and steps away from the border of the start first. **Best memoryless return**: unknown. The card has
    0.145, of a random policy that always steps forward inside and turns only at the borders. Gradient ascent over all
    random policies, from there and from elsewhere, gained 0.002. It is not the best kind on every grid: with 2 x 2
    tiles and 8 steps, exact returns are 0.500 by the best map from observations to actions, 0.591 by turns at the
    borders, and 0.622 by the best of all that gradient ascent finds.

    The oracle knows the path.

    Args:
        num_envs: grids.
        grid_size: tiles on each side, 2 to 32.
        time_limit: steps, at least 1.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(
        self, num_envs: int, grid_size: int = 7, time_limit: int = 128, render_mode: str | None = None
    ) -> None:
        self.grid_size = whole_number("grid_size", grid_size, least=2, most=32)
        time_limit = whole_number("time_limit", time_limit, least=1)
        self.num_tiles = self.grid_size**2
        space = spaces.Box(0.0, 1.0, (self.num_tiles + 5,), np.float32)
        super().__init__(num_envs, space, spaces.Discrete(4), time_limit, render_mode)
        self._ahead = tiles_ahead(self.grid_size)
        self.tile, self.heading, self.start, self.goal = (np.zeros(num_envs, np.int64) for _ in range(4))
        self.fallen = np.zeros(num_envs, bool)
        self.way = np.full((num_envs, self.num_tiles), _OFF, np.int8)  # the heading that leads on to the goal, or _OFF

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.way[rows], self.start[rows], self.goal[rows] = random_paths(chance, self.grid_size)
        self.tile[rows], self.heading[rows], self.fallen[rows] = self.start[rows], NORTH, False

    def _step(self, actions: Array) -> Outcome:
        actions = np.where(self.fallen, STAY, actions)
        tile, self.heading = moved(self.tile, self.heading, actions, self._ahead)
        self.tile = np.where(self.fallen, self.start, tile)
        self.fallen = self.way[self._all, self.tile] == _OFF
        success = self.tile == self.goal
        return Outcome(success.astype(float), success | (self.steps == self.horizon), success)

    def _observe(self) -> Array:
        obs = np.zeros((self.num_envs, self.num_tiles + 5), np.float32)
        obs[self._all, self.tile] = 1
        obs[self._all, self.num_tiles + self.heading] = 1
        obs[:, -1] = self.fallen
        return obs

    def oracle(self) -> Array:
        """Along the path."""
        return np.where(self.fallen, STAY, towards(self.heading, self.way[self._all, self.tile]))

    def text(self, copy: int = 0) -> str:
        """The grid: the agent, S the start, G the goal, * the path."""
        tiles = ["." if way == _OFF else "*" for way in self.way[copy]]
        tiles[self.start[copy]], tiles[self.goal[copy]] = "S", "G"
        tiles[self.tile[copy]] = ARROWS[self.heading[copy]]
        size = self.grid_size
        grid = "\n".join("".join(tiles[row * size : (row + 1) * size]) for row in range(size))
        return f"{grid}\n{self._caption(copy)}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The grid: start yellow, goal green, arrows on the path; the agent's tile is red after a fall."""
        size = self.grid_size
        cell = min(56, 900 // size)
        canvas = Canvas(max(size * cell + 40, 300), size * cell + 70, WALL)
        for tile in range(self.num_tiles):
            x, y, way = 20 + tile % size * cell, 20 + tile // size * cell, int(self.way[copy, tile])
            color: Color = FLOOR if way != _OFF else (150, 150, 150)
            if tile == self.start[copy]:
                color = CUE
            elif tile == self.goal[copy]:
                color = GOAL
            elif tile == self.tile[copy] and self.fallen[copy]:
                color = WRONG
            canvas.box(x, y, x + cell - 2, y + cell - 2, color)
            if way != _OFF and tile != self.goal[copy]:
                draw_arrow(canvas, x + cell / 2 - 1, y + cell / 2 - 1, 0.3 * cell, way, INK, 3)
        x, y = 20 + self.tile[copy] % size * cell, 20 + self.tile[copy] // size * cell
        draw_agent(canvas, x + cell / 2 - 1, y + cell / 2 - 1, 0.36 * cell, int(self.heading[copy]))
        canvas.text(20, size * cell + 34, self._caption(copy), FLOOR, size=16)
        return canvas.pixels()

    def _caption(self, copy: int) -> str:
        return f"step {self.steps[copy]} of {self.horizon}{': fallen' if self.fallen[copy] else ''}"


def random_paths(chance: Chance, size: int) -> tuple[Array, Array, Array]:
    """A path for each row of `chance`, on a grid of size x size tiles: ways (rows, size²), starts and goals (rows,).

    A way is the heading that leads from a tile on to the goal, or -1 where the tile is not on the path; the goal's
    leads off the grid.
    """
    border, enter, leave = chance.integers(4), chance.integers(size), chance.integers(size)
    costs = np.ascontiguousarray(
        np.exp(chance.uniform(size, size, high=3.0)).transpose(1, 2, 0)
    )  # (ranks, lines, rows)
    turns = _cheapest_turns(costs, enter, leave)
    first, last, lines = turns[:-1, None], turns[1:, None], np.arange(size)[:, None]
    move = (lines < last) + 2 * (lines > last)  # 0 across, 1 forth, 2 back
    on_path = (np.minimum(first, last) <= lines) & (lines <= np.maximum(first, last))
    ways = np.where(on_path, _WAYS[border, move], _OFF)

    rows, tiles = np.arange(len(chance)), _tiles_by_rank(size)
    grids = np.empty((len(chance), size * size), np.int8)
    grids[rows, tiles[:, :, border]] = ways
    return grids, tiles[0, enter, border], tiles[-1, leave, border]


def _cheapest_turns(costs: Array, enter: Array, leave: Array) -> Array:
    """The cheapest paths from rank 0, which has the start, to the last rank, which has the goal.

    A path enters a rank at one line, walks along the rank to another line and steps on to the next rank.

    Args:
        costs: of tiles, (ranks, lines, n).
        enter: lines of the starts, (n,).
        leave: lines of the goals, (n,).

    Returns:
        Lines at which the path enters each rank, and the goal's line. Shape (ranks + 1, n).
    """
    rows = np.arange(costs.shape[2])
    until = costs.cumsum(axis=1)  # a walk from line i forth to j costs until[j] - before[i]
    before = until - costs
    best = np.full(costs.shape, np.inf)  # cost of the cheapest path to this rank that enters it at this line
    best[0, enter, rows] = 0.0
    for rank in range(len(costs) - 1):
        forth = until[rank] + np.minimum.accumulate(best[rank] - before[rank])
        back = np.minimum.accumulate((best[rank] + until[rank])[::-1])[::-1] - before[rank]
        np.minimum(forth, back, out=best[rank + 1])
    lines = np.arange(costs.shape[1])[:, None]
    turns = np.empty((len(costs) + 1, len(rows)), np.int64)
    turns[-1] = leave
    for rank in reversed(range(len(costs))):
        line = turns[rank + 1]
        forth, back = until[rank, line, rows] - before[rank], until[rank] - before[rank, line, rows]
        turns[rank] = (best[rank] + np.where(lines <= line, forth, back)).argmin(axis=0)
    return turns


def _tiles_by_rank(size: int) -> Array:
    """Tiles by rank, line and border of the start. Shape (size, size, 4)."""
    tiles = np.arange(size * size).reshape(size, size)
    return np.stack([tiles.T, tiles.T[::-1], tiles, tiles[::-1]], axis=2)
