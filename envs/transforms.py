"""What wrappers change in observations, for all copies of an environment at once."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from .chance import Chance, Streams
from .noise import add_noise
from .vector import Array, whole_number

Space = spaces.Space[Any]

# An observation as named arrays with one row for each copy; one that is no Dict has this part only.
Parts = dict[str, Array]
WHOLE = "observation"


class Source(NamedTuple):
    """Where observations come from."""

    num_envs: int
    observation_space: Space  # of one copy, like the next
    action_space: Space
    horizon: int | None  # steps of the longest episode, if known


class Step(NamedTuple):
    """What led to the observations of a step."""

    actions: Array  # (n, ...)
    rewards: Array  # (n,)
    steps: Array  # taken in the running episodes, (n,)
    streams: Streams

    def chance(self) -> Chance:
        """Random numbers for this step of every copy."""
        return self.streams.at_step(self.steps)


class Transformation(ABC):
    """A change of the observations of n copies. Rows come and go in new arrays, none of which is written into later.

    Args:
        source: where they come from.

    Raises:
        ValueError: its observations cannot be changed so.
    """

    def __init__(self, source: Source) -> None:
        space = source.observation_space
        self.before = dict(space.spaces) if isinstance(space, spaces.Dict) else {WHOLE: space}
        for part in self.before.values():
            if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
                raise ValueError(
                    f"observation space: {space} given; Box, Discrete, MultiDiscrete, MultiBinary or a flat Dict of "
                    "these needed, into which make_env converts others"
                )
        self.space = space  # of one copy, afterwards

    @abstractmethod
    def begin(self, rows: Array, seen: Parts, chance: Chance) -> Parts:
        """Change the first observations of new episodes in the copies `rows` (k,); `seen` and `chance` have k rows."""

    @abstractmethod
    def apply(self, seen: Parts, step: Step) -> Parts:
        """Change the observations of a step in all copies, the last ones of episodes that are over included."""

    def _replace(self, parts: Mapping[str, Space]) -> None:
        """Say what the parts are afterwards."""
        alone = list(parts) == [WHOLE] and not isinstance(self.space, spaces.Dict)
        self.space = parts[WHOLE] if alone else spaces.Dict(dict(parts))

    def _add(self, parts: Mapping[str, Space]) -> None:
        """Say which parts are new."""
        for name in parts:
            if name in self.before:
                raise ValueError(f"observation space: it has {name!r} already")
        self._replace({**self.before, **parts})


class Hide(Transformation):
    """Leaves out numbers or keys."""

    def __init__(self, source: Source, hidden: int | str | Iterable[int | str]) -> None:
        super().__init__(source)
        whole, self._keyed = self.space, isinstance(self.space, spaces.Dict)
        if not self._keyed and (isinstance(whole, spaces.Discrete) or len(whole.shape or ()) != 1):
            raise ValueError(f"observation space: {whole} given; one axis of numbers, or a Dict, needed to hide parts")
        known: list[Any] = list(self.before) if self._keyed else list(range((whole.shape or (0,))[0]))
        names: list[Any] = list(hidden) if isinstance(hidden, Iterable) and not isinstance(hidden, str) else [hidden]
        for name in names:
            if isinstance(name, bool) or name not in known:
                keys = ", ".join(map(repr, known)) if self._keyed else f"0 to {len(known) - 1}"
                raise ValueError(f"hidden: {name!r} given, {keys} known")
        if not 0 < len(names) == len(set(names)) < len(known):
            raise ValueError(f"hidden: {hidden!r} given; at least one part, each once, but not all, needed")
        self.kept = [name for name in known if name not in names]
        after = {name: self.before[name] for name in self.kept} if self._keyed else {WHOLE: _chosen(whole, self.kept)}
        self._replace(after)

    def begin(self, rows: Array, seen: Parts, chance: Chance) -> Parts:
        """Leave out."""
        return self._shown(seen)

    def apply(self, seen: Parts, step: Step) -> Parts:
        """Leave out."""
        return self._shown(seen)

    def _shown(self, seen: Parts) -> Parts:
        return {name: seen[name] for name in self.kept} if self._keyed else {WHOLE: seen[WHOLE][:, self.kept]}


class Blank(Transformation):
    """Shows zeros now and then."""

    def __init__(self, source: Source, probability: float) -> None:
        super().__init__(source)
        self.probability = _number("probability", probability)
        if self.probability > 1:
            raise ValueError(f"probability: {probability!r} given, at most 1 allowed")
        self._replace({name: with_zero(part) for name, part in self.before.items()})

    def begin(self, rows: Array, seen: Parts, chance: Chance) -> Parts:
        """Zeros for some copies."""
        return self._shown(seen, chance)

    def apply(self, seen: Parts, step: Step) -> Parts:
        """Zeros for some copies."""
        return self._shown(seen, step.chance())

    def _shown(self, seen: Parts, chance: Chance) -> Parts:
        off = chance.uniform() < self.probability
        return {name: _zero_where(off, part) for name, part in seen.items()}


class Postpone(Transformation):
    """Shows what there was some steps ago, and zeros before."""

    def __init__(self, source: Source, steps: int) -> None:
        super().__init__(source)
        self.steps = whole_number("steps", steps, least=1, most=10_000)
        self._replace({name: with_zero(part) for name, part in self.before.items()})
        # Rings that hold the observations on their way; all copies are at the same place.
        self._waiting = {
            name: np.zeros((self.steps, source.num_envs, *(part.shape or ())), part.dtype)
            for name, part in self.before.items()
        }
        self._place = 0

    def begin(self, rows: Array, seen: Parts, chance: Chance) -> Parts:
        """Nothing has arrived yet."""
        for name, part in seen.items():
            self._waiting[name][self._place, rows] = part
        return {name: np.zeros_like(part) for name, part in seen.items()}

    def apply(self, seen: Parts, step: Step) -> Parts:
        """What arrives now."""
        self._place = (self._place + 1) % self.steps
        early = step.steps < self.steps
        arrived = {name: _zero_where(early, ring[self._place]) for name, ring in self._waiting.items()}
        for name, part in seen.items():
            self._waiting[name][self._place] = part
        return arrived


class AddNoise(Transformation):
    """Adds normal noise to numbers."""

    def __init__(self, source: Source, deviation: Any) -> None:
        super().__init__(source)
        noisy: dict[str, spaces.Box] = {
            name: part
            for name, part in self.before.items()
            if isinstance(part, spaces.Box) and np.issubdtype(part.dtype, np.floating)
        }
        if isinstance(deviation, Mapping):
            for name in deviation:
                if name not in noisy or not isinstance(self.space, spaces.Dict):
                    raise ValueError(f"deviation: key {name!r} given, no Box of float numbers by that name")
            noisy = {name: part for name, part in noisy.items() if name in deviation}
        if not noisy:
            raise ValueError(f"observation space: {self.space} given; noise needs a Box of float numbers")
        self.noisy = noisy
        self.deviations = {
            name: _deviation(deviation[name] if isinstance(deviation, Mapping) else deviation, part)
            for name, part in noisy.items()
        }

    def begin(self, rows: Array, seen: Parts, chance: Chance) -> Parts:
        """Add noise."""
        return self._shown(seen, chance)

    def apply(self, seen: Parts, step: Step) -> Parts:
        """Add noise."""
        return self._shown(seen, step.chance())

    def _shown(self, seen: Parts, chance: Chance) -> Parts:
        # Part by part in the space's order, which is the same wherever observations come from.
        return seen | {
            name: add_noise(seen[name], self.deviations[name], chance, part) for name, part in self.noisy.items()
        }


def _chosen(space: Any, places: list[int]) -> Space:
    """A space with one axis, of these of its numbers."""
    if isinstance(space, spaces.Box):
        return spaces.Box(space.low[places], space.high[places], dtype=space.dtype.type)
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec[places], dtype=space.dtype.type, start=space.start[places])
    return spaces.MultiBinary(len(places))


def with_zero(space: Any) -> Space:
    """The space itself if zeros are in it, else a Box that is wide enough."""
    if isinstance(space, spaces.Box):
        low, high = np.minimum(space.low, 0), np.maximum(space.high, 0)
        same = (low == space.low).all() and (high == space.high).all()
        return space if same else spaces.Box(low, high, dtype=space.dtype.type)
    zero = np.zeros(space.shape, space.dtype)
    if zero not in space and zero[()] not in space:
        raise ValueError(f"observation space: {space} has no zero to show; make_env counts from 0")
    return space  # type: ignore[no-any-return]


def _zero_where(rows: Array, part: Array) -> Array:
    return np.where(rows.reshape(-1, *[1] * (part.ndim - 1)), part.dtype.type(0), part)


def _deviation(value: Any, space: spaces.Box) -> Array:
    """Standard deviations that broadcast to a Box."""
    try:
        deviation = np.asarray(value, np.float64)
        fits = np.broadcast_shapes(deviation.shape, space.shape) == space.shape
    except (TypeError, ValueError):
        fits = False
    if not fits or not np.isfinite(deviation).all() or (deviation < 0).any():
        raise ValueError(
            f"deviation: {value!r} given, a number of at least 0, or as many as shape {space.shape} has, needed"
        )
    return deviation


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
        raise ValueError(f"{name}: {value!r} given, a number of at least 0 needed")
    return float(value)
