"""Any environment as a Stable-Baselines3 VecEnv: `make_vec_env`."""

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from .cards import list_envs
from .make import make_env, name_of, plain_errors
from .spaces import plain_actions, plain_observations
from .vector import one_of, whole_number
from .workers import WorkerVecEnv

Vec = Literal["auto", "twin", "dummy", "subproc"]
_OF_GYMNASIUM = {"max_episode_steps", "disable_env_checker"}


def make_vec_env(
    env_id: str,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    vec: Vec = "auto",
    render_mode: str | None = None,
    timeout: float | None = 300.0,
    **env_kwargs: Any,
) -> VecMonitor:
    """Make copies of an environment as Stable-Baselines3 takes them, with episode statistics (`VecMonitor`).

    Args:
        env_id: as in `make_env`.
        n_envs: copies, at least 1.
        seed: of the first copy, the others count up from it; None: not seeded yet.
        vec: "twin" is one array program for all copies, many times faster, of memrl's own ids and of the POPGym ids in
            `EnvCard.twin_of`; "dummy" steps the copies one after the other; "subproc" gives each a process of its own
            (`WorkerVecEnv`), for slow environments; "auto" takes the twin where there is one, else "dummy".
        render_mode: as in `make_env`.
        timeout: seconds that a process has for its answer ("subproc"); None: for ever.
        env_kwargs: as in `make_env`. POPGym's own keywords have no twin.

    Raises:
        ValueError: as in `make_env`, an argument is not as above, or there is no twin.
        WorkerError: an environment could not be made in its process ("subproc").

    >>> envs = make_vec_env("memrl/TMaze-v0", 1024, seed=0, length=5)
    >>> envs.reset().shape
    (1024, 2)
    """
    n_envs = whole_number("n_envs", n_envs, least=1)
    one_of("vec", vec, ("auto", "twin", "dummy", "subproc"))
    make = partial(make_env, env_id, render_mode=render_mode, **env_kwargs)
    twin = find_twin(env_id, env_kwargs) if vec in ("auto", "twin") else None
    envs: VecEnv
    if twin is not None or vec == "twin":
        envs = _make_twin(env_id, twin, n_envs, render_mode, env_kwargs)
    elif vec == "subproc":
        envs = WorkerVecEnv([make] * n_envs, timeout=timeout)
    else:
        envs = DummyVecEnv([make] * n_envs)
    if seed is not None:
        envs.seed(seed)
    return VecMonitor(envs)


