"""Optimal and best memoryless returns of POPGym's card games and Battleship, computed from their rules."""

import itertools
from collections import Counter
from functools import cache

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import hypergeom

import memrl.envs
from memrl.envs import list_envs

DECKS = {
    "RepeatFirst": {"easy": 1, "medium": 8, "hard": 16},
    "RepeatPrevious": {"easy": 1, "medium": 2, "hard": 3},
    "Autoencode": {"easy": 1, "medium": 2, "hard": 3},
    "CountRecall": {"easy": 1, "medium": 2, "hard": 4},
    "HigherLower": {"easy": 1, "medium": 2, "hard": 3},
}
EVERY_CARD_GAME = pytest.mark.parametrize(
    ("name", "level"), [(name, level) for name, levels in DECKS.items() for level in levels]
)
CARDS = {card.id: card for card in list_envs()}


def make(name, num_envs, level):
    return gym.make_vec(
        f"memrl/{name}-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", difficulty=level
    ).unwrapped


def card_of(name):
    return CARDS[f"memrl/{name}-v0"]


def documented(name):
    return " ".join(getattr(memrl.envs, name).__doc__.split())


def returns_of(envs, policy, seed=0):
    """Return of the first episode of every copy, played by a policy (observations, environment) -> actions."""
    obs, _ = envs.reset(seed=seed)
    returns, running = np.zeros(envs.num_envs), np.ones(envs.num_envs, bool)
    while running.any():
        obs, outcome, over = envs.advance(policy(obs, envs))
        returns += outcome.rewards * running
        running &= ~over
    return returns


def close_to(expected, returns, beside=0.0):
    """Whether a mean is within four standard errors of what is expected."""
    return abs(returns.mean() - expected) < 4 * returns.std() / len(returns) ** 0.5 + 1e-9 + beside


def oracle(obs, envs):
    return envs.oracle()


# Five games whose cards come as they come, whatever the player does. A policy that maps observations to actions earns
# the sum of what its pairs (observation, action) earn, so the best one takes the best action for each observation.


def same(one, other, copies, cards, kinds):
    """Probability that two different cards of a deck have the values `one` and `other`."""
    return (copies - (one == other)) / (cards - 1) / kinds


def earnings(name, level):
    """Expected reward per game of each action at each observation, {observation: (actions,)}, from the rules."""
    decks = DECKS[name][level]
    cards, suit = 52 * decks, 13 * decks
    table = {}
    if name == "RepeatFirst":
        for seen in range(4):
            first = [(2 * (named == seen) - 1) / 4 for named in range(4)]  # at the first step it is in view
            later = [2 * same(seen, named, suit, cards, 4) - 1 / 4 for named in range(4)]
            table[seen,] = (np.array(first) + (cards - 2) * np.array(later)) / (cards - 1)
    elif name == "RepeatPrevious":  # as many answers as the reward is divided by
        for seen in range(4):
            table[seen,] = np.array([2 * same(seen, named, suit, cards, 4) - 1 / 4 for named in range(4)])
    elif name == "Autoencode":
        for suit in range(4):
            table[1, suit] = np.zeros(4)
            table[0, suit] = np.array([(2 * (named == suit) - 1) / 4 for named in range(4)]) / cards
        table[0, 0] += (cards - 1) * (2 / 4 - 1) / cards
    elif name == "CountRecall":
        kinds = {"easy": 2, "medium": 4, "hard": 13}[level]
        copies, before = cards // kinds, np.arange(cards - 1)  # cards before the one in view
        counts = np.arange(copies + 1)[:, None]
        right = [  # by whether the card in view has the value asked for, and so is one of those to be counted
            hypergeom.pmf(counts - matches, cards - 1, copies - matches, before).sum(axis=1) for matches in (0, 1)
        ]
        for dealt, asked in itertools.product(range(kinds), repeat=2):
            table[dealt, asked] = (2 * right[dealt == asked] / (cards - 1) - 1) / kinds**2
    else:
        for seen in range(13):
            higher = (4 * decks * (12 - seen) - 4 * decks * seen) / (cards - 1) / 13
            table[seen,] = np.array([higher, -higher]) * (cards - 1) / cards
    return table


