"""Sizes that are the same in every episode or drawn from a range that a curriculum opens."""

from ..chance import Chance
from ..vector import Array, whole_number

Range = int | tuple[int, int]


def whole_range(name: str, value: object, least: int, most: int) -> tuple[int, int]:
    """Check a keyword that is a whole number, or the least and the greatest of several.

    Raises:
        ValueError: neither, or out of [least, most].
    """
    if not isinstance(value, tuple | list):
        number = whole_number(name, value, least, most)
        return number, number
    if len(value) != 2:
        raise ValueError(f"{name}: {value!r} given, a whole number or (least, greatest) needed")
    low, high = (whole_number(name, number, least, most) for number in value)
    if low > high:
        raise ValueError(f"{name}: {value!r} given, the least of both must come first")
    return low, high


def drawn_between(chance: Chance, bounds: tuple[int, int], level: float) -> Array:
    """A whole number for each row between the bounds, both included, the upper one as far as the level opens it.

    Args:
        chance: randomness, a row for each number.
        bounds: least and greatest.
        level: 0 (the least only) to 1 (all).
    """
    low, high = bounds
    return low + chance.integers(int(level * (high - low) + 0.5) + 1)
