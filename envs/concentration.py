"""Concentration: find pairs among cards that lie face down."""

import math

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .card_pictures import Mark, table_picture
from .cards import EnvCard, register_env
from .chance import Chance
from .decks import COLORS, RANKS, card_lines, color, per_line, rank, shuffled
from .vector import Array, ArrayEnv, Outcome, one_of

_DIFFICULTIES = {  # decks, what makes a pair
    "easy": (1, color, COLORS),
    "medium": (2, color, COLORS),
    "hard": (1, rank, RANKS),
}


@register_env(
    EnvCard(
        id="memrl/Concentration-v0",
        horizon=104,
        remember="the colors of the cards that were turned over, and where they lie",
        steps_to_remember=102,
        optimal_return=83 / 102,
        memoryless_return=83 / 102,
        twin_of={f"popgym-Concentration{level.title()}-v0": {"difficulty": level} for level in _DIFFICULTIES},
    )
)
class Concentration(ArrayEnv):
    """Turn over two cards a turn, to find pairs; the twin of POPGym's Concentration.

    Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning". N cards lie face down: 52
    (easy), 104 (medium), of which any two of one color are a pair, or 52 (hard), of which any two of one rank are.

    **What is seen**: for each place its color (0 black, 1 red) or rank (0 to 12) if the card there lies face up, else 2
    or 13. Cards of pairs found stay face up. The two cards of a turn without a pair are both in view once, after the
    second one, and lie face down when the next card is seen.

    **What must be remembered, and for how long**: the cards seen and where they lie, until a mate for them is seen: for
    up to T - 2 steps, where T is the greatest number of steps.

    **Actions**: a place, 0 to N - 1, whose card to turn over.

    **Rewards**: with the second card of a turn 2/N for a pair, else -2/T. A card that is face up for good already ends
    the turn, with -1/T as its first card and -2/T as its second. The same card twice is no pair.

    **Ending**: terminated when all pairs are found, truncated after T steps: 104 (easy, hard) or 208 (medium); both at
    once if the last step finds the last pair. `info["is_success"]`: all pairs were found.

    **Optimal return**: 83/102 = 0.814 (easy), 0.813 (medium), 0.698 (hard). **Best memoryless return**: the same with
    two colors (easy, medium), not known for ranks (hard). For as the player decides where face-up cards lie, the table
    can be its notebook: who takes cards in the order of their places, and leaves one place out when the colors of the
    two cards known are the other way round, can tell from the table in view where its known cards lie and what they
    are (the tests have this policy). One that has no such plan and turns over any card that lies face down gets 0.451
    (easy), 0.468 (medium), -0.820 (hard).

    The oracle remembers all cards. It turns over a card not yet seen, and then its mate if it has seen one, else
    another card not yet seen; two cards that it knows to be a pair come first.

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
        cards, self.face_down = 52 * self.num_decks, len(self.names)
        self.num_cards = cards
        observed = spaces.MultiDiscrete(np.full(cards, self.face_down + 1))
        horizon = math.ceil(2 * cards - cards / (2 * cards - 1))  # POPGym's
        super().__init__(num_envs, observed, spaces.Discrete(cards), horizon, render_mode)
        # Place `cards` is beside the table: it stands for no card, so that steps need no case distinctions.
        self.values = np.full((num_envs, cards + 1), -1)
        self.in_view = np.full((num_envs, cards + 1), self.face_down)
        self.paired = np.zeros((num_envs, cards + 1), bool)
        self.seen = np.zeros((num_envs, cards + 1), bool)  # for the oracle
        self.first = np.full(num_envs, cards)  # turned over in this turn
        self.closing = np.full((num_envs, 2), cards)  # to be turned back
        self.pairs = np.zeros(num_envs, np.int64)

    def _begin(self, rows: Array, chance: Chance) -> None:
        self.values[rows, :-1] = shuffled(chance, self.num_decks, self._value)
        self.in_view[rows] = self.face_down
        self.paired[rows] = self.seen[rows] = False
        self.first[rows] = self.closing[rows] = self.num_cards
        self.pairs[rows] = 0

    def _step(self, actions: Array) -> Outcome:
        rows, beside, first = self._all, self.num_cards, self.first
        actions = actions.astype(np.int64, copy=False)
        self.in_view[rows[:, None], self.closing] = self.face_down
        values = self.values[rows, actions]
        self.in_view[rows, actions] = values
        self.seen[rows, actions] = True

        second, wasted = first < beside, self.paired[rows, actions]
        match = (values == self.values[rows, first]) & (actions != first) & ~wasted
        miss = second & ~match
        self.paired[rows, first] |= match
        self.paired[rows, actions] |= match
        self.pairs += match
        self.closing[:, 0] = np.where(miss, first, beside)
        self.closing[:, 1] = np.where(miss & ~wasted, actions, beside)
        self.first = np.where(second | wasted, beside, actions)

        lost = (miss | wasted) * (1 + second)
        rewards = np.where(match, 2 / self.num_cards, lost * (-1 / self.horizon))
        terminated = self.pairs == self.num_cards // 2
        return Outcome(rewards, terminated, terminated, self.steps >= self.horizon)

    def _observe(self) -> Array:
        return self.in_view[:, :-1].copy()

    def oracle(self) -> Array:
        """The mate of the card in play, or else a card of a pair that was seen, or else a card not yet seen."""
        known = self.seen & ~self.paired
        kinds = np.arange(self.face_down)
        in_play = self.values[self._all, self.first]  # -1 at the start of a turn
        mates = known & (self.values == in_play[:, None])
        mates[self._all, self.first] = False
        counts = (known[:, :, None] & (self.values[:, :, None] == kinds)).sum(axis=1)
        twice = known & (np.take_along_axis(counts, np.maximum(self.values, 0), axis=1) >= 2)
        wanted = np.where((self.first < self.num_cards)[:, None], mates, twice)
        hidden = ~self.seen
        hidden[:, -1] = False
        places: Array = np.where(wanted.any(axis=1), wanted.argmax(axis=1), hidden.argmax(axis=1))
        return places

    def text(self, copy: int = 0) -> str:
        """The table, with brackets around cards that lie face down."""
        in_view = self.in_view[copy, :-1] < self.face_down
        names = [self.names[value] for value in self.values[copy, :-1]]
        marked = [name if open_ else f"[{name}]" for name, open_ in zip(names, in_view, strict=True)]
        return f"{card_lines(marked, per_line(self.num_cards))}\n{self._caption(copy)}\n"

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """The table; cards that lie face down are grey, those turned over in this turn framed."""
        in_view = self.in_view[copy, :-1] < self.face_down
        names = [self.names[value] for value in self.values[copy, :-1]]
        marks = [Mark.OPEN if open_ else Mark.HIDDEN for open_ in in_view]
        turn = {int(self.first[copy]), *map(int, self.closing[copy])}
        return table_picture(names, marks, self._caption(copy), framed=turn)

    def _caption(self, copy: int) -> str:
        return f"{self.pairs[copy]} of {self.num_cards // 2} pairs, step {self.steps[copy]} of {self.horizon}"
