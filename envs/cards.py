"""What each memrl environment asks of a memory, and its registration with Gymnasium."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import gymnasium as gym

Environment = TypeVar("Environment", bound=type[gym.Env[Any, Any]])


@dataclass(frozen=True)
class EnvCard:
    """What an environment asks of a memory, with its keywords at their defaults."""

    id: str  # for `make_env` and, after `import memrl.envs`, for `gymnasium.make`
    horizon: int  # steps of the longest episode
    remember: str  # what must be remembered
    steps_to_remember: int  # from the observation that shows it to the one that needs it
    optimal_return: float  # expected return of the best policy with memory
    memoryless_return: float | None  # of the best policy that sees the last observation only; None if unknown


_CARDS: dict[str, EnvCard] = {}


def register_env(card: EnvCard) -> Callable[[Environment], Environment]:
    """Class decorator: register an environment under its card's id.

    The class must also be importable from `memrl.envs`, which is where worker processes look for it.
    """

    def register(env: Environment) -> Environment:
        # Our environments end by themselves, refuse steps out of order and are checked by the tests: no
        # wrapper.
        gym.register(card.id, entry_point=f"memrl.envs:{env.__name__}", order_enforce=False, disable_env_checker=True)
        _CARDS[card.id] = card
        return env

    return register


def list_envs() -> tuple[EnvCard, ...]:
    """The cards of memrl's own environments, sorted by id.

    >>> list_envs()[0].id
    'memrl/TMaze-v0'
    """
    return tuple(_CARDS[env_id] for env_id in sorted(_CARDS))
