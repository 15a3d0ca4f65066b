"""Labels as digits, and what a step shows as zeros and ones."""

import numpy as np

from ..vector import Array
from .episodes import OVER


class Codes:
    """Zeros and ones for phases and for triples of labels, each digit of which is one of ten, as in the DNC paper.

    Args:
        digits: of a label.
    """

    def __init__(self, digits: int) -> None:
        self.digits, self.labels, self.width = digits, 10**digits, OVER + 30 * digits
        self._powers = 10 ** np.arange(digits)[::-1]
        self._phases = np.eye(OVER + 1, OVER, dtype=np.float32)  # the last, over, is all zeros
        self._labels = np.zeros((self.labels + 1, 10 * digits), np.float32)  # the last, no label, too
        self._labels[:-1] = np.eye(10)[self.digits_of(np.arange(self.labels)[:, None])].reshape(self.labels, -1)

    def observe(self, phases: Array, shown: Array) -> Array:
        """Observations.

        Args:
            phases: (n,), 0 to `OVER`.
            shown: labels, (n, 3); `labels` stands for none.

        Returns:
            float32, (n, width).
        """
        obs = np.empty((len(phases), self.width), np.float32)
        obs[:, :OVER] = self._phases[phases]
        obs[:, OVER:] = self._labels[shown].reshape(len(phases), -1)
        return obs

    def digits_of(self, labels: Array) -> Array:
        """Digits of labels (..., k) side by side, the first one of each first. (..., k digits)."""
        digits = np.asarray(labels)[..., None] // self._powers % 10
        return digits.reshape(*digits.shape[:-2], -1)

    def labels_of(self, digits: Array) -> Array:
        """Labels (..., k) with these digits (..., k digits)."""
        return np.asarray(digits.reshape(*digits.shape[:-1], -1, self.digits) @ self._powers)
