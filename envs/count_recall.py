"""CountRecall: say how often a card has been shown so far."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .card_pictures import Mark, table_picture
from .cards import EnvCard, register_env
from .chance import Chance
from .decks import COLORS, RANKS, SUITS, card_lines, color, per_line, rank, shuffled, suit
from .vector import Array, ArrayEnv, Outcome, one_of

_DIFFICULTIES = {  # decks, what is counted
    "easy": (1, color, COLORS),
    "medium": (2, suit, SUITS),
    "hard": (4, rank, RANKS),
}
_WORDS = {"b": "black", "r": "red", "♠": "spades", "♦": "diamonds", "♣": "clubs", "♥": "hearts"}


@register_env(
    EnvCard(
        id="memrl/CountRecall-v0",
        horizon=51,
        remember="how often black and red cards were shown",
        steps_to_remember=50,
        optimal_return=1.0,
        memoryless_return=2 * (1 + 26 / 27) / 51 - 1,
        twin_of={f"popgym-CountRecall{level.title()}-v0": {"difficulty": level} for level in _DIFFICULTIES},
    )
)
class CountRecall(ArrayEnv):
    """Say how often the value asked for was among the cards so far; the twin of POPGym's CountRecall.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning".

    **What is seen**: two numbers: the value of the card that was just dealt, and the value that is asked for, which
    comes from a second, equal deck. Values are the 2 colors (easy), 4 suits (medium) or 13 ranks (hard). What the
    last observation asks for is never answered.

    **What must be remembered, and for how long**: how often each value was dealt, the card in view included, over all
    N - 1 steps. N is the number of cards: 52 (easy), 104 (medium), 208 (hard).

    **Actions**: a count, from 0 to the number of cards of one value: 26 (easy, medium) or 16 (hard).

    **Rewards**: 1/(N - 1) for the right count, else -1/(N - 1).

    **Ending**: terminated when all cards are dealt, after N - 1 steps. `info["is_success"]`: every answer was right.
    (POPGym's info gives the counts away; this one does not.)

    **Optimal return**: 1. **Best memoryless return**: -0.923 (easy), -0.924 (medium), -0.881 (hard). With m cards of
    each of k values, a fixed answer is right once per game on average if the card in view has the value asked for, and
    (k - 1) m/(m + 1) times if not, whichever count is answered (except for the few that cannot be right).

    The oracle is a player who has counted.

    Args:
        num_envs: games.
        difficulty: "easy", "medium" or "hard".
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Raises:
        ValueError: a keyword is not as above.
    """

    def __init__(self, num_envs: int, difficulty: str = "easy", render_mode: str | None = None) -> None:
        chosen = _DIFFICULTIES[one_of("difficulty", difficulty, tuple(_DIFFICULTIES))]
        self.num_decks, self._value, self.names = chosen
        kinds, self.num_cards = len(self.names), 52 * self.num_decks
        observed, asked = spaces.MultiDiscrete(np.array([kinds, kinds])), spaces.Discrete(self.num_cards // kinds + 1)
        super().__init__(num_envs, observed, asked, self.num_cards - 1, render_mode)
        self.cards = np.zeros((num_envs, self.num_cards, 2), np.int64)  # values dealt and asked for
        self.counts = np.zeros((num_envs, kinds), np.int64)
        self.faultless = np.ones(num_envs, bool)

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.cards[rows, :, 0] = shuffled(chance, self.num_decks, self._value)
        self.cards[rows, :, 1] = shuffled(chance, self.num_decks, self._value)
        self.counts[rows] = 0
        self.counts[rows, self.cards[rows, 0, 0]] = 1
        self.faultless[rows] = True

    def _step(self, actions: Array) -> Outcome:
        right = actions == self.counts[self._all, self.cards[self._all, self.steps - 1, 1]]
        self.counts[self._all, self.cards[self._all, self.steps, 0]] += 1
        self.faultless &= right
        return Outcome(np.where(right, 1.0, -1.0) / self.horizon, self.steps == self.horizon, self.faultless)

    def _observe(self) -> Array:
        return self.cards[self._all, self.steps]

    def oracle(self) -> Array:
        """The right counts."""
        counts: Array = self.counts[self._all, self.cards[self._all, self.steps, 1]]
        return counts

    def text(self, copy: int = 0) -> str:
        """The cards dealt so far, the ones to be counted in brackets."""
        names, asked = self._dealt(copy)
        marked = [f"[{name}]" if name == asked else name for name in names]
        return f"{card_lines(marked, per_line(self.num_cards))}\n{self._caption(copy)}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The cards dealt so far, the ones to be counted in yellow, the last framed."""
        names, asked = self._dealt(copy)
        marks = [Mark.ASKED if name == asked else Mark.OPEN for name in names]
        return table_picture(names, marks, self._caption(copy), framed=[len(names) - 1], places=self.num_cards)

    def _dealt(self, copy: int) -> tuple[list[str], str]:
        dealt = self.cards[copy, : self.steps[copy] + 1]
        return [self.names[value] for value in dealt[:, 0]], self.names[dealt[-1, 1]]

    def _caption(self, copy: int) -> str:
        asked = self.cards[copy, self.steps[copy], 1]
        name = self.names[asked]
        return f"{_WORDS.get(name, name)}: {self.counts[copy, asked]}, step {self.steps[copy]} of {self.horizon}"
