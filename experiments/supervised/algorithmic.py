"""Copy and associative recall: what is learned, and what of it holds for longer sequences.

`python experiments/supervised/algorithmic.py copy` trains every core with every seed by the recipe of the task and
writes under results/<study>/: table.csv (a row for each training, written as it ends: costs and errors at every size,
and after how many sequences one as in training first cost less than `SOLVED` bits), curves.csv (validation costs on the
way), curves.png and pictures of the read and write weights. What stands in table.csv is not trained again. `--quick`
takes seconds and only shows that it runs.
"""

import argparse
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tables import append, read

from memrl import make_core
from memrl.fit import FitResult, Progress, fit, on_device
from memrl.heads import Head
from memrl.recipe import Recipe
from memrl.tasks import Task, make_task

RESULTS = Path(__file__).resolve().parent / "results"
SOLVED = 0.05  # bits per sequence on the validation data


@dataclass(frozen=True)
class Study:
    """A task, for how many batches it is learned, and the sizes at which what was learned is tested."""

    task: str
    steps: int
    size: str  # test sets are called <size>_<number>
    sizes: tuple[int, ...]


STUDIES = {
    "copy": Study("copy", 3000, "length", (10, 20, 30, 50, 80, 120)),
    "associative_recall": Study("associative_recall", 6000, "items", (6, 8, 10, 12, 15)),
}
CORES = ("ntm", "dnc", "lstm")


def train(study: Study, core: str, seed: int, quick: bool) -> tuple[Task, Head, Recipe, FitResult]:
    task = make_task(study.task)
    options, recipe = task.core_options[core], dataclasses.replace(task.recipe(core), steps=study.steps)
    if quick:
        options = {"hidden_size": 8} if core == "lstm" else {"hidden_size": 8, "num_slots": 16, "slot_size": 4}
        recipe = dataclasses.replace(recipe, steps=2, eval_every=1)
    torch.manual_seed(seed)
    head = task.head(make_core(core, task.input_size, **options))

    def report(progress: Progress) -> None:
        if progress.valid is not None:
            cost, cpu = progress.valid["bits_per_sequence"], time.process_time()
            print(f"{core} seed {seed}: {progress.sequences} sequences, {cost:.2f} bits, {cpu:.0f} s CPU", flush=True)

    return task, head, recipe, fit(task, head, recipe, seed=seed, report=report, tests=())


def measure(study: Study, task: Task, head: Head, sizes: tuple[int, ...]) -> dict[str, float]:
    """Costs and errors at every size."""
    found = {}
    head.eval()
    with torch.no_grad():
        for size in sizes:
            batches = on_device(task.evaluation(f"{study.size}_{size}", 32), head)
            scores = task.scores(head, batches)
            found[f"bits_{size}"] = round(scores["bits_per_sequence"], 3)
            found[f"error_{size}"] = round(scores["bit_error"], 4)
    return found


def run(name: str, cores: list[str], seeds: list[int], quick: bool, folder: Path) -> None:
    study = STUDIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    sizes = study.sizes[:1] if quick else study.sizes
    done = {(row["core"], int(row["seed"])) for row in read(folder / "table.csv")}
    for seed in seeds:
        for core in cores:
            if (core, seed) in done:
                continue
            began = time.process_time()
            task, head, recipe, result = train(study, core, seed, quick)
            looks = list(curve(core, seed, result))
            line = {
                "core": core,
                "seed": seed,
                "parameters": sum(parameter.numel() for parameter in head.parameters()),
                "sequences": result.steps * recipe.batch_size,
                "solved_after": next((look["sequences"] for look in looks if look["bits"] < SOLVED), ""),
                "cpu_seconds": round(time.process_time() - began),
                "bits_valid": round(result.scores["valid"]["bits_per_sequence"], 3),
                **measure(study, task, head, sizes),
            }
            append(folder / "table.csv", [line])
            append(folder / "curves.csv", looks)
            from pictures import copy_weights, learning_curves  # matplotlib loads when there is something to draw

            learning_curves(folder / "curves.png", read(folder / "curves.csv"), "sequences", "bits")
            if seed == 0 and core != "lstm":
                copy_weights(folder / f"weights_{core}.png", head, task, sizes[0])
            print(*line.values(), flush=True)


def curve(core: str, seed: int, result: FitResult) -> Iterator[dict[str, Any]]:
    """What curves.csv keeps of a training."""
    for look in result.history:
        assert look.valid is not None
        yield {
            "core": core,
            "seed": seed,
            "sequences": look.sequences,
            "bits": round(look.valid["bits_per_sequence"], 3),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--cores", default=",".join(CORES), help="separated by commas (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", help="of the trainings of each core (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny memories and two batches")
    parser.add_argument("--out", type=Path, help="folder of the results (default: results/ here; runs/ with --quick)")
    arguments = parser.parse_args()
    cores = arguments.cores.split(",")
    if unknown := set(cores) - set(CORES):
        parser.error(f"--cores: {', '.join(sorted(unknown))} not in this study")
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    out = arguments.out or (Path("runs") / "quick" if arguments.quick else RESULTS)
    run(arguments.study, cores, seeds, arguments.quick, out / arguments.study)


if __name__ == "__main__":
    main()
