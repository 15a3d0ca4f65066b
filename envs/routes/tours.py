"""Tours of a list of orders of which only the next few are known: what may come next, and the shortest tour."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .floor import FAR

Array = NDArray[Any]

MOST_STAGES = 6_000  # 10 orders that are all open at once have 5,121


class Tours:
    """All ways of picking K orders of which W are open at once; the next on the list opens when one is picked.

    A stage says which orders are picked and which of them was the last. Stages are numbered; 0 is the start, and
    `home` is the stage after everything.

    Args:
        orders: K, at least 1.
        open_orders: W, 1 to K.

    Raises:
        ValueError: there are more than 6,000 stages.
    """

    def __init__(self, orders: int, open_orders: int) -> None:
        self.depot, self.nothing = orders, orders + 1  # what `options` has besides orders: to the depot, no option
        stages: list[tuple[frozenset[int], int]] = [(frozenset(), orders)]
        numbers = {stages[0]: 0}
        options: list[list[int]] = []
        following: list[list[int]] = []
        self._levels: list[int] = []  # the first stage with no order picked, with one, ...
        for picked, _ in stages:  # which grows on the way
            if len(picked) == len(self._levels):
                self._levels.append(len(options))
            opened = min(len(picked) + open_orders, orders)
            options.append([order for order in range(opened) if order not in picked] or [orders])
            nexts = [(picked | {order}, order) for order in options[-1] if order < orders]
            for stage in nexts:
                if stage not in numbers:
                    numbers[stage] = len(stages)
                    stages.append(stage)
            following.append([numbers[stage] for stage in nexts])
            if len(stages) > MOST_STAGES:
                raise ValueError(
                    f"open_orders: {open_orders} of {orders} orders given, which makes more than {MOST_STAGES:,} "
                    f"stages of a tour; fewer needed"
                )
        self.home, impossible = len(stages), len(stages) + 1
        self.picked = np.array([len(picked) for picked, _ in stages] + [orders + 1, orders + 1])
        self._last = np.array([last for _, last in stages])
        # Orders that may be picked next, and the stages to which that leads. (stages + 2, W)
        self.options = np.full((len(stages) + 2, open_orders), self.nothing)
        self.following = np.full((len(stages) + 2, open_orders), impossible)
        for number, (some, thence) in enumerate(zip(options, following, strict=True)):
            self.options[number, : len(some)] = some
            self.following[number, : len(some)] = thence or [self.home]
        self._levels.append(len(stages))

    def lengths(self, steps: Array) -> Array:
        """Shortest rest of a tour from every stage, standing at what was picked last. Shape (k, stages + 2).

        Args:
            steps: from order to order, the depot being the last "order". Shape (k, K + 1, K + 1).
        """
        rest = np.full((len(steps), len(self.options)), FAR)
        rest[:, self.home] = 0
        for first, end in zip(self._levels[-2::-1], self._levels[:0:-1], strict=True):
            there = np.minimum(self.options[first:end], self.depot)  # a place for `nothing`, whose rest is FAR
            there = steps[:, self._last[first:end, None], there] + rest[:, self.following[first:end]]
            rest[:, first:end] = there.min(axis=2)
        return rest
