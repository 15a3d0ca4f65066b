"""Autoencode: see the suits of a whole deck, then name them in reverse order."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .card_pictures import Mark, table_picture
from .cards import EnvCard, register_env
from .chance import Chance
from .decks import SUITS, card_lines, per_line, shuffled, suit
from .vector import Array, ArrayEnv, Outcome, one_of

PLAY, WATCH = 0, 1

_DECKS = {"easy": 1, "medium": 2, "hard": 3}


@register_env(
    EnvCard(
        id="memrl/Autoencode-v0",
        horizon=103,
        remember="the suits of 52 cards, in order",
        steps_to_remember=102,
        optimal_return=1.0,
        memoryless_return=-24.5 / 52,
        twin_of={f"popgym-Autoencode{level.title()}-v0": {"difficulty": level} for level in _DECKS},
    )
)
class Autoencode(ArrayEnv):
    """Watch a deck being dealt, then name the suits of its cards in reverse order; the twin of POPGym's Autoencode.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning".

    **What is seen**: two numbers: 1 while cards are being dealt ("watch"), then 0 ("play"); and the suit of the card
    that was just dealt, then 0. As in POPGym, the last card is shown with the first 0, so the first answer is in view,
    and the zeros after that look like spades.

    **What must be remembered, and for how long**: the suits of all N cards in their order, the first one for 2N - 2
    steps, the last but one for 2. N is 52 (easy), 104 (medium), 156 (hard).

    **Actions**: 0 to 3, a suit. They count in play only.

    **Rewards**: in play 1/N for the right suit, else -1/N: that of the last card first, of the first card last.

    **Ending**: terminated when N answers are given, after 2N - 1 steps. `info["is_success"]`: every answer was right.

    **Optimal return**: 1. **Best memoryless return**: -0.471 (easy), -0.486 (medium), -0.490 (hard), by naming the suit
    in view: right for the card that is in view, then always spades.

    The oracle is a player who remembers all cards.

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
        observed = spaces.MultiDiscrete(np.array([2, 4]))
        super().__init__(num_envs, observed, spaces.Discrete(4), 2 * self.num_cards - 1, render_mode)
        self.suits = np.zeros((num_envs, 2 * self.num_cards), np.int64)  # zeros from num_cards on
        self.faultless = np.ones(num_envs, bool)

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.suits[rows, : self.num_cards] = shuffled(chance, self.num_decks, suit)
        self.faultless[rows] = True

    def _step(self, actions: Array) -> Outcome:
        playing = self.steps >= self.num_cards
        right = actions == self.suits[self._all, self.horizon - self.steps]
        self.faultless &= right | ~playing
        rewards = np.where(playing, np.where(right, 1.0, -1.0), 0.0) / self.num_cards
        return Outcome(rewards, self.steps == self.horizon, self.faultless)

    def _observe(self) -> Array:
        obs = np.empty((self.num_envs, 2), np.int64)
        obs[:, 0] = self.steps < self.num_cards - 1
        obs[:, 1] = self.suits[self._all, self.steps]
        return obs

    def oracle(self) -> Array:
        """The right suits; spades where nothing is asked."""
        return self.suits[self._all, self.horizon - self.steps - 1]

    def text(self, copy: int = 0) -> str:
        """The cards dealt so far; in play the one asked for in brackets."""
        names, asked = self._dealt(copy)
        if asked is not None:
            names[asked] = f"[{names[asked]}]"
        return f"{card_lines(names, per_line(self.num_cards))}\n{self._caption(copy)}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The cards dealt so far, the last one in view framed; in play the one asked for in yellow."""
        names, asked = self._dealt(copy)
        marks = [Mark.ASKED if place == asked else Mark.OPEN for place in range(len(names))]
        in_view = [self.steps[copy]] if self.steps[copy] < self.num_cards else []
        return table_picture(names, marks, self._caption(copy), framed=in_view, places=self.num_cards)

    def _dealt(self, copy: int) -> tuple[list[str], int | None]:
        step = int(self.steps[copy])
        names = [SUITS[card] for card in self.suits[copy, : min(step + 1, self.num_cards)]]
        asked = self.horizon - step - 1
        return names, asked if step >= self.num_cards - 1 and asked >= 0 else None

    def _caption(self, copy: int) -> str:
        mode = "watch" if self.steps[copy] < self.num_cards - 1 else "play"
        return f"{mode}, step {self.steps[copy]} of {self.horizon}"
