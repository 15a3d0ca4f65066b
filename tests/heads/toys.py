"""Small cores and one head of each kind, which the tests of the heads share."""

import torch
from torch import nn

import memrl
from memrl.heads import IGNORED, BinaryVectors, Classifier, NextToken, QuestionAnswering, StoryAnswer, Tagger

STEPS, ROWS, WIDTH, WORDS = 5, 3, 4, 7
SIZES = {
    "none": {"hidden_size": 6},
    "lstm": {"hidden_size": 6},
    "gru": {"hidden_size": 6},
    "ntm": {"hidden_size": 6, "num_slots": 5, "slot_size": 3},
    "dnc": {"hidden_size": 6, "num_slots": 5, "slot_size": 3, "num_reads": 2},
    "memformer": {"slot_size": 6, "num_slots": 3, "num_heads": 2},
    "memn2n": {"hidden_size": 6, "num_slots": 8},
}
LENGTHS = torch.tensor([5, 2, 3])
# `StoryAnswer` has a way of its own through memn2n.
BOTH_WAYS = ["gru", "memn2n"]


def small_core(name: str) -> memrl.MemoryCore:
    torch.manual_seed(3)
    return memrl.make_core(name, WIDTH, **SIZES.get(name, {}))


def tokens() -> torch.Tensor:
    return torch.randint(WORDS, (STEPS, ROWS), generator=torch.Generator().manual_seed(0))


def embedding() -> nn.Embedding:
    return nn.Embedding(WORDS, WIDTH)


def padded(targets: torch.Tensor) -> torch.Tensor:
    """Targets with IGNORED on padding."""
    targets = targets.clone()
    targets[torch.arange(STEPS)[:, None] >= LENGTHS] = IGNORED
    return targets


def of_row(kind: str, logits: torch.Tensor, row: int) -> torch.Tensor:
    """One row's logits, one after another: one for each step, or the only one."""
    return logits[row].unsqueeze(0) if kind in ("classifier", "story_answer") else logits[:, row]


# Head on a core, its logits' shape, and targets.
HEADS = {
    "classifier": (lambda core: Classifier(core, 3, embedding()), (ROWS, 3), torch.tensor([0, 2, 1])),
    "story_answer": (lambda core: StoryAnswer(core, 3, embedding()), (ROWS, 3), torch.tensor([0, 2, 1])),
    "tagger": (lambda core: Tagger(core, 3, embedding()), (STEPS, ROWS, 3), padded(tokens() % 3)),
    "next_token": (lambda core: NextToken(core, WORDS), (STEPS, ROWS, WORDS), padded(tokens())),
    "answers": (lambda core: QuestionAnswering(core, 5, embedding()), (STEPS, ROWS, 5), padded(tokens() % 5)),
    "answers_in_parts": (
        lambda core: QuestionAnswering(core, 5, embedding(), parts=2),
        (STEPS, ROWS, 2, 5),
        padded(torch.stack([tokens() % 5, tokens() % 3], -1)),
    ),
    "binary": (
        lambda core: BinaryVectors(core, 2, embedding()),
        (STEPS, ROWS, 2),
        padded(torch.stack([tokens() % 2, tokens() % 3 % 2], -1).float()),
    ),
}
