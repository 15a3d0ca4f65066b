"""What every vectorised environment promises: the trajectories of the single one, and Gymnasium's rules."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from memrl.envs import list_envs

CARDS = list_envs()
EVERY_ID = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)


def make_vec(env_id, num_envs, **keywords):
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **keywords)


def sampled(envs, seed, steps):
    envs.action_space.seed(seed)
    return [envs.action_space.sample() for _ in range(steps)]


def single_trajectory(env, seed, actions):
    """Each step as the vector environment should have it: a new episode opens in the step that ends the last."""
    obs, info = env.reset(seed=seed)
    yield obs, None, None, None, info, None, None
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        final = None
        if terminated or truncated:
            final, (obs, info) = (obs, info), env.reset()
        yield obs, reward, terminated, truncated, info, *(final or (None, None))


@EVERY_ID
def test_each_copy_goes_the_way_of_the_single_environment(card):
    copies, steps = 3, min(2 * card.horizon + 5, 600)
    envs = make_vec(card.id, copies)
    actions = sampled(envs, 3, steps)
    seen = [(*envs.reset(seed=11),)]
    seen += [envs.step(action) for action in actions]
    ended = 0
    for i in range(copies):
        own = single_trajectory(gym.make(card.id), 11 + i, [np.asarray(action)[i] for action in actions])
        for t, (obs, reward, terminated, truncated, info, final_obs, final_info) in enumerate(own):
            infos = seen[t][-1]
            assert_same(pick(seen[t][0], i), obs)
            assert {key: infos[key][i] for key in info} == info
            if t == 0:
                continue
            assert (seen[t][1][i], seen[t][2][i], seen[t][3][i]) == (reward, terminated, truncated)
            if final_obs is None:
                assert "final_obs" not in infos or (not infos["_final_obs"][i] and infos["final_obs"][i] is None)
                continue
            ended += 1
            assert_same(infos["final_obs"][i], final_obs)
            assert infos["_final_obs"][i]
            assert infos["_final_info"][i]
            assert {key: infos["final_info"][key][i] for key in final_info} == final_info
            assert all(infos["final_info"][f"_{key}"][i] for key in final_info)
    assert ended >= copies


def assert_same(one, other):
    """As np.testing.assert_equal, which cannot compare the object arrays of `final_obs`."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), [other[key] for key in one]
    if isinstance(one, list | tuple) or (isinstance(one, np.ndarray) and one.dtype == object):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_array_equal(one, other)


def pick(obs, i):
    return {key: part[i] for key, part in obs.items()} if isinstance(obs, dict) else obs[i]


@EVERY_ID
def test_the_number_of_copies_changes_no_copy(card):
    few, many = make_vec(card.id, 2), make_vec(card.id, 5)
    actions = sampled(many, 0, 100)
    assert_same(pick(many.reset(seed=3)[0], slice(2)), few.reset(seed=3)[0])
    for action in actions:
        obs, rewards, *_ = few.step(action[:2])
        all_obs, all_rewards, *_ = many.step(action)
        assert_same(pick(all_obs, slice(2)), obs)
        np.testing.assert_array_equal(all_rewards[:2], rewards)


@EVERY_ID
def test_spaces_metadata_and_types(card):
    envs = make_vec(card.id, 4)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert envs.spec.id == card.id
    obs, _ = envs.reset(seed=0)
    assert obs in envs.observation_space
    for action in sampled(envs, 0, 30):
        obs, rewards, terminated, truncated, _ = envs.step(action)
        assert obs in envs.observation_space
        assert rewards.shape == terminated.shape == truncated.shape == (4,)
        assert (rewards.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)


@EVERY_ID
def test_nothing_returned_changes_later(card):
    envs = make_vec(card.id, 2)
    kept = [envs.reset(seed=0)]
    kept += [envs.step(action) for action in sampled(envs, 0, min(card.horizon + 2, 300))]
    before = copy.deepcopy(kept)
    for action in sampled(envs, 1, 20):
        envs.step(action)
    assert_same(kept, before)


@EVERY_ID
def test_pickles_in_the_middle_of_an_episode(card):
    envs = make_vec(card.id, 2)
    envs.reset(seed=0)
    actions = sampled(envs, 0, 40)
    for action in actions[:5]:
        envs.step(action)
    twin = pickle.loads(pickle.dumps(envs))
    for action in actions[5:]:
        assert_same(twin.step(action), envs.step(action))


