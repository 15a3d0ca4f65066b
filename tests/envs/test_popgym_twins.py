"""The twins of POPGym's card and board games against POPGym itself, step by step, with the same decks and boards.

100 episodes of each by default; MEMRL_EPISODES=1000 plays a thousand.
"""

import os
import re

import gymnasium as gym
import numpy as np
import pytest

from memrl.envs import list_envs, make_env

EPISODES = int(os.environ.get("MEMRL_EPISODES", "100"))
NAMES = ("RepeatFirst", "RepeatPrevious", "Autoencode", "CountRecall", "Concentration", "Battleship", "HigherLower")
DIFFICULTIES = ("easy", "medium", "hard")
EVERY_TWIN = pytest.mark.parametrize(
    ("name", "difficulty"), [(name, level) for name in NAMES for level in DIFFICULTIES]
)


def twin(name, num_envs, difficulty):
    return gym.make_vec(
        f"memrl/{name}-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", difficulty=difficulty
    )


def popgym_of(name, difficulty):
    return make_env(f"popgym-{name}{difficulty.title()}-v0")


class Dealer:
    """In the place of POPGym's random numbers: every shuffle gives the next of these decks."""

    def __init__(self, decks):
        self.decks = decks

    def shuffle(self, deck):
        deck[:] = self.decks.pop(0)


def cards_with(values, values_of_cards):
    """Cards of a deck, each once, that have these values: the deck in an order that shows them one by one."""
    cards = np.empty(len(values), int)
    cards[np.argsort(values, kind="stable")] = np.argsort(values_of_cards, kind="stable")
    assert (np.asarray(values_of_cards)[cards] == values).all()
    return cards


def plant(popgym, name, hidden):
    """Start an episode of POPGym's environment with the deck or board of a twin, as `hidden_of` gives it."""
    env = popgym.unwrapped
    if name == "Battleship":
        obs, _ = popgym.reset(seed=0)
        env.board[:] = hidden[0].reshape(env.board.shape)
        return obs
    if name == "CountRecall":
        decks = [cards_with(values, env.deck_idx_type)[::-1] for values in hidden]  # POPGym deals from the end
    elif name == "Concentration":
        decks = [cards_with(hidden[0], env.deck_idx_type)]  # on the table, from the first place to the last
    else:
        values_of_cards = env.deck.ranks_idx if name == "HigherLower" else env.deck.suits_idx
        decks = [cards_with(hidden[0], values_of_cards)[::-1]]
    env.np_random = Dealer(decks)
    obs, _ = popgym.reset()
    assert not decks
    return obs


def hidden_of(envs, name):
    """What an episode of each copy hides: the board, or the values of the cards in the order in which they come."""
    if name == "Battleship":
        return envs.ships[:, None].copy()
    if name == "CountRecall":
        return envs.cards.transpose(0, 2, 1).copy()
    values = {"HigherLower": "ranks", "Concentration": "values"}.get(name, "suits")
    return getattr(envs, values)[:, None, : envs.num_cards].copy()


def first_episodes(envs, seed):
    """One episode of every copy: the observation and, for each step, action, observation, reward and the two endings.

    Some copies are played by the oracle, some at random, the others by both in turns, so that right and wrong answers,
    repeated shots and cards that are face up already all occur.
    """
    random = np.random.default_rng(seed)
    envs.action_space.seed(seed)
    obs, _ = envs.reset(seed=seed)
    start, hidden, running = obs, hidden_of(envs.unwrapped, envs.spec.id[6:-3]), np.ones(envs.num_envs, bool)
    skill = np.clip(np.linspace(-0.2, 1.2, envs.num_envs), 0, 1)
    episodes = [[] for _ in range(envs.num_envs)]
    while running.any():
        actions, best = envs.action_space.sample(), envs.unwrapped.oracle()
        by_oracle = random.random(envs.num_envs) < skill
        actions[by_oracle] = best[by_oracle]
        obs, rewards, terminated, truncated, infos = envs.step(actions)
        over = terminated | truncated
        for copy in np.flatnonzero(running):
            seen = infos["final_obs"][copy] if over[copy] else obs[copy]
            step = (actions[copy], seen, rewards[copy], terminated[copy], truncated[copy])
            episodes[copy].append(step)
        running &= ~over
    return start, hidden, episodes


