"""bsuite's memory_len: how long a bit can be remembered, scored as bsuite scores it.

`python experiments/environments/memory_chain.py` trains every core on every length of memory chain with every seed,
for 10,000 episodes each as bsuite has it, and writes results/memory_chain/episodes.csv (one row for each training,
written as it ends; what stands there is not trained again) and score.csv.
"""

import argparse
import csv
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results" / "memory_chain"
EPISODES = 10_000
OPTIONS = {"none": {}, "gru": {"chrono_span": 128}, "lstm": {"chrono_span": 128}}
COLUMNS = (
    "core",
    "seed",
    "length",
    "episodes",
    "errors",
    "success_first_half",
    "success_last_tenth",
    "env_steps",
    "seconds",
)


def train(core: str, seed: int, length: int) -> dict[str, object]:
    """One training: the outcome of its first 10,000 episodes, in the order in which they ended."""
    import torch
    from stable_baselines3.common.callbacks import BaseCallback

    from memrl.agents import MemoryPPO
    from memrl.envs import make_vec_env

    class Outcomes(BaseCallback):
        """Keep whether each episode succeeded; stop when there are enough."""

        def _on_step(self) -> bool:
            right.extend(info["is_success"] for info in self.locals["infos"] if "is_success" in info)
            return len(right) < EPISODES

    torch.set_num_threads(1)
    right: list[bool] = []
    long = length >= 20  # more copies go through long episodes faster
    envs = make_vec_env("memrl/MemoryChain-v0", 64 if long else 16, seed=1000 * seed, length=length)
    model = MemoryPPO(
        "MlpMemoryPolicy",
        envs,
        lambda left: 1e-3 * left,
        n_steps=128 if long else 64,
        seq_len=128,
        batch_size=1024 if long else 512,
        ent_coef=0.02,
        seed=seed,
        device="cpu",
        policy_kwargs={"core": core, "core_kwargs": OPTIONS[core]},
    )
    began = time.perf_counter()
    model.learn((length + 1) * EPISODES + 20_000, callback=Outcomes())
    wins = np.array(right[:EPISODES])
    seconds = round(time.perf_counter() - began, 1)
    halves = (round(float(wins[: EPISODES // 2].mean()), 4), round(float(wins[-EPISODES // 10 :].mean()), 4))
    row = (core, seed, length, len(wins), int((~wins).sum()), *halves, model.num_timesteps, seconds)
    return dict(zip(COLUMNS, row, strict=True))


def read() -> list[dict[str, str]]:
    path = RESULTS / "episodes.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_scores() -> None:
    """bsuite's score of every core and seed, of the lengths trained so far."""
    from memrl.envs import memory_chain_score

    sweeps: dict[tuple[str, str], dict[int, np.ndarray]] = defaultdict(dict)
    for row in read():
        wins = np.arange(int(row["episodes"])) >= int(row["errors"])  # the score asks how many, not which
        sweeps[row["core"], row["seed"]][int(row["length"])] = wins
    with (RESULTS / "score.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("core", "seed", "lengths", "score"))
        for (core, seed), sweep in sorted(sweeps.items()):
            writer.writerow((core, seed, len(sweep), round(memory_chain_score(sweep), 4)))


def main() -> None:
    from memrl.envs import MEMORY_LEN

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default="gru,none", help="separated by commas (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each length (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="at the same time (default: %(default)s)")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    done = {(row["core"], int(row["seed"]), int(row["length"])) for row in read()}
    wanted = [
        (core, seed, length)
        for length in MEMORY_LEN
        for core in arguments.cores.split(",")
        for seed in range(arguments.seeds)
        if (core, seed, length) not in done
    ]
    with ProcessPoolExecutor(arguments.jobs) as pool, (RESULTS / "episodes.csv").open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not done:
            writer.writeheader()
        for future in as_completed([pool.submit(train, *each) for each in wanted]):
            row = future.result()
            writer.writerow(row)
            file.flush()
            print(*row.values(), flush=True)
    write_scores()


if __name__ == "__main__":
    main()
