"""Playing cards as numbers, in POPGym's order: suits change fastest, then ranks, then decks."""

from typing import Any

from numpy.typing import NDArray

from .chance import Chance

Array = NDArray[Any]

SUITS = "♠♦♣♥"
RANKS = "A23456789TJQK"


def shuffled(chance: Chance, num_decks: int) -> Array:
    """Card numbers in the order in which they are dealt. Shape (rows, 52 num_decks)."""
    return chance.permutation(52 * num_decks)


def suit(cards: Array) -> Array:
    """0 to 3, as in `SUITS`."""
    return cards % 4


def color(cards: Array) -> Array:
    """0 black, 1 red."""
    return cards % 2


def rank(cards: Array) -> Array:
    """0 (ace) to 12 (king), as in `RANKS`."""
    return cards % 52 // 4
