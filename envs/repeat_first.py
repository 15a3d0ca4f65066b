"""RepeatFirst: name the suit of the first card, again and again."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .card_pictures import Mark, table_picture
from .cards import EnvCard, register_env
from .chance import Chance
from .decks import SUITS, card_lines, per_line, shuffled, suit
from .vector import Array, ArrayEnv, Outcome, one_of

_DECKS = {"easy": 1, "medium": 8, "hard": 16}


@register_env(
    EnvCard(
        id="memrl/RepeatFirst-v0",
        horizon=51,
        remember="the suit of the first card",
        steps_to_remember=50,
        optimal_return=1.0,
        memoryless_return=-1299 / 2601,
        twin_of={f"popgym-RepeatFirst{level.title()}-v0": {"difficulty": level} for level in _DECKS},
    )
)
class RepeatFirst(ArrayEnv):
    """Name the suit of the first card at every step; the twin of POPGym's RepeatFirst.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning".

    **What is seen**: the suit of the card that was just dealt, 0 to 3.

    **What must be remembered, and for how long**: the suit of the first card, for N - 2 steps. N is the number of
    cards: 52 (easy), 416 (medium), 832 (hard).

    **Actions**: 0 to 3, a suit.

    **Rewards**: 1/(N - 1) for the suit of the first card, else -1/(N - 1).

    **Ending**: terminated when all cards are dealt, after N - 1 steps. `info["is_success"]`: every answer was right.

    **Optimal return**: 1. **Best memoryless return**: -0.499 (easy), -0.500 (medium, hard), by naming the suit in view.
    That is right at the first step; later any other suit would be a little likelier, as one of the suit in view is
    gone, but not by so much that it pays.

    The oracle is a player who remembers the first card.

    Args:
        num_envs: games.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        self.num_decks = _DECKS[one_of("difficulty", difficulty, tuple(_DECKS))]
        self.num_cards = 52 * self.num_decks
        super().__init__(num_envs, spaces.Discrete(4), spaces.Discrete(4), self.num_cards - 1, render_mode)
        self.suits = np.zeros((num_envs, self.num_cards), np.int64)
        self.faultless = np.ones(num_envs, bool)

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.suits[rows] = shuffled(chance, self.num_decks, suit)
        self.faultless[rows] = True

    def _step(self, actions: Array) -> Outcome:
        right = actions == self.suits[:, 0]
        self.faultless &= right
        return Outcome(np.where(right, 1.0, -1.0) / self.horizon, self.steps == self.horizon, self.faultless)

    def _observe(self) -> Array:
        return self.suits[self._all, self.steps]

    def oracle(self) -> Array:
        """The suits of the first cards."""
        return self.suits[:, 0].copy()

    def text(self, copy: int = 0) -> str:
        """The cards dealt so far, the first in brackets."""
        names = self._dealt(copy)
        names[0] = f"[{names[0]}]"
        return f"{card_lines(names, per_line(self.num_cards))}\nstep {self.steps[copy]} of {self.horizon}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The cards dealt so far, the first in yellow, the last framed."""
        names = self._dealt(copy)
        marks = [Mark.ASKED] + [Mark.OPEN] * (len(names) - 1)
        caption = f"step {self.steps[copy]} of {self.horizon}"
        return table_picture(names, marks, caption, framed=[len(names) - 1], places=self.num_cards)

    def _dealt(self, copy: int) -> list[str]:
        return [SUITS[card] for card in self.suits[copy, : self.steps[copy] + 1]]