@EVERY_CARD_GAME
def test_best_memoryless_return_of_card_games(name, level):
    best = sum(row.max() for row in earnings(name, level).values())
    if level == "easy":
        assert card_of(name).memoryless_return == pytest.approx(best, abs=1e-12)
    assert f"{best:.3f}" in documented(name)


@EVERY_CARD_GAME
def test_actions_earn_what_the_rules_say(name, level):
    """The table above against random play."""
    table = earnings(name, level)
    envs = make(name, 4096, level)
    actions = envs.single_action_space.n
    rows = {key: row for row, key in enumerate(table)}
    lookup = np.zeros((14, 14), int)
    for key, row in rows.items():
        lookup[key if len(key) == 2 else (key[0], 0)] = row
    earned = np.zeros((envs.num_envs, len(table) * actions))
    random = np.random.default_rng(0)
    obs, _ = envs.reset(seed=1)
    over = np.zeros(1, bool)
    while not over.any():
        seen = obs if obs.ndim == 2 else np.stack([obs, 0 * obs], axis=1)
        action = random.integers(actions, size=envs.num_envs)
        obs, outcome, over = envs.advance(action)
        earned[np.arange(envs.num_envs), lookup[seen[:, 0], seen[:, 1]] * actions + action] += outcome.rewards
    expected = np.concatenate(list(table.values())) / actions
    error = np.maximum(earned.std(axis=0), 1 / envs.num_envs) / envs.num_envs**0.5
    assert (np.abs(earned.mean(axis=0) - expected) < 6 * error).all()
    assert close_to(expected.sum(), earned.sum(axis=1))


@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
@pytest.mark.parametrize("name", ["RepeatFirst", "RepeatPrevious", "Autoencode", "CountRecall"])
def test_who_remembers_everything_earns_one(name, level):
    assert card_of(name).optimal_return == 1.0
    np.testing.assert_allclose(returns_of(make(name, 16, level), oracle), 1.0)


def counting(decks):
    """Expected return of HigherLower for who counts cards, the best there is: E|higher - lower| / left, summed.

    With `seen` in view, b of the cards left are of another rank, and h of these are higher: |h - (b - h)|.
    """
    cards, total = 52 * decks, 0.0
    left = np.arange(1, cards)[:, None]
    for seen in range(13):
        higher, others = 4 * decks * (12 - seen), 48 * decks
        b, h = np.arange(others + 1), np.arange(higher + 1)[:, None]
        gap = (hypergeom.pmf(h, others, higher, b) * abs(2 * h - b)).sum(axis=0)
        total += ((hypergeom.pmf(b, cards - 1, others, left) * gap).sum(axis=1) / left[:, 0]).sum() / 13
    return total / cards


@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
def test_best_return_of_higher_lower(level):
    best = counting(DECKS["HigherLower"][level])
    assert f"{best:.3f} ({level})" in documented("HigherLower")
    assert close_to(best, returns_of(make("HigherLower", 4096, level), oracle))
    if level == "easy":
        assert card_of("HigherLower").optimal_return == pytest.approx(best, abs=1e-4)


# Concentration. A state is what the best player knows of each value: how many cards of it still lie face down unseen,
# and how many seen (0 or 1: of two it takes the pair at once, which costs nothing and helps to nothing later).

CONCENTRATION = {"easy": (2, 26, 104), "medium": (2, 52, 208), "hard": (13, 4, 104)}  # values, cards of each, steps


def known(state, *changes):
    """The state after cards of some values were seen or taken: ((old, new), ...)."""
    values = Counter(state)
    for old, new in changes:
        values[old] -= 1
        values[new[0], new[1] % 2] += 1
    return tuple(sorted(values.elements()))


