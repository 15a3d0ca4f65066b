"""bAbI v1.2 by memory networks, a sentence at a step, and by the DNC, a word at a step.

    python experiments/supervised/babi.py memn2n            # 20 tasks, 1,000 questions each, 10 initial weights
    python experiments/supervised/babi.py dnc --minutes 20  # six tasks, 10,000 questions each
    python experiments/supervised/babi.py dnc --jointly --minutes 40  # one network for the six
    python experiments/supervised/babi.py picture           # where the hops look

Files are read from MEMRL_DATA, else from ../shared/data. Results go to results/babi/ as they come; what is there
already is not trained again. --quick shows that it runs and writes under runs/quick/.
"""

import argparse
import csv
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memrl import make_core
from memrl.cores.memn2n import MemN2N
from memrl.fit import Progress, evaluate, fit
from memrl.heads import Batch, StoryAnswer
from memrl.tasks import make_task
from memrl.tasks.babi import Babi
from memrl.tasks.babi_sentences import BabiSentences
from memrl.tasks.babi_stories import load_stories, parse_tasks
from memrl.tasks.data import data_file

HERE = Path(__file__).resolve().parent

# The authors' code (facebook/MemNN), three hops, PE LS RN, each task alone, 1,000 questions: error in percent, as
# vinhkhuc/MemN2N-babi-python lists them beside its own. Sukhbaatar et al. 2015 chose the best of 10 initial weights.
PUBLISHED = (0.1, 8.2, 41.8, 4.4, 13.7, 7.9, 20.3, 11.7, 13.6, 9.7, 0.7, 0.0, 0.3, 0.9, 0.0, 0.4, 51.0, 10.5, 81.4, 0.0)
FAILED = 5.0  # percent; above it a task counts as failed


class Told(NamedTuple):
    """Questions, and what is kept of the stories before them: bags of words beside the place in time, one-hot."""

    memory: Tensor  # (B, slots, 2V + slots), zeros in a slot that is empty
    questions: Tensor  # (B, 2V)
    answers: Tensor  # (B,)

    def index(self, rows: Tensor) -> "Told":
        return Told(*(part[rows] for part in self))


class Networks:
    """Memory networks that differ in their initial weights, trained side by side on the same batches.

    Weights have an axis for the network, N in shapes, and time vectors below those of words: (K + 1, N, V + slots, d).
    What is kept of a story is the same for all networks, so that one product serves them all.
    """

    def __init__(self, task: BabiSentences, seeds: Sequence[int]) -> None:
        self.heads = []
        for seed in seeds:
            torch.manual_seed(seed)
            core = make_core("memn2n", task.input_size, **task.core_options["memn2n"])
            self.heads.append(cast(StoryAnswer, task.head(core)))
        self.encoder, self.core, self.words = self.heads[0].encoder, cast(MemN2N, core), len(task.vocabulary)
        cores = [cast(MemN2N, head.core) for head in self.heads]
        pairs = [[torch.cat(pair) for pair in zip(core.embeddings, core.times, strict=True)] for core in cores]
        self.weights = torch.stack([torch.stack(hops) for hops in pairs], 1).detach().requires_grad_()
        self.levels = self.core.coordinates / self.core.output_size  # k/d

    def encode(self, task: BabiSentences, part: str) -> Batch:
        """All questions of a part, in bags of words."""
        batch = next(iter(task.evaluation(part, 10**6)))
        return batch._replace(inputs=self.encoder(batch.inputs))

    def tell(self, batch: Batch) -> Told:
        """What the core keeps of all stories; in training with empty memories in other places each time."""
        told, rows = batch.lengths - 1, torch.arange(len(batch.lengths))
        memory, filled = self.core.keep(batch.inputs, self.core.initial_state(len(rows)), told)
        return Told(torch.cat([memory, torch.diag_embed(filled)], 2), batch.inputs[told, rows], batch.targets)

    def logits(self, asked: Told, softmax: bool) -> Tensor:
        """What the heads give for each question, (N, B, answers); `read_empty` is on."""
        words, times = self.weights[:, :, : self.words], self.weights[:, :, self.words :]
        full = torch.cat([words, words * self.levels, times], 2)  # (K + 1, N, 2V + slots, d)
        u = asked.questions @ full[0, :, : asked.questions.shape[1]]  # (N, B, d)
        for key, value in pairwise(full):
            p = (u @ key.mT).transpose(0, 1) @ asked.memory.mT  # (B, N, slots)
            if softmax:
                p = torch.softmax(p, -1)
            u = u + (p @ asked.memory).transpose(0, 1) @ value
        return u @ words[-1].mT

    def learn(self, asked: Told, rate: float, softmax: bool, clip_norm: float = 40.0) -> None:
        """One update of each network, on the sum of the losses."""
        loss = losses_of(self.logits(asked, softmax), asked.answers).sum()
        (gradient,) = torch.autograd.grad(loss, [self.weights])
        with torch.no_grad():
            norms = gradient.square().sum((0, 2, 3), keepdim=True).sqrt()
            self.weights -= rate * (clip_norm / norms).clamp(max=1.0) * gradient

    def give_back(self) -> None:
        """The heads get what the networks have learned."""
        with torch.no_grad():
            for weights, head in zip(self.weights.unbind(1), self.heads, strict=True):
                core = cast(MemN2N, head.core)
                for weight, embedding, time_vectors in zip(weights, core.embeddings, core.times, strict=True):
                    embedding.copy_(weight[: self.words])
                    time_vectors.copy_(weight[self.words :])


