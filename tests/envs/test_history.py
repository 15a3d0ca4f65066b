"""Windows of the last observations: against a list that is kept by hand, in all three forms."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

from memrl.envs import (
    HistoryWindow,
    PreviousInputs,
    VecHistoryWindow,
    VectorHistoryWindow,
    make_env,
    make_vec_env,
)

GREY = spaces.Box(0, 255, (6, 5), np.uint8)
SPACES = {
    "box": spaces.Box(-2.0, 3.0, (3,), np.float32),
    "grey": GREY,
    "image": spaces.Box(0, 255, (6, 5, 3), np.uint8),
    "discrete": spaces.Discrete(4),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "multibinary": spaces.MultiBinary(3),
    "dict": spaces.Dict(a=spaces.Box(-1.0, 1.0, (2,), np.float32), b=spaces.Discrete(3)),
}


class Random(gym.Env):
    """Random observations; episodes of 3, 7, 2, 3, ... steps, of which the second is cut off."""

    def __init__(self, observation_space):
        self.observation_space, self.action_space = copy.deepcopy(observation_space), spaces.Discrete(2)
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
            self.episode = -1
        self.episode, self.now = self.episode + 1, 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.now += 1
        over, cut = self.now == (3, 7, 2)[self.episode % 3], self.episode % 3 == 1
        return self.observation_space.sample(), float(self.now), over and not cut, over and cut, {}


def by_hand(history, space, steps):
    """The window of a list of observations."""
    if isinstance(space, spaces.Dict):
        parts = {key: by_hand([seen[key] for seen in history], part, steps) for key, part in space.spaces.items()}
        return {key: part["window"] for key, part in parts.items()} | {"mask": next(iter(parts.values()))["mask"]}
    kept = [np.asarray(seen) for seen in history[-steps:]]
    rows = [np.zeros_like(kept[0])] * (steps - len(kept)) + kept
    mask = [0] * (steps - len(kept)) + [1] * len(kept)
    window = np.stack(rows)
    if space == GREY:
        window = window[:, None]
    if isinstance(space, spaces.MultiDiscrete):
        window = window.reshape(-1)
    return {"window": window, "mask": np.array(mask, np.int8)}


@pytest.mark.parametrize("steps", [1, 2, 5, 16])
@pytest.mark.parametrize("name", SPACES)
def test_a_window_is_the_last_observations(name, steps):
    env, raw = HistoryWindow(Random(SPACES[name]), steps), Random(SPACES[name])
    shown, _ = env.reset(seed=4)
    history = [raw.reset(seed=4)[0]]
    for _ in range(60):
        np.testing.assert_equal(shown, by_hand(history, SPACES[name], steps))
        assert shown in env.observation_space
        shown, _, terminated, truncated, _ = env.step(0)
        history.append(raw.step(0)[0])
        if terminated or truncated:
            np.testing.assert_equal(shown, by_hand(history, SPACES[name], steps))
            shown, _ = env.reset()
            history = [raw.reset()[0]]


@pytest.mark.parametrize("name", SPACES)
def test_vector_windows_are_those_of_single_environments(name):
    def make():
        return Random(SPACES[name])

    kwargs = {"autoreset_mode": AutoresetMode.SAME_STEP}
    inside = SyncVectorEnv([lambda: HistoryWindow(make(), 4)] * 3, **kwargs)
    outside = VectorHistoryWindow(SyncVectorEnv([make] * 3, **kwargs), 4)
    seen, expected = outside.reset(seed=2)[0], inside.reset(seed=2)[0]
    for _ in range(40):
        np.testing.assert_equal(seen, expected)
        (seen, *_, infos), (expected, *_, wanted) = outside.step([0, 1, 0]), inside.step([0, 1, 0])
        assert ("final_obs" in infos) == ("final_obs" in wanted)
        for one, other in zip(infos.get("final_obs", []), wanted.get("final_obs", []), strict=True):
            np.testing.assert_equal(one, other)


@pytest.mark.parametrize("name", SPACES)
def test_windows_around_a_vec_env_are_those_of_single_environments(name):
    def make():
        return Random(SPACES[name])

    inside = DummyVecEnv([lambda: HistoryWindow(make(), 4)] * 3)
    outside = VecHistoryWindow(DummyVecEnv([make] * 3), 4)
    for envs in (inside, outside):
        envs.seed(2)
    seen, expected = outside.reset(), inside.reset()
    ended = 0
    for _ in range(40):
        np.testing.assert_equal(seen, expected)
        (seen, _, _, infos), (expected, _, _, wanted) = (envs.step(np.zeros(3, int)) for envs in (outside, inside))
        for one, other in zip(infos, wanted, strict=True):
            ended += "terminal_observation" in one
            np.testing.assert_equal(one.get("terminal_observation"), other.get("terminal_observation"))
    assert ended > 20


def test_under_normalisation_padding_stays_zero_and_terminal_observations_are_normalised():
    envs = VecHistoryWindow(VecNormalize(DummyVecEnv([lambda: Random(SPACES["box"])] * 2)), 4)
    envs.seed(0)
    seen = envs.reset()
    for _ in range(30):
        assert (seen["window"][seen["mask"] == 0] == 0).all()
        seen, _, dones, infos = envs.step(np.zeros(2, int))
        for i in np.flatnonzero(dones):
            last = infos[i]["terminal_observation"]["window"]
            assert np.abs(last).max() < 3  # raw numbers reach 3, and their mean is not 0


def test_images_come_channels_first_out_of_vec_transpose_image():
    envs = VecHistoryWindow(VecTransposeImage(DummyVecEnv([lambda: Random(SPACES["image"])])), 4)
    assert envs.reset()["window"].shape == (1, 4, 3, 6, 5)


def test_previous_inputs_are_windows_too():
    env = HistoryWindow(Random(SPACES["box"]), 3, previous_action=True, previous_reward=True)
    apart = HistoryWindow(PreviousInputs(Random(SPACES["box"])), 3)
    assert env.observation_space == apart.observation_space
    np.testing.assert_equal(env.reset(seed=0)[0], apart.reset(seed=0)[0])
    np.testing.assert_equal(env.step(1), apart.step(1))
    assert env.step(0)[0]["previous_action"].tolist() == [[0, 0], [0, 1], [1, 0]]


@pytest.mark.filterwarnings("ignore:.*unconventional shape")  # SB3 knows no windows; MemoryExtractor does
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")  # which is the point
@pytest.mark.parametrize("env_id", ["memrl/TMaze-v0", "MiniGrid-MemoryS7-v0", "popgym-RepeatPreviousEasy-v0"])
def test_real_environments_pass_the_checkers(env_id):
    env = HistoryWindow(make_env(env_id), 5)
    check_env(env, skip_render_check=True)
    sb3_check_env(env)
    twin = VecHistoryWindow(make_vec_env("memrl/TMaze-v0", 2), 3)
    assert twin.reset()["window"].shape == (2, 3, 2)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="steps: 0 given"):
        HistoryWindow(Random(SPACES["box"]), 0)
    with pytest.raises(ValueError, match="it has 'mask' already"):
        HistoryWindow(Random(spaces.Dict(mask=spaces.Discrete(2))), 2)
    with pytest.raises(TypeError, match=r"Vector.* takes vector ones"):
        HistoryWindow(gym.make_vec("memrl/TMaze-v0", 2, vectorization_mode="vector_entry_point"))
