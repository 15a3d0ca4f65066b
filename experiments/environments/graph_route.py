"""GraphRoute, traversal of random graphs with 6 nodes in 3 hops: shown how, then by reward alone.

`python experiments/environments/graph_route.py` trains each core with each seed in two parts. First it imitates the
environment's oracle on a curriculum (cross-entropy of the right labels, as the DNC paper trained its graph tasks),
then MemoryPPO goes on from those weights with nothing but the reward. Rows go to results/graph_route/training.csv as
they come and to evaluation.csv at the end of each part; a core and seed that stands there is not trained again. At the
end, the agent is evaluated on parts of the London Underground, which it never saw; `MEMRL_DATA` says where its CSV is.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from torch.nn import functional as F

from memrl.agents import MaskedPredictor, MemoryPPO
from memrl.envs import make_vec_env

RESULTS = Path(__file__).resolve().parent / "results" / "graph_route"
TASK = {"nodes": 6, "hops": 3}
# What is shown and asked becomes harder as soon as 93 % of the answers are right, or after so many updates.
LESSONS = [
    ({"nodes": 4, "hops": 1, "show_position": True}, 1000),
    ({"nodes": 6, "hops": 3, "show_position": True}, 500),
    ({"nodes": 6, "hops": (1, 3)}, 700),
    (TASK, 700),
]
OPTIONS: dict[str, dict[str, Any]] = {
    "dnc": {"num_slots": 16, "slot_size": 32, "num_reads": 1, "masking": True},
    "lstm": {"hidden_size": 256},
    "none": {},
}
COPIES, RIGHT = 128, 0.93
TRAINING = ("core", "seed", "part", "lesson", "updates", "episodes", "env_steps", "right", "seconds")
EVALUATION = ("core", "seed", "part", "episodes", "env_steps", "return", "success", "seconds")


def write(name: str, columns: tuple[str, ...], row: tuple[Any, ...]) -> None:
    path = RESULTS / name
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([columns] * new + [row])
    print(*row, flush=True)


def demonstrations(envs: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An episode of the oracle in every copy: observations (T, B, I), labels and which of them are answers (T, B)."""
    program, obs = envs.envs.unwrapped, envs.reset()
    seen, labels, asked = [], [], []
    running = np.ones(envs.num_envs, bool)
    while running.any():
        seen.append(obs)
        labels.append(program.oracle())
        asked.append(program.action_masks().all(axis=1) & running)
        obs, _, dones, _ = envs.step(labels[-1])
        running &= ~dones
    return tuple(torch.as_tensor(np.stack(part)) for part in (seen, labels, asked))  # type: ignore[return-value]


def imitate(model: MemoryPPO, seed: int, core: str) -> None:
    """Train the policy on what the oracle does, lesson by lesson."""
    policy = model.policy
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    updates, began = 0, time.perf_counter()
    for lesson, (keywords, most) in enumerate(LESSONS):
        envs = make_vec_env("memrl/GraphRoute-v0", COPIES, seed=10_000 * seed + lesson, **keywords).venv
        right: list[float] = []
        while len(right) < most and (len(right) < 50 or np.mean(right[-50:]) < RIGHT):
            seen, labels, asked = demonstrations(envs)
            features = policy.extract_features(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
            start = torch.zeros(seen.shape[:2], dtype=torch.bool)
            latent, _ = policy.core(features, policy.core.initial_state(COPIES), start)
            logits = policy.action_net(policy.mlp_extractor.forward_actor(latent[asked]))
            loss = F.cross_entropy(logits, labels[asked])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 5.0)
            optimizer.step()
            right.append(float((logits.argmax(-1) == labels[asked]).float().mean()))
            updates += 1
            if updates % 50 == 0:
                seconds = round(time.perf_counter() - began, 1)
                mean = round(float(np.mean(right[-50:])), 4)
                write(
                    "training.csv", TRAINING, (core, seed, "shown", lesson, updates, updates * COPIES, 0, mean, seconds)
                )


class Log(BaseCallback):
    """Write how training goes; stop when it is learned."""

    def __init__(self, core: str, seed: int) -> None:
        super().__init__()
        self.core, self.seed, self.began = core, seed, time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        returns = [episode["r"] for episode in self.model.ep_info_buffer or []]
        seconds = round(time.perf_counter() - self.began, 1)
        mean = round(float(np.mean(returns)), 4)
        write("training.csv", TRAINING, (self.core, self.seed, "reward", 3, 0, 0, self.num_timesteps, mean, seconds))


def evaluate(model: MemoryPPO, core: str, seed: int, part: str, began: float, **keywords: Any) -> None:
    envs = make_vec_env("memrl/GraphRoute-v0", 100, seed=900_000 + seed, **TASK, **keywords)
    won: list[bool] = []

    def watch(local: dict[str, Any], _: dict[str, Any]) -> None:
        if local["done"]:
            won.append(local["info"]["is_success"])

    mean, _ = evaluate_policy(MaskedPredictor(model, envs), envs, n_eval_episodes=1000, callback=watch)
    result = (round(float(mean), 4), round(float(np.mean(won)), 4), round(time.perf_counter() - began, 1))
    write("evaluation.csv", EVALUATION, (core, seed, part, 1000, model.num_timesteps, *result))


def train(core: str, seed: int, steps: int) -> None:
    torch.set_num_threads(1)
    began = time.perf_counter()
    model = MemoryPPO(
        "MlpMemoryPolicy",
        make_vec_env("memrl/GraphRoute-v0", 64, seed=1000 * seed, **TASK),
        lambda left: 3e-4 * left,
        n_steps=64,
        batch_size=1024,
        ent_coef=0.001,
        seed=seed,
        device="cpu",
        policy_kwargs={"core": core, "core_kwargs": OPTIONS[core]},
    )
    imitate(model, seed, core)
    evaluate(model, core, seed, "shown", began)
    model.learn(steps, callback=Log(core, seed))
    evaluate(model, core, seed, "reward", began)
    evaluate(model, core, seed, "underground", began, graph="underground-zone-1")  # connected parts of 6 stations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default="dnc,lstm,none", help="separated by commas (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", help="separated by commas (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=200_000, help="with the reward alone (default: %(default)s)")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "evaluation.csv"
    done = set()
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            done = {(row["core"], row["seed"]) for row in csv.DictReader(file) if row["part"] == "underground"}
    for core in arguments.cores.split(","):
        for seed in arguments.seeds.split(","):
            if (core, seed) not in done:
                train(core, int(seed), arguments.steps)


if __name__ == "__main__":
    main()
