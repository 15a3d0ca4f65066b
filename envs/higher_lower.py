"""HigherLower: will the next card be higher or lower?"""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .card_pictures import Mark, table_picture
from .cards import EnvCard, register_env
from .chance import Chance
from .decks import RANKS, card_lines, per_line, rank, shuffled
from .vector import Array, ArrayEnv, Outcome, one_of

HIGHER, LOWER = 0, 1

_DECKS = {"easy": 1, "medium": 2, "hard": 3}
_MEMORYLESS = 84 / 169  # whatever the number of decks


@register_env(
    EnvCard(
        id="memrl/HigherLower-v0",
        horizon=51,
        remember="which ranks are still in the deck",
        steps_to_remember=50,
        optimal_return=0.5276,
        memoryless_return=_MEMORYLESS,
        twin_of={f"popgym-HigherLower{level.title()}-v0": {"difficulty": level} for level in _DECKS},
    )
)
class HigherLower(ArrayEnv):
    """Guess whether the next card will be higher or lower; the twin of POPGym's HigherLower.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning".

    **What is seen**: the rank of the card that was just dealt, 0 (ace) to 12 (king).

    **What must be remembered, and for how long**: which ranks have been dealt, over all N - 1 steps; it helps most when
    few cards are left. N is the number of cards: 52 (easy), 104 (medium), 156 (hard).

    **Actions**: 0 higher, 1 lower.

    **Rewards**: 1/N if the next card is as guessed, 0 if it has the same rank, else -1/N. N - 1 cards are guessed.

    **Ending**: terminated when all cards are dealt, after N - 1 steps. `info["is_success"]`: the return is more than
    what the best player without memory gets on average.

    **Optimal return**: 0.528 (easy), 0.516 (medium), 0.511 (hard). **Best memoryless return**: 84/169 = 0.497, whatever
    the difficulty, by guessing "higher" below a seven and "lower" above.

    The oracle counts cards: it guesses "higher" if more of the cards left are higher than lower. No player does better,
    as guesses change nothing about the cards.

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
        super().__init__(num_envs, spaces.Discrete(13), spaces.Discrete(2), self.num_cards - 1, render_mode)
        self.ranks = np.zeros((num_envs, self.num_cards), np.int64)
        self.score = np.zeros(num_envs, np.int64)  # right guesses less wrong ones

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.ranks[rows] = shuffled(chance, self.num_decks, rank)
        self.score[rows] = 0

    def _step(self, actions: Array) -> Outcome:
        rise = np.sign(self.ranks[self._all, self.steps] - self.ranks[self._all, self.steps - 1])
        points = np.where(actions == HIGHER, rise, -rise)
        self.score += points
        success = self.score > _MEMORYLESS * self.num_cards
        return Outcome(points / self.num_cards, self.steps == self.horizon, success)

    def _observe(self) -> Array:
        return self.ranks[self._all, self.steps]

    def oracle(self) -> Array:
        """What is likelier, by the cards that are left."""
        left = np.arange(self.num_cards) > self.steps[:, None]
        rises = np.sign(self.ranks - self.ranks[self._all, self.steps][:, None])
        return np.where((rises * left).sum(axis=1) > 0, HIGHER, LOWER)

    def text(self, copy: int = 0) -> str:
        """The cards dealt so far, the next one in brackets."""
        names = self._shown(copy)
        if self.steps[copy] < self.horizon:
            names[-1] = f"[{names[-1]}]"
        return f"{card_lines(names, per_line(self.num_cards))}\n{self._caption(copy)}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The cards dealt so far, the last framed, and the next one in grey."""
        names, step = self._shown(copy), int(self.steps[copy])
        marks = [Mark.OPEN if place <= step else Mark.HIDDEN for place in range(len(names))]
        return table_picture(names, marks, self._caption(copy), framed=[step], places=self.num_cards)

    def _shown(self, copy: int) -> list[str]:
        return [RANKS[card] for card in self.ranks[copy, : self.steps[copy] + 2]]

    def _caption(self, copy: int) -> str:
        return f"{self.score[copy]} points, step {self.steps[copy]} of {self.horizon}"