def find_twin(env_id: str, env_kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Id and keywords of the memrl environment whose array program stands in for an id; None if there is none.

    >>> find_twin("popgym-RepeatPreviousHard-v0", {})
    ('memrl/RepeatPrevious-v0', {'difficulty': 'hard'})
    """
    name = name_of(env_id)
    if _OF_GYMNASIUM & env_kwargs.keys():  # keywords that put a wrapper around a single environment
        return None
    for card in list_envs():
        if name == card.id.rpartition("-v")[0]:  # without a version, Gymnasium takes the newest
            name = card.id
        keywords = card.twin_keywords(name, env_kwargs)
        if keywords is not None:
            return card.id, keywords
    return None


def _make_twin(
    env_id: str,
    twin: tuple[str, dict[str, Any]] | None,
    n_envs: int,
    render_mode: str | None,
    env_kwargs: Mapping[str, Any],
) -> "GymVecEnv":
    if twin is None:  # asked for with another package's id, which may have a vector environment of its own
        single = make_env(env_id, **env_kwargs)  # registers the id, and finds what is wrong
        single.close()
        if single.spec is None or single.spec.vector_entry_point is None:
            which = " with keywords" if find_twin(env_id, {}) else ""
            raise ValueError(f"vec: {env_id}{which} has no vectorised twin; 'dummy' or 'subproc' needed")
        twin = env_id, dict(env_kwargs)
    if render_mode is not None:
        twin[1]["render_mode"] = render_mode
    with plain_errors(twin[0], twin[1]):
        envs = gym.make_vec(twin[0], num_envs=n_envs, vectorization_mode="vector_entry_point", **twin[1])
    return GymVecEnv(envs)


class GymVecEnv(VecEnv):
    """A Gymnasium vector environment as a Stable-Baselines3 VecEnv.

    Attributes and methods of the copies are those of the vector environment. Of an array, list or tuple with as many
    rows as there are copies, each copy has its row; anything else is the same for all.

    Args:
        envs: with same-step resets (`AutoresetMode.SAME_STEP`), and new arrays in every step.

    Raises:
        ValueError: another way of resetting, or a space that Stable-Baselines3 does not take.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"{type(envs.unwrapped).__name__}: autoreset mode {getattr(mode, 'name', mode)} given, SAME_STEP "
                "needed, since Stable-Baselines3 wants the next episode's first observation in the step that ends one"
            )
        observations, actions = envs.single_observation_space, envs.single_action_space
        if plain_observations(observations)[1] is not None or plain_actions(actions)[1] is not None:
            raise ValueError(f"Stable-Baselines3 does not take the observations {observations} or actions {actions}")
        self.envs = envs
        self._actions: Any = None
        super().__init__(envs.num_envs, observations, actions)
        self.metadata = {key: value for key, value in envs.metadata.items() if key != "autoreset_mode"}

    def reset(self) -> VecEnvObs:
        """Start an episode in every copy; seeds and options count once.

        Raises:
            ValueError: options differ from copy to copy.
        """
        options = self._options[0]
        if any(own != options for own in self._options):
            raise ValueError("options: different ones given, but a vector environment takes one for all copies")
        obs, infos = self.envs.reset(seed=self._next_seeds(), options=options or None)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        _deal(infos, self.reset_infos)
        self._reset_seeds()
        self._reset_options()
        return obs  # type: ignore[no-any-return]

    def _next_seeds(self) -> Any:
        """Seeds as one number where they count up from it, which every vector environment takes."""
        first = self._seeds[0]
        counted = [None if first is None else first + copy for copy in range(self.num_envs)]
        return first if self._seeds == counted else list(self._seeds)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Note the actions."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Take the actions; at the end of an episode, infos are the last ones of that episode."""
        obs, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        dones = np.logical_or(terminated, truncated)
        # One dict for each copy, since wrappers write into them.
        told: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        _deal({key: part for key, part in infos.items() if key not in ("final_obs", "final_info")}, told)
        if dones.any():
            last: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            _deal(infos.get("final_info", {}), last)
            for copy in np.flatnonzero(dones):
                self.reset_infos[copy] = {key: told[copy][key] for key in told[copy] if key != "TimeLimit.truncated"}
                told[copy] = last[copy]
                told[copy]["TimeLimit.truncated"] = bool(truncated[copy] and not terminated[copy])
                told[copy]["terminal_observation"] = infos["final_obs"][copy]
        return obs, np.asarray(rewards, np.float32), dones, told

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture of each copy."""
        if self.render_mode != "rgb_array":
            warnings.warn(
                f"render_mode is {self.render_mode!r}; there are pictures with 'rgb_array' only", stacklevel=2
            )
            return [None] * self.num_envs
        pictures: Any = self.envs.render()
        return list(pictures)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the copies.

        Raises:
            AttributeError: there is none of that name.
        """
        own = {"observation_space": self.observation_space, "action_space": self.action_space}
        value = own[attr_name] if attr_name in own else getattr(self._owner(attr_name), attr_name)
        return self._rows(value, indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Give an attribute of the copies a value; what they share, all copies or none.

        Raises:
            ValueError: the copies share it, and only some are meant.
        """
        chosen = list(self._get_indices(indices))
        owner = self._owner(attr_name) if self.has_attr(attr_name) else self.envs.unwrapped
        before = getattr(owner, attr_name, None)
        if isinstance(before, np.ndarray) and self._has_rows(before):
            before[chosen] = value
        elif len(set(chosen)) == self.num_envs:
            setattr(owner, attr_name, value)
        else:
            raise ValueError(f"{attr_name}: the copies share it, so it can be set for all only")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call a method of the vector environment: for each copy if it takes a `copy` and none is named, else once."""
        method = getattr(self._owner(method_name), method_name)
        if "copy" in inspect.signature(method).parameters and not args and "copy" not in kwargs:
            return [method(*args, copy=copy, **kwargs) for copy in self._get_indices(indices)]
        return self._rows(method(*args, **kwargs), indices)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Whether the vector environment is wrapped in a class."""
        found = any(isinstance(env, wrapper_class) for env in self._chain())
        return [found for _ in self._get_indices(indices)]

    def _chain(self) -> Iterable[Any]:
        """The vector environment's wrappers from outside, then itself."""
        env: Any = self.envs
        while isinstance(env, VectorWrapper):
            yield env
            env = env.env
        yield env

    def _owner(self, name: str) -> Any:
        for env in self._chain():
            if hasattr(env, name):
                return env
        raise AttributeError(f"{type(self.envs.unwrapped).__name__} has no attribute {name!r}")

    def _has_rows(self, value: Any) -> bool:
        if isinstance(value, np.ndarray):
            return value.ndim > 0 and len(value) == self.num_envs
        return isinstance(value, list | tuple) and len(value) == self.num_envs

    def _rows(self, value: Any, indices: VecEnvIndices) -> list[Any]:
        rows = self._has_rows(value)
        return [value[copy] if rows else value for copy in self._get_indices(indices)]


def _deal(infos: Mapping[str, Any], hands: list[dict[str, Any]]) -> None:
    """Put each copy's part of Gymnasium's infos, where "_key" says who has a "key", into a dict of its own."""
    for key, values in infos.items():
        if key.startswith("_"):
            continue
        if isinstance(values, dict):
            parts: list[dict[str, Any]] = [{} for _ in hands]
            _deal(values, parts)
            values = parts
        elif isinstance(values, np.ndarray) and values.ndim == 1:
            values = values.tolist()  # Python's own numbers, as a single environment has them
        known = infos.get(f"_{key}")
        if known is None or known.all():
            for hand, value in zip(hands, values, strict=True):
                hand[key] = value
        else:
            for copy in np.flatnonzero(known):
                hands[copy][key] = values[copy]
