"""The best memoryless policy of MysteryPath that gradient ascent finds, on exact returns.

`python experiments/environments/memoryless_mystery_path.py` takes a random policy for every tile and heading, four
chances each. Given a path, agent and policy are a Markov chain of (tile on the path, heading), of who has fallen, and
of the goal, so the chance to be at the goal after 128 steps is an entry of a power of a matrix, and its mean over 800
paths has a gradient. Each ascent starts elsewhere: at random policies, and near the one that the card names. What it
ends at is judged on 2,000 other paths. A row for each start goes to results/memoryless/mystery_path.csv.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memrl.envs import MysteryPath, list_envs

RESULTS = Path(__file__).resolve().parent / "results" / "memoryless"
SIZE, STEPS, HEADINGS = 7, 128, ((0, -1), (-1, 0), (0, 1), (1, 0))  # north, west, south, east
COLUMNS = ("start", "seed", "updates", "return_before", "return_after", "standard_error", "card", "seconds")


def sampled_paths(count: int, seed: int) -> list[list[tuple[int, int]]]:
    """Tiles (x, y) of random paths, start first."""
    copies = MysteryPath(count)
    copies.reset(seed=seed)
    paths = []
    for way, tile, goal in zip(copies.way.tolist(), copies.start.tolist(), copies.goal.tolist(), strict=True):
        path = [tile]
        while path[-1] != goal:
            dx, dy = HEADINGS[way[path[-1]]]
            path.append(path[-1] + dx + SIZE * dy)
        paths.append([(each % SIZE, each // SIZE) for each in path])
    return paths


def chains(paths: list[list[tuple[int, int]]]) -> tuple[Tensor, Tensor, Tensor]:
    """For each path, which chance of the policy each change of state has.

    Returns:
        Numbers of chances (heading, tile, action) in a flat policy, -1 for none, for up to four ways to change from one
        state to another, (paths, 4, S, S); the changes that are certain, (paths, S, S); the goal's state, (paths,).
    """
    most = 4 * (max(map(len, paths)) + 1) + 1
    chance = np.full((len(paths), 4, most, most), -1)
    certain = np.zeros((len(paths), most, most), np.float32)
    goals = []
    for number, path in enumerate(paths):
        standing, goal = 4 * (len(path) - 1), 4 * len(path)
        place_of = {tile: place for place, tile in enumerate(path)}
        for place, (x, y) in enumerate(path[:-1]):
            for heading, (dx, dy) in enumerate(HEADINGS):
                there = (x + dx, y + dy) if 0 <= x + dx < SIZE and 0 <= y + dy < SIZE else (x, y)
                ahead = standing + heading  # a fall
                if there in place_of:
                    ahead = goal if there == path[-1] else 4 * place_of[there] + heading
                targets = [heading, (heading + 1) % 4, (heading + 3) % 4]
                for action, state in enumerate([*(4 * place + turned for turned in targets), ahead]):
                    chance[number, action, 4 * place + heading, state] = 4 * (heading * 49 + y * SIZE + x) + action
        certain[number, standing : standing + 4, :4] = np.eye(4)
        certain[number, goal, goal] = 1
        goals.append(goal)
    return torch.as_tensor(chance), torch.as_tensor(certain), torch.as_tensor(goals)


def returns_of(policy: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Chances of the goal in time, (paths,), for a policy (4, 49, 4)."""
    chance, certain, goals = parts
    padded = torch.cat([policy.flatten(), policy.new_zeros(1)])  # the last for -1
    change = certain + padded[chance].sum(1)
    for _ in range(7):  # 2^7 steps
        change = change @ change
    return change[torch.arange(len(goals)), 0, goals]


def border_policy(along: float = 0.2, inward: float = 0.3) -> np.ndarray[Any, Any]:
    """The card's: forward inside, turns at the borders, as tests/envs/test_mystery_path.py has it."""
    policy = np.zeros((4, 49, 4), np.float32)
    for heading in range(4):
        for tile in range(49):
            x, y = tile % SIZE, tile // SIZE
            ahead, left, right = (
                0 <= x + dx < SIZE and 0 <= y + dy < SIZE
                for dx, dy in (HEADINGS[heading], HEADINGS[(heading + 1) % 4], HEADINGS[(heading + 3) % 4])
            )
            turn = 0.0 if ahead and 0 < x < 6 and 0 < y < 6 else inward if ahead and left and right else along
            turn = turn if ahead else 1.0
            policy[heading, tile, 1:3] = turn * np.array([left, right]) / (left + right)
            policy[heading, tile, 3] = 1 - turn
    return policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=300, help="of each ascent (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=3, help="at random policies (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "mystery_path.csv"
    if not path.is_file():
        path.write_text(",".join(COLUMNS) + "\r\n", encoding="utf-8")
    (card,) = (card.memoryless_return for card in list_envs() if card.id == "memrl/MysteryPath-v0")
    others = [chains(sampled_paths(500, seed)) for seed in range(1000, 3000, 500)]
    training = [chains(sampled_paths(100, seed)) for seed in range(0, 800, 100)]
    for seed in range(arguments.starts + 1):
        began, random = time.perf_counter(), np.random.default_rng(seed)
        if seed == 0:  # a little of everything, as a chance of 0 has no gradient
            start, policy = "border policy", 0.98 * border_policy() + 0.02 / 4
        else:
            start, policy = "random", random.dirichlet(np.ones(4), (4, 49))
        logits = torch.tensor(np.log(policy), dtype=torch.float32, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.1)
        with torch.no_grad():
            before = torch.cat([returns_of(logits.softmax(-1), part) for part in others]).mean().item()
        for update in range(arguments.updates):
            loss = -returns_of(logits.softmax(-1), training[update % len(training)]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            after = torch.cat([returns_of(logits.softmax(-1), part) for part in others])
        error = after.std().item() / len(after) ** 0.5
        measured = (round(before, 4), round(after.mean().item(), 4), round(error, 4), card)
        row = (start, seed, arguments.updates, *measured, round(time.perf_counter() - began, 1))
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
        print(*row, flush=True)


if __name__ == "__main__":
    main()