@EVERY_ID
def test_a_mask_resets_some_copies_only(card):
    envs, twin = make_vec(card.id, 3), make_vec(card.id, 3)
    envs.reset(seed=0)
    twin.reset(seed=0)
    action = sampled(envs, 0, 1)[0]
    envs.step(action)
    twin.step(action)
    obs, _ = envs.reset(options={"reset_mask": np.array([False, True, False])})
    again, _ = twin.reset()  # the second episode of every copy
    assert_same(pick(obs, 1), pick(again, 1))
    assert envs.unwrapped.steps.tolist() == [1, 0, 1]


@EVERY_ID
def test_a_seed_with_a_mask_is_for_those_copies_only(card):
    envs, twin = make_vec(card.id, 2), make_vec(card.id, 2)
    envs.reset(seed=7)
    twin.reset(seed=7)
    twin.reset()
    envs.reset(seed=7, options={"reset_mask": np.array([True, False])})
    first, _ = envs.reset(options={"reset_mask": np.array([False, True])})  # the second episode of the copy
    assert_same(pick(first, 1), pick(twin.reset(options={"reset_mask": np.array([True, False])})[0], 1))


@EVERY_ID
def test_nothing_is_drawn_before_the_first_reset(card):
    with pytest.raises(ResetNeeded, match="call reset first"):
        make_vec(card.id, 1, render_mode="ansi").render()
    with pytest.raises(ResetNeeded, match="call reset first"):
        gym.make(card.id, render_mode="ansi").unwrapped.render()


@EVERY_ID
def test_bad_calls_are_refused(card):
    envs = make_vec(card.id, 2)
    good = sampled(envs, 0, 1)[0]
    with pytest.raises(ResetNeeded, match="call reset first"):
        envs.step(good)
    with pytest.raises(ValueError, match="seed: 3 given"):
        envs.reset(seed=[1, 2, 3])
    envs.reset(seed=[4, 5])
    with pytest.raises(ValueError, match="reset_mask"):
        envs.reset(options={"reset_mask": [True, False]})
    with pytest.raises(ValueError, match="actions: shape"):
        envs.step(np.asarray(good)[:1])
    if np.asarray(good).dtype.kind == "i":
        with pytest.raises(ValueError, match="for copy 1"):
            envs.step(np.stack([good[0], good[1] * 0 + 10_000]))
        with pytest.raises(ValueError, match="whole numbers"):
            envs.step(np.asarray(good) + 0.5)
    else:
        with pytest.raises(ValueError, match="finite"):
            envs.step(np.full_like(good, np.nan))
    with pytest.raises(ValueError, match="num_envs"):
        make_vec(card.id, 0)
    with pytest.raises(ValueError, match="render_mode"):
        make_vec(card.id, 1, render_mode="human")


@EVERY_ID
def test_renders_every_copy(card):
    envs = make_vec(card.id, 2, render_mode="rgb_array")
    envs.reset(seed=0)
    pictures = envs.render()
    assert len(pictures) == 2
    assert all((picture.ndim, picture.shape[2], picture.dtype) == (3, 3, np.uint8) for picture in pictures)
    envs = make_vec(card.id, 2, render_mode="ansi")
    envs.reset(seed=0)
    assert all(isinstance(text, str) for text in envs.render())


@EVERY_ID
def test_the_oracle_earns_what_the_card_says(card):
    """Mean return over whole episodes within four standard errors of the card's, or below it where it is a bound."""
    returns = oracle_returns(make_vec(card.id, 64), episodes=256)
    error = 4 * returns.std() / len(returns) ** 0.5 + 1e-9
    assert returns.mean() <= card.optimal_return + error
    if not card.optimal_is_bound:
        assert returns.mean() >= card.optimal_return - error


def oracle_returns(envs, episodes):
    """Returns of the oracle's first episodes in every copy, so that short ones count no more than long ones."""
    envs.reset(seed=0)
    rounds = -(-episodes // envs.num_envs)
    returns = [[0.0] for _ in range(envs.num_envs)]
    while any(len(own) <= rounds for own in returns):
        _, rewards, terminated, truncated, _ = envs.step(envs.unwrapped.oracle())
        for own, reward, over in zip(returns, rewards, terminated | truncated, strict=True):
            own[-1] += reward
            if over:
                own.append(0.0)
    return np.array([own[:rounds] for own in returns]).ravel()
