"""A map of a road network with its traffic, as text and as a picture."""

from typing import NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from ..pictures import AGENT, CUE, FLOOR, GOAL, INK, WRONG, Canvas, Color
from ..vector import Array
from .roads import Roads

_MARGIN = 50  # pixels
_MOST_WORDS = 60  # times that can be written on the map


class Scene(NamedTuple):
    """What there is to see of one episode."""

    times: Array  # of the lanes, (2 R + 1); the last, that of waiting, is not drawn
    delays: Array  # of the lanes, 0 free to 1 fully congested, (2 R + 1)
    driven: Array  # whether each lane was driven, (2 R + 1)
    directed: bool  # whether the directions of a road differ
    start: int  # crossings
    at: int
    goal: int
    story: list[str]  # lines to read


def traffic_text(roads: Roads, scene: Scene) -> str:
    """A line for each road with its time, which is hidden until it is driven."""
    lines, count = list(scene.story), len(roads.lengths)
    for road, (one, other) in enumerate(roads.ends):
        time, back = (f"{time:.3g}" for time in scene.times[[road, road + count]])
        took = f"{time} there, {back} back" if scene.directed else time
        if scene.driven[road] or scene.driven[road + count]:
            took += ", driven"
        lines.append(f"{roads.names[one]} - {roads.names[other]}: {took}")
    return "\n".join(lines) + "\n"


def traffic_picture(roads: Roads, scene: Scene) -> NDArray[np.uint8]:
    """Roads from green (free) to red (congested) with their times; those driven are outlined, the others thin."""
    legend = 22 * (len(scene.story) + 2)
    points, width, height = _on_canvas(_positions(roads))
    canvas = Canvas(width, height + legend)
    count = len(roads.lengths)
    lanes = 2 * count if scene.directed else count
    busy = max(2, min(16, 160 // len(roads)))
    for lane in range(lanes):
        ends = points[roads.ends[lane % count]]
        if scene.directed:  # each on its own side, to the right of whoever drives it
            along = (ends[1] - ends[0]) * (1 if lane < count else -1)
            ends = ends + 0.6 * busy * np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
        line = [(float(x), float(y)) for x, y in ends]
        driven = scene.driven[lane] or (not scene.directed and scene.driven[lane + count])
        if driven:
            canvas.line(line, INK, busy + 4)
        canvas.line(line, _between(GOAL, WRONG, float(scene.delays[lane])), busy if driven else max(1, busy // 3))
        if lanes <= _MOST_WORDS:
            share = 0.5 if not scene.directed else 0.35 if lane < count else 0.65
            x, y = ends[0] + share * (ends[1] - ends[0])
            canvas.disc(x, y, 13, FLOOR, outline=INK if driven else None)
            canvas.text(x, y, f"{scene.times[lane]:.2g}", size=13, anchor="mm")
    size = max(3.0, 0.6 * busy)
    for x, y in points:
        canvas.disc(x, y, size, INK)
    marks = max(9.0, 1.6 * size)
    for crossing, color, word in ((scene.start, CUE, "from"), (scene.goal, GOAL, "to")):
        x, y = points[crossing]
        canvas.disc(x, y, marks, color, outline=INK)
        canvas.box(x - 5 * len(word), y + marks + 2, x + 5 * len(word), y + marks + 18, FLOOR)
        canvas.text(x, y + marks + 10, word, size=14, anchor="mm")
    x, y = points[scene.at]
    canvas.disc(x, y, 0.7 * marks, AGENT, outline=INK)
    for number, line_of_text in enumerate(scene.story):
        canvas.text(16, height + 22 * number, line_of_text, size=15)
    x, y = 16.0, height + 22 * len(scene.story) + 10
    for color, outline, meaning in (
        (AGENT, False, "car"),
        (GOAL, False, "free"),
        (WRONG, False, "congested"),
        (FLOOR, True, "driven"),
    ):
        canvas.box(x, y, x + 16, y + 12, INK if outline else color)
        canvas.box(x + 3, y + 3, x + 13, y + 9, color)
        canvas.text(x + 22, y + 6, meaning, size=14, anchor="lm")
        x += 50 + 8 * len(meaning)
    return canvas.pixels()


def _positions(roads: Roads) -> Array:
    if roads.positions is not None:
        return roads.positions
    placed = nx.spring_layout(nx.Graph(roads.ends.tolist()), seed=0)
    return np.array([placed[crossing] for crossing in range(len(roads))])


def _on_canvas(positions: Array) -> tuple[Array, int, int]:
    """Pixels of the crossings (C, 2), and the width and height of the map; y points up on a map, down in a picture."""
    side = min(900, max(480, int(100 * len(positions) ** 0.5)))
    least, extent = positions.min(axis=0), np.ptp(positions, axis=0)
    scale = side / max(float(extent.max()), 1e-9)
    points = (positions - least) * scale
    width, height = (extent * scale).astype(int) + 2 * _MARGIN
    points[:, 1] = extent[1] * scale - points[:, 1]
    offset = max(0, side - int(width)) // 2  # the legend needs some width
    return points + np.array([_MARGIN + offset, _MARGIN]), int(max(width, side)), int(height)


def _between(one: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(one, other, strict=True))
    return red, green, blue
