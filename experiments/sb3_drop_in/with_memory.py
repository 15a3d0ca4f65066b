"""Stable-Baselines3's PPO on a T-Maze, with a memory of the last 11 observations: it turns to the side it was shown."""

import sys

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from memrl import MemoryExtractor
from memrl.envs import VecHistoryWindow

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 120_000
env = make_vec_env("memrl.envs:memrl/TMaze-v0", n_envs=32, seed=0)
env = VecHistoryWindow(env, 11)
model = PPO(
    "MultiInputPolicy",
    env,
    policy_kwargs={"features_extractor_class": MemoryExtractor, "features_extractor_kwargs": {"core": "gru"}},
    learning_rate=lambda left: 1e-3 * left,
    n_steps=64,
    batch_size=512,
    n_epochs=4,
    ent_coef=0.01,
    target_kl=0.03,
    seed=0,
    device="cpu",
)
model.learn(steps)
mean, deviation = evaluate_policy(model, env, n_eval_episodes=200)
print(f"return {mean:.2f} +- {deviation:.2f}")
