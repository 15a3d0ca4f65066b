"""The floor of a warehouse: aisles between two cross-aisles, and shortest ways on it in closed form.

With 3 aisles of 2 shelf places each, a digit for each cell's aisle and one for its row::

    03 13 23    the back cross-aisle
    02 12 22
    01 11 21    an aisle is left and entered at its two ends only
    00 10 20    the front cross-aisle
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RIGHT, UP, LEFT, DOWN = range(4)
FAR = 1 << 40  # longer than any way, and still a number that can be added to others


class Floor:
    """Cells of a warehouse with A aisles of P shelf places each, and the gates at both ends of each aisle.

    Row y of aisle a is cell a (P + 2) + y. Row 0 is in the front cross-aisle, row P + 1 in the back one. Gate a is at
    the front end of aisle a, between rows 0 and 1, and gate A + a at its back end.

    Args:
        aisles: A, at least 1.
        places: P, at least 1.
    """

    def __init__(self, aisles: int, places: int) -> None:
        self.aisles, self.places, self.back = aisles, places, places + 1
        self.num_cells, self.num_gates = aisles * (places + 2), 2 * aisles
        self.aisle, self.row = np.divmod(np.arange(self.num_cells), places + 2)
        cells, crossing = np.arange(self.num_cells), np.isin(self.row, (0, self.back))
        # Where a move from each cell leads if no gate bars it, and the gate on the way (2 A: none). (cells, 4)
        self.moves = np.repeat(cells[:, None], 4, axis=1)
        self.moves[:, RIGHT] += (places + 2) * (crossing & (self.aisle < aisles - 1))
        self.moves[:, LEFT] -= (places + 2) * (crossing & (self.aisle > 0))
        self.moves[:, UP] += self.row < self.back
        self.moves[:, DOWN] -= self.row > 0
        self.gates = np.full((self.num_cells, 4), self.num_gates)
        for action, front_row, back_row in [(UP, 0, places), (DOWN, 1, self.back)]:
            self.gates[:, action][self.row == front_row] = np.arange(aisles)
            self.gates[:, action][self.row == back_row] = aisles + np.arange(aisles)

    def shelf(self, place: Array) -> Array:
        """The cells beside shelf places, which are numbered 0 to A P - 1, aisle by aisle."""
        return np.asarray(place + 2 * (place // self.places) + 1)


class Ways:
    """Shortest ways in n warehouses with the same floor and barred gates of their own.

    Args:
        floor: theirs.
        num: n.
    """

    def __init__(self, floor: Floor, num: int) -> None:
        self.floor = floor
        # Steps from each cell to the front and to the back end of its aisle, without leaving the aisle. (n, cells)
        self._to_front = np.zeros((num, floor.num_cells), np.int64)
        self._to_back = np.zeros((num, floor.num_cells), np.int64)
        # From each aisle to the nearest one at its left or right, itself included, that is open at both ends. (n, A)
        self._left = np.zeros((num, floor.aisles), np.int64)
        self._right = np.zeros((num, floor.aisles), np.int64)

    def update(self, rows: Array, barred: Array) -> None:
        """Take in the barred gates (k, 2 A) of the warehouses `rows` (k,)."""
        floor = self.floor
        front, back = barred[:, : floor.aisles], barred[:, floor.aisles :]
        closed = front[:, floor.aisle] | (floor.row == floor.back)
        self._to_front[rows] = np.where(closed & (floor.row > 0), FAR, floor.row)
        closed = back[:, floor.aisle] | (floor.row == 0)
        self._to_back[rows] = np.where(closed & (floor.row < floor.back), FAR, floor.back - floor.row)
        number, through = np.arange(floor.aisles), ~(front | back)
        self._left[rows] = number - np.maximum.accumulate(np.where(through, number, -FAR), axis=1)
        from_right = np.where(through, number, FAR)[:, ::-1]
        self._right[rows] = np.minimum.accumulate(from_right, axis=1)[:, ::-1] - number

    def steps(self, rows: Array, start: Array, end: Array) -> Array:
        """Length of the shortest way from cell to cell in the warehouses `rows`; the three broadcast."""
        floor = self.floor
        start_aisle, start_row, end_aisle, end_row = (
            table[cells] for cells in (start, end) for table in (floor.aisle, floor.row)
        )
        across = abs(start_aisle - end_aisle)
        # From the front to the back or the other way round: through an open aisle on the way, or the nearest beside it.
        first, last = np.minimum(start_aisle, end_aisle), np.maximum(start_aisle, end_aisle)
        beside = 2 * np.minimum(self._left[rows, first], self._right[rows, last])
        through = floor.back + np.where(self._right[rows, first] <= last - first, 0, beside)
        front_start, back_start = self._to_front[rows, start], self._to_back[rows, start]
        front_end, back_end = self._to_front[rows, end], self._to_back[rows, end]
        one_side = np.minimum(front_start + front_end, back_start + back_end)
        both_sides = np.minimum(front_start + back_end, back_start + front_end) + through
        around = across + np.minimum(one_side, both_sides)
        inside = (start_aisle == end_aisle) & (start_row % floor.back > 0) & (end_row % floor.back > 0)
        return np.where(inside, abs(start_row - end_row), around)
