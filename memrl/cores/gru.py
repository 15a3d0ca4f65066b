"""Gated recurrent unit on torch's fused kernels."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from memrl.core import MemoryCore
from memrl.gates import check_chrono_span, chrono_bias, start_input_weights
from memrl.registry import register_core


@dataclass(frozen=True)
class GRUConfig:
    """Options of the GRU."""

    hidden_size: int = 128  # H, width of the hidden state and of the output
    num_layers: int = 1  # layers, each reading the hidden state of the one below
    chrono_span: int = field(default=0, metadata={"least": 0})  # longest steps to remember (Tallec & Ollivier 2018)


class GRUState(NamedTuple):
    """Hidden state of every layer, bottom layer first."""

    hidden: Tensor  # h, (B, layers, H)


@register_core("gru", GRUConfig, paper="Cho et al. 2014", order=2)
class GRU(MemoryCore[GRUState]):
    """Gated memory of one vector with two gates.

    Cho et al. 2014: r, z = σ(W x + U h + b), n = tanh(W x + b + r ∘ (U h + b')), h = (1 - z) ∘ n + z ∘ h'.

    Departs from the paper: as in torch, the reset gate r acts after the product with U, not before, and both have a
    bias. With `chrono_span` T the bias of z, which keeps the old state, is log U(1, T - 1) (Tallec & Ollivier 2018,
    section 2): the units start with memories of 2 to T steps.

    >>> core = GRU(3, GRUConfig(hidden_size=4))
    >>> y, state = core.step(torch.zeros(2, 3), core.initial_state(2))
    >>> torch.equal(y, state.hidden[:, -1])
    True
    """

    def __init__(self, input_size: int, config: GRUConfig) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, config.hidden_size
        check_chrono_span(config.chrono_span)
        self.rnn = nn.GRU(input_size, config.hidden_size, config.num_layers)
        for layer in range(config.num_layers):
            start_input_weights(getattr(self.rnn, f"weight_ih_l{layer}"))
        if config.chrono_span:
            keep = slice(config.hidden_size, 2 * config.hidden_size)  # z, the second of torch's three gates
            for layer in range(config.num_layers):
                getattr(self.rnn, f"bias_ih_l{layer}").data[keep] = chrono_bias(config.hidden_size, config.chrono_span)
                getattr(self.rnn, f"bias_hh_l{layer}").data[keep] = 0.0

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros."""
        weight = self.rnn.all_weights[0][0]
        return GRUState(weight.new_zeros(batch_size, self.rnn.num_layers, self.rnn.hidden_size))

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One step, layer by layer: for a single step the plain cell is faster than the fused kernel."""
        hidden = []
        for layer, weights in enumerate(self.rnn.all_weights):
            x = torch.gru_cell(x, state.hidden[:, layer], *weights)
            hidden.append(x)
        return x, GRUState(torch.stack(hidden, 1))

    def sequence(self, x: Tensor, state: GRUState, lengths: Tensor | None = None) -> tuple[Tensor, GRUState]:
        """All steps and layers in one fused call; torch wants the batch of a state in axis 1."""
        before = state.hidden.transpose(0, 1).contiguous()
        if lengths is None:
            y, hidden = self.rnn(x, before)
        else:
            packed, hidden = self.rnn(pack_padded_sequence(x, lengths), before)
            y, _ = pad_packed_sequence(packed, total_length=len(x))
        return y, GRUState(hidden.transpose(0, 1))
