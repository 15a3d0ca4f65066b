"""An answer to the question that a story ends with."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memrl import tree
from memrl.core import MemoryCore
from memrl.heads.head import Head, State, last_step
from memrl.heads.losses import cross_entropy


@runtime_checkable
class Recalls(Protocol):
    """A core that can be told a story without being asked, and be asked without being told."""

    answer_weight: nn.Parameter | None  # that scores words, (words, O), if the core shares one

    def keep(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> Any:
        """The state after inputs (T, B, I)."""

    def read(self, x: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        """The output (B, O) for a question (B, I), and where it was found."""


class StoryAnswer(Head):
    """One of several answers to the last input of a sequence, of which everything before is the story.

    Logits are (B, num_answers), targets numbers of answers (B,), the loss is the mean cross-entropy. Any core will do;
    one that can be asked apart from being told, such as `memn2n`, is asked once and not at every step.

    Args:
        core: any core.
        num_answers: answers to choose from.
        encoder: from inputs (T, B, ...) to (T, B, core.input_size); None if inputs are those already.
        tied: take Wᵀ = Cᴷ from a core that has it (Sukhbaatar et al. 2015, section 2.2); then answers are its words.

    Raises:
        ValueError: nothing to tie to, or another number of words.

    >>> from memrl import make_core
    >>> answerer = StoryAnswer(make_core("memn2n", input_size=10, hidden_size=20), 10, tied=True)
    >>> logits, _ = answerer(torch.zeros(4, 2, 10), lengths=torch.tensor([4, 2]))  # 3 sentences, 1 sentence
    >>> tuple(logits.shape)
    (2, 10)
    """

    def __init__(
        self, core: MemoryCore[Any], num_answers: int, encoder: nn.Module | None = None, *, tied: bool = False
    ) -> None:
        super().__init__(core, num_answers, encoder)
        self.tied = tied
        if tied:
            weight = core.answer_weight if isinstance(core, Recalls) else None
            if weight is None or weight.shape != self.output.weight.shape:
                shape = None if weight is None else tuple(weight.shape)
                raise ValueError(f"tied: a core with an answer_weight of {num_answers} words needed, it is {shape}")
            # One parameter under two names could not be saved as safetensors: it stays the core's alone.
            del self.output

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Logits (B, num_answers) at step `lengths - 1` of each row."""
        if not isinstance(self.core, Recalls) or (reset is not None and bool(reset[1:].any())):
            y, state = self.remember(inputs, state, reset, lengths)
            return self.score(last_step(y, lengths)), state
        x, lengths = self.prepare(inputs, state, reset, lengths)
        steps, rows = x.shape[:2]
        told = torch.full((rows,), steps - 1, device=x.device) if lengths is None else lengths - 1
        question = last_step(x, lengths)
        start = self.core.initial_state(rows)
        if state is None:
            state = start
        elif reset is not None:
            state = tree.where(reset[0], start, state)
        state = self.core.keep(x, state, told)
        y, _ = self.core.read(question, state)
        return self.score(y), self.core.keep(question.unsqueeze(0), state)

    def score(self, y: Tensor) -> Tensor:
        """Logits (..., num_answers) from outputs of the core (..., O)."""
        if isinstance(self.core, Recalls) and self.tied and self.core.answer_weight is not None:
            return F.linear(y, self.core.answer_weight)
        logits: Tensor = self.output(y)
        return logits

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of numbers of answers (B,)."""
        return cross_entropy(logits, targets)
