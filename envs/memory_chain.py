"""Memory chain: bits shown at the start, one of them asked for at the end."""

from collections.abc import Mapping

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from .cards import EnvCard, register_env
from .chance import Chance
from .vector import Array, ArrayEnv, Outcome, whole_number

# The settings that bsuite publishes: lengths (with one bit), and numbers of bits (with length 2).
MEMORY_LEN = (*range(1, 11), 12, 14, 17, 20, 25, *range(30, 101, 10))
MEMORY_SIZE = (*range(1, 11), 12, 14, 17, 20, 25, 30, 40)

_SCORED_EPISODES, _LEARNED_BELOW = 10_000, 0.75  # of an experiment; mistakes relative to guessing


@register_env(
    EnvCard(
        id="memrl/MemoryChain-v0",
        horizon=11,
        remember="a bit shown at the start",
        steps_to_remember=9,
        optimal_return=1.0,
        memoryless_return=0.0,
    )
)
class MemoryChain(ArrayEnv):
    """Say at the end of a chain which value a bit had at its start; bsuite's memory_len and memory_size.

    Osband et al. 2020, "Behaviour Suite for Reinforcement Learning". Their memory_len experiment is `bits=1` with each
    of the lengths in `MEMORY_LEN`, memory_size is `length=2` with each number of bits in `MEMORY_SIZE`;
    `memory_chain_score` scores either.

    **What is seen**: bits + 2 numbers, of time t: 1 - t/length; the query, a bit's number from 0, at t = length - 1
    and 0 at any other time; the bits, each 1 or -1 with equal chance, at t = 0, and 0 at any other time. As in bsuite,
    the first step shows t = 0 a second time: after step k one sees t = k - 1. (bsuite has an axis of length 1 in
    front.)

    **What must be remembered, and for how long**: all bits, from the second observation to the last but one, which is
    length - 1 steps.

    **Actions**: 0 (the bit is -1) or 1 (the bit is 1). Only the last one counts.

    **Rewards**: 1 at the last step if the action names the bit that the query asked for, else -1. 0 at any other step.

    **Ending**: terminated after length + 1 steps, never truncated. `info["is_success"]`: the answer was right.

    **Optimal return**: 1. **Best memoryless return**: 0, as the query is all that is seen before the last action; but
    1 with length 1, where bits and query are seen together.

    The oracle is a player who remembers the bits. It is told the query, which it sees in time.

    Args:
        num_envs: chains.
        length: from 1.
        bits: 1 to 10,000.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(self, num_envs: int, length: int = 10, bits: int = 1, render_mode: str | None = None) -> None:
        self.length = whole_number("length", length, least=1, most=10**9)
        self.bits = whole_number("bits", bits, least=1, most=10_000)
        low = np.array([0, 0] + [-1] * self.bits, np.float32)
        high = np.array([1, max(self.bits - 1, 1)] + [1] * self.bits, np.float32)
        space = spaces.Box(low, high, dtype=np.float32)
        super().__init__(num_envs, space, spaces.Discrete(2), self.length + 1, render_mode)
        self.context = np.ones((num_envs, self.bits), np.int64)  # 1 or -1
        self.query = np.zeros(num_envs, np.int64)

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.context[rows] = 2 * chance.integers(2, self.bits) - 1
        self.query[rows] = chance.integers(self.bits)

    def _step(self, actions: Array) -> Outcome:
        over = self.steps == self.horizon
        success = actions == self.oracle()
        return Outcome(over * np.where(success, 1.0, -1.0), over, success)

    def _observe(self) -> Array:
        time = np.maximum(self.steps - 1, 0)
        obs = np.empty((self.num_envs, self.bits + 2), np.float32)
        obs[:, 0] = 1 - time / self.length
        obs[:, 1] = (time == self.length - 1) * self.query
        obs[:, 2:] = self.context
        obs[:, 2:] *= (time == 0)[:, None]
        return obs

    def oracle(self) -> Array:
        """The bit that is or will be asked for."""
        return (self.context[self._all, self.query] > 0).astype(np.int64)

    def text(self, copy: int = 0) -> str:
        """The bits, the one asked for in brackets."""
        names = ["+" if bit > 0 else "-" for bit in self.context[copy]]
        asked = self.query[copy]
        names[asked] = f"[{names[asked]}]"
        return f"{' '.join(names)}\nstep {self.steps[copy]} of {self.horizon}\n"


def memory_chain_score(successes: Mapping[int, ArrayLike]) -> float:
    """The score that bsuite gives a sweep: the share of settings that were learned, 0 to 1.

    A setting is learned if fewer than 37.5% of its first 10,000 episodes were mistakes, the first ones of training
    included: three quarters of what guessing makes.

    Args:
        successes: for each setting tried, such as those of `MEMORY_LEN`, whether each episode was a success, from the
            first one of training on, as bools. Shape (episodes,) or (runs, episodes).

    Raises:
        ValueError: no setting is given, or one has no episodes or something else than bools.

    >>> memory_chain_score({1: [True, True], 2: [False, True]})
    0.5
    """
    if not successes:
        raise ValueError("successes: empty, the episodes of at least one setting needed")
    learned = []
    for setting, given in successes.items():
        episodes = np.asarray(given)
        if episodes.dtype != bool or episodes.ndim not in (1, 2) or episodes.size == 0:
            raise ValueError(
                f"successes[{setting!r}]: {episodes.dtype} {episodes.shape} given, bools (episodes,) or "
                "(runs, episodes) needed"
            )
        mistakes = 1 - episodes[..., :_SCORED_EPISODES].mean()
        learned.append(mistakes / 0.5 < _LEARNED_BELOW)
    return float(np.mean(learned))
