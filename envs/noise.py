"""Gaussian noise on observations."""

import numpy as np
from gymnasium import spaces

from .chance import Chance
from .vector import Array


def add_noise(values: Array, deviation: float | Array, chance: Chance, space: spaces.Box) -> Array:
    """Values plus normal noise, clipped to the bounds of their space.

    Args:
        values: one row for each copy, of the space's dtype. Shape (rows, *space.shape).
        deviation: σ, at least 0; an array broadcasts to `space.shape`.
        chance: of the rows.
        space: of one row.
    """
    noise = (deviation * chance.normal(*space.shape)).astype(values.dtype)
    return np.asarray(np.clip(values + noise, space.low, space.high))
