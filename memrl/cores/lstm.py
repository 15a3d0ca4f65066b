"""Long short-term memory: on torch's fused kernels, or with peepholes, which those do not have."""

import os
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from memrl.core import MemoryCore, unroll
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
    peephole: bool = False  # gates look at the cell, more slowly, in a loop over time (Gers et al. 2002)
    chrono_span: int = field(default=0, metadata={"least": 0})  # longest steps to remember (Tallec & Ollivier 2018)


class LSTMState(NamedTuple):
    """Hidden and cell state of every layer, bottom layer first."""

    hidden: Tensor  # h, (B, layers, H)
    cell: Tensor  # c, (B, layers, H)


Cell = tuple[Tensor, Tensor]  # h and c of one layer, (B, H) each


@register_core("lstm", LSTMConfig, paper="Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate)", order=1)
class LSTM(MemoryCore[LSTMState]):
    """Gated memory of one vector.

    Gers, Schmidhuber & Cummins 2000: i, f, o = σ(W x + U h + b), g = tanh(W x + U h + b), c = f ∘ c' + i ∘ g,
    h = o ∘ tanh(c), with torch's gate order i, f, g, o and its two bias vectors that add up.

    With `peephole` (Gers, Schraudolph & Schmidhuber 2002, "Learning precise timing with LSTM recurrent networks") the
    gates also see the cell, each unit its own: i and f get p_i ∘ c' and p_f ∘ c' of the cell before, o gets p_o ∘ c of
    the new cell. p starts at 0.

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
        self.peepholes = (
            nn.Parameter(torch.zeros(config.num_layers, 3, config.hidden_size)) if config.peephole else None
        )
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
            before = (state.hidden[:, layer], state.cell[:, layer])
            if self.peepholes is None:
                h, c = torch.lstm_cell(x, before, *weights)
            else:
                h, c = peep(self._project(x, layer), before, weights[1], self.peepholes[layer])
            hidden.append(h)
            cell.append(c)
            x = h
        return x, LSTMState(torch.stack(hidden, 1), torch.stack(cell, 1))

    def sequence(self, x: Tensor, state: LSTMState, lengths: Tensor | None = None) -> tuple[Tensor, LSTMState]:
        """All steps and layers in one fused call, or with peepholes one layer after the other."""
        if self.peepholes is not None:
            return self._peephole_sequence(x, state, lengths, self.peepholes)
        # torch wants the batch of a state in axis 1.
        before = (state.hidden.transpose(0, 1).contiguous(), state.cell.transpose(0, 1).contiguous())
        if lengths is None:
            y, (hidden, cell) = self.rnn(x, before)
        else:
            packed, (hidden, cell) = self.rnn(pack_padded_sequence(x, lengths), before)
            y, _ = pad_packed_sequence(packed, total_length=len(x))
        return y, LSTMState(hidden.transpose(0, 1), cell.transpose(0, 1))

    def _peephole_sequence(
        self, x: Tensor, state: LSTMState, lengths: Tensor | None, peepholes: Tensor
    ) -> tuple[Tensor, LSTMState]:
        """A loop over time for each layer, with the products of its inputs taken for all steps at once."""
        after = []
        for layer, (_, recurrent, *_) in enumerate(self.rnn.all_weights):

            def advance(
                projected: Tensor, before: Cell, weight: Tensor = recurrent, peephole: Tensor = peepholes[layer]
            ) -> tuple[Tensor, Cell]:
                h, c = peep(projected, before, weight, peephole)
                return h, (h, c)

            x, cells = unroll(advance, self._project(x, layer), (state.hidden[:, layer], state.cell[:, layer]), lengths)
            after.append(cells)
        return x, LSTMState(*(torch.stack(parts, 1) for parts in zip(*after, strict=True)))

    def _project(self, x: Tensor, layer: int) -> Tensor:
        """The share of a layer's inputs in its gates, with both biases."""
        inward, _, *biases = self.rnn.all_weights[layer]
        return F.linear(x, inward, biases[0] + biases[1])


def peep(projected: Tensor, before: Cell, recurrent: Tensor, peepholes: Tensor) -> Cell:
    """One step of a layer with peepholes.

    Gers et al. 2002; the output gate looks at the new cell, the others at the old one.

    Args:
        projected: W x + b for the gates i, f, g, o, (B, 4H).
        before: h' and c', (B, H) each.
        recurrent: U, (4H, H).
        peepholes: p_i, p_f and p_o, (3, H).

    Returns:
        h and c, (B, H) each.
    """
    hidden, cell = before
    i, f, g, o = torch.addmm(projected, hidden, recurrent.t()).chunk(4, -1)
    of_input, of_forget, of_output = peepholes
    cell = torch.sigmoid(f + of_forget * cell) * cell + torch.sigmoid(i + of_input * cell) * torch.tanh(g)
    return torch.sigmoid(o + of_output * cell) * torch.tanh(cell), cell
