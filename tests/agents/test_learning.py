"""A task that needs memory is learned with one, and cannot be learned without."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from memrl.agents import MemoryA2C, MemoryPPO


class Cue(gym.Env):
    """Shows one of two cues, then nothing for two steps, then asks for it; pays 1 for the right action.

    The question is the same whatever the cue was: without memory half of the answers are right, at best.
    """

    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now, self.cue = 0, int(self.np_random.integers(2))
        return np.array([2 * self.cue - 1, 0], np.float32), {}

    def step(self, action):
        self.now += 1
        over = self.now == 4
        return np.array([0, self.now == 3], np.float32), float(over and action == self.cue), over, False, {}


class Enough(BaseCallback):
    """Stop once the last hundred episodes went well."""

    def _on_step(self):
        episodes = self.model.ep_info_buffer
        return len(episodes) < 100 or np.mean([episode["r"] for episode in episodes]) < 0.97


def success(agent, core, steps, seed=0, **kwargs):
    """Success of the deterministic policy after training; also the environment steps it took."""
    envs = VecMonitor(DummyVecEnv([Cue] * 16))
    policy_kwargs = {"core": core, "core_kwargs": {"hidden_size": 16}, "net_arch": []}
    model = agent("MlpMemoryPolicy", envs, policy_kwargs=policy_kwargs, seed=seed, device="cpu", **kwargs)
    model.learn(steps, callback=Enough())
    rewards, _ = evaluate_policy(model, envs, n_eval_episodes=200, return_episode_rewards=True)
    return np.mean(rewards), model.num_timesteps


PPO = {"target_kl": None, "learning_rate": 0.01, "n_steps": 16, "seq_len": 8, "batch_size": 128, "n_epochs": 4}
A2C = {"learning_rate": 0.01, "n_steps": 16, "gae_lambda": 0.9}


@pytest.mark.parametrize(
    ("agent", "core", "kwargs", "steps"),
    [
        (MemoryPPO, "gru", PPO, 8_000),
        (MemoryPPO, "gru", {**PPO, "refresh_states": True, "seq_len": 2}, 8_000),
        (MemoryPPO, "memn2n", PPO, 8_000),
        (MemoryA2C, "lstm", A2C, 40_000),
    ],
)
def test_with_memory_it_is_learned(agent, core, kwargs, steps):
    reached, _ = success(agent, core, steps, **kwargs)
    assert reached > 0.95


@pytest.mark.parametrize(("agent", "kwargs"), [(MemoryPPO, PPO), (MemoryA2C, A2C)])
def test_without_memory_it_is_not(agent, kwargs):
    reached, taken = success(agent, "none", 8_000, **kwargs)
    assert taken >= 8_000
    assert reached <= 0.65
