"""What all heads share: how inputs, padding and states go through a core."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memrl import tree
from memrl.core import MemoryCore

State = tuple[Any, ...]

IGNORED = -100  # target of a step that nothing is asked at; torch's own number for it in `cross_entropy`
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)  # types of whole numbers


class Batch(NamedTuple):
    """Sequences side by side, as heads take them. Axes: T time, B batch."""

    inputs: Tensor  # vectors (T, B, I), or token ids (T, B) or whatever else the head's encoder takes
    reset: Tensor  # true where a sequence opens; false at step 0 goes on from the batch before, bool, (T, B)
    targets: Tensor  # as the head says, IGNORED where nothing is asked
    lengths: Tensor  # steps of each row, the rest is padding, (B,)


class Head(nn.Module, ABC):
    """An encoder of inputs, a memory core, and a linear layer on what the core gives out.

    Args:
        core: any core; it is used, not copied, so what it learns here it takes along.
        num_outputs: width of the linear layer.
        encoder: from inputs (T, B, ...) to the core's inputs (T, B, core.input_size), for example
            `nn.Embedding(vocabulary, core.input_size)` for token ids; None if inputs are those already.

    Raises:
        ValueError: `core` is no built core, or a size is below 1.
    """

    def __init__(self, core: MemoryCore[Any], num_outputs: int, encoder: nn.Module | None = None) -> None:
        super().__init__()
        if not isinstance(core, MemoryCore):
            raise ValueError(f"core: {type(core).__name__} given, a built core needed, as of memrl.make_core")
        if num_outputs < 1:
            raise ValueError(f"{num_outputs} outputs given, at least 1 needed")
        self.encoder = nn.Identity() if encoder is None else encoder
        self.core = core
        self.output = nn.Linear(core.output_size, num_outputs)

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Logits, here of every step (T, B, ...) and of any value on padding, and the state after each row's last step.

        Args:
            inputs: what the encoder takes, (T, B, ...).
            state: of the core before inputs[0]; None is the initial state.
            reset: true where a sequence opens, bool, (T, B); None is at step 0 if there is no state, else nowhere.
            lengths: steps of each row, 1 to T, whole numbers, (B,); None is T for all.
        """
        y, state = self.remember(inputs, state, reset, lengths)
        return self.output(y), state

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What training minimises, in nats; 0, with gradients of 0, where all targets are IGNORED.

        Raises:
            ValueError: targets are not of the shape that the head says.
        """

    def answer(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Logits of a batch and the state after it, which the next batch goes on from where its `reset` does not open.

        Args:
            batch: sequences, or the next chunk of those of the batch before.
            state: after the batch before; detached by whoever wants that.
        """
        if bool(batch.reset[:1].all()):
            state = None  # so that batches of fresh sequences may differ in size
        answered: tuple[Tensor, State] = self(batch.inputs, state, batch.reset, batch.lengths)
        return answered

    def remember(
        self, inputs: Tensor, state: State | None, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run the core; arguments as of `forward`, which explains them.

        Returns:
            The core's outputs (T, B, O), of any value on padding, and each row's state after its own last step.

        Raises:
            ValueError: a shape, a type or a length does not fit.
        """
        x, lengths = self.prepare(inputs, state, reset, lengths)
        steps, rows = x.shape[:2]
        if reset is None:
            reset = torch.zeros(steps, rows, dtype=torch.bool, device=x.device)
            reset[0] = state is None
        if state is None:
            state = self.core.initial_state(rows)
        if lengths is not None and bool(reset[1:].any()) and bool((lengths < steps).any()):
            raise ValueError("lengths: given beside resets in the middle; pad with short sequences or with none")
        if lengths is None or bool((lengths == steps).all()):
            whole: tuple[Tensor, State] = self.core(x, state, reset)
            return whole
        # Rows drop out of the batch where their sequence ends, longest first.
        ordered, order = lengths.sort(descending=True, stable=True)
        state = tree.where(reset[0], self.core.initial_state(rows), state)
        y, after = self.core.sequence(x[: int(ordered[0]), order], tree.index(state, order), ordered)
        back = order.argsort()
        return F.pad(y[:, back], (0, 0, 0, 0, 0, steps - len(y))), tree.index(after, back)

    def prepare(
        self, inputs: Tensor, state: State | None, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What comes before every way through a core: inputs are encoded, and all arguments checked to fit them.

        Returns:
            Inputs of the core (T, B, I), and lengths as int64 on the CPU, or None.

        Raises:
            ValueError: a shape, a type or a length does not fit.
        """
        x: Tensor = self.encoder(inputs)
        if x.dim() != 3 or x.shape[2] != self.core.input_size:
            raise ValueError(
                f"inputs: {tuple(inputs.shape)} given, which the encoder makes {tuple(x.shape)}; "
                f"(time, batch, {self.core.input_size}) needed"
            )
        steps, rows = x.shape[:2]
        if not steps:
            raise ValueError("inputs: 0 steps given, at least 1 needed")
        if state is not None and tree.batch_size(state) != rows:
            raise ValueError(f"state: batch of {tree.batch_size(state)} given, inputs have a batch of {rows}")
        if reset is not None and (reset.shape != (steps, rows) or reset.dtype != torch.bool):
            raise ValueError(f"reset: {_named(reset)} given, torch.bool ({steps}, {rows}) needed")
        return x, None if lengths is None else _whole(lengths, steps, rows)


def last_step(y: Tensor, lengths: Tensor | None) -> Tensor:
    """Of y (T, B, ...) what stands at step `lengths - 1` of each row, (B, ...)."""
    if lengths is None:
        return y[-1]
    return y[lengths.to(y.device, torch.long) - 1, torch.arange(y.shape[1], device=y.device)]


def _whole(lengths: Tensor, steps: int, rows: int) -> Tensor:
    if not isinstance(lengths, Tensor) or lengths.dtype not in WHOLE or lengths.shape != (rows,):
        raise ValueError(f"lengths: {_named(lengths)} given, a tensor of whole numbers ({rows},) needed")
    # On the CPU, where cores want them anyway: looking at them there waits for the device once, not twice.
    lengths = lengths.to("cpu", torch.long)
    if not bool(((lengths >= 1) & (lengths <= steps)).all()):
        raise ValueError(f"lengths: {int(lengths.min())} to {int(lengths.max())} given, 1 to {steps} allowed")
    return lengths


def _named(given: object) -> str:
    return f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
