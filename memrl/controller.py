"""The LSTM controller of memories with read heads: it sees the input and what was read last."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memrl.gates import start_input_weights
from memrl.shared_linear import SharedLinear


class ControllerState(NamedTuple):
    """State of an LSTM controller; of width 0 where a controller has none."""

    hidden: Tensor  # h, (B, H)
    cell: Tensor  # c, (B, H)


class LSTMController(nn.LSTMCell):
    """An LSTM cell on [x ; r], cut in two: what depends on x alone is computed for all steps at once.

    Xavier weights, zero biases, and a forget gate that starts open with a bias of 1: the recipe that trains
    (Csordás & Schmidhuber 2019); but the weights of x start as in `gates.start_input_weights`, since Xavier's would
    hide an observation of few numbers behind many that were read. Parameters are torch's.

    Args:
        input_size: I, width of x.
        read_size: width of all read vectors r together.
        hidden_size: H.
    """

    def __init__(self, input_size: int, read_size: int, hidden_size: int) -> None:
        super().__init__(input_size + read_size, hidden_size)
        self.split = input_size
        for weight in (self.weight_ih, self.weight_hh):
            nn.init.xavier_uniform_(weight)
        start_input_weights(self.weight_ih[:, :input_size])
        for bias in (self.bias_ih, self.bias_hh):
            nn.init.zeros_(bias)
        self.bias_ih.data[hidden_size : 2 * hidden_size] = 1.0

    def initial_state(self, batch_size: int) -> ControllerState:
        """Zeros."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return ControllerState(zeros, zeros.clone())

    def gates(self, x: Tensor) -> SharedLinear:
        """From [r ; h], (B, read_size + H), to the gates (B, 4H), step by step over inputs (T, B, I)."""
        weights = torch.cat([self.weight_ih[:, self.split :], self.weight_hh], 1)
        return SharedLinear(weights.t(), F.linear(x, self.weight_ih[:, : self.split], self.bias_ih + self.bias_hh))

    def advance(self, gates: SharedLinear, reads: Tensor, state: ControllerState) -> ControllerState:
        """One step, from read vectors (B, read_size)."""
        i, f, g, o = gates(torch.cat([reads, state.hidden], 1)).chunk(4, -1)  # torch's order
        cell = torch.sigmoid(f) * state.cell + torch.sigmoid(i) * torch.tanh(g)
        return ControllerState(torch.sigmoid(o) * torch.tanh(cell), cell)
