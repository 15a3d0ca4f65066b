"""MiniGrid and BabyAI through make_env, against the raw environments."""

import copy
import os
import pickle

import gymnasium as gym
import minigrid
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_returned_data_not_reused
from minigrid.core.constants import OBJECT_TO_IDX
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import DummyVecEnv

from memrl.envs import make_env
from memrl.envs.missions import LONGEST_BABYAI_MISSION, VOCABULARY, WORDS, encode_mission, split_mission

IDS = sorted(name for name in gym.registry if name.startswith(("MiniGrid-", "BabyAI-")) and "WFC" not in name)
# Old versions say so, as they should.
pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")


def words_of(tokens):
    return [WORDS[token - 2] if token > 1 else None for token in tokens]


def test_observation_is_what_the_raw_environment_shows():
    env = make_env("MiniGrid-MemoryS7-v0", view_size=3)
    raw = gym.make("MiniGrid-MemoryS7-v0", agent_view_size=3)
    seen, _ = env.reset(seed=4)
    shown, _ = raw.reset(seed=4)
    random = np.random.default_rng(0)
    for _ in range(60):
        assert seen in env.observation_space
        np.testing.assert_array_equal(seen["image"], shown["image"])
        assert seen["image"].shape == (3, 3, 3)
        assert seen["direction"] == shown["direction"]
        assert words_of(seen["mission"]) == shown["mission"].split()
        action = int(random.integers(3))
        seen, reward, terminated, truncated, _ = env.step(action)
        shown, *outcome, _ = raw.step(action)
        assert [reward, terminated, truncated] == outcome
        if terminated:
            seen, _ = env.reset()
            shown, _ = raw.reset()


def test_sb3_takes_the_view_for_ids_and_not_for_pixels():
    space = make_env("MiniGrid-MemoryS7-v0").observation_space
    assert not is_image_space(space["image"])
    assert space["image"].high.max() == OBJECT_TO_IDX["agent"] == 10
    batch = DummyVecEnv([lambda: make_env("MiniGrid-MemoryS7-v0")]).reset()
    assert batch["image"].shape == (1, 7, 7, 3)
    assert batch["image"].max() > 1


