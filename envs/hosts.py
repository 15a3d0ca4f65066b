"""Wrappers around single and vector environments that host a transformation of observations.

With the same seed and actions, a wrapped vector environment shows what wrapped single ones show.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from .chance import Streams
from .transforms import WHOLE, Parts, Source, Step, Transformation
from .vector import Array

AnyEnv = gym.Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Array]

_ONE = np.zeros(1, np.int64)  # the only row of a single environment


class _Runner:
    """A transformation, and what it must know of time and chance. Each wrapper of a stack has numbers of its own."""

    def __init__(self, change: Transformation, num_envs: int, depth: int) -> None:
        self.change, self.steps = change, np.zeros(num_envs, np.int64)
        self._key = (depth, crc32(type(change).__name__.encode()))
        self._streams: Streams | None = None

    def seed(self, seeds: Sequence[int | None]) -> None:
        own = [seed if seed is None else self._own(seed) for seed in seeds]
        if self._streams is None:
            self._streams = Streams(own)
        else:
            self._streams.reseed(own)

    def _own(self, seed: int) -> int:
        # The environment draws from the seed itself; with the same numbers, noise would follow what it draws.
        return int(np.random.SeedSequence(seed, spawn_key=self._key).generate_state(1, np.uint64)[0])

    def begin(self, rows: Array, seen: Parts) -> Parts:
        assert self._streams is not None  # `seed` comes first
        self.steps[rows] = 0
        return self.change.begin(rows, seen, self._streams.next_episode(rows))

    def apply(self, seen: Parts, actions: Any, rewards: Any) -> Parts:
        assert self._streams is not None
        self.steps += 1
        step = Step(np.asarray(actions), np.asarray(rewards, np.float64), self.steps, self._streams)
        return self.change.apply(seen, step)


class Host(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Hosts a transformation on a single environment."""

    def __init__(self, env: AnyEnv, change: type[Transformation], **options: Any) -> None:
        name = type(self).__name__
        if not isinstance(env, gym.Env):
            raise TypeError(f"env: {type(env).__name__} given, gymnasium.Env needed; Vector{name} takes vector ones")
        gym.utils.RecordConstructorArgs.__init__(self, **options)
        gym.Wrapper.__init__(self, env)
        self._runner = _Runner(change(_source(env, 1), **options), 1, _depth(env))
        self.observation_space = self._runner.change.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._runner.seed([seed])
        return self._alone(self._runner.begin(_ONE, self._as_row(obs))), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        seen = self._runner.apply(self._as_row(obs), np.asarray(action)[None], [reward])
        return self._alone(seen), reward, terminated, truncated, info

    def _as_row(self, obs: Any) -> Parts:
        return {name: part[None] for name, part in _split(obs, self._runner.change).items()}

    def _alone(self, seen: Parts) -> Any:
        return _joined({name: part[0] for name, part in seen.items()}, self.observation_space)


class VectorHost(VectorWrapper[Any, Any, Any, Any, Array]):
    """Hosts a transformation on a vector environment."""

    def __init__(self, env: AnyVectorEnv, change: type[Transformation], **options: Any) -> None:
        name = type(self).__name__
        if not isinstance(env, VectorEnv):
            raise TypeError(f"env: {type(env).__name__} given, VectorEnv needed; {name[6:]} takes single ones")
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"env: autoreset mode {getattr(mode, 'name', mode)} given, SAME_STEP needed; "
                "SyncVectorEnv and AsyncVectorEnv take it as autoreset_mode"
            )
        super().__init__(env)
        self._runner = _Runner(change(_source(env, env.num_envs), **options), env.num_envs, _depth(env))
        self.single_observation_space = self._runner.change.space
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._last: Parts = {}

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every copy, or in those that {"reset_mask": bool (n,)} names."""
        mask = (options or {}).get("reset_mask")  # now, as some environments take it out
        obs, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # several seeds are usual
        copies = range(self.num_envs)
        seeds = [seed + copy for copy in copies] if isinstance(seed, int | np.integer) else seed
        rows = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        given = [None for _ in copies] if seeds is None else list(seeds)
        self._runner.seed([given[copy] if copy in rows else None for copy in copies])
        first = self._runner.begin(rows, {name: part[rows] for name, part in self._parts(obs).items()})
        if len(rows) < self.num_envs:
            for name, part in self._last.items():
                part[rows] = first[name]
            first = self._last
        return self._batch(first), infos

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Take one action in every copy."""
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        rows = np.flatnonzero(terminated | truncated)
        parts = self._parts(obs)
        if not len(rows):
            return self._batch(self._runner.apply(parts, actions, rewards)), rewards, terminated, truncated, infos
        ended = {name: part.copy() for name, part in parts.items()}
        for row in rows:
            for name, part in self._parts(infos["final_obs"][row]).items():
                ended[name][row] = part
        seen = self._runner.apply(ended, actions, rewards)
        final_obs = np.full(self.num_envs, None, object)
        for row in rows:
            final_obs[row] = self._joined({name: part[row].copy() for name, part in seen.items()})
        first = self._runner.begin(rows, {name: part[rows] for name, part in parts.items()})
        for name, part in seen.items():
            part[rows] = first[name]
        return self._batch(seen), rewards, terminated, truncated, infos | {"final_obs": final_obs}

    def _parts(self, obs: Any) -> Parts:
        return _split(obs, self._runner.change)

    def _joined(self, seen: Parts) -> Any:
        return _joined(seen, self.single_observation_space)

    def _batch(self, seen: Parts) -> Any:
        self._last = {name: part.copy() for name, part in seen.items()}
        return self._joined(seen)


def _source(env: Any, num_envs: int) -> Source:
    single = isinstance(env, gym.Env)
    horizon = getattr(env.spec, "max_episode_steps", None) or getattr(env.unwrapped, "horizon", None)
    return Source(
        num_envs,
        env.observation_space if single else env.single_observation_space,
        env.action_space if single else env.single_action_space,
        horizon,
    )


def _depth(env: Any) -> int:
    """How many hosts are below."""
    depth = 0
    while isinstance(env, gym.Wrapper | VectorWrapper):
        depth += isinstance(env, Host | VectorHost)
        env = env.env
    return depth


def _split(obs: Any, change: Transformation) -> Parts:
    """An observation, or a batch of them, as named arrays in the order of its space."""
    given = obs if isinstance(obs, dict) else {WHOLE: obs}
    return {name: np.asarray(given[name], space.dtype) for name, space in change.before.items()}


def _joined(seen: Parts, space: spaces.Space[Any]) -> Any:
    return seen if isinstance(space, spaces.Dict) else seen[WHOLE]
