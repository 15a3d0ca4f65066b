"""Pictures of cards on a table."""

from collections.abc import Collection, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from .decks import COLORS, SUITS, per_line
from .pictures import AGENT, CUE, INK, Canvas

_TABLE, _RED = (206, 217, 206), (190, 40, 45)
_CAPTION = 30  # pixels


class Mark(Enum):
    """What a card is to the player, with the color of its paper."""

    OPEN = (250, 250, 247)
    ASKED = CUE
    HIDDEN = (160, 170, 162)


def table_picture(
    faces: Sequence[str],
    marks: Sequence[Mark],
    caption: str,
    framed: Collection[int] = (),
    places: int = 0,
) -> NDArray[np.uint8]:
    """Cards in rows, and a line of words below them. Returns (height, width, 3).

    Args:
        faces: what the cards show: a suit of `SUITS`, a color of `COLORS`, or else letters.
        marks: of the cards.
        caption: the line of words.
        framed: numbers of the cards with a blue frame.
        places: room for at least so many cards, so that a growing row does not change the size.
    """
    count = max(places, len(faces))
    line = per_line(count)
    width = {13: 48, 26: 32, 52: 18}[line]  # of a card, pixels
    height, edge = width * 5 // 4, width // 16 + 1
    below = -(-count // line) * height + 8
    canvas = Canvas(line * width + 8, below + _CAPTION, _TABLE)
    for place, (face, mark) in enumerate(zip(faces, marks, strict=True)):
        left, top = 4 + place % line * width, 4 + place // line * height
        right, bottom = left + width - 1, top + height - 1
        if place in framed:
            canvas.box(left, top, right, bottom, AGENT)
        canvas.box(left + edge, top + edge, right - edge, bottom - edge, mark.value)
        _draw_face(canvas, face, left + width / 2, top + height / 2, 0.28 * width)
    canvas.text(8, below + 4, caption, size=15)
    return canvas.pixels()


def _draw_face(canvas: Canvas, face: str, x: float, y: float, size: float) -> None:
    """A symbol around (x, y) that reaches `size` pixels to each side."""
    if face in COLORS:
        canvas.disc(x, y, size, _RED if face == "r" else INK)
        return
    if face not in SUITS:
        canvas.text(x, y, face, size=2 * size, anchor="mm")
        return
    color = _RED if face in "♦♥" else INK
    if face == "♦":
        canvas.polygon([(x, y - size), (x + 0.75 * size, y), (x, y + size), (x - 0.75 * size, y)], color)
        return
    half = 0.5 * size
    if face == "♣":
        for dx, dy in [(0, -half), (-half, 0.1 * size), (half, 0.1 * size)]:
            canvas.disc(x + dx, y + dy, 0.45 * size, color)
    else:  # a heart, and a spade is one upside down
        up = -1 if face == "♥" else 1
        for side in (-half, half):
            canvas.disc(x + side, y + up * 0.4 * size, half, color)
        canvas.polygon([(x - size, y + up * 0.3 * size), (x + size, y + up * 0.3 * size), (x, y - up * size)], color)
    if face in "♠♣":
        canvas.polygon([(x, y), (x + 0.4 * size, y + size), (x - 0.4 * size, y + size)], color)
