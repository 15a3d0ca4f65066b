"""What every environment of memrl promises, whichever it is."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common import env_checker as sb3

from memrl.envs import list_envs, make_env

CARDS = list_envs()


def trajectory(env, seed, steps=200):
    env.action_space.seed(seed)
    record = [env.reset(seed=seed)]
    for _ in range(steps):
        outcome = env.step(env.action_space.sample())
        record.append(outcome)
        if outcome[2] or outcome[3]:
            record.append(env.reset())
    return record


# The pendulums have Gymnasium's torques, up to 2; both checkers advise [-1, 1] but take them.
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized:UserWarning")
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_both_checkers_are_content(card):
    check_env(gym.make(card.id).unwrapped)
    sb3.check_env(make_env(card.id))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_same_seed_same_trajectory_also_after_pickling(card):
    first = trajectory(make_env(card.id), seed=5)
    np.testing.assert_equal(trajectory(make_env(card.id), seed=5), first)
    np.testing.assert_equal(trajectory(pickle.loads(pickle.dumps(make_env(card.id))), seed=5), first)
    assert str(trajectory(make_env(card.id), seed=6)) != str(first)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_a_copy_goes_its_own_way(card):
    env = make_env(card.id)
    env.reset(seed=0)
    before = pickle.dumps(env)
    trajectory(copy.deepcopy(env), seed=1)
    assert pickle.dumps(env) == before


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_episodes_end_within_the_horizon_and_report_success(card):
    env = make_env(card.id)
    env.action_space.seed(0)
    for seed in range(20):
        _, info = env.reset(seed=seed)
        steps, done = 0, False
        while not done:
            assert "is_success" not in info
            _, _, terminated, truncated, info = env.step(env.action_space.sample())
            steps, done = steps + 1, terminated or truncated
        assert isinstance(info["is_success"], bool)
        assert steps <= card.horizon
    assert env.spec.max_episode_steps is None  # the environment ends by itself


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_renders_text_and_pictures(card):
    text = make_env(card.id, render_mode="ansi")
    text.reset(seed=0)
    assert isinstance(text.render(), str)
    picture = make_env(card.id, render_mode="rgb_array")
    picture.reset(seed=0)
    image = picture.render()
    assert (image.ndim, image.shape[2], image.dtype) == (3, 3, np.uint8)
    with pytest.warns(UserWarning, match="render_mode is None"):
        make_env(card.id).render()


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_card_and_docstring_agree(card):
    env = gym.make(card.id).unwrapped
    for heading in (
        "What is seen",
        "What must be remembered",
        "Actions",
        "Rewards",
        "Ending",
        "Optimal return",
    ):
        assert heading in type(env).__doc__
    name = type(env).__name__
    assert gym.spec(card.id).entry_point in (f"memrl.envs:{name}", f"memrl.envs.single:{name}")
    assert card.steps_to_remember < card.horizon
    if card.memoryless_return is not None:
        needs_memory = card.id != "memrl/Concentration-v0"  # whose table serves as one
        assert (card.memoryless_return < card.optimal_return) == needs_memory


def test_the_list_is_what_is_registered():
    assert [card.id for card in CARDS] == sorted(name for name in gym.registry if name.startswith("memrl/"))
