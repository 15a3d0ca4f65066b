"""GraphRoute, traversal: shown how on random graphs, then by reward alone, and on the London Underground.

`python experiments/environments/graph_route.py` trains each core with each seed on graphs of 6 nodes and routes of 3
edges. First it imitates the environment's oracle on a curriculum (cross-entropy of the digits of the right edges, as
the DNC paper trained its graph tasks), then MemoryPPO goes on from those weights with nothing but the reward.

`--zone` goes on where the shown part ended, with longer routes through random graphs, and evaluates after each lesson
on the whole of zone 1 of the London Underground, which the agent never saw; `MEMRL_DATA` says where its CSV is. No
weight of a DNC depends on how many slots it has, so there can be more of them from lesson to lesson.

Rows go to results/graph_route/training.csv as they come, and to evaluation.csv at the end of each part; weights to
runs/graph_route/, where they are found again: a part that is done is not trained again.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from torch.nn import functional as F

from memrl.agents import MaskedPredictor, MemoryPPO
from memrl.envs import make_vec_env

ENV = "memrl/GraphRoute-v0"
RESULTS = Path(__file__).resolve().parent / "results" / "graph_route"
TASK = {"nodes": 6, "hops": 3}
OPTIONS: dict[str, dict[str, Any]] = {
    "dnc": {"slot_size": 64, "num_reads": 2, "link": False},  # edges are looked up by their labels, not in order
    "lstm": {"hidden_size": 256},
    "none": {},
}
TRAINING = ("core", "seed", "part", "lesson", "updates", "episodes", "env_steps", "right", "loss", "seconds")
EVALUATION = ("core", "seed", "part", "slots", "hops", "episodes", "env_steps", "return", "success", "seconds")


class Lesson(NamedTuple):
    """What is asked until enough is right, or for so many updates."""

    keywords: dict[str, Any]  # of the environment
    most: int  # updates
    right: float = 0.95  # share of right edges that is enough
    slots: int = 20
    copies: int = 64
    learning_rate: float = 2e-3


# First many edges to name in each episode, with what is shown enough to look them up, then what the task asks for.
SMALL = (
    Lesson({"nodes": 4, "hops": 5, "show_position": True}, 600),
    Lesson({"nodes": 6, "hops": 6, "show_position": True}, 200),
    Lesson({"nodes": 6, "hops": (1, 3)}, 1000),
    Lesson(TASK, 400, right=0.98, learning_rate=1e-3),
)
# What an agent does with many slots it must learn with many.
LARGE = (
    Lesson({"nodes": 6, "hops": (1, 5)}, 250),
    Lesson({"nodes": (6, 8), "hops": (1, 7)}, 400, right=0.97, slots=32, copies=32, learning_rate=1e-3),
    Lesson({"nodes": (6, 8), "hops": (1, 7)}, 60, right=0.97, slots=256, copies=16, learning_rate=1e-3),
)
ZONE_SLOTS = 256  # zone 1 has 230 edges


def write(name: str, columns: tuple[str, ...], row: tuple[Any, ...]) -> None:
    path = RESULTS / name
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([columns] * new + [row])
    print(*row, flush=True)


def agent(core: str, seed: int, slots: int = 20) -> MemoryPPO:
    """An agent that knows nothing yet; its weights fit whatever the slots are."""
    options = OPTIONS[core] | ({"num_slots": slots} if core == "dnc" else {})
    return MemoryPPO(
        "MlpMemoryPolicy",
        make_vec_env(ENV, 64, seed=1000 * seed, **TASK),
        lambda left: 1e-4 * left,
        n_steps=64,
        batch_size=1024,
        ent_coef=0.0,
        seed=seed,
        device="cpu",
        policy_kwargs={"core": core, "core_kwargs": options, "net_arch": {"pi": [], "vf": [64]}},
    )


def demonstrations(envs: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An episode of the oracle in every copy: observations (T, B, I), digits (T, B, 9), which are answers (T, B)."""
    program, obs = envs.envs.unwrapped, envs.reset()
    seen, digits, asked = [], [], []
    running = np.ones(envs.num_envs, bool)
    while running.any():
        seen.append(obs)
        digits.append(program.oracle())
        asked.append(program.action_masks().all(axis=1) & running)
        obs, _, dones, _ = envs.step(digits[-1])
        running &= ~dones
    return tuple(torch.as_tensor(np.stack(part)) for part in (seen, digits, asked))  # type: ignore[return-value]


