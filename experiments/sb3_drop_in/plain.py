"""Stable-Baselines3's PPO on a T-Maze, as anybody has it: it does not know to which side to turn."""

import sys

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 120_000
env = make_vec_env("memrl.envs:memrl/TMaze-v0", n_envs=32, seed=0)
model = PPO(
    "MlpPolicy",
    env,
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
