"""Text under memories: TREC-6, SNIPS, Tiny Shakespeare, families; every core beside what people know.

    python experiments/supervised/text.py trec --seeds 3     # one table: trec, snips_intent, snips_slots, shakespeare,
    python experiments/supervised/text.py all --seeds 3      # family_query or family_claim; or all of them

Files are read from MEMRL_DATA, else from ../shared/data. A row goes to results/text/<table>.csv as soon as its training
ends; what stands there is not trained again. <table>.md is made of it anew each time. Seconds are of the processor,
with evaluations, on one thread. --quick shows that it runs.
"""

import argparse
import csv
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, product
from math import log
from pathlib import Path
from typing import Any

import torch
from text_baselines import BagOfWords, NGrams, PlainLSTM, best_guess, commonest_tags
from torch.nn import functional as F

from memrl import list_cores, make_core
from memrl.fit import fit
from memrl.recipe import Recipe
from memrl.tasks import Task, make_task
from memrl.tasks.family import EVALUATION_SEED
from memrl.tasks.shakespeare import Characters, chunks, read_characters
from memrl.tasks.snips import read_snips
from memrl.tasks.spans import count_spans
from memrl.tasks.trec import read_trec

HERE = Path(__file__).resolve().parent
os.environ.setdefault("MEMRL_DATA", str(HERE.parents[2] / "shared" / "data"))
COLUMNS = ("model", "seed", "valid", "test", "parameters", "steps", "seconds")
Row = dict[str, Any]


@dataclass(frozen=True)
class Baseline:
    """What people know, to hold the cores against."""

    name: str
    run: Callable[["Study", int, bool], Row]  # for a seed, quickly or not: valid, test, parameters, steps
    seeded: bool = False  # else nothing in it is left to chance, and once is enough


@dataclass(frozen=True)
class Study:
    """One table: a task, how cores are trained on it, and what they are held against."""

    task: str
    recipe: Recipe  # the same for every core, but for
    baselines: tuple[Baseline, ...]
    options: dict[str, Any] = field(default_factory=dict)  # of the task
    rates: dict[str, float] = field(default_factory=dict)  # step sizes of cores that hardly learn with the recipe's
    parameters: int = 0  # that every model has, as nearly as it can; 0 leaves the cores as they are

    def make(self) -> Task:
        return make_task(self.task, **self.options)


# Small memories: sentences and stories here have 5 to 40 steps. The rest of the options are the cores' own.
CORES: dict[str, dict[str, Any]] = {
    "ntm": {"num_slots": 16, "slot_size": 24},
    "dnc": {"num_slots": 16, "slot_size": 24, "num_reads": 2},
    "memn2n": {"num_slots": 32},
}
# The option that says how wide a core is, and what it is a multiple of.
WIDTHS = {"memformer": ("slot_size", 4)}


def build(study: Study, name: str) -> torch.nn.Module:
    """The head of a study on a core."""
    task, options = study.make(), dict(CORES.get(name, {}))
    if study.parameters:
        options |= sized(study, name, options)
    return task.head(make_core(name, task.input_size, **options))