def imitate(core: str, seed: int, part: str, lessons: tuple[Lesson, ...], weights: dict[str, Any] | None) -> MemoryPPO:
    """Train a policy on what the oracle does, lesson by lesson."""
    torch.manual_seed(seed)
    updates, episodes, began = 0, 0, time.perf_counter()
    for number, lesson in enumerate(lessons):
        model = agent(core, seed, lesson.slots)
        policy = model.policy
        if weights is not None:
            policy.load_state_dict(weights)
        optimizer = torch.optim.Adam(policy.parameters(), lr=lesson.learning_rate)
        envs = make_vec_env(ENV, lesson.copies, seed=10_000 * seed + 1000 * len(part) + number, **lesson.keywords).venv
        right, losses = list[float](), list[float]()
        while len(right) < lesson.most and (len(right) < 50 or np.mean(right[-50:]) < lesson.right):
            seen, digits, asked = demonstrations(envs)
            features = policy.extract_features(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
            resets = torch.zeros(seen.shape[:2], dtype=torch.bool)
            latent, _ = policy.core(features, policy.core.initial_state(lesson.copies), resets)
            logits = policy.action_net(policy.mlp_extractor.forward_actor(latent[asked])).unflatten(-1, (-1, 10))
            loss = F.cross_entropy(logits.flatten(0, 1), digits[asked].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 5.0)
            optimizer.step()
            losses.append(loss.item())
            right.append(float((logits.argmax(-1) == digits[asked]).all(-1).float().mean()))
            updates, episodes = updates + 1, episodes + lesson.copies
            if updates % 50 == 0 or len(right) == lesson.most:
                means = (round(float(np.mean(values[-50:])), 4) for values in (right, losses))
                seconds = round(time.perf_counter() - began, 1)
                write("training.csv", TRAINING, (core, seed, part, number, updates, episodes, 0, *means, seconds))
        weights = policy.state_dict()
    return model


class Log(BaseCallback):
    """Write how training by reward goes."""

    def __init__(self, core: str, seed: int) -> None:
        super().__init__()
        self.core, self.seed, self.began = core, seed, time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        returns = [episode["r"] for episode in self.model.ep_info_buffer or []]
        seconds = round(time.perf_counter() - self.began, 1)
        mean = round(float(np.mean(returns)), 4)
        write(
            "training.csv", TRAINING, (self.core, self.seed, "reward", 0, 0, 0, self.num_timesteps, mean, "", seconds)
        )


def evaluate(model: MemoryPPO, core: str, seed: int, part: str, episodes: int, **keywords: Any) -> None:
    """Episodes of the deterministic policy that training never saw."""
    began, won = time.perf_counter(), list[bool]()
    envs = make_vec_env(ENV, min(100, episodes), seed=900_000 + seed, **keywords)

    def watch(local: dict[str, Any], _: dict[str, Any]) -> None:
        if local["done"]:
            won.append(local["info"]["is_success"])

    mean, _ = evaluate_policy(MaskedPredictor(model, envs), envs, n_eval_episodes=episodes, callback=watch)
    slots = getattr(getattr(model.policy.core, "config", None), "num_slots", "")
    result = round(float(mean), 4), round(float(np.mean(won)), 4), round(time.perf_counter() - began, 1)
    row = (core, seed, part, slots, keywords["hops"], episodes, model.num_timesteps, *result)
    write("evaluation.csv", EVALUATION, row)


def weights_of(core: str, seed: int, part: str) -> Path:
    return Path("runs") / "graph_route" / f"{core}-{seed}-{part}.pt"


def done(core: str, seed: int, part: str) -> bool:
    path = RESULTS / "evaluation.csv"
    if not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8") as file:
        return any((row["core"], row["seed"], row["part"]) == (core, str(seed), part) for row in csv.DictReader(file))


def train(core: str, seed: int, steps: int) -> None:
    """The small task: shown, then by reward."""
    if not done(core, seed, "shown"):
        model = imitate(core, seed, "shown", SMALL, None)
        torch.save(model.policy.state_dict(), weights_of(core, seed, "shown"))
        evaluate(model, core, seed, "shown", 1000, **TASK)
    if steps and not done(core, seed, "reward"):
        model = agent(core, seed)
        model.policy.load_state_dict(torch.load(weights_of(core, seed, "shown")))
        model.learn(steps, callback=Log(core, seed))
        evaluate(model, core, seed, "reward", 1000, **TASK)


def train_for_zone(core: str, seed: int) -> None:
    """Longer routes and more slots; after each lesson the whole of zone 1, with routes of 1 to 7 edges."""
    before = weights_of(core, seed, "shown")
    for number, lesson in enumerate(LARGE, start=1):
        part = f"grown {number}"
        path = weights_of(core, seed, part)
        if not path.is_file():
            model = imitate(core, seed, part, (lesson,), torch.load(before))
            torch.save(model.policy.state_dict(), path)
        before = path
        if not done(core, seed, f"zone 1, {part}"):
            model = agent(core, seed, ZONE_SLOTS)
            model.policy.load_state_dict(torch.load(path))
            for hops in range(1, 8):
                evaluate(model, core, seed, f"zone 1, {part}", 100, hops=hops, graph="underground-zone-1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default="dnc,lstm,none", help="separated by commas (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", help="separated by commas (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100_000, help="with the reward alone (default: %(default)s)")
    parser.add_argument("--zone", action="store_true", help="go on with longer routes, and evaluate on zone 1")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    weights_of("", 0, "").parent.mkdir(parents=True, exist_ok=True)
    for core in arguments.cores.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            if arguments.zone:
                train_for_zone(core, seed)
            else:
                train(core, seed, arguments.steps)


if __name__ == "__main__":
    main()