def losses_of(logits: Tensor, answers: Tensor) -> Tensor:
    losses = F.cross_entropy(logits.flatten(0, 1), answers.repeat(len(logits)), reduction="none")
    return losses.view(logits.shape[:2])


def train_memory_networks(
    task: BabiSentences, seeds: Sequence[int], linear_epochs: int, epochs: int
) -> tuple[Networks, list[dict[str, Any]]]:
    """The recipe of section 4.2: a linear start, then 0.005 halved every 25 epochs; losses summed over 32 questions."""
    began = time.process_time()
    networks = Networks(task, seeds)
    stories = networks.encode(task, "train")
    count = len(stories.targets)
    for epoch in range(linear_epochs + epochs):
        rate = 0.005 * 0.5 ** (max(0, epoch - linear_epochs) // 25)
        networks.core.train()
        told = networks.tell(stories)
        for rows in torch.randperm(count)[: count // 32 * 32].split(32):
            networks.learn(told.index(rows), rate, softmax=epoch >= linear_epochs)
    networks.give_back()
    seconds = time.process_time() - began
    results = []
    for seed, head in zip(seeds, networks.heads, strict=True):
        row: dict[str, Any] = {"task": parse_tasks(task.tasks)[0], "seed": seed}
        for part in ("train", "valid", "test"):
            with torch.no_grad():
                scores = task.scores(head.eval(), task.evaluation(part, 100))
            row |= {f"{part}_loss": round(scores["loss"], 5), f"{part}_error": round(scores["error_percent"], 2)}
        results.append(row | {"cpu_seconds_of_all": round(seconds, 1)})
    return networks, results


def memn2n(options: argparse.Namespace) -> None:
    file = options.results / "memn2n_seeds.csv"
    for number in parse_tasks(options.tasks):
        there = {int(row["seed"]) for row in read(file, number)}
        seeds = [seed for seed in range(options.seeds) if seed not in there]
        if not seeds:
            continue
        task = cast(BabiSentences, make_task("babi_sentences", tasks=f"qa{number}"))
        schedule = (1, 1) if options.quick else (20, 100)
        _, rows = train_memory_networks(task, seeds, *schedule)
        append(file, rows)
        print(number, min(read(file, number), key=lambda row: float(row["valid_loss"])), flush=True)
    if not options.quick:
        write(file.with_name("memn2n.csv"), table(read(file)))


def table(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The network with the lowest validation loss of each task, beside the published one."""
    table: list[dict[str, Any]] = []
    for number in range(1, 21):
        networks = [row for row in rows if row["task"] == str(number)]
        if not networks:
            continue
        best = min(networks, key=lambda row: float(row["valid_loss"]))
        errors = sorted(float(row["test_error"]) for row in networks)
        table.append(
            {
                "task": number,
                "error": float(best["test_error"]),
                "published": PUBLISHED[number - 1],
                "by_training_loss": float(min(networks, key=lambda row: float(row["train_loss"]))["test_error"]),
                "median": round(median(errors), 2),
                "worst": errors[-1],
                "seeds": len(networks),
                "cpu_seconds_of_all": float(best["cpu_seconds_of_all"]),
            }
        )
    columns = ("error", "published", "by_training_loss", "median", "worst")
    mean = {"task": "mean"} | {name: round(sum(row[name] for row in table) / len(table), 2) for name in columns}
    failed = {"task": "failed"} | {name: sum(row[name] > FAILED for row in table) for name in columns}
    return [*table, mean, failed]


def dnc(options: argparse.Namespace) -> None:
    """One network a task, the tasks with short stories first; or one for all of them."""
    numbers = (4, 15, 1, 20, 6, 9) if options.tasks == "1-20" else parse_tasks(options.tasks)
    name = "dnc_jointly" if options.jointly else "dnc"
    for together in [numbers] if options.jointly else [(number,) for number in numbers]:
        if not all(read(options.results / f"{name}.csv", number) for number in together):
            train_dnc(together, name, options)


def train_dnc(numbers: Sequence[int], name: str, options: argparse.Namespace) -> None:
    """Until two looks in a row at the validation data find next to no errors, or time is up; the best look counts."""
    torch.manual_seed(0)
    task = cast(Babi, make_task("babi", tasks=",".join(f"qa{number}" for number in numbers)))
    core = make_core("dnc", task.input_size, **{**task.core_options["dnc"], "num_slots": 32, "num_reads": 2})
    head, recipe = task.head(core), replace(task.recipe("dnc"), eval_every=1 if options.quick else 50 * len(numbers))
    began, limit = time.process_time(), 0.0 if options.quick else 60 * options.minutes
    errors: list[float] = []

    def note(progress: Progress) -> None:
        if progress.valid is not None:
            errors.append(round(progress.valid["error_percent"], 2))
            row = {"task": "+".join(map(str, numbers)), "step": progress.step, "valid_error": errors[-1]}
            append(options.results / f"{name}_curves.csv", [row | {"cpu_seconds": round(time.process_time() - began)}])

    def over() -> bool:
        solved = len(errors) > 1 and max(errors[-2:]) < 0.2
        return bool(errors) and (solved or time.process_time() - began > limit)

    steps = fit(task, head, recipe, stop=over, report=note).steps
    seconds = round(time.process_time() - began)
    from pictures import story_weights  # matplotlib loads when there is something to draw

    for number in numbers:
        part = f"qa{number}" if len(numbers) > 1 else "test"
        error = round(evaluate(task, head, part)["error_percent"], 2)
        row = {"task": number, "error": error, "steps": steps, "stories": steps * recipe.batch_size}
        append(options.results / f"{name}.csv", [row | {"cpu_seconds": seconds}])
        print(row, flush=True)
        if number == 1:
            story = next(iter(task.evaluation(part, 1)))
            story_weights(options.results / f"{name}_qa1.png", head, task.vocabulary, story)


def picture(options: argparse.Namespace) -> None:
    """Stories of the test, the sentences in which the answer stands, and where each hop looks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    number = 2 if options.tasks == "1-20" else parse_tasks(options.tasks)[0]
    task = cast(BabiSentences, make_task("babi_sentences", tasks=f"qa{number}"))
    networks, rows = train_memory_networks(
        task, range(min(3, options.seeds)), *((1, 1) if options.quick else (20, 100))
    )
    best = min(range(len(rows)), key=lambda place: rows[place]["valid_loss"])
    head = networks.heads[best].eval()
    core = cast(MemN2N, head.core)
    lines = [
        (story, at) for story in load_stories(data_file("", "babi/en", ""), number, "test") for at in range(len(story))
    ]
    shown = [(story, at) for story, at in lines if story[at].answers and 8 <= at <= 14][:3]
    figure, axes = plt.subplots(1, len(shown), figsize=(6 * len(shown), 4.6))
    spell, numbers = task.vocabulary, {word: place for place, word in enumerate(task.vocabulary, start=1)}
    for axis, (story, at) in zip(axes, shown, strict=True):
        told = [place for place in range(at) if not story[place].answers]
        sentences = [story[place].words[:-1] for place in [*told, at]]
        inputs = torch.zeros(len(sentences), 1, max(map(len, sentences)), dtype=torch.long)
        for step, sentence in enumerate(sentences):
            inputs[step, 0, : len(sentence)] = torch.tensor([numbers[word] for word in sentence])
        with torch.no_grad():
            x = head.encoder(inputs)
            u, weights = core.read(x[-1], core.keep(x[:-1], core.initial_state(1)))
            answer = spell[int(head.score(u).argmax())]
        axis.imshow(weights[0, :, -len(told) :].T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.set_xticks(range(weights.shape[1]), [f"hop {hop + 1}" for hop in range(weights.shape[1])])
        axis.set_yticks(range(len(told)), [" ".join(story[place].words[:-1]) for place in told])
        for place, label in zip(told, axis.get_yticklabels(), strict=True):
            label.set_fontweight("bold" if place + 1 in story[at].supporting else "normal")
        for (hop, place), weight in np.ndenumerate(weights[0, :, -len(told) :].numpy()):
            if weight >= 0.05:
                axis.text(
                    hop, place, f"{weight:.2f}", ha="center", va="center", color="white" if weight > 0.5 else "black"
                )
        right = ",".join(story[at].answers)
        axis.set_title(
            f"{' '.join(story[at].words[:-1])}?  {answer}" + ("" if answer == right else f" (right: {right})")
        )
    figure.tight_layout()
    options.results.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.results / "hops.png", dpi=80)


def read(file: Path, number: int | None = None) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return [row for row in csv.DictReader(lines) if number is None or row["task"] == str(number)]


def append(file: Path, rows: list[dict[str, Any]]) -> None:
    write(file, [*read(file), *rows])


def write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fields = list(max(rows, key=len))
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["memn2n", "dnc", "picture"])
    parser.add_argument("--tasks", default="1-20", help="which of the 20, as in 1,4-6")
    parser.add_argument("--seeds", type=int, default=10, help="initial weights to choose from")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the processor for each task of the DNC")
    parser.add_argument("--jointly", action="store_true", help="one DNC for all tasks")
    parser.add_argument("--results", type=Path, help="folder for what comes out (default: results/babi here)")
    parser.add_argument("--quick", action="store_true", help="only show that it runs; writes to runs/quick/babi")
    options = parser.parse_args(arguments)
    options.results = options.results or (Path("runs") / "quick" if options.quick else HERE / "results") / "babi"
    os.environ.setdefault("MEMRL_DATA", str(HERE.parents[2] / "shared" / "data"))
    torch.set_num_threads(1)
    {"memn2n": memn2n, "dnc": dnc, "picture": picture}[options.study](options)


if __name__ == "__main__":
    main()
