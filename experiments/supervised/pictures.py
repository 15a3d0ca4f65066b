"""Pictures of what a memory does with a sequence: inputs, answers, and where its heads write and read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from memrl.heads import IGNORED, Batch, Head
from memrl.tasks import Task


def weights_over_time(head: Head, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One sequence through a head, step by step.

    Args:
        head: over a core whose state has `write_weights` and `read_weights`.
        inputs: of one sequence, (T, 1, ...).

    Returns:
        Logits (T, ...), write weights (T, heads, N) and read weights (T, heads, N).
    """
    state, logits, written, read = head.core.initial_state(1), [], [], []
    with torch.no_grad():
        for x in inputs:
            out, state = head(x.unsqueeze(0), state)
            logits.append(out[0, 0])
            written.append(state.write_weights[0].reshape(-1, state.write_weights.shape[-1]))
            read.append(state.read_weights[0])
    return torch.stack(logits), torch.stack(written), torch.stack(read)


def copy_weights(path: Path, head: Head, task: Any, length: int) -> None:
    """Draw a sequence of a task over binary vectors: inputs, targets, answers, and the weights of the first heads.

    Only slots that are used are drawn, in the order in which they are written most.
    """
    inputs, targets = task.draw(torch.Generator().manual_seed(1), 1, f"{_size_name(task)}_{length}")
    head.eval()
    logits, written, read = weights_over_time(head, inputs)
    answers = torch.sigmoid(logits).masked_fill(targets[:, 0] == IGNORED, 0.0)
    wanted = targets[:, 0].masked_fill(targets[:, 0] == IGNORED, 0.0)
    write, look = written[:, 0], read[:, 0]
    asked = (targets[:, 0, 0] != IGNORED).nonzero().flatten()
    first = int(asked[0]) if len(asked) else len(inputs)
    slots = _used(write, look, first)
    panels = [
        ("input", inputs[:, 0].T, "channel"),
        ("target", wanted.T, "bit"),
        ("answer", answers.T, "bit"),
        ("write weights", write[:, slots].T, "slot"),
        ("read weights", look[:, slots].T, "slot"),
    ]
    _draw(path, panels, first, f"{type(task).__name__}: {length}, {type(head.core).__name__}")


def story_weights(path: Path, head: Head, words: Sequence[str], batch: Batch) -> None:
    """Draw a story word by word: what is answered, and where all heads write and read.

    Args:
        path: of the picture.
        head: of the task `babi`, over a core with write and read weights.
        words: by number.
        batch: of one story.
    """
    head.eval()
    logits, written, read = weights_over_time(head, batch.inputs)
    slots = _used(written.amax(1), read.amax(1), len(written))
    panels = [("write weights", written[:, 0]), *((f"read head {k + 1}", read[:, k]) for k in range(read.shape[1]))]
    figure: Figure = plt.figure(figsize=(0.16 * len(written) + 1, 1.6 * len(panels) + 1), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True)
    for ax, (name, weights) in zip(axes, panels, strict=True):
        ax.imshow(weights[:, slots].T.numpy(), aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(name, loc="left", fontsize=9)
        ax.set_ylabel("slot", fontsize=8)
        ax.set_yticks([])
    labels, due = [words[number] for number in batch.inputs[:, 0].tolist()], batch.targets[:, 0]
    asked = (due != IGNORED).nonzero().flatten().tolist()
    for step in asked:
        answer, right = words[int(logits[step].argmax())], words[int(due[step])]
        labels[step] = answer if answer == right else f"{answer}, not {right}"
    axes[-1].set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    for step in asked:
        axes[-1].get_xticklabels()[step].set(color="tab:red", fontweight="bold")
        for ax in axes:
            ax.axvline(step, color="tab:red", linewidth=0.5)
    axes[-1].set_xlabel("in red: what is answered")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def learning_curves(path: Path, looks: Sequence[Mapping[str, str]], along: str, what: str) -> None:
    """Draw a line for every training, in a color for every core.

    Args:
        path: of the picture.
        looks: rows of a curves.csv, with `core` and `seed`.
        along: the column of the horizontal axis.
        what: the column of the vertical axis.
    """
    figure: Figure = plt.figure(figsize=(7, 3.5), layout="constrained")
    ax = figure.subplots()
    cores = list(dict.fromkeys(look["core"] for look in looks))
    for core, seed in dict.fromkeys((look["core"], look["seed"]) for look in looks):
        line = [look for look in looks if (look["core"], look["seed"]) == (core, seed)]
        x, y = ([float(look[name]) for look in line] for name in (along, what))
        first = seed == min(look["seed"] for look in looks if look["core"] == core)
        ax.plot(x, y, color=f"C{cores.index(core)}", label=core if first else None, linewidth=1)
    ax.set_xlabel(along)
    ax.set_ylabel(what)
    ax.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw(path: Path, panels: list[tuple[str, Tensor, str]], first_answer: int, title: str) -> None:
    heights = [max(1.0, 0.06 * len(values)) for _, values, _ in panels]
    figure: Figure = plt.figure(figsize=(8, sum(heights) + 2), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights)
    for ax, (name, values, unit) in zip(axes, panels, strict=True):
        image = ax.imshow(values.numpy(), aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        ax.axvline(first_answer - 0.5, color="tab:red", linewidth=1)
        ax.set_title(name, loc="left", fontsize=9)
        ax.set_ylabel(unit, fontsize=8)
        ax.set_yticks([])
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    axes[-1].set_xlabel("step; answers are asked for right of the red line")
    figure.colorbar(image, ax=axes, shrink=0.3, label="0 white, 1 black")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _used(write: Tensor, look: Tensor, first_answer: int) -> Tensor:
    """Slots with a weight of at least 0.1 anywhere, in the order of the step at which they are written most."""
    used = ((write > 0.1).any(0) | (look > 0.1).any(0)).nonzero().flatten()
    if not len(used):
        used = torch.arange(write.shape[1])
    return used[write[:first_answer, used].argmax(0).argsort(stable=True)]


def _size_name(task: Task) -> str:
    return task.tests[1].rpartition("_")[0]
