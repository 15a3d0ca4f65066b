"""The memoryless control: one feedforward layer behind the protocol of a memory."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from memrl.core import MemoryCore
from memrl.registry import register_core


@dataclass(frozen=True)
class NoneConfig:
    """Options of the memoryless control."""

    hidden_size: int = 128  # H, width of the layer and of the output


class NoneState(NamedTuple):
    """Remembers nothing."""

    empty: Tensor  # (B, 0)


@register_core("none", NoneConfig, paper="memoryless control", order=0)
class NoMemory(MemoryCore[NoneState]):
    """y = tanh(W x + b): what an agent can do without remembering.

    As wide as the recurrent cores, so that a comparison differs in memory and not in the size of the network.

    Departs from the paper: there is none; it is the baseline every learning result is shown beside.

    >>> core = NoMemory(3, NoneConfig(hidden_size=5))
    >>> y, state = core.step(torch.zeros(2, 3), core.initial_state(2))
    >>> tuple(y.shape), tuple(state.empty.shape)
    ((2, 5), (2, 0))
    """

    def __init__(self, input_size: int, config: NoneConfig) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, config.hidden_size
        self.layer = nn.Linear(input_size, config.hidden_size)

    def initial_state(self, batch_size: int) -> NoneState:
        """A state of width zero."""
        return NoneState(self.layer.weight.new_zeros(batch_size, 0))

    def step(self, x: Tensor, state: NoneState) -> tuple[Tensor, NoneState]:
        """Map each input by itself."""
        return torch.tanh(self.layer(x)), state

    def sequence(self, x: Tensor, state: NoneState, lengths: Tensor | None = None) -> tuple[Tensor, NoneState]:
        """All steps at once."""
        return torch.tanh(self.layer(x)), state
