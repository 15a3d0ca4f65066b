"""Traffic: trips through a road network whose congestion stays the same for an episode and is never shown."""

from math import isfinite
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..cards import EnvCard, register_env
from ..chance import Chance
from ..vector import Array, ArrayEnv, Outcome, whole_number
from .roads import Roads
from .traffic_picture import Scene, traffic_picture, traffic_text


@register_env(
    EnvCard(
        id="memrl/Traffic-v0",
        horizon=89,
        remember="which of 12 roads are congested, seen only by driving them",
        steps_to_remember=44,
        optimal_return=0.4836,
        memoryless_return=0.0,
        optimal_is_bound=True,
    )
)
class Traffic(ArrayEnv):
    """Commute through a road network whose congestion is never shown, but stays the same for an episode.

    Own design, near to the Canadian traveller problem (Papadimitriou & Yannakakis 1991, "Shortest paths without a
    map"), but with many trips, and what a road costs is seen by driving it only. There are K places. The car starts at
    the first; every trip leads to another one, drawn with equal chances, so that with two places it goes to and fro.
    At reset each road is congested with probability p, independently of the others: driving it takes F times as long
    as when it is free, all episode long and in both directions.

    **What is seen**: numbers from 0 to 1, in this order: the crossing where the car is (one-hot, C of them); the place
    to which the trip leads (one-hot, K); the action that would lead back over the road just driven (one-hot, A); how
    congested that road is (0 free, 1 fully congested); and the share of trips made. The two entries about the road
    just driven are 0 when a trip begins and after an action that leads nowhere. On arrival the car stands for a step,
    whatever the action; the last road is seen then, and the next trip after it.

    **What must be remembered, and for how long**: which roads are free and which are congested, from the step in which
    they are driven first to the end of the episode: some 44 of 49 steps for one who drives well.

    **Actions**: the road to take: on a grid 0 right, 1 up, 2 left, 3 down, else the roads in the order of the crossings
    to which they lead. Where there is no such road the car waits, as long as the shortest road takes when free.

    **Rewards**: the time by which the rest of the trip's shortest way got shorter, each road counted with its average
    over patterns, minus the time that the step took; both as a share of what the shortest ways of all trips take on
    average. So the return is the share of that time which was saved. If the steps run out, what is left is charged as
    if all roads were congested.

    **Ending**: terminated on arrival of the last trip, or after 89 steps, which are enough for the best route in
    whatever pattern. `info["is_success"]`: all trips are made, and those of the second half took at most 10 % more
    time than the best routes. Every info has `cost`, the time taken so far; `optimal_cost`, the time of the best routes
    of all trips; and `ratio`, the first over the second.

    **Optimal return**: at most 0.484, that of one who knows the pattern. A player who takes what was driven as it was
    and all else as it is on average, and drives the way that is then shortest, gets 86 % of that.

    **Best memoryless return**: 0, from driving the shortest way. What is seen when a trip begins does not depend on
    the pattern, and what is seen of a road within a trip says nothing about the roads ahead.

    The oracle knows the pattern. Its expected return is a bound: nobody knows a road before driving it.

    Args:
        network: (columns, rows) of a grid; or the number of crossings of a random planar network; or a networkx.Graph
            whose edges may have a "weight", the time that the road takes when free (1 without), and whose nodes may
            have a "pos" to be drawn at. From 2 to 1,000 crossings.
        places: K, at least 2; the first is the network's first crossing (on a grid, the lower left corner), each
            other one as far as possible from those before. Or the crossings themselves.
        trips: in an episode, 1 to 10,000.
        congestion: p, 0 to 1.
        slowdown: F, above 1, at most 1,000.
        levels: of congestion, at least 2: a congested road takes 1 + (F - 1) j / (levels - 1) times as long as a free
            one, where j is drawn from 1 to levels - 1.
        directed: draw the two directions of a road independently.
        network_seed: of the random network.
        max_steps: after which an episode ends; by default enough for the best routes.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above; or the network is not connected, has a loop, two roads between the same
            crossings, more than 50 roads at one, or a weight that is not a number from 1e-6 to 1e6.
    """

    def __init__(
        self,
        num_envs: int,
        network: Any = (3, 3),
        places: Any = 2,
        trips: int = 10,
        congestion: float = 0.3,
        slowdown: float = 8.0,
        levels: int = 2,
        directed: bool = False,
        network_seed: int = 0,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.roads = roads = Roads(network, network_seed)
        self.trips = whole_number("trips", trips, least=1, most=10_000)
        self.congestion = _number("congestion", congestion, 0.0, 1.0)
        self.slowdown = _number("slowdown", slowdown, 1.0, 1000.0)
        if self.slowdown == 1.0:
            raise ValueError("slowdown: 1 given, but then there is no congestion; a number above 1 needed")
        self.levels = whole_number("levels", levels, least=2, most=1000)
        if not isinstance(directed, bool | np.bool_):
            raise ValueError(f"directed: {directed!r} given, True or False needed")
        self.directed = bool(directed)

        # Times of the lanes when free; the last is that of waiting.
        self.free_times = np.concatenate([roads.lengths, roads.lengths, [roads.lengths.min()]])
        self.places = self._chosen(places)
        self.free_ways = roads.shortest_times(self.places, self.free_times[None])[0]  # (K, C)
        if max_steps is None:
            longest = self.free_ways[:, self.places].max()
            # A best route takes at most the time of the shortest one with all congested, and passes nothing twice.
            hops = min(len(roads) - 1, int(self.slowdown * longest / roads.lengths.min() + 1e-6))
            max_steps = self.trips * hops + self.trips - 1
        horizon = whole_number("max_steps", max_steps, least=1, most=100_000_000)

        count = [len(roads), len(self.places), roads.max_roads, 1, 1]
        self._place_column, self._back_column, self._delay_column, self._share_column, width = np.cumsum(count).tolist()
        space = spaces.Box(0.0, 1.0, (width,), np.float32)
        super().__init__(num_envs, space, spaces.Discrete(roads.max_roads), horizon, render_mode)

        n, lanes = num_envs, len(self.free_times)
        self.delays = np.zeros((n, lanes))  # 0 free, 1 congested; the last is that of waiting
        self.times = np.ones((n, lanes))
        self.driven = np.zeros((n, lanes), bool)
        self.ways = np.zeros((n, *self.free_ways.shape))  # shortest times from crossings to places
        self.stops = np.zeros((n, self.trips + 1), np.int64)  # places
        self.left = np.zeros((n, self.trips))  # free time of the shortest ways of the trips after each
        self.scale, self.optimal_cost, self.late_optimum = np.ones(n), np.ones(n), np.ones(n)
        self.at, self.trip = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.parked = np.zeros(n, bool)  # arrived, and the next trip not yet begun
        self.back = np.full(n, -1)  # action that leads back over the road just driven, -1 for none
        self.delay = np.zeros(n)
        self.cost, self.late_cost = np.zeros(n), np.zeros(n)

    @property
    def mean_factor(self) -> float:
        """Times as long as when free, on average over patterns."""
        return 1.0 + self.congestion * (self.slowdown - 1.0) * self.levels / (2.0 * (self.levels - 1))

    def _chosen(self, places: Any) -> NDArray[np.int64]:
        roads = self.roads
        if isinstance(places, tuple | list):
            chosen = [roads.number(name) for name in places]
            if len(chosen) < 2 or len(set(chosen)) < len(chosen):
                raise ValueError(f"places: {places!r} given, at least 2 crossings, no two alike, needed")
            return np.array(chosen)
        count = whole_number("places", places, least=2, most=len(roads))
        chosen, nearest = [0], np.full(len(roads), np.inf)
        while len(chosen) < count:
            ways = roads.shortest_times(np.array(chosen[-1:]), self.free_times[None])[0, 0]
            nearest = np.minimum(nearest, ways)
            chosen.append(int(nearest.argmax()))
        return np.array(chosen)

    def _begin(self, rows: Array, chance: Chance) -> None:
        k, lanes = len(rows), self.roads.no_lane
        steps = self.levels - 1
        drawn = chance.uniform(lanes if self.directed else lanes // 2)
        levels = steps - np.digitize(drawn, self.congestion * np.arange(1, self.levels) / steps)
        delays = np.zeros((k, lanes + 1))
        delays[:, :-1] = (levels if self.directed else np.concatenate([levels, levels], axis=1)) / steps
        times = self.free_times * (1.0 + (self.slowdown - 1.0) * delays)
        ways = self.roads.shortest_times(self.places, times)

        stops = np.zeros((k, self.trips + 1), np.int64)
        stops[:, 1:] = np.cumsum(1 + chance.integers(len(self.places) - 1, self.trips), axis=1) % len(self.places)
        start, goal = self.places[stops[:, :-1]], stops[:, 1:]
        best = ways[np.arange(k)[:, None], goal, start]
        free = self.free_ways[goal, start]
        self.delays[rows], self.times[rows], self.ways[rows], self.stops[rows] = delays, times, ways, stops
        total = free.sum(axis=1)
        self.left[rows] = total[:, None] - np.cumsum(free, axis=1)
        self.scale[rows] = self.mean_factor * total
        self.optimal_cost[rows], self.late_optimum[rows] = best.sum(axis=1), best[:, self.trips // 2 :].sum(axis=1)

        self.at[rows], self.trip[rows], self.parked[rows], self.back[rows] = self.places[0], 0, False, -1
        self.delay[rows], self.cost[rows], self.late_cost[rows], self.driven[rows] = 0.0, 0.0, 0.0, False

    def _step(self, actions: Array) -> Outcome:
        moving, roads = ~self.parked, self.roads
        self.trip += self.parked
        goal = self._goal()
        before = self.free_ways[goal, self.at]
        lane = np.where(moving, roads.lanes[self.at, actions], roads.no_lane)
        time = self.times[self._all, lane] * moving
        self.delay = self.delays[self._all, lane]
        self.driven[self._all, lane] = True
        self.back = np.where(moving, roads.back[self.at, actions], -1)
        self.at = np.where(moving, roads.leads_to[self.at, actions], self.at)

        after = self.free_ways[goal, self.at]
        self.parked = self.at == self.places[goal]
        made = self.parked & (self.trip == self.trips - 1)
        given_up = (self.steps == self.horizon) & ~made
        if given_up.any():
            time += given_up * self.slowdown * (after + self.left[self._all, self.trip])
        self.cost += time
        self.late_cost += time * (self.trip >= self.trips // 2)
        success = made & (self.late_cost <= 1.1 * self.late_optimum)
        rewards = (self.mean_factor * (before - after) - time) / self.scale
        return Outcome(rewards, made | given_up, success)

    def _goal(self) -> Array:
        """Number of the place to which the trip leads."""
        return self.stops[self._all, self.trip + 1]

    def _observe(self) -> Array:
        obs = np.zeros((self.num_envs, self._share_column + 1), np.float32)
        obs[self._all, self.at] = 1.0
        obs[self._all, self._place_column + self._goal()] = 1.0
        # Where there is no way back, what is 1 anyway is set again.
        obs[self._all, np.where(self.back < 0, self.at, self._back_column + self.back)] = 1.0
        obs[:, self._delay_column] = self.delay
        obs[:, self._share_column] = self.trip / self.trips
        return obs

    def oracle(self) -> Array:
        """The first road of a best route, for one who knows the pattern; anything where the car stands."""
        rows, roads = self._all[:, None], self.roads
        onward = self.ways[rows, self._goal()[:, None], roads.leads_to[self.at]]
        best: Array = (self.times[rows, roads.lanes[self.at]] + onward).argmin(axis=1)
        return best

    def report(self) -> dict[str, Array]:
        """Time so far, time of the best routes of all trips, and the first over the second."""
        return {"cost": self.cost, "optimal_cost": self.optimal_cost, "ratio": self.cost / self.optimal_cost}

    def text(self, copy: int = 0) -> str:
        """The trip, and every road with its time."""
        return traffic_text(self.roads, self._scene(copy))

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """A map with the congestion, which is hidden; roads driven in this episode have an outline."""
        return traffic_picture(self.roads, self._scene(copy))

    def _scene(self, copy: int) -> Scene:
        trip, names = self.trip[copy], self.roads.names
        start, goal = self.places[self.stops[copy, trip : trip + 2]]
        at, arrived = self.at[copy], ", arrived" if self.parked[copy] else ""
        return Scene(
            times=self.times[copy],
            delays=self.delays[copy],
            driven=self.driven[copy],
            directed=self.directed,
            start=start,
            at=at,
            goal=goal,
            story=[
                f"trip {trip + 1} of {self.trips}: from {names[start]} to {names[goal]}, at {names[at]}{arrived}",
                f"time so far {self.cost[copy]:.4g}; the best routes of all trips take {self.optimal_cost[copy]:.4g}",
                f"step {self.steps[copy]} of {self.horizon}",
            ],
        )


def _number(name: str, value: object, least: float, most: float) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not isfinite(value) or not least <= value <= most:  # type: ignore[arg-type, operator]
        raise ValueError(f"{name}: {value!r} given, a number from {least:g} to {most:g} needed")
    return float(value)  # type: ignore[arg-type]
