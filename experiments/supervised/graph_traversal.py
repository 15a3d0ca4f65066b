"""Graph traversal: learned on random graphs, lesson by lesson, and tested on the London Underground, zone 1.

`python experiments/supervised/graph_traversal.py` trains a DNC and an LSTM with every seed for a number of batches, and
writes results/graph_traversal/table.csv (a row for each training: the lesson reached, and shares of right routes and
right answers on random graphs and on the Underground) and curves.csv (the learning curve). What stands in table.csv
is not trained again. The Underground has more edges than the graphs that are learned from; the weights of a DNC do not
depend on its number of slots, so there it gets more. It is looked up in the folder that MEMRL_DATA names; without it
those columns stay empty. `--quick` takes seconds and only shows that it runs.
"""

import argparse
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import torch
from tables import append, read

from memrl import make_core
from memrl.fit import Progress, evaluate, fit
from memrl.heads import Head
from memrl.tasks import Task, make_task

RESULTS = Path(__file__).resolve().parent / "results"
HOPS = (1, 4, 7)  # on the Underground
SLOTS = 256  # there; it has 230 edges to describe, both ways counted


def train(core: str, seed: int, steps: int, quick: bool, folder: Path) -> dict[str, Any]:
    task = make_task("graph_traversal", **({"max_nodes": 4, "max_hops": 1, "planning": 1} if quick else {}))
    options = dict(task.core_options[core])
    if quick:
        options = {"hidden_size": 8} | ({"num_slots": 8, "slot_size": 4} if core == "dnc" else {})
    recipe = dataclasses.replace(task.recipe(core), steps=steps, eval_every=min(steps, 250))
    torch.manual_seed(seed)
    head = task.head(make_core(core, task.input_size, **options))

    def report(progress: Progress) -> None:
        if progress.valid is not None:
            look = {"core": core, "seed": seed, "batches": progress.step, "lesson": progress.lesson + 1}
            look |= {name: round(value, 4) for name, value in progress.valid.items()}
            append(folder / "curves.csv", [look])
            print(*look.values(), f"{time.process_time():.0f} s CPU", flush=True)

    began = time.process_time()
    result = fit(task, head, recipe, seed=seed, report=report)
    line = {
        "core": core,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in head.parameters()),
        "sequences": result.steps * recipe.batch_size,
        "lesson": max((look.lesson for look in result.history), default=0) + 1,
        "lessons": task.lessons,
        "cpu_seconds": round(time.process_time() - began),
        "routes": round(result.scores["test"]["routes"], 4),
        "answers": round(result.scores["test"]["answers"], 4),
    }
    return line | underground(task, head, core, options, () if quick else HOPS)


def underground(task: Task, head: Head, core: str, options: dict[str, Any], hops: tuple[int, ...]) -> dict[str, Any]:
    """Shares of right routes and answers on zone 1, with more slots where a core has slots."""
    columns: dict[str, Any] = {f"underground_{kind}_{hop}": "" for hop in HOPS for kind in ("routes", "answers")}
    if not (Path(os.environ.get("MEMRL_DATA", "")) / "underground").is_dir():
        return columns
    larger = task.head(make_core(core, task.input_size, **options | ({"num_slots": SLOTS} if core == "dnc" else {})))
    larger.load_state_dict(head.state_dict())
    for hop in hops:
        there = dataclasses.replace(task, test_graph="underground-zone-1", test_hops=hop)
        scores = evaluate(there, larger, "test")
        columns |= {f"underground_{kind}_{hop}": round(scores[kind], 4) for kind in ("routes", "answers")}
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default="dnc,lstm", help="separated by commas (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", help="of the trainings of each core (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20_000, help="batches of 32 (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny graphs and memories, and two batches")
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
                steps = 2 if arguments.quick else arguments.steps
                append(folder / "table.csv", [train(core, int(seed), steps, arguments.quick, folder)])


if __name__ == "__main__":
    main()
