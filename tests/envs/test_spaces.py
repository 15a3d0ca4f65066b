"""Nested and shifted spaces become ones that SB3 takes, with nothing lost."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env

from memrl.envs import PlainSpaces, plain_spaces
from memrl.envs.spaces import plain_actions, plain_observations


class Probe(gym.Env):
    """Shows samples of its observation space and keeps the last action."""

    def __init__(self, observation_space, action_space=None):
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self.shown = self.action = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.shown = self.observation_space.sample()
        return self.shown, {}

    def step(self, action):
        self.action = action
        self.shown = self.observation_space.sample()
        return self.shown, 1.0, False, False, {}


BOX = spaces.Box(-1, 1, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (40, 40, 3), np.uint8)


@pytest.mark.parametrize(
    ("space", "shown", "plain", "seen"),
    [
        (spaces.Discrete(3, start=5), 7, spaces.Discrete(3), 2),
        (
            spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [0, 1]]),
            np.array([[2, 1], [3, 1]]),
            spaces.MultiDiscrete([2, 3, 4, 5]),
            np.array([1, 1, 3, 0]),
        ),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.Discrete(4)]),
            (1, 3),
            spaces.MultiDiscrete([2, 4]),
            np.array([1, 3]),
        ),
        (
            spaces.Tuple([spaces.Discrete(2, start=-1), spaces.MultiDiscrete([3, 4]), spaces.MultiBinary(2)]),
            (0, np.array([2, 1]), np.array([0, 1], np.int8)),
            spaces.MultiDiscrete([2, 3, 4, 2, 2]),
            np.array([1, 2, 1, 0, 1]),
        ),
        (
            spaces.Tuple([spaces.Discrete(3), spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])]),
            (2, (0, 1)),
            spaces.MultiDiscrete([3, 2, 2]),
            np.array([2, 0, 1]),
        ),
        (
            spaces.Tuple([spaces.Discrete(3, start=1), BOX]),
            (3, np.array([0.5, -0.5], np.float32)),
            spaces.Dict({"0": spaces.Discrete(3), "1": BOX}),
            {"0": 2, "1": np.array([0.5, -0.5], np.float32)},
        ),
        (
            spaces.Dict({"eyes": spaces.Dict({"left": BOX}), "arm.x": spaces.Tuple([BOX])}),
            {"eyes": {"left": np.zeros(2, np.float32)}, "arm.x": (np.ones(2, np.float32),)},
            spaces.Dict({"arm_x/0": BOX, "eyes/left": BOX}),
            {"arm_x/0": np.ones(2, np.float32), "eyes/left": np.zeros(2, np.float32)},
        ),
        (
            spaces.Box(-1, 1, (), np.float32),
            np.array(0.5, np.float32),
            spaces.Box(-1, 1, (1,), np.float32),
            np.array([0.5]),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, spaces.Space) else "",
)
def test_observations_by_hand(space, shown, plain, seen):
    assert shown in space
    new, encode = plain_observations(space)
    assert new == plain
    np.testing.assert_equal(encode(shown), seen)


@pytest.mark.parametrize(
    ("space", "action", "plain", "done"),
    [
        (spaces.Discrete(3, start=-1), np.int64(0), spaces.Discrete(3), -1),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3, start=4)]),
            np.array([1, 2]),
            spaces.MultiDiscrete([2, 3]),
            (1, 6),
        ),
        (
            spaces.Dict({"go": spaces.Discrete(4), "say": spaces.Tuple([spaces.MultiDiscrete([2, 3])])}),
            np.array([3, 1, 2]),
            spaces.MultiDiscrete([4, 2, 3]),
            {"go": 3, "say": (np.array([1, 2]),)},
        ),
        (
            spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 0], [1, 1]]),
            np.array([1, 2, 3, 4]),
            spaces.MultiDiscrete([2, 3, 4, 5]),
            np.array([[1, 2], [4, 5]]),
        ),
        (
            spaces.MultiBinary((2, 2)),
            np.array([0, 1, 1, 0], np.int8),
            spaces.MultiBinary(4),
            np.array([[0, 1], [1, 0]]),
        ),
        (
            spaces.Dict({"arm": BOX, "leg": spaces.Box(0, 5, (1, 1), np.float32)}),
            np.array([0.5, -0.5, 4], np.float32),
            spaces.Box(np.float32([-1, -1, 0]), np.float32([1, 1, 5])),
            {"arm": np.float32([0.5, -0.5]), "leg": np.float32([[4]])},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, spaces.Space) else "",
)
def test_actions_by_hand(space, action, plain, done):
    new, decode = plain_actions(space)
    assert new == plain
    assert decode(action) in space
    np.testing.assert_equal(decode(action), done)


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        IMAGE,
        spaces.Discrete(4),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Dict({"a": BOX, "b": spaces.Discrete(2)}),
    ],
    ids=str,
)
def test_what_sb3_takes_is_left_alone(space):
    env = Probe(space)
    assert plain_spaces(env) is env


def discrete():
    return st.one_of(
        st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 5), st.integers(-3, 3)),
        st.builds(
            lambda counts, start: spaces.MultiDiscrete(counts, start=[start] * len(counts)),
            st.lists(st.integers(1, 4), min_size=1, max_size=3),
            st.integers(-2, 2),
        ),
        st.builds(spaces.MultiBinary, st.integers(1, 3)),
    )


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3).map(spaces.Dict),
        ),
        max_leaves=6,
    )


@settings(deadline=None, max_examples=60)
@given(nested(st.one_of(discrete(), st.just(BOX), st.just(IMAGE))))
def test_any_nesting_gives_observations_inside_a_flat_space(space):
    new, encode = plain_observations(space)
    space.seed(0)
    shown = [space.sample() for _ in range(5)]
    for sample in shown:
        assert (sample if encode is None else encode(sample)) in new
    assert not any(isinstance(part, spaces.Dict | spaces.Tuple) for part in getattr(new, "spaces", {}).values())


@settings(deadline=None, max_examples=60)
@given(nested(discrete()))
def test_any_nesting_of_discrete_actions_is_reached_whole(space):
    new, decode = plain_actions(space)
    new.seed(0)
    flats = [new.sample() for _ in range(20)]
    for flat in flats:
        action = flat if decode is None else decode(flat)
        assert action in space
        # The flattening of the action, by Gymnasium, tells two actions apart exactly if ours does.
        for other in flats:
            twin = other if decode is None else decode(other)
            same = np.array_equal(spaces.utils.flatten(space, action), spaces.utils.flatten(space, twin))
            assert same == np.array_equal(flat, other)


@pytest.mark.parametrize(
    ("observation_space", "named"),
    [
        (spaces.Text(5), "Text"),
        (spaces.Sequence(BOX), "Sequence"),
        (spaces.Graph(BOX, None), "Graph"),
        (spaces.Dict({"a": BOX, "b": spaces.Tuple([spaces.Text(3)])}), "Text"),
        (spaces.OneOf([BOX, spaces.Discrete(2)]), "OneOf"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_observations_of_no_fixed_size_are_refused_by_name(observation_space, named):
    with pytest.raises(ValueError, match=f"observation space: {named}") as caught:
        plain_spaces(Probe(observation_space))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Text(5),
        spaces.Tuple([BOX, spaces.MultiDiscrete([3] * 99)]),
        spaces.Box(-np.inf, 1, (2,)),
        spaces.Tuple([]),
    ],
    ids=lambda space: type(space).__name__,
)
def test_actions_no_policy_can_take_are_refused(action_space):
    with pytest.raises(ValueError, match="action space: ") as caught:
        plain_spaces(Probe(BOX, action_space))
    assert "\n" not in str(caught.value)


def test_two_parts_of_one_name_are_refused():
    space = spaces.Dict({"a": spaces.Dict({"b": BOX}), "a/b": BOX})
    with pytest.raises(ValueError, match="same name"):
        plain_observations(space)


def test_the_wrapper_passes_everything_on_and_sb3_agrees():
    env = Probe(
        spaces.Dict({"a": spaces.Tuple([BOX, spaces.Discrete(3, start=1)]), "b": spaces.MultiBinary(2)}),
        spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3, start=4)]),
    )
    plain = plain_spaces(env)
    check_env(plain)
    seen, _ = plain.reset(seed=0)
    np.testing.assert_equal(seen, {"a/0": env.shown["a"][0], "a/1": env.shown["a"][1] - 1, "b": env.shown["b"]})
    seen, reward, *_ = plain.step(np.array([1, 2]))
    assert env.action == (1, 6)
    assert reward == 1.0
    np.testing.assert_equal(seen["a/1"], env.shown["a"][1] - 1)


def test_the_wrapper_can_be_pickled():
    env = plain_spaces(Probe(spaces.Tuple([spaces.Discrete(2), spaces.Discrete(4)]), spaces.Discrete(2, start=1)))
    assert isinstance(env, PlainSpaces)
    twin = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(twin.reset(seed=0)[0], env.reset(seed=0)[0])
    twin.step(0)
    assert twin.unwrapped.action == 1
