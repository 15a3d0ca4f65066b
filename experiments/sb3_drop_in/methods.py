"""What is compared: the same task and settings, given to each way of remembering."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from settings import HEAD, OPTIONS, Task
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack
from torch import nn

from memrl import MemoryExtractor
from memrl.agents import MemoryPPO, RecurrentMemoryPolicy
from memrl.envs import VecHistoryWindow, make_vec_env

ALGORITHMS = {"PPO": PPO, "DQN": DQN, "SAC": SAC}
LABELS = {
    "mlp": "no memory",
    "stack": "SB3's `VecFrameStack`",
    "window_gru": "window, `gru`",
    "window_dnc": "window, `dnc`",
    "recurrent_ppo": "RecurrentPPO, its LSTM",
    "recurrent_ppo_gru": "RecurrentPPO, our policy, `gru`",
    "memory_ppo_gru": "MemoryPPO, `gru`",
    "memory_ppo_dnc": "MemoryPPO, `dnc`",
}


class OneHot(VecEnvWrapper):
    """Numbers that stand for choices as vectors: `VecFrameStack` takes nothing else."""

    def __init__(self, venv: VecEnv) -> None:
        assert isinstance(venv.observation_space, spaces.Discrete)
        self.rows = np.eye(int(venv.observation_space.n), dtype=np.float32)
        super().__init__(venv, spaces.Box(0.0, 1.0, (len(self.rows),), np.float32))

    def reset(self) -> Any:
        return self.rows[self.venv.reset()]

    def step_wait(self) -> Any:
        obs, rewards, dones, infos = self.venv.step_wait()
        for row in np.flatnonzero(dones):
            infos[row]["terminal_observation"] = self.rows[infos[row]["terminal_observation"]]
        return self.rows[obs], rewards, dones, infos


def build_envs(task: Task, method: str, copies: int, seed: int) -> VecEnv:
    """Copies of the environment as a method takes them."""
    envs: VecEnv = make_vec_env(task.env, copies, seed=seed, **task.keywords)
    if method == "stack":
        vectors = OneHot(envs) if isinstance(envs.observation_space, spaces.Discrete) else envs
        return VecFrameStack(vectors, task.stack)
    return VecHistoryWindow(envs, task.window) if method.startswith("window") else envs


def build(task: Task, method: str, envs: VecEnv, seed: int) -> BaseAlgorithm:
    """An untrained model."""
    ppo = task.algorithm == "PPO"
    network: dict[str, Any] = {"activation_fn": nn.Tanh if ppo else nn.ReLU}
    settings: dict[str, Any] = {**task.settings, "seed": seed, "device": "cpu", "stats_window_size": task.last}
    settings["learning_rate"] = falling(task.learning_rate) if ppo else task.learning_rate
    if ppo:
        settings["n_steps"] = task.n_steps
    route, _, core = method.rpartition("_")
    memory = {"core": core, "core_kwargs": {"hidden_size": task.hidden_size, **OPTIONS.get(core, {})}}
    if route == "memory_ppo":
        network |= {"net_arch": {"pi": [HEAD], "vf": [HEAD]}} | memory
        return MemoryPPO("MlpMemoryPolicy", envs, policy_kwargs=network, **settings)
    if method == "recurrent_ppo":
        network |= {"net_arch": [HEAD], "lstm_hidden_size": task.hidden_size}
        return RecurrentPPO("MlpLstmPolicy", envs, policy_kwargs=network, **settings)
    if route == "recurrent_ppo":
        network |= {"net_arch": [HEAD]} | memory
        return RecurrentPPO(RecurrentMemoryPolicy, envs, policy_kwargs=network, **settings)
    if route == "window":
        network |= {
            "net_arch": [HEAD],
            "features_extractor_class": MemoryExtractor,
            "features_extractor_kwargs": memory,
        }
        return ALGORITHMS[task.algorithm]("MultiInputPolicy", envs, policy_kwargs=network, **settings)
    network |= {"net_arch": [task.hidden_size, HEAD]}
    return ALGORITHMS[task.algorithm]("MlpPolicy", envs, policy_kwargs=network, **settings)


def falling(rate: float) -> Callable[[float], float]:
    """From a rate at the start of training to 0 at its end."""
    return lambda left: rate * left
