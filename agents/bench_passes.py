"""One forward and backward pass, of a core and of its peer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memrl.core import MemoryCore

Pass = Callable[[], None]

DNC_SIZE = {"hidden_size": 128, "slot_size": 16, "num_reads": 4}


@dataclass(frozen=True)
class Shape:
    """Inputs of a measurement: B sequences of T steps of width I."""

    sequences: int
    steps: int
    input_size: int

    def inputs(self) -> Tensor:
        """Random inputs with a gradient, as from an encoder. Shape (T, B, I)."""
        return torch.randn(self.steps, self.sequences, self.input_size, requires_grad=True)


def make_peer(input_size: int, slots: int) -> nn.Module:
    """PyPI's DNC, of the size of ours."""
    import dnc  # an optional dependency, asked for by `bench_cores`

    peer: nn.Module = dnc.DNC(
        input_size=input_size,
        hidden_size=DNC_SIZE["hidden_size"],
        rnn_type="lstm",
        num_layers=1,
        num_hidden_layers=1,
        nr_cells=slots,
        cell_size=DNC_SIZE["slot_size"],
        read_heads=DNC_SIZE["num_reads"],
        batch_first=True,
    )
    return peer


def core_pass(core: MemoryCore[Any], x: Tensor) -> Pass:
    """Forward and backward pass of a core over x (T, B, I), from the initial state, without resets."""
    reset = torch.zeros(x.shape[:2], dtype=torch.bool)

    def run() -> None:
        y, _ = core(x, core.initial_state(x.shape[1]), reset)
        _backward(core, x, y)

    return run


def peer_pass(peer: nn.Module, x: Tensor) -> Pass:
    """The same of PyPI's DNC, which wants the batch first."""
    x = x.detach().transpose(0, 1).contiguous().requires_grad_()

    def run() -> None:
        y, _ = peer(x, (None, None, None), reset_experience=True)
        _backward(peer, x, y)

    return run


def _backward(module: nn.Module, x: Tensor, y: Tensor) -> None:
    module.zero_grad()
    x.grad = None
    y.backward(torch.ones_like(y))
