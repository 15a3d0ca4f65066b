"""Pictures of environments, drawn with Pillow, which loads when the first one is drawn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]

# One palette for all environments.
WALL, FLOOR, INK = (40, 40, 48), (225, 225, 220), (30, 30, 36)
CUE, GOAL, WRONG, AGENT = (240, 200, 70), (80, 170, 90), (205, 85, 75), (50, 95, 190)


class Canvas:
    """A picture to draw on, in pixels from the upper left corner.

    Args:
        width: pixels.
        height: pixels.
        background: red, green and blue, 0 to 255 each.
    """

    def __init__(self, width: int, height: int, background: Color = FLOOR) -> None:
        from PIL import Image, ImageDraw

        self._image = Image.new("RGB", (width, height), background)
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: list[tuple[float, float]], color: Color, width: int = 1) -> None:
        """A line through points."""
        self._draw.line(points, fill=color, width=width)

    def box(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        """A filled rectangle, its right and lower edge included."""
        self._draw.rectangle((left, top, right, bottom), fill=color)

    def disc(self, x: float, y: float, radius: float, color: Color, outline: Color | None = None) -> None:
        """A filled circle."""
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color, outline=outline)

    def polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        """A filled polygon with these corners."""
        self._draw.polygon(points, fill=color)

    def text(self, x: float, y: float, words: str, color: Color = INK, size: float = 12, anchor: str = "la") -> None:
        """Words; `anchor` as in Pillow: "la" puts their upper left corner at (x, y), "mm" their middle."""
        self._draw.text((x, y), words, fill=color, font=_font(size), anchor=anchor)

    def pixels(self) -> NDArray[np.uint8]:
        """The picture, (height, width, 3)."""
        return np.array(self._image)


def text_picture(text: str, size: float = 16) -> NDArray[np.uint8]:
    """Text as a picture (height, width, 3), every character in a cell of its own."""
    lines = text.rstrip("\n").split("\n")
    step, height = 0.65 * size, 1.3 * size
    canvas = Canvas(int(step * (max(map(len, lines)) + 2)), int(height * (len(lines) + 1)))
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            canvas.text(step * (column + 1.5), height * (row + 1), character, size=size, anchor="mm")
    return canvas.pixels()


def _font(size: float) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