def size_of(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def sized(study: Study, name: str, options: dict[str, Any]) -> dict[str, int]:
    """The width with which the head on a core has as many parameters as a study asks for, as nearly as can be.

    Raises:
        ValueError: the narrowest has more.
    """
    task = study.make()
    width, multiple = WIDTHS.get(name, ("hidden_size", 1))

    def count(size: int) -> int:
        with torch.device("meta"):
            core = make_core(name, task.input_size, **{**options, width: size * multiple})
            return size_of(task.head(core))

    if count(1) > study.parameters:
        raise ValueError(f"core {name!r}: at least {count(1)} parameters, {study.parameters} asked for")
    low, high = 1, 2
    while count(high) <= study.parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= study.parameters else (low, middle)
    best = min((low, high), key=lambda size: abs(count(size) - study.parameters))
    return {width: best * multiple}


def bag_of_words(study: Study, seed: int, quick: bool) -> Row:
    if study.task == "trec":
        folder = Path(os.environ["MEMRL_DATA"], "trec")
        given, test = (list(read_trec(folder / f"{part}.txt")) for part in ("train", "test"))
        train, valid = [text for place, text in enumerate(given) if place % 10], given[::10]
    else:
        folder = Path(os.environ["MEMRL_DATA"], "snips")
        commands = [list(read_snips(folder, split)) for split in ("train", "dev", "test")]
        intents = sorted({command.intent for command in commands[0]})
        train, valid, test = ([(words, intents.index(intent)) for words, _, intent in part] for part in commands)
    models = [BagOfWords(train[:200] if quick else train, penalty) for penalty in (0.1, 0.3, 1.0)]
    model = max(models, key=lambda model: model.accuracy(valid))
    return {"valid": model.accuracy(valid), "test": model.accuracy(test), "parameters": model.parameters}


def tags_of_words(study: Study, seed: int, quick: bool) -> Row:
    folder = Path(os.environ["MEMRL_DATA"], "snips")
    tag = commonest_tags((command.words, command.tags) for command in read_snips(folder, "train"))
    scores: Row = {}
    for part, file in (("valid", "dev"), ("test", "test")):
        commands = list(read_snips(folder, file))
        scores[part] = count_spans([tag(command.words) for command in commands], [each.tags for each in commands]).f1()
    return scores


def characters(quick: bool) -> Characters:
    text = read_characters(Path(os.environ["MEMRL_DATA"], "text", "tiny-shakespeare.txt"))
    return text._replace(train=text.train[:20_000], valid=text.valid[:2000], test=text.test[:2000]) if quick else text


def n_grams(order: int) -> Baseline:
    def score(study: Study, seed: int, quick: bool) -> Row:
        text = characters(quick)
        model = NGrams(text.train, len(text.alphabet), order)
        scores = {part: model.bits_per_character(getattr(text, part)) for part in ("valid", "test")}
        return {**scores, "parameters": model.parameters}

    return Baseline(f"{order}-grams, Witten-Bell", score)


def plain_lstm(study: Study, seed: int, quick: bool) -> Row:
    """The same data, sizes, optimiser and schedule as the cores have, in torch alone."""
    text, recipe, task = characters(quick), study.recipe, study.make()
    torch.manual_seed(seed)
    model = PlainLSTM(len(text.alphabet), task.input_size, sized(study, "lstm", {})["hidden_size"])
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, recipe.steps)
    state = None
    for batch in islice(task.train(recipe.batch_size, seed), recipe.steps):
        state = None if state is None or batch.reset[0].all() else tuple(part.detach() for part in state)
        logits, state = model(batch.inputs, state)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        schedule.step()
    scores: Row = {}
    with torch.no_grad():
        for part in ("valid", "test"):
            nats, count, state = 0.0, 0, None
            for batch in chunks(getattr(text, part), 50, 64):
                logits, state = model(batch.inputs, state)
                nats += F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum").item()
                count += batch.targets.numel()
            scores[part] = nats / count / log(2)
    return {**scores, "parameters": size_of(model), "steps": recipe.steps}


def guess(study: Study, seed: int, quick: bool) -> Row:
    """The commonest answer to each question, without its facts."""
    task, seen, seeds = study.make(), {}, {"train": 0, "valid": EVALUATION_SEED, "test": EVALUATION_SEED}
    for part in ("train", "valid", "test"):
        tales, count = task.tales(part), 20_000 if part == "train" and not quick else 1000
        if study.task == "family_query":
            seen[part] = [(tale.query, tale.answer) for tale in islice(tales.stories(seeds[part]), count)]
        else:
            seen[part] = [
                ((tale.query, tale.candidate), tale.verdict) for tale in islice(tales.claims(seeds[part]), count)
            ]
    return {part: best_guess(seen["train"], seen[part]) for part in ("valid", "test")}


def somebody(study: Study, seed: int, quick: bool) -> Row:
    """Anyone in the story but the person asked about: the mean of how likely that is right."""
    told = {part: islice(study.make().tales(part).stories(EVALUATION_SEED), 1000) for part in ("valid", "test")}
    return {
        part: statistics.mean(
            1 / len({name for fact in story.facts for name in (fact.head, fact.tail)} - {story.query.person})
            for story in stories
        )
        for part, stories in told.items()
    }


def train(study: Study, name: str, seed: int) -> Row:
    torch.manual_seed(seed)
    head, task = build(study, name), study.make()
    recipe = replace(study.recipe, learning_rate=study.rates.get(name, study.recipe.learning_rate))
    result = fit(task, head, recipe, seed=seed)
    scores = {part: result.scores[part][task.metric] for part in ("valid", "test")}
    return {**scores, "parameters": size_of(head), "steps": result.steps}


