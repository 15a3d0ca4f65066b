"""Playing cards as numbers, in POPGym's order: suits change fastest, then ranks, then decks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chance import Chance

Array = NDArray[Any]

SUITS = "♠♦♣♥"
COLORS = "br"  # black, red
RANKS = "A23456789TJQK"


def shuffled(chance: Chance, num_decks: int, value: Callable[[Array], Array]) -> Array:
    """Values of the cards of a deck in random order: of their suits, colors or ranks. Shape (rows, 52 num_decks).

    >>> from .chance import Streams
    >>> dealt = shuffled(Streams([0]).next_episode(np.arange(1)), 2, suit)
    >>> dealt.shape, np.bincount(dealt[0]).tolist()
    ((1, 104), [26, 26, 26, 26])
    """
    cards = np.arange(52 * num_decks)
    return value(cards).take(chance.permutation(len(cards)))


def suit(cards: Array) -> Array:
    """0 to 3, as in `SUITS`."""
    return cards % 4


def color(cards: Array) -> Array:
    """0 black, 1 red."""
    return cards % 2


def rank(cards: Array) -> Array:
    """0 (ace) to 12 (king), as in `RANKS`."""
    return cards % 52 // 4


def per_line(count: int) -> int:
    """How many of so many cards lie in one line of a text or picture."""
    return 13 if count <= 104 else 26 if count <= 312 else 52


def card_lines(names: Sequence[str], line: int) -> str:
    """Cards as text, so many in a line; a name has at most three characters.

    >>> print(card_lines(["♠", "[♦]", "♥"], line=2))
     ♠ [♦]
     ♥
    """
    cells = [f"{name:^3}" for name in names]
    return "\n".join("".join(cells[start : start + line]).rstrip() for start in range(0, len(cells), line))
