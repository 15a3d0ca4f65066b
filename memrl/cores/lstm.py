"""Long short-term memory on torch's fused kernels."""

import os
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from memrl.core import MemoryCore
from memrl.gates import check_chrono_span, chrono_bias, start_input_weights
from memrl.registry import register_core

# On the CPU torch runs oneDNN's kernel, which by default keeps the code for the last 1024 shapes it met, about 1 MiB
# for each. Sequences of an agent come in hundreds of shapes; making the code anew costs less than keeping it.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


@dataclass(frozen=True)
class LSTMConfig:
    """Options of the LSTM."""

    hidden_size: int = 128  # H, width of the cell and of the output
    num_layers: int = 1  # layers, each reading the hidden state of the one below
    chrono_span: int = field(default=0, metadata={"least": 0})  # longest steps to remember (Tallec & Ollivier 2018)


class LSTMState(NamedTuple):
    """Hidden and cell state of every layer, bottom layer first."""

    hidden: Tensor  # h, (B, layers, H)
    cell: Tensor  # c, (B, layers, H)


@register_core("lstm", LSTMConfig, paper="Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate)", order=1)
class LSTM(MemoryCore[LSTMState]):
    """Gated memory of one vector.

    Gers, Schmidhuber & Cummins 2000: i, f, o = σ(W x + U h + b), g = tanh(W x + U h + b), c = f ∘ c' + i ∘ g,
    h = o ∘ tanh(c), with torch's gate order i, f, g, o and its two bias vectors that add up.

    Departs from the paper: the forget gate starts open, with a bias of 1 (Jozefowicz et al. 2015), which halves a cell
    in two steps. With `chrono_span` T the biases are b_f ~ log U(1, T - 1) and b_i = -b_f instead (Tallec & Ollivier
    2018, eq. 16): the units start with memories of 2 to T steps.

    >>> core = LSTM(3, LSTMConfig(hidden_size=4, num_layers=2))
    >>> y, state = core(torch.zeros(5, 1, 3), core.initial_state(1), torch.zeros(5, 1, dtype=torch.bool))
    >>> tuple(y.shape), tuple(state.cell.shape)
    ((5, 1, 4), (1, 2, 4))
    """

    def __init__(self, input_size: int, config: LSTMConfig) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, config.hidden_size
        self.rnn = nn.LSTM(input_size, config.hidden_size, config.num_layers)
        check_chrono_span(config.chrono_span)
        for layer in range(config.num_layers):
            start_input_weights(getattr(self.rnn, f"weight_ih_l{layer}"))
            # torch adds two biases: one starts the gates, the other is 0 for them.
            given, zero = (getattr(self.rnn, f"{bias}_l{layer}").data for bias in ("bias_ih", "bias_hh"))
            inputs, forget = slice(0, config.hidden_size), slice(config.hidden_size, 2 * config.hidden_size)
            zero[forget] = 0.0
            given[forget] = 1.0
            if config.chrono_span:
                zero[inputs] = 0.0
                given[forget] = chrono_bias(config.hidden_size, config.chrono_span)
                given[inputs] = -given[forget]

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros."""
        weight = self.rnn.all_weights[0][0]
        zeros = weight.new_zeros(batch_size, self.rnn.num_layers, self.rnn.hidden_size)
        return LSTMState(zeros, zeros.clone())

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step, layer by layer: for a single step the plain cell is faster than the fused kernel."""
        hidden, cell = [], []
        for layer, weights in enumerate(self.rnn.all_weights):
            h, c = torch.lstm_cell(x, (state.hidden[:, layer], state.cell[:, layer]), *weights)
            hidden.append(h)
            cell.append(c)
            x = h
        return x, LSTMState(torch.stack(hidden, 1), torch.stack(cell, 1))

    def sequence(self, x: Tensor, state: LSTMState, lengths: Tensor | None = None) -> tuple[Tensor, LSTMState]:
        """All steps and layers in one fused call; torch wants the batch of a state in axis 1."""
        before = (state.hidden.transpose(0, 1).contiguous(), state.cell.transpose(0, 1).contiguous())
        if lengths is None:
            y, (hidden, cell) = self.rnn(x, before)
        else:
            packed, (hidden, cell) = self.rnn(pack_padded_sequence(x, lengths), before)
            y, _ = pad_packed_sequence(packed, total_length=len(x))
        return y, LSTMState(hidden.transpose(0, 1), cell.transpose(0, 1))
