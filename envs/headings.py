"""Agents that turn and step forward on a square grid, as in Memory Gym. Tiles count row by row from the upper left."""

import numpy as np

from .pictures import AGENT, INK, Canvas, Color
from .vector import Array

STAY, TURN_LEFT, TURN_RIGHT, FORWARD = range(4)
NORTH, WEST, SOUTH, EAST = range(4)  # a turn to the left adds 1
ARROWS = "^<v>"

_X, _Y = np.array([0, -1, 0, 1]), np.array([-1, 0, 1, 0])  # of a step in each direction, y downwards
_TURNED = np.array([0, 1, -1, 0])  # by each action
_TO_FACE = np.array([FORWARD, TURN_LEFT, TURN_LEFT, TURN_RIGHT])  # by quarters that the way lies to the left


def tiles_ahead(size: int) -> Array:
    """The tile that a step leads to, itself at the border. Shape (4, size²), by heading and tile."""
    y, x = np.divmod(np.arange(size * size), size)
    return np.asarray(np.clip(y + _Y[:, None], 0, size - 1) * size + np.clip(x + _X[:, None], 0, size - 1))


def moved(tiles: Array, headings: Array, actions: Array, ahead: Array) -> tuple[Array, Array]:
    """Tiles and headings (n,) after an action each, `ahead` as `tiles_ahead` has it."""
    return np.where(actions == FORWARD, ahead[headings, tiles], tiles), (headings + _TURNED[actions]) % 4


def towards(headings: Array, ways: Array) -> Array:
    """Actions (n,) that go one step the way `ways` (n,), or turn to it first."""
    return np.asarray(_TO_FACE[(ways - headings) % 4])


def draw_arrow(canvas: Canvas, x: float, y: float, radius: float, heading: int, color: Color, width: int) -> None:
    """An arrow with its middle at (x, y)."""
    along, across = (_X[heading] * radius, _Y[heading] * radius), (-_Y[heading] * radius, _X[heading] * radius)
    tip = (x + along[0], y + along[1])
    canvas.line([(x - along[0], y - along[1]), tip], color, width)
    canvas.line(
        [(x + 0.7 * across[0], y + 0.7 * across[1]), tip, (x - 0.7 * across[0], y - 0.7 * across[1])], color, width
    )


def draw_agent(canvas: Canvas, x: float, y: float, radius: float, heading: int) -> None:
    """A disc with its middle at (x, y) and a nose."""
    canvas.disc(x, y, radius, AGENT, INK)
    nose = 0.6 * radius
    canvas.disc(x + nose * _X[heading], y + nose * _Y[heading], 0.3 * radius, (250, 250, 250))
