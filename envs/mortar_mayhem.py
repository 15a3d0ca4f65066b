"""Mortar Mayhem: commands are shown one by one, then carried out one by one, or the mortars hit."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .cards import EnvCard, register_env
from .chance import Chance
from .headings import ARROWS, NORTH, STAY, draw_agent, draw_arrow, moved, tiles_ahead, towards
from .pictures import CUE, FLOOR, GOAL, INK, WALL, WRONG, Canvas, Color
from .vector import Array, ArrayEnv, Outcome, whole_number

_HERE = 4  # the command to stay, after the four headings
_REWARD = 0.1
_DRAWS = 60  # outcomes of a draw: as many for each valid command, whether there are 3, 4 or 5


@register_env(
    EnvCard(
        id="memrl/MortarMayhem-v0",
        horizon=118,
        remember="ten commands in order",
        steps_to_remember=73,
        optimal_return=1.0,
        memoryless_return=0.035,
    )
)
class MortarMayhem(ArrayEnv):
    """Carry out a list of commands after it was shown; after MortarMayhem-Grid of Memory Gym, with symbols for pixels.

    Pleines et al. 2023, "Memory Gym: Partially Observable Challenges to Memory-Based Agents", with their rules and step
    limits. An agent that turns and steps stands on a random tile of a square arena and faces north. A command is a step
    north, west, south or east, or to stay; each is drawn from those that do not leave the arena, with equal chance.

    Commands are shown first, each for `show_duration` observations with `show_delay` empty ones after it; meanwhile
    actions do nothing. After the last of these observations the agent acts: it has `explosion_delay` + 1 steps to get
    to the tile to which the first command leads. With the last of these steps all other tiles explode, and go on for
    `explosion_duration` observations. The next step is the first one for the second command, which leads on from the
    tile to which the first one led; and so on.

    **What is seen**: one-hot, the agent's tile (arena_size² numbers, row by row), its heading (4: north, west, south,
    east) and the command (5: the headings, stay), no 1 while none is shown; at last 1 while tiles explode, else 0.

    **What must be remembered, and for how long**: all commands in order; the first one for 37 steps after it was last
    seen, the tenth one for 73.

    **Actions**: 0 stay, 1 turn left, 2 turn right, 3 step forward. A step into the wall does nothing.

    **Rewards**: 0.1 when an explosion begins and the agent is on the right tile.

    **Ending**: terminated when the agent is on an exploding tile, or with the last command's explosion: with ten
    commands after (3 + 1) 10 + (6 + 2) 10 - 2 = 118 steps. Never truncated. `info["is_success"]`: all commands were
    carried out. (Memory Gym also reports success if only the last one was not.)

    **Optimal return**: 0.1 for each command. **Best memoryless return**: 0.035, between 0.03499 and 0.03522: a command
    that is not known is best met by going to a corner, where only three are possible, and staying there.

    The oracle is a player who remembers the commands.

    Args:
        num_envs: arenas.
        num_commands: 1 to 1,000.
        arena_size: tiles on each side, 2 to 32.
        show_duration: observations that show a command, 1 to 100.
        show_delay: observations without a command after each, 0 to 100.
        explosion_delay: steps to carry out a command, 2 to 100; less can be too few.
        explosion_duration: observations of an explosion, 1 to 100.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(
        self,
        num_envs: int,
        num_commands: int = 10,
        arena_size: int = 5,
        show_duration: int = 3,
        show_delay: int = 1,
        explosion_delay: int = 6,
        explosion_duration: int = 2,
        render_mode: str | None = None,
    ) -> None:
        self.num_commands = whole_number("num_commands", num_commands, least=1, most=1000)
        self.arena_size = whole_number("arena_size", arena_size, least=2, most=32)
        shown = whole_number("show_duration", show_duration, least=1, most=100)
        each = shown + whole_number("show_delay", show_delay, least=0, most=100)
        delay = whole_number("explosion_delay", explosion_delay, least=2, most=100)
        duration = whole_number("explosion_duration", explosion_duration, least=1, most=100)
        self.first_move = self.num_commands * each  # the first step that moves the agent
        horizon = self.first_move + self.num_commands * (delay + duration) - duration
        self.num_tiles = self.arena_size**2
        space = spaces.Box(0.0, 1.0, (self.num_tiles + 10,), np.float32)
        super().__init__(num_envs, space, spaces.Discrete(4), horizon, render_mode)

        # By step: the command that is shown, or -1; the one to be carried out; whether its explosion is on, begins.
        step = np.arange(horizon + 1)
        self._shown = np.where((step < self.first_move) & (step % each < shown), step // each, -1)
        since = step - self.first_move
        self._current = np.maximum(since // (delay + duration), 0)
        self._explodes = (since >= 0) & (since % (delay + duration) >= delay)
        self._begins = self._explodes & (since % (delay + duration) == delay)

        self._ahead = tiles_ahead(self.arena_size)
        self._drawn = _drawn_tiles(self._ahead)
        self.tile, self.heading = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self.targets = np.zeros((num_envs, self.num_commands + 1), np.int64)  # the start, then a tile for each command

    def _begin(self, rows: Array, chance: Chance) -> None:
        tile = chance.integers(self.num_tiles)
        self.tile[rows], self.heading[rows] = tile, NORTH
        draws = chance.integers(_DRAWS, self.num_commands)
        targets = np.empty((self.num_commands + 1, len(rows)), np.int64)
        targets[0] = tile
        for command, draw in enumerate(draws.T):
            targets[command + 1] = self._drawn[draw, targets[command]]
        self.targets[rows] = targets.T

    def _step(self, actions: Array) -> Outcome:
        actions = np.where(self.steps >= self.first_move, actions, STAY)
        self.tile, self.heading = moved(self.tile, self.heading, actions, self._ahead)
        right = self.tile == self.targets[self._all, self._current[self.steps] + 1]
        rewards = _REWARD * (right & self._begins[self.steps])
        success = right & (self.steps == self.horizon)
        return Outcome(rewards, success | (self._explodes[self.steps] & ~right), success)

    def _observe(self) -> Array:
        obs = np.zeros((self.num_envs, self.num_tiles + 10), np.float32)
        obs[self._all, self.tile] = 1
        obs[self._all, self.num_tiles + self.heading] = 1
        shown = self._shown[self.steps]
        rows = np.flatnonzero(shown >= 0)
        obs[rows, self.num_tiles + 4 + self._commands(rows, shown[rows])] = 1
        obs[:, -1] = self._explodes[self.steps]
        return obs

    def _commands(self, rows: Array, numbers: Array) -> Array:
        """Commands by number, of the copies `rows`: a heading or `_HERE`."""
        return self._ways(self.targets[rows, numbers], self.targets[rows, numbers + 1])

    def _ways(self, tiles: Array, targets: Array) -> Array:
        """Headings of a step that brings tiles nearer to targets, sideways first; `_HERE` on the target."""
        down, right = (
            targets // self.arena_size - tiles // self.arena_size,
            targets % self.arena_size - tiles % self.arena_size,
        )
        return np.where(right != 0, 2 + np.sign(right), np.where(down != 0, 1 + np.sign(down), _HERE))

    def oracle(self) -> Array:
        """To the tile that is right at the next explosion, or in this one if it goes on, and no further."""
        current = self._current[np.minimum(self.steps + 1, self.horizon)]
        ways = self._ways(self.tile, self.targets[self._all, current + 1])
        return np.where(ways == _HERE, STAY, towards(self.heading, ways))

    def text(self, copy: int = 0) -> str:
        """The arena with the agent, x on the right tile, # for explosions; the commands, the current one marked."""
        tiles = ["#" if self._explodes[self.steps[copy]] else "."] * self.num_tiles
        tiles[self.targets[copy, self._current[self.steps[copy]] + 1]] = "x"
        tiles[self.tile[copy]] = ARROWS[self.heading[copy]]
        size = self.arena_size
        arena = "\n".join("".join(tiles[row * size : (row + 1) * size]) for row in range(size))
        names = [(ARROWS + "o")[command] for command in self._list(copy)]
        marked = self._marked(copy)
        names[marked] = f"[{names[marked]}]"
        return f"{arena}\n{' '.join(names)}\n{self._caption(copy)}\n"

    def _list(self, copy: int) -> Array:
        return self._commands(np.full(self.num_commands, copy), np.arange(self.num_commands))

    def _marked(self, copy: int) -> int:
        """The command that is shown, was shown last, or is to be carried out."""
        step = int(self.steps[copy])
        each = self.first_move // self.num_commands
        return int(step // each if step < self.first_move else self._current[step])

    def _caption(self, copy: int) -> str:
        step = self.steps[copy]
        state = "commands are shown" if step < self.first_move else "explosion" if self._explodes[step] else "act"
        return f"step {step} of {self.horizon}: {state}"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The arena, the right tile green, exploding ones red; below it the commands, the current one yellow."""
        size, step = self.arena_size, int(self.steps[copy])
        cell, small, columns = min(56, 900 // size), 40, 10
        lines = -(-min(self.num_commands, 50) // columns)
        width = max(size * cell, columns * small) + 40
        canvas = Canvas(width, size * cell + lines * small + 90, WALL)
        left = (width - size * cell) / 2
        target = self.targets[copy, self._current[step] + 1]
        for tile in range(self.num_tiles):
            x, y = left + tile % size * cell, 20 + tile // size * cell
            color: Color = GOAL if tile == target else WRONG if self._explodes[step] else FLOOR
            canvas.box(x, y, x + cell - 2, y + cell - 2, color)
        x, y = left + (self.tile[copy] % size + 0.5) * cell - 1, 20 + (self.tile[copy] // size + 0.5) * cell - 1
        draw_agent(canvas, x, y, 0.36 * cell, int(self.heading[copy]))
        marked = self._marked(copy)
        page = marked // 50 * 50
        for number, command in enumerate(self._list(copy)[page : page + 50]):
            x, y = 20 + number % columns * small, 40 + size * cell + number // columns * small
            color = FLOOR
            if page + number == marked:
                color = CUE if step >= self.first_move or self._shown[step] >= 0 else FLOOR
            canvas.box(x, y, x + small - 3, y + small - 3, color)
            middle = (x + small / 2 - 1.5, y + small / 2 - 1.5)
            if command == _HERE:
                canvas.disc(*middle, 0.2 * small, INK)
            else:
                draw_arrow(canvas, *middle, 0.3 * small, int(command), INK, 3)
        canvas.text(20, 50 + size * cell + lines * small, self._caption(copy), FLOOR, size=16)
        return canvas.pixels()


def _drawn_tiles(ahead: Array) -> Array:
    """The tile to which a command leads by the outcome of a draw. Shape (_DRAWS, tiles)."""
    tiles = np.empty((_DRAWS, ahead.shape[1]), np.int64)
    for tile in range(ahead.shape[1]):
        valid = [there for there in ahead[:, tile] if there != tile] + [tile]
        tiles[:, tile] = np.repeat(valid, _DRAWS // len(valid))
    return tiles
