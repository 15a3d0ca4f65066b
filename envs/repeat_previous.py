"""RepeatPrevious: name the suit of the card that was shown some cards ago."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .card_pictures import Mark, table_picture
from .cards import EnvCard, register_env
from .chance import Chance
from .decks import SUITS, card_lines, per_line, shuffled, suit
from .vector import Array, ArrayEnv, Outcome, one_of

_DIFFICULTIES = {"easy": (1, 4), "medium": (2, 32), "hard": (3, 64)}  # decks, k


@register_env(
    EnvCard(
        id="memrl/RepeatPrevious-v0",
        horizon=51,
        remember="the suits of the last 4 cards",
        steps_to_remember=3,
        optimal_return=1.0,
        memoryless_return=-25 / 51,
        twin_of={f"popgym-RepeatPrevious{level.title()}-v0": {"difficulty": level} for level in _DIFFICULTIES},
    )
)
class RepeatPrevious(ArrayEnv):
    """Name the suit of the k-th most recent card; the twin of POPGym's RepeatPrevious.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning".

    **What is seen**: the suit of the card that was just dealt, 0 to 3.

    **What must be remembered, and for how long**: the suits of the last k cards, the current one included, each for
    k - 1 steps: k = 4 (easy), 32 (medium), 64 (hard).

    **Actions**: 0 to 3, a suit.

    **Rewards**: once k cards are dealt, 1/(N - k) for the suit of the k-th most recent of them (k = 1 would be the
    current card), else -1/(N - k). N is the number of cards: 52, 104, 156.

    **Ending**: terminated when all cards are dealt, after N - 1 steps. `info["is_success"]`: every answer was right.

    **Optimal return**: 1. **Best memoryless return**: -0.490 (easy), -0.495 (medium), -0.497 (hard), by naming any suit
    but the one in view: of each of the others all cards are among the N - 1 that are not in view.

    The oracle is a player who remembers all cards.

    Args:
        num_envs: games.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        self.num_decks, self.k = _DIFFICULTIES[one_of("difficulty", difficulty, tuple(_DIFFICULTIES))]
        self.num_cards = 52 * self.num_decks
        super().__init__(num_envs, spaces.Discrete(4), spaces.Discrete(4), self.num_cards - 1, render_mode)
        self.suits = np.zeros((num_envs, self.num_cards), np.int64)
        self.faultless = np.ones(num_envs, bool)

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.suits[rows] = shuffled(chance, self.num_decks, suit)
        self.faultless[rows] = True

    def _step(self, actions: Array) -> Outcome:
        asked = self.steps >= self.k
        right = actions == self._answers()
        rewards = np.where(asked, np.where(right, 1.0, -1.0), 0.0) / (self.num_cards - self.k)
        self.faultless &= right | ~asked
        return Outcome(rewards, self.steps == self.horizon, self.faultless)

    def _observe(self) -> Array:
        return self.suits[self._all, self.steps]

    def _answers(self) -> Array:
        """The suits asked for before the cards of this step are dealt; any suit where nothing is asked."""
        return self.suits[self._all, np.maximum(self.steps - self.k, 0)]

    def oracle(self) -> Array:
        """The right suits."""
        return self.suits[self._all, np.maximum(self.steps + 1 - self.k, 0)]

    def text(self, copy: int = 0) -> str:
        """The cards dealt so far, the one asked for in brackets."""
        names = self._dealt(copy)
        if len(names) >= self.k:
            names[-self.k] = f"[{names[-self.k]}]"
        return f"{card_lines(names, per_line(self.num_cards))}\nstep {self.steps[copy]} of {self.horizon}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The cards dealt so far, the one asked for in yellow, the last framed."""
        names = self._dealt(copy)
        marks = [Mark.ASKED if place == len(names) - self.k else Mark.OPEN for place in range(len(names))]
        caption = f"step {self.steps[copy]} of {self.horizon}"
        return table_picture(names, marks, caption, framed=[len(names) - 1], places=self.num_cards)

    def _dealt(self, copy: int) -> list[str]:
        return [SUITS[card] for card in self.suits[copy, : self.steps[copy] + 1]]
