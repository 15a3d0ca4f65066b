"""What each memrl environment asks of a memory, and its registration with Gymnasium."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import gymnasium as gym

from . import single
from .vector import ArrayEnv

Program = TypeVar("Program", bound=type[ArrayEnv])


@dataclass(frozen=True)
class EnvCard:
    """What an environment asks of a memory, with its keywords at their defaults."""

    id: str  # for `make_env`, `make_vec_env` and, after `import memrl.envs`, for `gymnasium.make` and `make_vec`
    horizon: int  # steps of the longest episode
    remember: str  # what must be remembered
    steps_to_remember: int  # from the observation that shows it to the one that needs it
    optimal_return: float  # expected return of the best policy with memory
    memoryless_return: float | None  # of the best policy that sees the last observation only; None if unknown
    optimal_is_bound: bool = False  # whether `optimal_return` is only known not to be exceeded
    memoryless_is_found: bool = False  # whether `memoryless_return` is the best found, and not proven to be the best
    # Ids of another package whose rules are these, each with the keywords that make this environment its twin.
    twin_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def twin_keywords(self, env_id: str, env_kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Keywords with which this environment stands in for another id; None if it does not.

        Args:
            env_id: this environment's own, or any other.
            env_kwargs: keywords of that id; those of another package are not ours, so with them there is no twin.

        >>> (repeat,) = [card for card in list_envs() if card.id == "memrl/RepeatPrevious-v0"]
        >>> repeat.twin_keywords("popgym-RepeatPreviousHard-v0", {})
        {'difficulty': 'hard'}
        """
        if env_id == self.id:
            return dict(env_kwargs)
        return dict(self.twin_of[env_id]) if env_id in self.twin_of and not env_kwargs else None


_CARDS: dict[str, EnvCard] = {}


def register_env(card: EnvCard, single_env: type[gym.Env[Any, Any]] | None = None) -> Callable[[Program], Program]:
    """Class decorator for an array program: register it and its single copy under the card's id.

    The program must also be importable from `memrl.envs`, which is where worker processes look for it.

    Args:
        card: what the environment asks of a memory.
        single_env: a hand-written single environment with the same trajectories; by default one copy of the program.
    """

    def register(program: Program) -> Program:
        name = program.__name__
        entry_point = f"memrl.envs.single:{name}"
        if single_env is None:
            contents: dict[str, Any] = {attribute: single.forwarded(attribute) for attribute in program.settable}
            contents |= {"program": program, "__doc__": program.__doc__, "__module__": single.__name__}
            base = single.MaskedSingleEnv if hasattr(program, "action_masks") else single.SingleEnv
            setattr(single, name, type(name, (base,), contents))
        else:
            entry_point = f"memrl.envs:{single_env.__name__}"
        # Our environments end by themselves, refuse steps out of order and are checked by the tests: no wrapper.
        gym.register(
            card.id,
            entry_point=entry_point,
            vector_entry_point=f"memrl.envs:{name}",
            order_enforce=False,
            disable_env_checker=True,
        )
        _CARDS[card.id] = card
        return program

    return register


def list_envs() -> tuple[EnvCard, ...]:
    """The cards of memrl's own environments, sorted by id.

    >>> "memrl/TMaze-v0" in [card.id for card in list_envs()]
    True
    """
    return tuple(_CARDS[env_id] for env_id in sorted(_CARDS))
