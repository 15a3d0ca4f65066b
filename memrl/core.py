"""The protocol of a memory: (input, state) in, (output, state) out, nothing hidden.

Axis letters used in the whole library: T time, B batch, I input size, O output size, N slots, W slot width,
R read heads, H hidden size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memrl import tree

State = TypeVar("State", bound=tuple[Any, ...])


class MemoryCore(nn.Module, ABC, Generic[State]):
    """A memory that any host can carry: an agent, a features extractor, a supervised head.

    A subclass builds every parameter in `__init__`, keeps no memory on `self`, and writes `initial_state` and
    `step`. `forward` then runs whole sequences with resets anywhere. `memrl.check_core` tests the laws:
    `forward` equals the loop over `step`, a reset equals a fresh start, rows do not see each other.

    Attributes:
        input_size: I, width of one input.
        output_size: O, width of one output.
    """

    input_size: int
    output_size: int

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """State before the first input: a NamedTuple of floating point tensors, batch in axis 0 of each."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One input x (B, I) to one output (B, O) and the next state."""

    def sequence(self, x: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """A stretch without resets; the hook for cores with a fused or parallel kernel. Default: loop over `step`.

        Args:
            x: inputs, padded at the end of rows that are shorter. Shape (T, B, I).
            state: state before x[0].
            lengths: steps of each row, 1 to T, falling from row to row, on the CPU; None when all are T. Shape (B,).

        Returns:
            Outputs (T, B, O), of any value on padding, and each row's state after its own last step.
        """
        return unroll(self.step, x, state, lengths)

    def forward(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """Run a batch of sequences in which episodes may begin at any step.

        Args:
            x: inputs. Shape (T, B, I).
            state: state before x[0], batch B.
            reset: true where x[t, b] opens an episode; the state is replaced by the initial one *before* that
                step. The same as SB3's `episode_starts`. Bool, shape (T, B).

        Returns:
            Outputs (T, B, O) and the state after the last step.

        Raises:
            ValueError: a shape or dtype is not as above.
        """
        self._check(x, state, reset)
        state = tree.where(reset[0], self.initial_state(x.shape[1]), state)
        if not reset[1:].any():
            return self.sequence(x, state)

        # Cut every column at its resets. All spans then run side by side as rows of one batch, longest first, so
        # that a fused kernel needs one call and a loop over `step` takes no more steps than the longest span has.
        opens = reset.clone()
        opens[0] = True
        column, start = opens.T.nonzero(as_tuple=True)  # spans, column by column, in the order of time
        end = torch.where(column[1:] == column[:-1], start[1:], len(x))
        length = torch.cat([end, end.new_tensor([len(x)])]) - start
        length, order = length.sort(descending=True, stable=True)
        column, start = column[order], start[order]

        offset = torch.arange(int(length[0]), device=x.device).unsqueeze(1)
        inside = offset < length  # (longest, spans)
        time = (start + offset).clamp(max=len(x) - 1)
        spans = tree.where(start == 0, tree.index(state, column), self.initial_state(len(column)))
        y_spans, spans = self.sequence(x[time, column], spans, length.cpu())

        span_of = torch.empty_like(reset, dtype=torch.long)  # which span, and which step of it, step (t, b) became
        step_of = torch.empty_like(span_of)
        span, step = torch.arange(len(column), device=x.device).expand_as(time), offset.expand_as(time)
        columns = column.expand_as(time)
        span_of[time[inside], columns[inside]] = span[inside]
        step_of[time[inside], columns[inside]] = step[inside]
        return y_spans[step_of, span_of], tree.index(spans, span_of[-1])

    def _check(self, x: Tensor, state: State, reset: Tensor) -> None:
        if x.dim() != 3 or x.shape[2] != self.input_size or not len(x):
            raise ValueError(f"x: shape {tuple(x.shape)} given, (time >= 1, batch, {self.input_size}) needed")
        if reset.shape != x.shape[:2] or reset.dtype != torch.bool:
            raise ValueError(f"reset: {reset.dtype} {tuple(reset.shape)} given, torch.bool {tuple(x.shape[:2])} needed")
        if tree.batch_size(state) != x.shape[1]:
            raise ValueError(f"state: batch of {tree.batch_size(state)} given, x has a batch of {x.shape[1]}")


def unroll(
    step: Callable[[Tensor, State], tuple[Tensor, State]], x: Tensor, state: State, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Loop over `step`; a row whose sequence has ended drops out of the batch.

    Arguments and results as in `MemoryCore.sequence`. A core that can do part of its work for all steps at once does
    that before or after, and loops over the rest.
    """
    outputs = []
    finished: list[State] = []
    rows = x.shape[1]
    for t, x_t in enumerate(x.unbind(0)):
        if lengths is not None and (running := int((lengths > t).sum())) < rows:
            finished.append(tree.index(state, slice(running, None)))
            state, rows = tree.index(state, slice(running)), running
        y_t, state = step(x_t[:rows] if rows < len(x_t) else x_t, state)
        outputs.append(y_t if rows == x.shape[1] else F.pad(y_t, (0, 0, 0, x.shape[1] - rows)))
    return torch.stack(outputs), tree.cat([state, *reversed(finished)])
