"""How far does one get without memory? The cross-entropy method over memoryless policies.

`python experiments/environments/memoryless.py` searches, for each of the six tasks that show a part of CartPole or
Pendulum and for Battleship, the policies of the class that `CLASSES` names, three times from scratch, and plays the
best one found on 20,000 other episodes. A row for each search goes to results/memoryless/searches.csv as it ends, and
the policy itself to policies.json; what stands there is not searched again.

Nobody knows how to compute the best memoryless return of such a task: stochastic policies may beat all deterministic
ones, and the return is not concave in either. What this gives is a lower bound that is hard to raise.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from memrl.envs import list_envs, make_vec_env

Array = np.ndarray[Any, Any]
RESULTS = Path(__file__).resolve().parent / "results" / "memoryless"
POLICIES, ELITE, GENERATIONS = 100, 15, 60
COLUMNS = ("env", "class", "parameters", "search", "generations", "return", "standard_error", "card", "seconds")


class PolicyClass(NamedTuple):
    """Policies by their parameters."""

    name: str
    spread: Array  # standard deviations from which the search sets out, around zero, (P,)
    act: Callable[[Array, Array, np.random.Generator], Array]  # observations (n, ...), parameters (n, P) to actions
    episodes: int = 40  # in which a policy is judged


def pushes(scale: tuple[float, float]) -> PolicyClass:
    """Push right with log-odds that are linear in both numbers seen, and bend where a 5 x 5 table says so.

    Args:
        scale: what is a large number.
    """

    def act(obs: Array, parameters: Array, random: np.random.Generator) -> Array:
        scaled = np.clip(obs / scale, -1, 1)
        place = (scaled + 1) * 2
        low = np.minimum(place.astype(int), 3)
        share = place - low
        odds = (parameters[:, :2] * obs / scale).sum(axis=1)
        rows = np.arange(len(obs))
        for right, up in ((0, 0), (0, 1), (1, 0), (1, 1)):
            part = (share[:, 0] if right else 1 - share[:, 0]) * (share[:, 1] if up else 1 - share[:, 1])
            odds += part * parameters[rows, 2 + 5 * (low[:, 0] + right) + low[:, 1] + up]
        return (random.random(len(obs)) < 1 / (1 + np.exp(-np.clip(odds, -30, 30)))).astype(int)

    return PolicyClass("log-odds: linear and a table of 5 x 5", np.array([3.0, 10.0] + [1.0] * 25), act)


def torques(knots: Array, of: Callable[[Array], Array]) -> PolicyClass:
    """A torque that is piecewise linear in one number.

    Args:
        knots: where it bends.
        of: the number, from observations.
    """

    def act(obs: Array, parameters: Array, random: np.random.Generator) -> Array:
        value = np.clip(of(obs), knots[0], knots[-1])
        left = np.clip(np.searchsorted(knots, value, side="right") - 1, 0, len(knots) - 2)
        share, rows = (value - knots[left]) / (knots[left + 1] - knots[left]), np.arange(len(obs))
        torque = parameters[rows, left] * (1 - share) + parameters[rows, left + 1] * share
        return np.clip(torque, -2, 2)[:, None]

    return PolicyClass(f"torque: piecewise linear, {len(knots)} knots", np.full(len(knots), 2.0), act)


def shots() -> PolicyClass:
    """A distribution over the squares after a hit and another one after a miss, alike on all mirror images."""
    board = np.arange(64).reshape(8, 8)
    images = [np.rot90(mirrored, quarter) for mirrored in (board, board.T) for quarter in range(4)]
    _, kind = np.unique(np.min(images, axis=0).ravel(), return_inverse=True)  # of each square: one of ten

    def act(obs: Array, parameters: Array, random: np.random.Generator) -> Array:
        odds = parameters.reshape(-1, 2, 10)[np.arange(len(obs)), obs]
        chances = np.exp(odds - odds.max(axis=1, keepdims=True))[:, kind].cumsum(axis=1)
        square = (chances < random.random((len(obs), 1)) * chances[:, -1:]).sum(axis=1)
        return np.stack(np.divmod(square, 8), axis=1)

    return PolicyClass(
        "shots: log-odds of ten kinds of squares, after a hit and after a miss", np.full(20, 1.0), act, 150
    )


def angle(obs: Array) -> Array:
    return np.asarray(np.arctan2(obs[:, 1], obs[:, 0]))


BY_ANGLE = torques(np.linspace(-np.pi, np.pi, 33), angle)
BY_SPEED = torques(np.sign(np.linspace(-1, 1, 41)) * 8 * np.linspace(-1, 1, 41) ** 2, lambda obs: obs[:, 0])
CLASSES = {
    "memrl/PositionOnlyCartPole-v0": pushes((2.4, 0.21)),
    "memrl/NoisyPositionOnlyCartPole-v0": pushes((2.4, 0.21)),
    "memrl/VelocityOnlyCartPole-v0": pushes((2.0, 2.0)),
    "memrl/PositionOnlyPendulum-v0": BY_ANGLE,
    "memrl/NoisyPositionOnlyPendulum-v0": BY_ANGLE,
    "memrl/VelocityOnlyPendulum-v0": BY_SPEED,
    "memrl/Battleship-v0": shots(),
}


def returns_of(env_id: str, policy: PolicyClass, parameters: Array, seed: int) -> Array:
    """Return of the first episode of each copy, one for each row of parameters (n, P). (n,)."""
    envs = make_vec_env(env_id, len(parameters), seed=seed).venv.envs
    random = np.random.default_rng(seed)
    obs, _ = envs.reset(seed=seed)
    returns, running = np.zeros(len(parameters)), np.ones(len(parameters), bool)
    while running.any():
        obs, rewards, terminated, truncated, _ = envs.step(policy.act(obs, parameters, random))
        returns += rewards * running
        running &= ~(terminated | truncated)
    return returns


def search(env_id: str, number: int) -> tuple[Array, Array]:
    """The best policy found, (P,), and its returns on other episodes."""
    policy, random = CLASSES[env_id], np.random.default_rng(number)
    mean, spread = np.zeros(len(policy.spread)), policy.spread.copy()
    for generation in range(GENERATIONS):
        parameters = random.normal(mean, spread, (POLICIES, len(mean)))
        parameters[0] = mean
        seed = 1_000_000 * number + generation * POLICIES * policy.episodes
        returns = returns_of(env_id, policy, parameters.repeat(policy.episodes, axis=0), seed)
        elite = parameters[np.argsort(-returns.reshape(POLICIES, -1).mean(axis=1))[:ELITE]]
        # Spreads shrink slowly, as the elite is partly chosen by luck.
        mean, spread = elite.mean(axis=0), 0.3 * spread + 0.7 * elite.std(axis=0)
    return mean, returns_of(env_id, policy, np.tile(mean, (20_000, 1)), 900_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=3, help="of each task (default: %(default)s)")
    parser.add_argument("--envs", default=",".join(CLASSES), help="separated by commas (default: all)")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows, policies = RESULTS / "searches.csv", RESULTS / "policies.json"
    done = set()
    if rows.is_file():
        with rows.open(newline="", encoding="utf-8") as file:
            done = {(row["env"], int(row["search"])) for row in csv.DictReader(file)}
    else:
        rows.write_text(",".join(COLUMNS) + "\r\n", encoding="utf-8")
    found = json.loads(policies.read_text()) if policies.is_file() else {}
    cards = {card.id: card.memoryless_return for card in list_envs()}
    for number in range(arguments.searches):
        for env_id in arguments.envs.split(","):
            if (env_id, number) in done:
                continue
            policy = CLASSES[env_id]
            began = time.perf_counter()
            best, returns = search(env_id, number)
            error = returns.std() / len(returns) ** 0.5
            measured = (round(float(returns.mean()), 4), round(float(error), 4), cards[env_id])
            row = (
                env_id,
                policy.name,
                len(best),
                number,
                GENERATIONS,
                *measured,
                round(time.perf_counter() - began, 1),
            )
            found[f"{env_id} {number}"] = [round(float(value), 3) for value in best]
            policies.write_text(json.dumps(found, indent=1))
            with rows.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(row)
            print(*row, flush=True)


if __name__ == "__main__":
    main()
