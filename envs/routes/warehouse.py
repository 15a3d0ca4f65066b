"""Warehouse: goods are shelved in view, then ordered out of view; some aisles are barred at one end."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..cards import EnvCard, register_env
from ..chance import Chance
from ..vector import Array, ArrayEnv, Outcome, whole_number
from .floor import DOWN, UP, Floor, Ways
from .tours import Tours
from .warehouse_picture import LETTERS, Scene, plan_picture, plan_text

SHELVING, PICKING, HOMING = range(3)


@register_env(
    EnvCard(
        id="memrl/Warehouse-v0",
        horizon=44,
        remember="where each of 4 goods was shelved, and which gate of an aisle is barred",
        steps_to_remember=20,
        optimal_return=0.7833,
        memoryless_return=-0.13,
        memoryless_is_found=True,
        optimal_is_bound=True,
    )
)
class Warehouse(ArrayEnv):
    """Fetch goods from where they were shelved, on the shortest tour past barred gates.

    Own design, after the order-picking tours of Ratliff & Rosenthal 1983, "Order-Picking in a Rectangular Warehouse:
    A Solvable Case of the Traveling Salesman Problem". A aisles of P shelf places each lie between two cross-aisles; an
    aisle is entered and left through a gate at either end, and in each of B blocked aisles one of the two is barred.
    ::

          .  .  .  .      back cross-aisle
                =         a barred gate
         #. B. #. #.
         C. #. #. D.      letters: goods on the shelf at the left of an aisle
         #. #. #@ #.      the robot, beside an empty place
          D  .  .  .      front cross-aisle, and in it the depot

    First the robot waits at the depot while G goods arrive, one in each step, and are shelved at random. Then K of them
    are ordered, one after the other: a good is collected as soon as the robot stands beside it, and the next order
    comes (with W open orders at once, any of them may be collected first). After the last the robot must go home.

    **What is seen**: numbers 0 and 1, blocks of one-hot in this order: the robot's aisle (A) and row (P + 2); what is
    going on (shelving, collecting, going home); the arriving good (kinds), the aisle (A) and place (P) where it is
    shelved, all 0 after the shelving; the open orders (kinds); the good beside the robot (kinds), 0 for none; whether a
    barred gate is in front of the robot towards the back, and towards the front. Time is not seen.

    **What must be remembered, and for how long**: the places of the goods, from the shelving until they are ordered,
    and barred gates once they are seen, till the end: some 20 steps for one who drives well.

    **Actions**: 0 right, 1 up (towards the back), 2 left, 3 down. A move into a shelf or a barred gate, and any while
    goods are being shelved, does nothing.

    **Rewards**: 1/(K + 1) for each good collected and for coming home after the last; each step after the shelving
    costs 0.01.

    **Ending**: terminated when the robot is home with everything that was ordered, at the latest G + 40 steps after
    the start. `info["is_success"]`: it is home. Every info has `cost`, the steps driven; `optimal_cost`, those of the
    shortest tour, home included; and `ratio`, the first over the second.

    **Optimal return**: at most 0.7833, that of one who knows the barred gates; the shortest tour takes 21.67 steps on
    average. A player who remembers all it has seen and takes other gates for open gets 0.774.

    **Best memoryless return**: -0.13, the best found by gradient ascent, from many random starts, over the chances of
    actions at each place; letting them depend on the order or on other goods there did not help. Whoever forgets the
    goods when an order comes, but knows the barred gates and searches as well as can be, gets 0.369.

    The oracle knows what lies where, what will be ordered, and the barred gates, and drives a shortest tour. Only with
    several open orders, and too few steps for all of them, may another tour earn more.

    Args:
        aisles: A, 1 to 50.
        places: P in each aisle, 1 to 50.
        goods: G, that arrive in an episode, no two alike: at most A P, and at most 52.
        orders: K, at most G.
        blocked: B, at most A - 1.
        open_orders: W, orders known at once, 1 to K. Many of many orders have too many tours and are refused.
        kinds: of goods that there are, G to 52; by default G. With more, an episode's goods are drawn from them, so
            that a curriculum can begin with few goods and orders in spaces that stay the same.
        driving_steps: after which an episode ends, not counting the shelving; by default (K + 1)(A + P + 1).
        step_cost: what a step costs, 0 to 1.
        render_mode: "ansi" (text), "rgb_array" (picture) or None. Pictures show in pale colours what the robot
            does not see now, and barred gates where it never was.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(
        self,
        num_envs: int,
        aisles: int = 4,
        places: int = 3,
        goods: int = 4,
        orders: int = 4,
        blocked: int = 1,
        open_orders: int = 1,
        kinds: int | None = None,
        driving_steps: int | None = None,
        step_cost: float = 0.01,
        render_mode: str | None = None,
    ) -> None:
        aisles = whole_number("aisles", aisles, least=1, most=50)
        places = whole_number("places", places, least=1, most=50)
        self.goods = whole_number("goods", goods, least=1, most=min(aisles * places, len(LETTERS)))
        self.kinds = whole_number("kinds", goods if kinds is None else kinds, least=self.goods, most=len(LETTERS))
        self.orders = whole_number("orders", orders, least=1, most=self.goods)
        self.blocked = whole_number("blocked", blocked, least=0, most=aisles - 1)
        open_orders = whole_number("open_orders", open_orders, least=1, most=self.orders)
        if driving_steps is None:
            driving_steps = (self.orders + 1) * (aisles + places + 1)
        self.driving_steps = whole_number("driving_steps", driving_steps, least=1, most=1_000_000)
        self.step_cost = _fraction("step_cost", step_cost)
        self.floor, self.tours = Floor(aisles, places), Tours(self.orders, open_orders)

        # Columns of the observation, one block after the other.
        sizes = [aisles, places + 2, 3, self.kinds, aisles, places, self.kinds, self.kinds, 1, 1]
        starts = np.cumsum([0, *sizes])
        _, _, phase, good, good_aisle, good_place, ordered, beside, above, below = starts[:-1]
        self._width = int(starts[-1])
        space = spaces.Box(0.0, 1.0, (self._width,), np.float32)
        super().__init__(num_envs, space, spaces.Discrete(4), self.goods + self.driving_steps, render_mode)
        nowhere = [-1]
        self._cell_columns = np.stack([self.floor.aisle, aisles + self.floor.row], axis=1)
        self._phase_columns = phase + np.where(self.tours.picked < self.orders, PICKING, HOMING)
        self._shelving_column = phase + SHELVING
        self._good_columns = good + np.arange(self.kinds)
        self._place_columns = np.stack([good_aisle + self.floor.aisle, good_place + self.floor.row - 1], axis=1)
        self._order_columns = ordered + np.arange(self.kinds)
        self._beside_columns = np.append(beside + np.arange(self.kinds), nowhere)  # the last: no good
        self._gate_columns = np.array([above, below])
        self._end_gates = self.floor.gates[:, [UP, DOWN]]  # that can be seen from each cell

        n = num_envs
        self.ways = Ways(self.floor, n)
        self.cell = np.zeros(n, np.int64)
        self.stage = np.zeros(n, np.int64)  # of the tour
        self.arriving = np.zeros((n, self.goods), np.int64)  # kinds of good, in the order in which they are shelved
        self.shelved_at = np.zeros((n, self.goods), np.int64)  # cells
        self.barred = np.zeros((n, self.floor.num_gates + 1), bool)  # the last: no gate
        self.noticed = np.zeros((n, self.floor.num_gates + 1), bool)  # gates at which the robot has been, and no gate
        self.content = np.full((n, self.floor.num_cells), -1)  # kind of good on the shelf beside each cell, -1 for none
        # The orders, then the way to the depot, then nothing, which is nowhere.
        self.order_cells = np.full((n, self.orders + 2), -1)
        self._order_seen = np.full((n, self.orders + 2), -1)  # columns of the observation
        self._arriving_seen = np.full((n, self.goods + 1, 3), -1)
        self.rest = np.zeros((n, len(self.tours.options)), np.int64)  # shortest, from every stage of the tour
        self.depot = 0
        self.order_cells[:, self.orders] = self.depot
        self.optimal_cost = np.ones(n, np.int64)

    def _begin(self, rows: Array, chance: Chance) -> None:
        floor, each = self.floor, np.arange(len(rows))[:, None]
        aisles = chance.permutation(floor.aisles)[:, : self.blocked]
        barred = np.zeros((len(rows), floor.num_gates + 1), bool)
        barred[each, aisles + floor.aisles * chance.integers(2, self.blocked)] = True
        cells = floor.shelf(chance.permutation(floor.aisles * floor.places)[:, : self.goods])
        arriving = chance.permutation(self.kinds)[:, : self.goods]
        ordered = chance.permutation(self.goods)[:, : self.orders]
        self.cell[rows], self.stage[rows] = self.depot, 0
        self.barred[rows], self.arriving[rows], self.shelved_at[rows] = barred, arriving, cells
        self.noticed[rows], self.content[rows] = False, -1
        self.noticed[rows[:, None], self._end_gates[self.depot]] = True
        self.content[rows[:, None], cells] = arriving
        self.order_cells[rows, : self.orders] = cells[each, ordered]
        self._order_seen[rows, : self.orders] = self._order_columns[arriving[each, ordered]]
        self._arriving_seen[rows, : self.goods, 0] = self._good_columns[arriving]
        self._arriving_seen[rows, : self.goods, 1:] = self._place_columns[cells]
        self.ways.update(rows, barred[:, :-1])
        stops = self.order_cells[rows, : self.orders + 1]
        steps = self.ways.steps(rows[:, None, None], stops[:, :, None], stops[:, None, :])
        self.rest[rows] = self.tours.lengths(steps)
        self.optimal_cost[rows] = self.rest[rows, 0]

    def _step(self, actions: Array) -> Outcome:
        driving = self.steps > self.goods
        free = driving & ~self.barred[self._all, self.floor.gates[self.cell, actions]]
        np.copyto(self.cell, self.floor.moves[self.cell, actions], where=free)
        self.noticed[self._all[:, None], self._end_gates[self.cell]] = True
        found = self._open_cells() == self.cell[:, None]
        done = found.any(axis=1)
        following = self.tours.following[self.stage, found.argmax(axis=1)]
        np.copyto(self.stage, following, where=done)
        emptied = np.flatnonzero(done)
        self.content[emptied, self.cell[emptied]] = -1
        home = self.stage == self.tours.home
        rewards = done / (self.orders + 1) - self.step_cost * driving
        return Outcome(rewards, home | (self.steps == self.horizon), home)

    def _open_cells(self) -> Array:
        """Where what can be done next is done, -1 where there are fewer things to do. (n, W)."""
        return np.asarray(self.order_cells[self._all[:, None], self.tours.options[self.stage]])

    def _observe(self) -> Array:
        shelving = self.steps < self.goods
        rows = self._all[:, None]
        seen = np.empty((self.num_envs, 9 + self.tours.options.shape[1]), np.int64)
        seen[:, :2] = self._cell_columns[self.cell]
        phase = np.where(shelving, self._shelving_column, self._phase_columns[self.stage])
        seen[:, 2] = phase
        seen[:, 3:6] = self._arriving_seen[self._all, np.minimum(self.steps, self.goods)]
        seen[:, 6] = self._beside_columns[self.content[self._all, self.cell]]
        gates = self._end_gates[self.cell]
        seen[:, 7:9] = np.where(self.barred[rows, gates], self._gate_columns, -1)
        options = self.tours.options[np.where(shelving, self.tours.home, self.stage)]
        seen[:, 9:] = self._order_seen[rows, options]
        # What there is not points to the phase, which there is anyway. One index is twice as fast as two.
        flat = np.where(seen < 0, phase[:, None], seen) + self._all[:, None] * self._width
        obs = np.zeros(self.num_envs * self._width, np.float32)
        obs[flat] = 1.0
        return obs.reshape(self.num_envs, self._width)

    def oracle(self) -> Array:
        """A shortest tour."""
        stage, rows = self.stage[:, None, None], self._all[:, None, None]
        # After each action (n, 4, 1), to each option (n, 1, W).
        gates = self.floor.gates[self.cell]
        after = np.where(self.barred[self._all[:, None], gates], self.cell[:, None], self.floor.moves[self.cell])
        there = np.maximum(self._open_cells(), 0)[:, None, :]
        steps = self.ways.steps(rows, after[:, :, None], there)
        rest = self.rest[rows, self.tours.following[stage[..., 0]]]
        return np.asarray((steps + rest).min(axis=2).argmin(axis=1))

    def report(self) -> dict[str, Array]:
        """Steps driven so far, those of the shortest tour, and the first over the second."""
        cost = np.maximum(self.steps - self.goods, 0)
        return {"optimal_cost": self.optimal_cost, "cost": cost, "ratio": cost / self.optimal_cost}

    def text(self, copy: int = 0) -> str:
        """The plan, with all goods that are shelved so far and all barred gates."""
        return plan_text(self.floor, self._scene(copy))

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The plan in colours; what the robot does not see now, and barred gates where it never was, are pale."""
        return plan_picture(self.floor, self._scene(copy))

    def _scene(self, copy: int) -> Scene:
        step, stage, cell = int(self.steps[copy]), self.stage[copy], int(self.cell[copy])
        content, in_view = self.content[copy].copy(), np.arange(self.floor.num_cells) == cell
        orders: list[int] = []
        if step < self.goods:
            good, place = self.arriving[copy, step], self.shelved_at[copy, step]
            content[self.shelved_at[copy, step + 1 :]] = -1  # not shelved yet
            in_view[place] = True
            aisle, row = self.floor.aisle[place] + 1, self.floor.row[place]
            task = f"shelving {LETTERS[good]} in aisle {aisle}, place {row}"
        elif stage == self.tours.home:
            task = "back at the depot"
        elif self.tours.picked[stage] == self.orders:
            task = "to the depot"
        else:
            orders = [int(self.content[copy, there]) for there in self._open_cells()[copy] if there >= 0]
            task = f"ordered: {' '.join(LETTERS[good] for good in orders)}"
        shelved = set(self.content[copy].tolist())
        return Scene(
            cell=cell,
            depot=self.depot,
            content=content,
            in_view=in_view,
            barred=self.barred[copy, :-1],
            noticed=self.noticed[copy, :-1],
            orders=orders,
            task=task,
            collected=[good for good in self.arriving[copy].tolist() if good not in shelved],
            story=f"step {step} of {self.horizon}, {max(step - self.goods, 0)} driven; shortest tour "
            f"{self.optimal_cost[copy]}",
        )


def _fraction(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise ValueError(f"{name}: {value!r} given, a number from 0 to 1 needed")
    return float(value)
