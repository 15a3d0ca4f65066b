"""Graph traversal: learned on random graphs that grow, and tested on the London Underground, zone 1.

`python experiments/supervised/graph_traversal.py` trains a DNC and an LSTM with every seed in the stages below, and
writes results/graph_traversal/table.csv (a row for each training: shares of right routes and right answers on random
graphs of the stage that it got to and on the Underground), curves.csv and curves.png (the learning curve). What stands
in table.csv is not trained again. The weights of a DNC do not depend on its number of slots, so there are as many as a
stage needs. The Underground is looked up in the folder that MEMRL_DATA names; without it those columns stay empty.
`--quick` takes seconds and only shows that it runs.
"""

import argparse
import dataclasses
import os
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pictures import learning_curves
from tables import append, read

from memrl import make_core
from memrl.fit import Progress, evaluate, fit
from memrl.heads import Head
from memrl.recipe import Recipe
from memrl.tasks import Task, make_task

RESULTS = Path(__file__).resolve().parent / "results"
HOPS = (1, 4, 7)  # on the Underground
SLOTS = 256  # there; it has 230 edges to describe, both ways counted


class Stage(NamedTuple):
    """Graphs to learn from, lesson by lesson, until nearly all routes are right or for so many batches."""

    options: dict[str, Any]  # of the task
    slots: int
    batch_size: int
    steps: int  # batches, at most
    learning_rate: float = 1e-3
    schedule: Literal["constant", "linear"] = "constant"


GROWING = {"curriculum": 3, "planning": 1}
STAGES = (
    Stage({"min_nodes": 4, "max_nodes": 6, "max_hops": 4, **GROWING}, 24, 64, 2000, learning_rate=2e-3),
    Stage({"min_nodes": 6, "max_nodes": 12, "max_hops": 7, **GROWING}, 48, 32, 1000),
    Stage({"min_nodes": 8, "max_nodes": 30, "max_hops": 7, **GROWING}, 128, 32, 1000, schedule="linear"),
)
QUICK = (
    Stage({"max_nodes": 4, "max_hops": 1, "planning": 1, "curriculum": 1}, 8, 32, 2),
    Stage({"max_nodes": 5, "max_hops": 1, "planning": 1}, 8, 32, 2),
)


def build(task: Task, core: str, slots: int, weights: dict[str, Any] | None) -> Head:
    """A head with the weights of another, whatever the slots of both."""
    slotted = {"num_slots": slots} if core == "dnc" else {}
    head = task.head(make_core(core, task.input_size, **{**task.core_options[core], **slotted}))
    if weights is not None:
        head.load_state_dict(weights)
    return head


def train(core: str, seed: int, stages: tuple[Stage, ...], folder: Path, testing: bool) -> dict[str, Any]:
    torch.manual_seed(seed)
    began, weights, batches, sequences = time.process_time(), None, 0, 0
    for number, stage in enumerate(stages, start=1):
        task = make_task("graph_traversal", **stage.options)
        head = build(task, core, stage.slots, weights)
        recipe = Recipe(
            learning_rate=stage.learning_rate,
            schedule=stage.schedule,
            clip_norm=5.0,
            batch_size=stage.batch_size,
            steps=stage.steps,
            eval_every=min(stage.steps, 50),
            stop_at=0.95,
        )

        def report(progress: Progress, stage: int = number, before: int = batches) -> None:
            if progress.valid is not None:
                look = {"core": core, "seed": seed, "batches": before + progress.step}
                look |= {"stage": stage, "lesson": progress.lesson + 1}
                look |= {name: round(value, 4) for name, value in progress.valid.items()}
                append(folder / "curves.csv", [look | {"cpu_seconds": round(time.process_time() - began)}])
                print(*look.values(), f"{time.process_time() - began:.0f} s CPU", flush=True)

        result = fit(task, head, recipe, seed=1000 * number + seed, report=report, tests=())
        batches, sequences = batches + result.steps, sequences + result.steps * stage.batch_size
        weights = head.state_dict()
        if task.lessons > 1 and result.history[-1].lesson == 0:
            break  # who fails the first lesson gains nothing from larger graphs
    scores = evaluate(task, head, "test")
    line = {
        "core": core,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in head.parameters()),
        "sequences": sequences,
        "stage": number,
        "lesson": result.history[-1].lesson + 1,
        "cpu_seconds": round(time.process_time() - began),
        "routes": round(scores["routes"], 4),
        "answers": round(scores["answers"], 4),
    }
    return line | underground(task, build(task, core, SLOTS, weights), HOPS if testing else ())


def underground(task: Any, head: Head, hops: tuple[int, ...]) -> dict[str, Any]:
    """Shares of right routes and answers on zone 1."""
    columns: dict[str, Any] = {f"underground_{kind}_{hop}": "" for hop in HOPS for kind in ("routes", "answers")}
    if (Path(os.environ.get("MEMRL_DATA", "")) / "underground").is_dir():
        for hop in hops:
            there = dataclasses.replace(task, test_graph="underground-zone-1", test_hops=hop)
            scores = evaluate(there, head, "test")
            columns |= {f"underground_{kind}_{hop}": round(scores[kind], 4) for kind in ("routes", "answers")}
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default="dnc,lstm", help="separated by commas (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", help="of the trainings of each core (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny graphs, and two batches of each stage")
    parser.add_argument("--out", type=Path, help="folder of the results (default: results/ here; runs/ with --quick)")
    arguments = parser.parse_args()
    out = arguments.out or (Path("runs") / "quick" if arguments.quick else RESULTS)
    folder = out / "graph_traversal"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    done = {(row["core"], row["seed"]) for row in read(folder / "table.csv")}
    for seed in arguments.seeds.split(","):
        for core in arguments.cores.split(","):
            if (core, seed) not in done:
                stages = QUICK if arguments.quick else STAGES
                append(folder / "table.csv", [train(core, int(seed), stages, folder, testing=not arguments.quick)])
                learning_curves(folder / "curves.png", read(folder / "curves.csv"), "batches", "answers")


if __name__ == "__main__":
    main()
