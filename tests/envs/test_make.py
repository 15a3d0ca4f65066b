"""make_env finds every kind of environment, and tells in one line what is wrong with a request."""

import gymnasium as gym
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import SubprocVecEnv

from memrl.envs import list_envs, make_env
from memrl.envs.minigrid import MiniGridObservations


@pytest.mark.parametrize(
    ("env_id", "keywords", "wanted"),
    [
        ("memrl/TMaze-v0", {"length": 3}, spaces.Box),
        ("memrl.envs:memrl/TMaze-v0", {"active": True}, spaces.Box),
        ("MiniGrid-MemoryS7-v0", {"view_size": 5}, spaces.Dict),
        ("minigrid:MiniGrid-MemoryS7-v0", {}, spaces.Dict),
        ("BabyAI-GoToRedBall-v0", {"actions": "left,right,forward"}, spaces.Dict),
        ("popgym-RepeatPreviousEasy-v0", {}, spaces.Discrete),
        ("popgym:popgym-AutoencodeEasy-v0", {}, spaces.MultiDiscrete),
        ("CartPole-v1", {}, spaces.Box),
        ("CartPole-v1", {"max_episode_steps": 10}, spaces.Box),
        ("Blackjack-v1", {"natural": True}, spaces.MultiDiscrete),
    ],
)
def test_every_kind_of_id(env_id, keywords, wanted):
    env = make_env(env_id, **keywords)
    assert type(env.observation_space) is wanted
    seen, _ = env.reset(seed=0)
    assert seen in env.observation_space
    assert env.step(env.action_space.sample())[0] in env.observation_space
    assert isinstance(env, MiniGridObservations) == ("MiniGrid" in env_id or "BabyAI" in env_id)


@pytest.mark.parametrize(
    ("env_id", "keywords", "message"),
    [
        ("memrl/TMaze-v1", {}, "unknown environment 'memrl/TMaze-v1'; did you mean 'memrl/TMaze-v0'"),
        ("TMaze-v0", {}, "did you mean 'memrl/TMaze-v0'"),
        ("MiniGrid-MemryS7-v0", {}, "did you mean 'MiniGrid-MemoryS7-v0'"),
        ("popgym-RepeatPreviusEasy-v0", {}, "did you mean 'popgym-RepeatPreviousEasy-v0'"),
        ("CartPole-v9", {}, "did you mean 'CartPole-v1'"),
        ("Atlantis/Nothing-v3", {}, "unknown environment 'Atlantis/Nothing-v3'; an id of another package"),
        ("not an id", {}, "unknown environment 'not an id'"),
        ("", {}, "unknown environment ''"),
        ("a:b:c", {}, "unknown environment 'a:b:c'"),
        ("nowhere_to_be_found:Some-v0", {}, "nowhere_to_be_found"),
        (None, {}, "env_id: None given"),
        ("memrl/TMaze-v0", {"lenght": 3}, "memrl/TMaze-v0 has no keyword 'lenght'; did you mean 'length'"),
        ("memrl/TMaze-v0", {"length": 0}, "length: 0 given"),
        ("MiniGrid-MemoryS7-v0", {"viewsize": 3}, "has no keyword 'viewsize'; did you mean 'view_size'"),
        (
            "MiniGrid-MemoryS7-v0",
            {"zzz": 3},
            "has no keyword 'zzz'; known: actions, .*max_steps.*, view_size",
        ),
        ("popgym-RepeatPreviousEasy-v0", {"length": 3}, "has no keyword 'length'"),
        ("popgym-RepeatPreviousEasy-v0", {"render_mode": "rgb_array"}, "has no keyword 'render_mode'"),
        ("CartPole-v1", {"gravity": 1}, "has no keyword 'gravity'; known: render_mode, sutton_barto_reward"),
        ("memrl/TMaze-v0", {"render_mode": "ascii"}, "render_mode: 'ascii' given"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*that is not in the possible render_modes:UserWarning")
def test_what_is_wrong_is_said_in_one_line(env_id, keywords, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_env(env_id, **keywords)
    assert "\n" not in str(caught.value)


def test_mistakes_of_an_environment_itself_are_not_hidden():
    gym.register("memrltest/Broken-v0", entry_point=lambda: len(5))
    try:
        with pytest.raises(TypeError, match="len"):
            make_env("memrltest/Broken-v0")
    finally:
        del gym.registry["memrltest/Broken-v0"]


def test_a_package_that_an_environment_lacks_is_named():
    def lacking():
        raise gym.error.DependencyNotInstalled("box is missing, please install it")

    gym.register("memrltest/Lacking-v0", entry_point=lacking)
    try:
        with pytest.raises(ValueError, match="memrltest/Lacking-v0: box is missing"):
            make_env("memrltest/Lacking-v0")
    finally:
        del gym.registry["memrltest/Lacking-v0"]


@pytest.mark.filterwarnings("ignore:.*Using the latest versioned environment:UserWarning")
def test_a_wrong_keyword_for_an_id_without_version_is_named_too():
    with pytest.raises(ValueError, match="CartPole has no keyword 'zzz'"):
        make_env("CartPole", zzz=1)


def test_spaces_nobody_can_use_are_refused():
    class Talk(gym.Env):
        observation_space, action_space = spaces.Text(9), spaces.Discrete(2)

    gym.register("memrltest/Talk-v0", entry_point=Talk, disable_env_checker=True)
    try:
        with pytest.raises(ValueError, match="Text"):
            make_env("memrltest/Talk-v0")
    finally:
        del gym.registry["memrltest/Talk-v0"]


def test_a_window_can_be_asked_for_without_a_warning(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = make_env("memrl/TMaze-v0", render_mode="human")
    assert type(env).__name__ == "HumanRendering"
    assert env.unwrapped.render_mode == "rgb_array"


def test_works_in_worker_processes():
    venv = SubprocVecEnv([lambda: make_env("memrl/TMaze-v0", length=2)])
    try:
        venv.seed(0)
        assert venv.reset().shape == (1, 2)
        steps = [venv.step([0]) for _ in range(3)]
        assert [bool(dones[0]) for _, _, dones, _ in steps] == [False, False, True]
        assert ["is_success" in infos[0] for _, _, _, infos in steps] == [False, False, True]
    finally:
        venv.close()


def test_cards_are_frozen_and_known_by_id():
    (card,) = [card for card in list_envs() if card.id == "memrl/TMaze-v0"]
    assert (card.horizon, card.steps_to_remember, card.optimal_return, card.memoryless_return) == (
        11,
        10,
        1.0,
        0.5,
    )
    with pytest.raises(AttributeError):
        card.horizon = 3