@pytest.mark.parametrize(
    ("actions", "numbers"),
    [
        ("left,right,forward", [0, 1, 2]),
        ("forward, left", [2, 0]),
        (["toggle", 1], [5, 1]),
        ("2,pickup", [2, 3]),
        ([np.int64(6)], [6]),
        (None, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_chosen_actions_are_counted_in_their_order(actions, numbers):
    env = make_env("MiniGrid-DoorKey-5x5-v0", actions=actions)
    assert env.action_space == gym.spaces.Discrete(len(numbers))
    for action, number in enumerate(numbers):
        raw = gym.make("MiniGrid-DoorKey-5x5-v0")
        raw.reset(seed=1)
        env.reset(seed=1)
        for before in (1, 2):  # turn to the key, so that every action can show
            raw.step(before)
            env.unwrapped.step(before)
        np.testing.assert_array_equal(env.step(np.int64(action))[0]["image"], raw.step(number)[0]["image"])


def test_success_is_reported_at_the_end_and_only_there():
    env = make_env("MiniGrid-Empty-5x5-v0")
    env.reset(seed=0)
    infos = [env.step(action)[-1] for action in (2, 2, 1, 2, 2)]  # the goal is two cells ahead, two to the right
    assert infos == [{}, {}, {}, {}, {"is_success": True}]

    env = make_env("MiniGrid-Empty-5x5-v0", max_steps=2)
    env.reset(seed=0)
    env.step(0)
    _, _, terminated, truncated, info = env.step(0)
    assert (terminated, truncated, info) == (False, True, {"is_success": False})


def test_the_wrong_arm_of_the_memory_maze_is_no_success():
    env = make_env("MiniGrid-MemoryS7-v0")
    found = set()
    for seed in range(10):
        env.reset(seed=seed)
        maze = env.unwrapped
        x, _ = maze.success_pos
        maze.agent_pos, maze.agent_dir = (x, 3), 3  # in the middle of the end of the hallway, looking up
        _, reward, terminated, _, info = env.step(2)
        assert terminated
        assert info["is_success"] == (maze.success_pos == (x, 2)) == (reward > 0)
        found.add(info["is_success"])
    assert found == {True, False}


@pytest.mark.parametrize("first", range(8))
def test_every_id_can_be_made_reset_and_stepped(first, capfd):
    for env_id in IDS[first::8]:
        env = make_env(env_id)
        for seed in range(3):
            seen, _ = env.reset(seed=seed)
            mission = env.unwrapped.mission
            assert VOCABULARY.keys() >= set(split_mission(mission)), env_id
            assert words_of(seen["mission"][seen["mission"] > 0]) == split_mission(mission)
            for action in range(3):
                assert seen in env.observation_space, env_id
                seen, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    break
    assert len(IDS) > 150
    assert capfd.readouterr().out == ""  # BabyAI prints when it draws a level again


def test_there_is_room_for_the_longest_sentence_of_babyai():
    thing = "the grey ball in front of you"
    put = f"put {thing} next to {thing}"
    assert len(split_mission(f"{put} and {put}, then {put} and {put}")) == LONGEST_BABYAI_MISSION
    assert make_env("BabyAI-BossLevel-v0").observation_space["mission"].shape == (LONGEST_BABYAI_MISSION,)
    assert make_env("MiniGrid-MemoryS7-v0").observation_space["mission"].shape == (11,)


def test_missions_unknown_words_and_lengths():
    assert encode_mission("go to the zebra", 6).tolist() == [
        *(VOCABULARY[w] for w in ("go", "to", "the")),
        1,
        0,
        0,
    ]
    assert encode_mission("Go to THE door", 4).tolist() == encode_mission("go to the door", 4).tolist()
    assert len(set(VOCABULARY.values())) == len(WORDS) == max(VOCABULARY.values()) - 1
    with pytest.raises(ValueError, match=r"mission_length: 3 given, but a mission has 4 words: 'go to the door'"):
        encode_mission("go to the door", 3)
    env = make_env("MiniGrid-MemoryS7-v0", mission_length=20)
    assert env.observation_space["mission"].shape == (20,)
    assert env.reset(seed=0)[0]["mission"].tolist()[11:] == [0] * 9
    with pytest.raises(ValueError, match="mission_length: 5 given"):
        make_env("MiniGrid-MemoryS7-v0", mission_length=5).reset(seed=0)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"view_size": 4}, "view_size: 4 given, an odd number"),
        ({"view_size": 1}, "view_size: 1 given"),
        ({"view_size": "3"}, "view_size: '3' given"),
        ({"agent_view_size": 3}, "write view_size"),
        ({"actions": "left,rihgt"}, "'rihgt' given; did you mean 'right'"),
        ({"actions": "left,left"}, "only once"),
        ({"actions": ""}, "actions: ''"),
        ({"actions": []}, "at least one"),
        ({"actions": [7]}, "actions: 7 given"),
        ({"actions": [True]}, "actions: True given"),
        ({"mission_length": 0}, "mission_length: 0 given"),
    ],
)
def test_bad_keywords_are_named_in_one_line(keywords, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_env("MiniGrid-MemoryS7-v0", **keywords)
    assert "\n" not in str(caught.value)


def test_pickled_and_copied_it_goes_on_the_same():
    env = make_env("MiniGrid-MemoryS7-v0", view_size=3, actions="left,right,forward")
    env.reset(seed=2)
    env.step(2)
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        for action in (0, 2, 1):
            np.testing.assert_equal(twin.step(action), copy.deepcopy(env).step(action))
            break
    assert env.spec.additional_wrappers[-1].kwargs == {
        "actions": "left,right,forward",
        "mission_length": None,
    }


def test_every_observation_is_a_new_one():
    check_returned_data_not_reused(make_env("MiniGrid-MemoryS7-v0"))


def test_renders_as_minigrid_does():
    env = make_env("MiniGrid-Empty-5x5-v0", render_mode="rgb_array", tile_size=8)
    raw = gym.make("MiniGrid-Empty-5x5-v0", render_mode="rgb_array", tile_size=8)
    env.reset(seed=0)
    raw.reset(seed=0)
    np.testing.assert_array_equal(env.render(), raw.render())
    assert os.path.dirname(minigrid.__file__) not in str(env.observation_space)
