"""Random numbers for many episodes at once: every copy of an environment has a stream of its own.

SplitMix64 (Steele, Lea & Flood 2014, "Fast Splittable Pseudorandom Number Generators"): the j-th number of a stream is
a hash of its key + j γ. So one NumPy expression draws for all copies, and what a copy draws depends on its seed and on
its number of episodes only, never on how many other copies there are.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # γ, 2^64 / golden ratio, odd
_EPISODE, _STEP = np.uint64(0xD1B54A32D192ED03), np.uint64(0x8CB92BA72F3D8DD7)  # odd too: other walks through 2^64


class Streams:
    """One stream of episodes for each copy.

    Args:
        seeds: of the copies; None takes one from the operating system.
    """

    def __init__(self, seeds: Sequence[int | None]) -> None:
        self._keys = np.array([np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] for seed in seeds])
        self._episodes = np.zeros(len(seeds), np.uint64)
        self._current = self._keys.copy()

    def reseed(self, seeds: Sequence[int | None]) -> None:
        """Start the streams of those copies again that are given a seed."""
        for copy, seed in enumerate(seeds):
            if seed is not None:
                self._keys[copy] = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
                self._episodes[copy] = 0

    def next_episode(self, rows: Array) -> "Chance":
        """Randomness for new episodes of the copies `rows`."""
        self._episodes[rows] += np.uint64(1)
        self._current[rows] = _mix(self._keys[rows] + self._episodes[rows] * _EPISODE)
        return Chance(self._current[rows])

    def at_step(self, steps: Array) -> "Chance":
        """Randomness for step `steps` (n,) of the running episodes, the same whenever it is asked for."""
        return Chance(_mix(self._current + (steps.astype(np.uint64) + np.uint64(1)) * _STEP))


class Chance:
    """Random numbers with one row for each copy.

    >>> chance = Streams([0, 1]).next_episode(np.array([0, 1]))
    >>> chance.integers(6, 3).shape, chance.permutation(52).shape, chance.uniform().shape
    ((2, 3), (2, 52), (2,))
    """

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._keys, self._drawn = keys, 0

    def __len__(self) -> int:
        return len(self._keys)

    def bits(self, *shape: int) -> NDArray[np.uint64]:
        """64 random bits each. Shape (rows, *shape)."""
        count = prod(shape)
        counters = np.arange(self._drawn + 1, self._drawn + count + 1, dtype=np.uint64) * _GOLDEN
        self._drawn += count
        return _mix(self._keys[:, None] + counters).reshape(len(self), *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """Uniform in [low, high). Shape (rows, *shape)."""
        unit = np.asarray((self.bits(*shape) >> np.uint64(11)) * 2.0**-53, np.float64)
        return unit if (low, high) == (0.0, 1.0) else low + (high - low) * unit

    def integers(self, high: int | Array, *shape: int) -> NDArray[np.int64]:
        """Whole numbers in [0, high), which may be an array that broadcasts. Shape (rows, *shape)."""
        return (self.uniform(*shape) * high).astype(np.int64)

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Standard normal, by Box & Muller 1958, which makes two of two. Shape (rows, *shape)."""
        count = prod(shape)
        radius = np.sqrt(-2.0 * np.log(1.0 - self.uniform((count + 1) // 2)))
        angle = self.uniform((count + 1) // 2, high=2.0 * np.pi)
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return both[:, :count].reshape(len(self), *shape)

    def permutation(self, count: int) -> NDArray[np.int64]:
        """The numbers 0 to count - 1 in random order. Shape (rows, count)."""
        return np.argsort(self.bits(count), axis=1)

    def generators(self) -> list[np.random.Generator]:
        """A NumPy generator for each row, for what cannot be drawn as arrays. A few microseconds each."""
        return [np.random.default_rng(int(seed)) for seed in self.bits()]


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's hash: a bijection of 64-bit numbers in which every bit of the input moves every bit."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