@EVERY_TWIN
def test_every_step_is_popgyms(name, difficulty):
    envs = twin(name, EPISODES, difficulty)
    popgym = popgym_of(name, difficulty)
    assert envs.single_observation_space == popgym.observation_space
    assert envs.single_action_space == popgym.action_space
    start, hidden, episodes = first_episodes(envs, seed=len(name))
    endings = set()
    for copy, episode in enumerate(episodes):
        assert np.array_equal(plant(popgym, name, hidden[copy]), start[copy])
        actions, seen, rewards, terminated, truncated = (list(part) for part in zip(*episode, strict=True))
        outcomes = [popgym.step(action)[:4] for action in actions]
        theirs = [list(part) for part in zip(*outcomes, strict=True)]
        np.testing.assert_array_equal(seen, theirs[0])
        assert rewards == theirs[1]
        assert terminated == theirs[2]
        assert truncated == theirs[3]
        endings.add((terminated[-1], truncated[-1]))
    found_or_out_of_time = {(True, False), (False, True)}
    assert endings >= found_or_out_of_time if name in ("Concentration", "Battleship") else endings == {(True, False)}


@pytest.mark.parametrize("name", NAMES)
def test_cards_name_popgyms_ids(name):
    (card,) = [card for card in list_envs() if card.id == f"memrl/{name}-v0"]
    assert card.twin_of == {f"popgym-{name}{level.title()}-v0": {"difficulty": level} for level in DIFFICULTIES}
    assert all(popgym_of(name, level).spec.id in card.twin_of for level in DIFFICULTIES)


@pytest.mark.parametrize("name", NAMES)
def test_actions_may_be_any_whole_numbers(name):
    envs = {kind: twin(name, 8, "hard") for kind in ("int64", "int8", "uint8", "uint64")}
    for copies in envs.values():
        copies.reset(seed=0)
    actions, single = envs["int64"].action_space, envs["int64"].single_action_space
    actions.seed(0)
    greatest = np.zeros(actions.shape, int) + (single.n if isinstance(single, gym.spaces.Discrete) else single.nvec) - 1
    for action in (greatest, actions.sample(), actions.sample(), greatest):
        outcomes = [copies.step(action.astype(kind))[:4] for kind, copies in envs.items()]
        for outcome in outcomes[1:]:
            for mine, others in zip(outcome, outcomes[0], strict=True):
                np.testing.assert_array_equal(mine, others)


@pytest.mark.parametrize("difficulty", ["Hard", "", 1, None, True, ["easy"]])
@pytest.mark.parametrize("name", NAMES)
def test_unknown_difficulties_are_named(name, difficulty):
    with pytest.raises(ValueError, match=r"^difficulty: .* one of 'easy', 'medium', 'hard' needed"):
        twin(name, 1, difficulty)


def test_a_wrong_deck_would_be_noticed():
    """The comparison above has teeth: with two cards exchanged POPGym disagrees."""
    envs, popgym = twin("RepeatFirst", 1, "easy"), popgym_of("RepeatFirst", "easy")
    start, hidden, episodes = first_episodes(envs, seed=0)
    suits = hidden[0][0]
    other = int(np.flatnonzero(suits != suits[0])[0])
    suits[[0, other]] = suits[[other, 0]]
    assert plant(popgym, "RepeatFirst", hidden[0]) != start[0]
    assert [popgym.step(step[0])[1] for step in episodes[0]] != [step[2] for step in episodes[0]]


@pytest.mark.parametrize("name", ["RepeatFirst", "RepeatPrevious", "Autoencode", "CountRecall", "HigherLower"])
def test_texts_show_what_is_asked_for(name):
    envs = twin(name, 1, "medium").unwrapped
    envs.reset(seed=0)
    for step in range(envs.horizon):
        text, answer = envs.text(0), envs.oracle()
        if name == "CountRecall":
            assert text.count("[") == answer[0]
            assert f": {answer[0]}, step {step} of" in text
        elif name == "HigherLower":
            assert re.findall(r"\[(.)\]", text) == ["A23456789TJQK"[envs.ranks[0, step + 1]]]
        else:
            asked = {"RepeatFirst": step >= 0, "RepeatPrevious": step >= 31, "Autoencode": step >= 103}[name]
            assert re.findall(r"\[(.)\]", text) == ["♠♦♣♥"[suit] for suit in answer if asked]
        envs.advance(answer)


def test_texts_and_pictures_of_boards_show_what_is_hidden():
    for name, hidden in [("Concentration", lambda envs: 104 - (envs.in_view[0, :-1] < 2).sum()), ("Battleship", None)]:
        envs = twin(name, 1, "medium").unwrapped
        envs.reset(seed=0)
        for _ in range(20):
            before = envs.picture(0)
            envs.advance(envs.oracle())
            assert (envs.picture(0) != before).any()
            text = envs.text(0)
            if hidden is None:
                assert text.count("X") == envs.hits[0]
                assert text.count("#") == 12 - envs.hits[0]
            else:
                assert text.count("[") == hidden(envs)
