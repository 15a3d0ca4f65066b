"""One episode of Warehouse for people: a plan as text or as a picture, with what is hidden."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pictures import AGENT, CUE, FLOOR, INK, WALL, WRONG, Canvas, Color
from ..vector import Array
from .floor import Floor

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_RACK, _SHELF, _LANE, _DEPOT = (150, 118, 84), (206, 184, 152), (243, 243, 240), (190, 214, 190)
_COLORS = [
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (90, 90, 90), (160, 160, 30), (23, 170, 190)),
]


class Scene(NamedTuple):
    """What there is to be seen of one episode; goods are numbers of letters."""

    cell: int  # of the robot
    depot: int
    content: Array  # good on the shelf beside each cell, -1 for none, (cells,)
    in_view: Array  # cells whose shelves the robot sees now, bool (cells,)
    barred: Array  # bool (gates,)
    noticed: Array  # gates at which the robot has been, bool (gates,)
    orders: list[int]  # goods that are ordered now
    task: str  # what the robot does now
    collected: list[int]  # goods
    story: str  # steps and costs


def plan_text(floor: Floor, scene: Scene) -> str:
    """The plan, the back cross-aisle at the top: @ robot, D depot, # empty shelf, = barred gate; letters are goods."""
    lines = []
    for row in range(floor.back, -1, -1):
        cells = np.flatnonzero(floor.row == row).tolist()
        lines.append("".join(f" {_shelf(floor, scene, cell)}{_ground(scene, cell)}" for cell in cells))
        if row in (floor.back, 1):
            gates = np.arange(floor.aisles) + (floor.aisles if row == floor.back else 0)
            lines.append("".join("  =" if scene.barred[gate] else "   " for gate in gates))
    lines = [line.rstrip() for line in lines]
    collected = " ".join(LETTERS[good] for good in scene.collected) or "nothing"
    return "\n".join([*lines, scene.task, f"collected: {collected}", scene.story, ""])


def _shelf(floor: Floor, scene: Scene, cell: int) -> str:
    if floor.row[cell] in (0, floor.back):
        return " "
    return LETTERS[scene.content[cell]] if scene.content[cell] >= 0 else "#"


def _ground(scene: Scene, cell: int) -> str:
    if cell == scene.cell:
        return "@"
    return "D" if cell == scene.depot else "."


def plan_picture(floor: Floor, scene: Scene) -> NDArray[np.uint8]:
    """The plan in colours; what the robot does not see now, and gates at which it never was, are pale."""
    size = max(6, min(44, 960 // (2 * floor.aisles), 960 // (floor.places + 2)))
    head, margin = 84, max(8, size // 3)
    width = max(2 * margin + 2 * size * floor.aisles, 420)
    canvas = Canvas(width, head + margin + size * (floor.back + 1) + 24, FLOOR)
    _draw_head(canvas, scene)
    left = (width - 2 * size * floor.aisles) / 2

    def corner(cell: int) -> tuple[float, float]:
        """Upper left corner of a cell; its shelf is one cell to the left."""
        return left + size * (2 * int(floor.aisle[cell]) + 1), head + size * (floor.back - int(floor.row[cell]))

    right, bottom = left + 2 * size * floor.aisles, head + size * (floor.back + 1)
    canvas.box(left - 3, head - 3, right + 2, bottom + 2, WALL)
    canvas.box(left, head, right - 1, bottom - 1, _LANE)
    for cell in range(floor.num_cells):
        x, y = corner(cell)
        if 0 < floor.row[cell] < floor.back:
            _draw_shelf(canvas, scene, cell, x - size, y, size)
        if cell == scene.depot:
            canvas.box(x, y, x + size - 1, y + size - 1, _DEPOT)
            canvas.text(x + size / 2, bottom + 4, "depot", INK, 12, "ma")
    for gate in np.flatnonzero(scene.barred):
        aisle, at_back = gate % floor.aisles, gate >= floor.aisles
        x, y = corner(int(np.flatnonzero((floor.aisle == aisle) & (floor.row == (floor.places if at_back else 0)))[0]))
        _draw_bar(canvas, x, y, size, WRONG if scene.noticed[gate] else _pale(WRONG))
    x, y = corner(scene.cell)
    canvas.disc(x + size / 2, y + size / 2, 0.34 * size, AGENT, INK)
    canvas.text(width - 10, bottom + 6, "pale: out of sight", INK, 12, "ra")
    return canvas.pixels()


def _draw_head(canvas: Canvas, scene: Scene) -> None:
    canvas.text(10, 6, scene.task, size=15)
    canvas.text(10, 30, "collected:", size=13)
    for number, good in enumerate(scene.collected[:14]):
        _draw_good(canvas, 82 + 24 * number, 28, 20, good, _COLORS[good % len(_COLORS)])
    canvas.text(10, 54, scene.story, size=13)


def _draw_shelf(canvas: Canvas, scene: Scene, cell: int, x: float, y: float, size: int) -> None:
    good, edge, inset = int(scene.content[cell]), max(1, size // 14), size // 7
    canvas.box(x, y, x + size - 1, y + size - 1, CUE if good in scene.orders else _RACK)
    canvas.box(x + edge, y + edge, x + size - 1 - edge, y + size - 1 - edge, _SHELF)
    if good >= 0:
        color = _COLORS[good % len(_COLORS)]
        _draw_good(canvas, x + inset, y + inset, size - 2 * inset, good, color if scene.in_view[cell] else _pale(color))


def _draw_good(canvas: Canvas, x: float, y: float, size: float, good: int, color: Color) -> None:
    canvas.box(x, y, x + size - 1, y + size - 1, color)
    if size >= 12:
        canvas.text(x + size / 2, y + size / 2, LETTERS[good], (255, 255, 255), 0.7 * size, "mm")


def _draw_bar(canvas: Canvas, x: float, y: float, size: int, color: Color) -> None:
    """A bar across the upper edge of the cell at (x, y), in stripes."""
    height = max(2, size // 8)
    for stripe in range(5):
        canvas.box(
            x + size * stripe / 5,
            y - height,
            x + size * (stripe + 1) / 5 - 1,
            y + height - 1,
            color if stripe % 2 == 0 else (255, 255, 255),
        )


def _pale(color: Color) -> Color:
    """Half way to white."""
    red, green, blue = ((part + 255) // 2 for part in color)
    return red, green, blue
