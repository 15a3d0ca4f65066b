"""The previous action and the previous reward as inputs: by hand, in training, after loading."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from memrl.agents import MemoryA2C, MemoryPPO, VecPreviousInputs

from .toys import Scripted, collect, loosen, make, ratios, scripted


class Counter(gym.Env):
    """Observes how many steps have passed, pays ten times that; lasts three steps."""

    def __init__(self, action_space, truncates=False, observation_space=None):
        self.observation_space = observation_space or spaces.Box(0, 9, (1,), np.float32)
        self.action_space, self.truncates = action_space, truncates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return self._obs(), {}

    def step(self, action):
        self.now += 1
        over = self.now == 3
        return self._obs(), 10.0 * self.now, over and not self.truncates, over and self.truncates, {}

    def _obs(self):
        now = np.array([self.now], np.float32)
        return {"now": now} if isinstance(self.observation_space, spaces.Dict) else now


# An action space, actions of two environments in four steps, and what is seen of them.
CASES = {
    "discrete": (
        spaces.Discrete(3),
        [[0, 2], [1, 1], [2, 0], [1, 2]],
        [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0]], [[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]]],
    ),
    "multi-discrete": (
        spaces.MultiDiscrete([2, 3]),
        [[[0, 2], [1, 0]], [[1, 1], [0, 1]], [[0, 0], [1, 2]], [[1, 2], [0, 0]]],
        [
            [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]],
            [[0, 1, 0, 1, 0], [1, 0, 0, 1, 0]],
            [[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]],
            [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]],
        ],
    ),
    "multi-binary": (
        spaces.MultiBinary(2),
        [[[0, 1], [1, 1]], [[1, 0], [0, 0]], [[1, 1], [0, 1]], [[0, 0], [1, 0]]],
        [[[0, 1], [1, 1]], [[1, 0], [0, 0]], [[1, 1], [0, 1]], [[0, 0], [1, 0]]],
    ),
    "box": (
        spaces.Box(-1, 1, (1, 2), np.float32),
        [
            [[[0.5, -1]], [[0, 1]]],
            [[[1, 0]], [[-0.5, 0.25]]],
            [[[0, 0]], [[1, 1]]],
            [[[0.125, 0.5]], [[-1, 0]]],
        ],
        [[[0.5, -1], [0, 1]], [[1, 0], [-0.5, 0.25]], [[0, 0], [1, 1]], [[0.125, 0.5], [-1, 0]]],
    ),
}


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_is_seen_by_hand(name, truncates, dictionary):
    action_space, actions, codes = CASES[name]
    inner = spaces.Dict(now=spaces.Box(0, 9, (1,), np.float32)) if dictionary else None
    env = VecPreviousInputs(DummyVecEnv([lambda: Counter(action_space, truncates, inner)] * 2))
    key = "now" if dictionary else "observation"
    assert set(env.observation_space.spaces) == {key, "previous_action", "previous_reward"}
    width = len(codes[0][0])

    def seen(obs):
        for part, space in env.observation_space.spaces.items():
            for row in obs[part]:
                assert space.contains(row), part
        return [obs[k].tolist() for k in (key, "previous_action", "previous_reward")]

    assert seen(env.reset()) == [[[0], [0]], [[0] * width] * 2, [[0], [0]]]
    for step in range(4):
        obs, rewards, dones, infos = env.step(np.array(actions[step]))
        if step == 2:  # the episode is over: the next one has no past, the terminal observation has
            assert dones.all()
            assert seen(obs) == [[[0], [0]], [[0] * width] * 2, [[0], [0]]]
            for i, info in enumerate(infos):
                last = info["terminal_observation"]
                assert env.observation_space.contains(last)
                assert last[key].tolist() == [3]
                assert last["previous_action"].tolist() == codes[2][i]
                assert last["previous_reward"].tolist() == [30]
                assert info["TimeLimit.truncated"] == truncates
        else:
            now = step + 1 if step < 2 else 1
            assert seen(obs) == [[[now]] * 2, codes[step], [[10 * now]] * 2]
            assert rewards.tolist() == [10 * now] * 2
    assert seen(env.reset())[1:] == [[[0] * width] * 2, [[0], [0]]]


@pytest.mark.parametrize("which", [("action",), ("reward",)])
def test_one_of_the_two(which):
    wanted = {name: name in which for name in ("action", "reward")}
    env = VecPreviousInputs(DummyVecEnv([lambda: Counter(spaces.Discrete(2))]), **wanted)
    expected = {"observation", *(f"previous_{name}" for name in which)}
    assert set(env.reset()) == set(env.step(np.array([1]))[0]) == set(env.observation_space.spaces) == expected


def test_wrong_use_is_refused():
    env = DummyVecEnv([lambda: Counter(spaces.Discrete(2))])
    with pytest.raises(ValueError, match="nothing to add"):
        VecPreviousInputs(env, action=False, reward=False)
    env.action_space = spaces.Text(3)
    with pytest.raises(ValueError, match="action space"):
        VecPreviousInputs(env)


def test_an_ended_episode_leaves_no_nan_behind():
    class Infinite(Counter):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, np.inf, *rest

    env = VecPreviousInputs(DummyVecEnv([lambda: Infinite(spaces.Discrete(2))]))
    env.reset()
    for _ in range(3):
        obs, *_ = env.step(np.array([1]))
    assert obs["previous_reward"].tolist() == [[0]]


def test_reward_is_the_environments_also_under_vec_normalize():
    """Training commonly scales rewards, evaluation does not: the agent has to see the same in both."""
    seen = []
    for norm_reward in (True, False):
        inner = VecNormalize(
            DummyVecEnv([lambda: Counter(spaces.Discrete(2))]), norm_obs=False, norm_reward=norm_reward
        )
        env = VecPreviousInputs(inner)
        env.reset()
        steps = [env.step(np.array([1])) for _ in range(5)]
        seen.append([obs["previous_reward"][0, 0] for obs, *_ in steps])
        assert (steps[1][1][0] == 20) != norm_reward  # what is learned from is scaled
        assert steps[2][3][0]["terminal_observation"]["previous_reward"].tolist() == [30]
    assert seen == [[10, 20, 0, 10, 20]] * 2


@pytest.mark.parametrize("agent", [MemoryPPO, MemoryA2C])
def test_an_agent_that_wraps_is_one_with_a_wrapped_environment(agent):
    by_argument = make(agent, env=scripted(), previous_action=True, previous_reward=True).learn(2 * 3 * 12)
    by_hand = make(agent, env=VecPreviousInputs(scripted()), policy="MultiInputMemoryPolicy").learn(2 * 3 * 12)
    assert by_argument.observation_space == by_hand.observation_space
    weights = by_hand.policy.state_dict()
    for name, weight in by_argument.policy.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    parts = by_argument.rollout_buffer.observation_parts
    for key, part in by_hand.rollout_buffer.observation_parts.items():
        np.testing.assert_array_equal(part, parts[key])


def test_what_the_buffer_keeps_is_what_happened():
    model = make(env=scripted(), previous_action=True, previous_reward=True)
    loosen(model)
    collect(model)
    buffer = model.rollout_buffer
    starts = buffer.episode_starts[1:].astype(bool)
    taken = np.eye(3, dtype=np.float32)[buffer.actions[:-1, :, 0]]
    parts = buffer.observation_parts
    np.testing.assert_array_equal(parts["previous_action"][1:], np.where(starts[..., None], 0, taken))
    np.testing.assert_array_equal(parts["previous_reward"][1:, :, 0], np.where(starts, 0, buffer.rewards[:-1]))
    assert (ratios(model) - 1).abs().max() <= 1e-5


@pytest.mark.parametrize("which", [("previous_action",), ("previous_reward",), ("previous_action", "previous_reward")])
def test_loading_wraps_a_raw_environment_again(which, tmp_path):
    model = make(env=scripted(), **dict.fromkeys(which, True))
    model.learn(36)
    model.save(tmp_path / "model")
    raw, wrapped = (
        scripted(),
        VecPreviousInputs(scripted(), **{name: f"previous_{name}" in which for name in ("action", "reward")}),
    )
    for env in (raw, wrapped, None):
        loaded = MemoryPPO.load(tmp_path / "model", env=env, device="cpu")
        if env is None:
            loaded.set_env(scripted([[5], [3], [2]]))
        assert isinstance(loaded.env, VecPreviousInputs)
        assert not isinstance(loaded.env.venv, VecPreviousInputs)  # once is enough
        assert loaded.env.observation_space == model.observation_space
        for name, weight in model.policy.state_dict().items():
            assert torch.equal(weight, loaded.policy.state_dict()[name])
        loaded.learn(36, reset_num_timesteps=False)
        assert loaded.num_timesteps == 72


def test_a_raw_environment_with_other_spaces_is_refused(tmp_path):
    model = make(env=scripted(), previous_action=True)
    model.save(tmp_path / "model")
    other = DummyVecEnv([lambda: Scripted([3], action_space=spaces.Discrete(5))])
    with pytest.raises((ValueError, AssertionError), match="space"):
        MemoryPPO.load(tmp_path / "model", env=other, device="cpu")


def test_predict_on_an_unwrapped_observation_says_what_is_missing():
    model = make(env=scripted(), previous_action=True)
    with pytest.raises(ValueError, match="previous_action needed; VecPreviousInputs adds") as caught:
        model.predict(scripted().reset())
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match="a dict with observation given, a dict with observation, previous_action needed"
    ):
        model.predict({"observation": scripted().reset()})
