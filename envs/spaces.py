"""Spaces that Stable-Baselines3 does not take, turned into ones that it does."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Space = spaces.Space[Any]
Convert = Callable[[Any], Any]


class PlainSpaces(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """An environment with observation and action spaces that SB3 accepts.

    Observations: a Tuple of Discrete, MultiDiscrete and MultiBinary spaces becomes one MultiDiscrete; any
        other Tuple,
    and a nested Dict, a flat Dict whose keys are the paths ("camera/left", or "0", "1" for a Tuple). Actions:
    a Tuple or Dict of discrete spaces becomes one MultiDiscrete, of Boxes one flat Box. Discrete and
    MultiDiscrete spaces are counted from 0 and have one axis.

    Args:
        env: any environment.

    Raises:
        ValueError: a space is, or holds, one that cannot be converted (Graph, Sequence, Text, ...).

    >>> env = gym.wrappers.TransformObservation(
    ...     gym.make("CartPole-v1"),
    ...     lambda seen: (1, 2),
    ...     spaces.Tuple([spaces.Discrete(3), spaces.Discrete(4)]),
    ... )
    >>> PlainSpaces(env).observation_space
    MultiDiscrete([3 4])
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.observation_space, self._encode = plain_observations(env.observation_space)
        self.action_space, self._decode = plain_actions(env.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        seen, info = self.env.reset(seed=seed, options=options)
        return (seen if self._encode is None else self._encode(seen)), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        if self._decode is not None:
            action = self._decode(action)
        seen, reward, terminated, truncated, info = self.env.step(action)
        return (seen if self._encode is None else self._encode(seen)), reward, terminated, truncated, info

    def __getstate__(self) -> dict[str, Any]:
        # The conversions are local functions, which no pickle holds; they follow from the inner spaces.
        return {**self.__dict__, "_encode": None, "_decode": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._encode = plain_observations(self.env.observation_space)[1]
        self._decode = plain_actions(self.env.action_space)[1]


def plain_spaces(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Wrap an environment in `PlainSpaces` if its spaces need it; the same environment otherwise.

    Raises:
        ValueError: a space is, or holds, one that cannot be converted.
    """
    encode, decode = plain_observations(env.observation_space)[1], plain_actions(env.action_space)[1]
    return env if encode is None and decode is None else PlainSpaces(env)


def plain_observations(space: Space) -> tuple[Space, Convert | None]:
    """The space SB3 gets to see, and the function from old to new observations; None if nothing changes.

    Raises:
        ValueError: the space is, or holds, one that cannot be converted.
    """
    if not isinstance(space, spaces.Tuple | spaces.Dict):
        return _plain_leaf(space)
    leaves = list(_leaves(space))
    if isinstance(space, spaces.Tuple) and leaves and all(_is_discrete(leaf.space) for leaf in leaves):
        return _plain_tuple(space, leaves)
    # SB3 keeps one network for each key, and a network's name has no dots.
    names = ["/".join(map(str, leaf.path)).replace(".", "_") for leaf in leaves]
    if len(set(names)) < len(names):
        raise ValueError(f"observation space: two parts of {_line(space)} would get the same name; rename a key")
    plain = [_plain_leaf(leaf.space) for leaf in leaves]
    flat = spaces.Dict(dict(zip(names, (new for new, _ in plain), strict=True)))
    if all(
        leaf.path == (name,) and convert is None for leaf, name, (_, convert) in zip(leaves, names, plain, strict=True)
    ):
        return space, None
    parts = [(name, leaf.path, convert) for name, leaf, (_, convert) in zip(names, leaves, plain, strict=True)]

    def encode(seen: Any) -> dict[str, Any]:
        encoded = {}
        for name, path, convert in parts:
            value = _at(seen, path)
            encoded[name] = value if convert is None else convert(value)
        return encoded

    return flat, encode


def plain_actions(space: Space) -> tuple[Space, Convert | None]:
    """The action space SB3 gets to see, and the function from new to old actions; None if nothing changes.

    Raises:
        ValueError: the space is, or holds, one that cannot be converted, or is a Box without bounds.
    """
    leaves = list(_leaves(space))
    nested = isinstance(space, spaces.Tuple | spaces.Dict)
    for leaf in leaves:
        if isinstance(leaf.space, spaces.Box) and not leaf.space.is_bounded():
            raise ValueError(f"action space: {_line(leaf.space)} has no finite bounds, which SB3 needs")
    if not leaves or not all(_is_discrete(leaf.space) or isinstance(leaf.space, spaces.Box) for leaf in leaves):
        raise ValueError(
            f"action space: {_line(space)} cannot be used; Box, Discrete, MultiDiscrete, MultiBinary allowed"
        )

    if all(isinstance(leaf.space, spaces.Box) for leaf in leaves):
        if not nested:
            return space, None
        low = np.concatenate([leaf.space.low.ravel() for leaf in leaves])
        high = np.concatenate([leaf.space.high.ravel() for leaf in leaves])
        return spaces.Box(low, high, dtype=low.dtype.type), lambda action: _nest(space, iter(_split(leaves, action)))
    if not all(_is_discrete(leaf.space) for leaf in leaves):
        raise ValueError(f"action space: {_line(space)} mixes Box with discrete spaces, which no SB3 policy can")

    starts = np.concatenate([_starts(leaf.space) for leaf in leaves])
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return (spaces.Discrete(int(space.n)), lambda action: int(action) + first) if first else (space, None)
    if not nested and len(space.shape or ()) == 1 and not starts.any():
        return space, None
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiBinary(len(starts)), lambda action: np.reshape(action, space.shape)
    counts = np.concatenate([_counts(leaf.space) for leaf in leaves])
    return (
        spaces.MultiDiscrete(counts),
        lambda action: _nest(space, iter(_split(leaves, np.asarray(action) + starts))),
    )


class _Leaf(NamedTuple):
    path: tuple[Any, ...]  # keys and positions that lead to it
    space: Any


def _leaves(space: Space, path: tuple[Any, ...] = ()) -> Iterator[_Leaf]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves(part, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for position, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, position))
    else:
        yield _Leaf(path, space)


def _line(space: Space) -> str:
    """A space as one line of text; NumPy breaks long arrays."""
    return " ".join(str(space).split())


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _plain_leaf(space: Any) -> tuple[Space, Convert | None]:
    if isinstance(space, spaces.Box):
        if space.shape:
            return space, None
        return (
            spaces.Box(space.low.reshape(1), space.high.reshape(1), dtype=space.dtype.type),
            lambda seen: np.reshape(seen, 1),
        )
    if isinstance(space, spaces.Discrete):
        first = space.start
        return (spaces.Discrete(int(space.n)), lambda seen: seen - first) if first else (space, None)
    if isinstance(space, spaces.MultiDiscrete):
        if space.nvec.ndim == 1 and not space.start.any():
            return space, None
        start = space.start
        flat = spaces.MultiDiscrete(space.nvec.ravel(), dtype=space.dtype.type)
        return flat, lambda seen: np.ravel(seen - start).astype(flat.dtype)
    if isinstance(space, spaces.MultiBinary):
        return space, None
    raise ValueError(
        f"observation space: {_line(space)} cannot be used; Box, Discrete, MultiDiscrete, MultiBinary, "
        "and Tuple or Dict of these allowed"
    )


def _plain_tuple(space: Any, leaves: list[_Leaf]) -> tuple[Space, Convert]:
    """A Tuple of discrete spaces as one MultiDiscrete."""
    counts = np.concatenate([_counts(leaf.space) for leaf in leaves])
    starts = np.concatenate([_starts(leaf.space) for leaf in leaves])
    flat = spaces.MultiDiscrete(counts)
    if not starts.any() and all(isinstance(part, spaces.Discrete) for part in space.spaces):
        return flat, lambda seen: np.array(seen, np.int64)  # the common case, without a Python loop
    paths = [leaf.path for leaf in leaves]
    return (
        flat,
        lambda seen: np.concatenate([np.ravel(_at(seen, path)) for path in paths]).astype(np.int64) - starts,
    )


def _is_discrete(space: Space) -> bool:
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


def _counts(space: Any) -> NDArray[np.int64]:
    """How many values each number of a discrete space can have."""
    if isinstance(space, spaces.Discrete):
        return np.array([space.n], np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ravel().astype(np.int64)
    return np.full(int(np.prod(space.shape)), 2, np.int64)


def _starts(space: Any) -> NDArray[np.int64]:
    """The lowest value of each number of a discrete space."""
    if isinstance(space, spaces.Discrete):
        return np.array([space.start], np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start.ravel().astype(np.int64)
    return np.zeros(int(np.prod(space.shape)), np.int64)


def _split(leaves: list[_Leaf], flat: Any) -> Iterator[Any]:
    """A flat action as the values of the leaves, one after the other."""
    position = 0
    for leaf in leaves:
        size = int(np.prod(leaf.space.shape))
        part = flat[position : position + size]
        position += size
        yield (
            int(part[0])
            if isinstance(leaf.space, spaces.Discrete)
            else part.reshape(leaf.space.shape).astype(leaf.space.dtype)
        )


def _nest(space: Space, values: Iterator[Any]) -> Any:
    """Values of the leaves in the shape of a nested space."""
    if isinstance(space, spaces.Dict):
        return {key: _nest(part, values) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nest(part, values) for part in space.spaces)
    return next(values)