@cache
def fewest_misses(state):
    """Expected turns without a pair for the best player, over everything that can be turned over."""
    unseen = sum(hidden for hidden, _ in state)
    if unseen == 0:
        return 0.0

    def second(state, value):
        """An unseen card after one of `value`, which counts as seen already."""
        hidden, seen = value
        rest, total = sum(h for h, _ in state), 0.0
        for other, many in Counter(state).items():
            if other == value:
                total += hidden * fewest_misses(known(state, (value, (hidden - 1, seen + 1))))
                many -= 1
            taken = (other[0] - 1, other[1] + 1)
            total += many * other[0] * (1 + fewest_misses(known(state, (other, taken)))) if other[0] else 0.0
        return total / rest

    turned = 0.0
    for value, many in Counter(state).items():
        hidden, seen = value
        if hidden == 0:
            continue
        if seen:
            after = fewest_misses(known(state, (value, (hidden - 1, 2))))
        else:
            now = (hidden - 1, 1)
            shown = known(state, (value, now))
            after = 1 + fewest_misses(shown)  # the second card thrown away
            if unseen > 1:
                after = min(after, second(shown, now))
        turned += many * hidden / unseen * after
    known_first = [second(state, value) for value in set(state) if value[1]]
    return min([turned, *known_first])


@pytest.mark.parametrize("level", CONCENTRATION)
def test_best_return_of_concentration(level):
    """The oracle against the best player with any number of steps, as it needs no more than there are.

    Nobody gains by being stopped: a miss shows two new cards, so at most half of the cards left are turned over in
    vain, which costs half of what their pairs give.
    """
    values, copies, steps = CONCENTRATION[level]
    best = 1 - 2 * fewest_misses(((copies, 0),) * values) / steps
    assert f"{best:.3f} ({level})" in documented("Concentration")
    envs = make("Concentration", 4096, level)
    assert close_to(best, returns_of(envs, oracle))
    assert (envs.pairs == envs.num_cards // 2).all()
    if level == "easy":
        assert card_of("Concentration").optimal_return == pytest.approx(best, abs=1e-12)


def plan(cards, known, paired, first):
    """What who remembers all two-colored cards turns over next, so that nobody has to remember any.

    Cards come in the order of their places, but for one bit: with a black and a red card known and the red one in front
    of it, the first place not yet seen is left out for a turn. `known`: {place: color} of cards that are no pair yet.
    """
    unseen = [place for place in range(cards) if place not in known and place not in paired]
    places = [[place for place in sorted(known) if known[place] == color] for color in (0, 1)]
    if first is not None:
        mates = [place for place in places[known[first]] if place != first]
        return mates[0] if mates else unseen[0]
    for same in places:
        if len(same) > 1:
            return same[-1]
    return unseen[1 if all(places) and places[1] < places[0] else 0]


def from_the_table(seen):
    """A map {observation: place}: what `plan` does once a game looks like this, cards face down being of either color.

    That it does not matter which game it is, if several of them come to look like this, is what the tests are about.
    """
    cards = len(seen)
    face_up = {place for place in range(cards) if seen[place] < 2}
    games = [({}, frozenset(), None, frozenset())]  # cards known that are no pair, pairs, first of a turn, in view
    while games:
        known, paired, first, in_view = games.pop()
        if len(paired) == cards:
            continue
        place = plan(cards, known, paired, first)
        if paired | in_view == face_up:
            return place
        for color in {known.get(place, seen[place])} - {2} or (0, 1):
            now = known | {place: color}
            if first is None:
                games.append((now, paired, place, frozenset([place])))
            elif known[first] != color:
                games.append((now, paired, None, frozenset([first, place])))
            elif face_up >= {first, place}:  # a pair stays in view
                rest = {place_: color_ for place_, color_ in now.items() if place_ not in (first, place)}
                games.append((rest, paired | {first, place}, None, frozenset()))
    return 0  # never in a game that is not over


class Table:
    """The rules of Concentration one by one, for cards of any values."""

    def __init__(self, values, hidden):
        self.values, self.hidden, self.paired, self.in_view = values, hidden, set(), []
        self.first, self.left = None, int(np.ceil(2 * len(values) - len(values) / (2 * len(values) - 1)))
        self.steps = self.left

    def see(self):
        shown = self.paired.union(self.in_view)
        return tuple(value if place in shown else self.hidden for place, value in enumerate(self.values))

    def turn(self, place):
        """The reward, and whether the game is over."""
        first, self.first, self.left = self.first, None, self.left - 1
        opened = [] if first is None else [first]
        if place in self.paired:
            self.in_view, reward = opened, -(1 + len(opened)) / self.steps
        elif first is None:
            self.in_view, self.first, reward = [place], place, 0.0
        elif place != first and self.values[place] == self.values[first]:
            self.in_view, reward = [], 2 / len(self.values)
            self.paired |= {first, place}
        else:
            self.in_view, reward = [first, place], -2 / self.steps
        return reward, len(self.paired) == len(self.values) or self.left == 0


def test_the_table_follows_the_rules():
    envs, random = make("Concentration", 20, "easy"), np.random.default_rng(0)
    obs, _ = envs.reset(seed=0)
    tables = [Table(values[:-1].tolist(), 2) for values in envs.values]
    for _ in range(104):
        assert [table.see() for table in tables] == [tuple(seen) for seen in obs.tolist()]
        actions = np.where(random.random(20) < 0.5, envs.oracle(), random.integers(52, size=20))
        obs, rewards, terminated, truncated, _ = envs.step(actions)
        for table, place, reward, over in zip(tables, actions, rewards, terminated | truncated, strict=True):
            assert table.turn(int(place)) == (pytest.approx(reward), over)
        if (terminated | truncated).any():
            break


def mean_return(cards, policy):
    """Of a policy (observation) -> place, exactly: over all orders of two colors, of half the cards each."""
    total, orders = 0.0, list(itertools.combinations(range(cards), cards // 2))
    for red in orders:
        table, over = Table([int(place in red) for place in range(cards)], 2), False
        while not over:
            reward, over = table.turn(policy(table.see()))
            total += reward
    return total / len(orders)


@pytest.mark.parametrize("cards", [4, 8, 12])
def test_concentration_of_two_colors_needs_no_memory(cards):
    """A map earns as much as the best player who remembers all, so that no policy, stochastic or not, earns more."""
    best = 1 - 2 * fewest_misses(((cards // 2, 0),) * 2) / Table([0] * cards, 2).steps
    assert mean_return(cards, cache(from_the_table)) == pytest.approx(best)


@pytest.mark.parametrize(("level", "games"), [("easy", 48), ("medium", 8)])
def test_the_table_of_concentration_is_memory_enough(level, games):
    """Whole games: without memory every step is as with it, and what is done with it is as good as the best player."""
    _, copies, steps = CONCENTRATION[level]
    misses = []
    for game in range(2000):
        table = Table(np.random.default_rng(game).permutation([0, 1] * copies).tolist(), 2)
        known, missed = {}, 0
        while len(table.paired) < 2 * copies:
            place = plan(2 * copies, known, table.paired, table.first)
            if game < games:
                assert from_the_table(table.see()) == place
            known[place] = table.values[place]
            reward, _ = table.turn(place)
            missed += reward < 0
            known = {place: color for place, color in known.items() if place not in table.paired}
        misses.append(missed)
    assert close_to(fewest_misses(((copies, 0),) * 2), np.array(misses))

    envs = make("Concentration", games, level)
    returns = returns_of(envs, lambda obs, _: np.array([from_the_table(seen) for seen in obs.tolist()]))
    assert close_to(1 - 2 * fewest_misses(((copies, 0),) * 2) / steps, returns)
    assert (envs.pairs == copies).all()
    assert "**Best memoryless return**: the same with two colors (easy, medium)" in documented("Concentration")
    if level == "easy":
        assert card_of("Concentration").memoryless_return == card_of("Concentration").optimal_return


@cache
def planless(left, in_view, turns, cards, steps):
    """Expected return of who turns over any card that lies face down. `left`: how many cards of each value do.

    After a miss its two cards are in view, so that the next turn opens with another one: `in_view` has their values.
    """
    count = sum(many * value for value, many in left)
    if turns == 0 or count == 0:
        return 0.0
    left_now, total = Counter(dict(left)), 0.0
    for size, many in left:
        first = (size * many - in_view.count(size)) / (count - len(in_view))
        pair = (size - 1) / (count - 1)
        after = left_now.copy()
        after[size] -= 1
        after[size - 2] += 1
        rest = tuple(sorted((value, many) for value, many in after.items() if value and many))
        total += first * pair * (2 / cards + planless(rest, (), turns - 1, cards, steps))
        for other, others in left:
            miss = other * (others - (other == size)) / (count - 1)
            if first * miss > 0:
                shown = tuple(sorted((size, other)))
                total += first * miss * (planless(left, shown, turns - 1, cards, steps) - 2 / steps)
    return total


@pytest.mark.parametrize("level", CONCENTRATION)
def test_without_a_plan_concentration_earns_less(level):
    values, copies, steps = CONCENTRATION[level]
    expected = planless(((copies, values),), (), steps // 2, values * copies, steps)
    assert f"{expected:.3f} ({level})" in documented("Concentration")
    random = np.random.default_rng(0)

    def any_face_down(obs, envs):
        return np.where(obs == values, random.random(obs.shape), -1.0).argmax(axis=1)

    assert close_to(expected, returns_of(make("Concentration", 2048, level), any_face_down))


# Battleship.


def all_places(size, length):
    """Every place of a ship on an empty board, as 0 and 1, from the rule."""
    places = []
    for row, column, down in itertools.product(range(size), range(size), (0, 1)):
        squares = [(row + down * i, column + (1 - down) * i) for i in range(length)]
        if squares[-1][0] < size and squares[-1][1] < size:
            board = np.zeros((size, size))
            board[tuple(zip(*squares, strict=True))] = 1
            places.append(board.ravel())
    return np.array(places, np.float32)


def ship_chances(size):
    """Probability that a ship lies on each square: ships of 2, 3, 3, 4, each placed at random where it is free."""
    two, three, four = (all_places(size, length) for length in (2, 3, 4))
    apart23, apart24 = two @ three.T == 0, two @ four.T == 0
    apart33, apart34 = three @ three.T == 0, three @ four.T == 0
    on_two, on_three, on_four = np.zeros(len(two)), np.zeros(len(three)), np.zeros(len(four))
    for first in range(len(two)):
        second = apart23[first] / apart23[first].sum() / len(two)
        free = apart23[first] & apart33
        weight = second[:, None] * free / np.maximum(free.sum(axis=1), 1)[:, None]
        fourth = apart34[:, None] & apart34 & apart24[first]
        on_two[first] += weight.sum()
        on_three += weight.sum(axis=0) + weight.sum(axis=1)
        each = (weight / np.maximum(fourth.sum(axis=2), 1)).ravel()
        on_four += each @ fourth.reshape(len(each), -1)
    return on_two @ two + on_three @ three + on_four @ four


def best_spread(chances):
    """How often to shoot at each square when no shot is remembered, if after hits and misses alike.

    With T shots, square c is hit with probability chance_c (1 - (1 - p_c)^T), a concave function: at its maximum all
    squares have the same derivative, here by bisection.
    """
    shots = len(chances)

    def spread(derivative):
        return np.clip(1 - (derivative / (shots * chances)) ** (1 / (shots - 1)), 0, None)

    low, high = 1e-6, shots
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(middle).sum() > 1 else (low, middle)
    return spread(low) / spread(low).sum()


def expected_of(spread, chances):
    """Return of such shots. Ending early when all ships are sunk adds less than 0.0005, as 12 hits in T are so rare."""
    shots = len(chances)
    hits = (chances * (1 - (1 - spread) ** shots)).sum()
    return hits / 12 - (shots - hits) / (shots - 12)


def shooting(after_miss, after_hit, seed=0):
    """A policy that sees the last observation only: a distribution over squares for each."""
    random = np.random.default_rng(seed)
    sums = np.cumsum([after_miss, after_hit], axis=1)

    def policy(obs, envs):
        drawn = random.random(len(obs))
        square = np.where(obs == 1, *(np.searchsorted(sums[seen], drawn * sums[seen, -1]) for seen in (1, 0)))
        return np.stack(np.divmod(np.minimum(square, envs.size**2 - 1), envs.size), axis=1)

    return policy


def test_ships_lie_where_popgyms_do():
    chances = ship_chances(8)
    assert chances.sum() == pytest.approx(12)
    envs = make("Battleship", 20_000, "easy")
    envs.reset(seed=0)
    assert (envs.ships.sum(axis=1) == 12).all()
    popgym = memrl.envs.make_env("popgym-BattleshipEasy-v0").unwrapped
    popgym.reset(seed=0)
    theirs = []
    for _ in range(1500):
        popgym.reset()
        theirs.append(popgym.board.ravel())
    for boards in (envs.ships, np.array(theirs)):
        error = np.sqrt(chances * (1 - chances) / len(boards))
        assert (np.abs(boards.mean(axis=0) - chances) < 4.5 * error).all()


def test_best_memoryless_return_of_battleship():
    chances = ship_chances(8)
    spread = best_spread(chances)
    best = expected_of(spread, chances)
    assert card_of("Battleship").memoryless_return == pytest.approx(best, abs=0.001)
    assert expected_of(np.full(64, 1 / 64), chances) < best - 0.01
    envs = make("Battleship", 20_000, "easy")
    assert close_to(best, returns_of(envs, shooting(spread, spread)), beside=0.0005)
    assert returns_of(envs, lambda obs, envs: np.stack(np.divmod(envs.steps % 64, 8), axis=1)).min() >= -1e-9
    # Other shots after a hit than after a miss: nothing tried is better.
    random = np.random.default_rng(0)
    center = np.where(chances > np.quantile(chances, 0.75), 1.0, 0)
    edge = np.where(chances < np.quantile(chances, 0.4), 1.0, 0)
    others = [center, edge, np.eye(64)[27] + 0.01, *(spread * random.lognormal(0, 1, 64) for _ in range(3))]
    for other in others:
        for pair in [(spread, other / other.sum()), (0.7 * spread + 0.3 * other / other.sum(), spread)]:
            returns = returns_of(envs, shooting(*pair), seed=1)
            assert returns.mean() < best + 4 * returns.std() / len(returns) ** 0.5


@pytest.mark.parametrize(("level", "documented_return"), [("easy", -0.436), ("medium", -0.404), ("hard", -0.389)])
def test_memoryless_return_of_larger_boards(level, documented_return):
    """As above, with the chances counted on random boards and their mirror images."""
    assert f"{documented_return:.3f} ({level})" in documented("Battleship")
    envs = make("Battleship", 10_000, level)
    envs.reset(seed=0)
    board = envs.ships.mean(axis=0).reshape(envs.size, envs.size)
    turned = [np.rot90(mirrored, quarter) for mirrored in (board, board.T) for quarter in range(4)]
    chances = np.mean(turned, axis=0).ravel()
    assert expected_of(best_spread(chances), chances) == pytest.approx(documented_return, abs=0.002)


@pytest.mark.parametrize(("level", "documented_return"), [("easy", 0.56), ("medium", 0.59), ("hard", 0.61)])
def test_the_oracle_of_battleship(level, documented_return):
    assert f"{documented_return} ({level})" in documented("Battleship")
    assert close_to(documented_return, returns_of(make("Battleship", 256, level), oracle), beside=0.005)


# No oracle sees what is hidden: it decides the same if that changes.


@pytest.mark.parametrize("name", ["HigherLower", "Concentration", "Battleship"])
def test_oracles_do_not_peek(name):
    envs, random = make(name, 64, "hard"), np.random.default_rng(0)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for step in range(40):
        best = envs.oracle().copy()
        for row in range(envs.num_envs):
            if name == "HigherLower":
                random.shuffle(envs.ranks[row, step + 1 :])
            elif name == "Concentration":
                unseen = np.flatnonzero(~envs.seen[row, :-1])
                envs.values[row, unseen] = random.permutation(envs.values[row, unseen])
            else:
                open_sea = np.flatnonzero(~envs.shot_at[row])
                envs.ships[row, open_sea] = random.permutation(envs.ships[row, open_sea])
        np.testing.assert_array_equal(envs.oracle(), best)
        actions = envs.action_space.sample() if step % 3 == 0 else best
        envs.advance(actions)