BAG = Baseline("words and pairs, logistic regression", bag_of_words)
TAGS = Baseline("commonest tag of the word", tags_of_words)
GUESS = Baseline("commonest answer to the question", guess)
SOMEBODY = Baseline("anyone in the story", somebody)
LSTM = Baseline("torch.nn.LSTM", plain_lstm, seeded=True)
ADAM = Recipe(learning_rate=5e-3, schedule="linear", clip_norm=1.0)
# Short stories about at most 6 people, which cores can be trained on in minutes; claims need 3 facts at least.
SHORT = {"min_facts": 2, "max_facts": 4, "num_names": 6}
SHORT_CLAIMS = {**SHORT, "min_facts": 3}
# Where it was better than the recipe's on the validation data of seed 0.
SMALLER = {"memformer": 3e-4}
STUDIES = {
    study.task: study
    for study in (
        Study("trec", replace(ADAM, steps=800, eval_every=200), (BAG,), rates=SMALLER),
        Study(
            "family_query", replace(ADAM, batch_size=64, steps=1200, eval_every=300), (GUESS, SOMEBODY), SHORT, SMALLER
        ),
        Study(
            "family_claim", replace(ADAM, batch_size=64, steps=1200, eval_every=300), (GUESS,), SHORT_CLAIMS, SMALLER
        ),
        Study("snips_slots", replace(ADAM, learning_rate=1e-2, steps=800, eval_every=200), (TAGS,)),
        Study("snips_intent", replace(ADAM, steps=400, eval_every=200), (BAG,)),
        Study(
            "shakespeare",
            replace(ADAM, batch_size=64, steps=300, eval_every=150),
            (n_grams(3), n_grams(5), LSTM),
            {"chunk": 48},
            parameters=100_000,
        ),
    )
}


def finished(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def keep(path: Path, row: Row) -> None:
    rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}
    new = not path.is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(rounded)
    print(path.stem, *rounded.values(), flush=True)


def table(study: Study, rows: list[Row]) -> str:
    """Mean and standard deviation over seeds, baselines first, cores in the order of `list_cores`."""
    order = {name: place for place, name in enumerate(list_cores())}
    models = sorted(dict.fromkeys(row["model"] for row in rows), key=lambda model: order.get(model, -1))
    lines = [
        f"| model | {study.make().metric}, test | valid | seeds | parameters | CPU seconds |",
        "|---|---|---|---|---|---|",
    ]
    for model in models:
        those = [row for row in rows if row["model"] == model]
        cells = []
        for part in ("test", "valid"):
            values = [float(row[part]) for row in those]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        seconds = statistics.mean(float(row["seconds"]) for row in those)
        size = f"{int(those[0]['parameters']):,}" if those[0]["parameters"] else "–"
        lines.append(f"| {model} | {cells[0]} | {cells[1]} | {len(those)} | {size} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def run(study: Study, seed: int, cores: list[str], results: Path, quick: bool) -> None:
    """What is not in the table yet for a seed."""
    path = results / f"{study.task}.csv"
    done = {row["model"] for row in finished(path) if int(row["seed"]) == seed}
    todo = {each.name: partial(each.run, study, seed, quick) for each in study.baselines if each.seeded or not seed}
    todo |= {name: partial(train, study, name, seed) for name in cores}
    for name, work in todo.items():
        if name not in done:
            began = time.process_time()
            row = work()
            keep(path, {"model": name, "seed": seed, **row, "seconds": time.process_time() - began})
            (results / f"{study.task}.md").write_text(table(study, finished(path)), encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*STUDIES, "all"])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each core")
    parser.add_argument("--cores", default=",".join(list_cores()), help="names, with commas between them")
    parser.add_argument("--results", type=Path, help="folder of the tables; results/text, or a new one with --quick")
    parser.add_argument("--quick", action="store_true", help="two steps of each training, to see that it runs")
    options = parser.parse_args(arguments)
    cores = options.cores.split(",")
    if unknown := set(cores) - set(list_cores()):
        parser.error(f"--cores: {', '.join(sorted(unknown))} unknown; known: {', '.join(list_cores())}")
    results = options.results or (Path(tempfile.mkdtemp()) if options.quick else HERE / "results" / "text")
    torch.set_num_threads(1)
    studies = list(STUDIES.values()) if options.table == "all" else [STUDIES[options.table]]
    if options.quick:
        studies = [replace(study, recipe=replace(study.recipe, steps=2, eval_every=2)) for study in studies]
    # Seed by seed, so that whoever stops early has all of the tables, of fewer seeds.
    for seed, study in product(range(options.seeds), studies):
        run(study, seed, cores, results, options.quick)
    for study in studies:
        print(table(study, finished(results / f"{study.task}.csv")))


if __name__ == "__main__":
    sys.exit(main())
