"""One way to make any environment: `make_env`."""

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator, parse_env_id
from gymnasium.error import DependencyNotInstalled, DeprecatedEnv, Error, UnregisteredEnv

from .minigrid import make_minigrid
from .popgym import has_popgym, make_popgym
from .single import SingleEnv
from .spaces import plain_spaces
from .vector import ArrayEnv

_NOT_FOR_USERS = {
    *("self", "args", "kwargs", "keywords", "env_id", "env_kwargs", "num_envs"),
    *("agent_view_size", "mission_space"),
}
_UNKNOWN_KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")


def make_env(env_id: str, *, render_mode: str | None = None, **env_kwargs: Any) -> gym.Env[Any, Any]:
    """Make an environment whose spaces Stable-Baselines3 accepts.

    MiniGrid and BabyAI ids (`MiniGridObservations`) and POPGym ids work as they are. Tuple, nested Dict and
    other spaces that SB3 does not take are converted (`PlainSpaces`).

    Args:
        env_id: of memrl ("memrl/TMaze-v0"), MiniGrid, BabyAI, POPGym, Gymnasium, or any other package, which
            "package:id" imports first.
        render_mode: as in `gymnasium.make`: None, "rgb_array", "human" or whatever the environment offers.
        env_kwargs: keywords of the environment; for MiniGrid and BabyAI also `view_size`, `actions`,
            `mission_length`.

    Raises:
        ValueError: unknown id or keyword, a package that is not installed, or a space that cannot be used.

    >>> make_env("memrl/TMaze-v0", length=5).observation_space
    Box(-1.0, 1.0, (2,), float32)
    >>> make_env("MiniGrid-MemoryS7-v0", view_size=3, actions="left,right,forward").action_space
    Discrete(3)
    """
    if render_mode is not None:
        env_kwargs["render_mode"] = render_mode
    with plain_errors(env_id, env_kwargs), warnings.catch_warnings():
        # Asking for a window is no mistake: Gymnasium then shows the pictures itself, as wanted.
        warnings.filterwarnings("ignore", message=".*'human' rendering for an environment")
        return _maker(name_of(env_id))(env_id, **env_kwargs)


def name_of(env_id: object) -> str:
    """The id without the package in front of it.

    Raises:
        ValueError: not a text.

    >>> name_of("memrl.envs:memrl/TMaze-v0")
    'memrl/TMaze-v0'
    """
    if not isinstance(env_id, str):
        raise ValueError(f"env_id: {env_id!r} given, a text such as 'memrl/TMaze-v0' needed")
    return env_id.rpartition(":")[2]


@contextmanager
def plain_errors(env_id: str, env_kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Context in which an environment is made: what Gymnasium says about a wrong id or keyword, in a line that helps.

    Raises:
        ValueError: unknown id or keyword, or a package that is not installed.
    """
    name = name_of(env_id)
    try:
        parse_env_id(name)
        if env_id.count(":") > 1:
            raise Error("one package at most")
    except Error:
        raise ValueError(_unknown(env_id, name)) from None
    try:
        yield
    except (UnregisteredEnv, DeprecatedEnv):
        raise ValueError(_unknown(env_id, name)) from None
    except DependencyNotInstalled as missing:
        raise ValueError(f"{env_id}: {missing}") from missing
    except ModuleNotFoundError as missing:
        if missing.name is not None:  # Gymnasium names no module when it cannot import the package in "package:id"
            raise
        raise ValueError(f"{env_id}: {missing}") from missing
    except TypeError as problem:
        keyword = _UNKNOWN_KEYWORD.search(str(problem))
        if keyword is None or keyword[1] not in env_kwargs:
            raise
        known = sorted(set(_keywords(name)) - _NOT_FOR_USERS)
        raise ValueError(f"{env_id} has no keyword {keyword[1]!r}{_nearest(keyword[1], known)}") from None


def _maker(name: str) -> Callable[..., gym.Env[Any, Any]]:
    if name.startswith(("MiniGrid-", "BabyAI-")):
        return make_minigrid
    if name.startswith("popgym-"):
        return make_popgym
    return _make_gymnasium


def _make_gymnasium(env_id: str, **env_kwargs: Any) -> gym.Env[Any, Any]:
    return plain_spaces(gym.make(env_id, **env_kwargs))


def _keywords(name: str) -> Iterable[str]:
    """Names of the keywords of an environment and of its maker, for a message."""
    yield from inspect.signature(_maker(name)).parameters
    spec = gym.registry.get(name)  # None for an id without a version, which Gymnasium completes
    entry = None if spec is None else spec.entry_point
    creator: Any = load_env_creator(entry) if isinstance(entry, str) else entry
    if isinstance(creator, type) and issubclass(creator, SingleEnv):  # hands its keywords on to the program
        bases = [base for base in creator.program.__mro__ if issubclass(base, ArrayEnv) and base is not ArrayEnv]
    else:
        bases = list(creator.__mro__) if isinstance(creator, type) else []
    for function in [base.__init__ for base in bases] or [creator]:
        if inspect.isfunction(function):
            yield from inspect.signature(function).parameters


def _unknown(env_id: str, name: str) -> str:
    if name.startswith("popgym-") and has_popgym():
        import popgym  # noqa: F401  # its ids can be suggested
    near = get_close_matches(name, gym.registry, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "an id of another package is written 'package:id'"
    return f"unknown environment {env_id!r}; {hint}"


def _nearest(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" known: {', '.join(known)}"
