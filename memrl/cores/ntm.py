"""Neural Turing machine."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memrl import addressing
from memrl.controller import ControllerState, LSTMController
from memrl.core import MemoryCore, unroll
from memrl.registry import register_core
from memrl.shared_linear import SharedLinear


@dataclass(frozen=True)
class NTMConfig:
    """Options of the NTM."""

    hidden_size: int = 128  # H, width of the controller and of the output
    controller: Literal["lstm", "feedforward"] = "lstm"  # "feedforward" remembers in the memory alone
    num_slots: int = 32  # N, rows of the memory
    slot_size: int = 16  # W, numbers in a row
    num_reads: int = 1  # R, read heads
    num_writes: int = 1  # P, write heads
    shift_range: int = field(default=1, metadata={"least": 0})  # S, a head moves by -S to S slots in a step


class NTMState(NamedTuple):
    """All that the NTM carries from step to step."""

    controller: ControllerState
    memory: Tensor  # M, (B, N, W)
    read_weights: Tensor  # w of the read heads, each sums to 1, (B, R, N)
    write_weights: Tensor  # w of the write heads, each sums to 1, (B, P, N)
    read_vectors: Tensor  # r, (B, R, W)


@register_core("ntm", NTMConfig, paper="Graves et al. 2014, Neural Turing Machines", order=3)
class NTM(MemoryCore[NTMState]):
    """A controller with heads that look slots up by content or move along them.

    Graves et al. 2014. In a step the controller reads x and the last read vectors, the write heads address M' and make
    M (eqs. 3-4), the read heads address M and read it (eq. 2); each head by content, interpolation, shift and
    sharpening (eqs. 5-9); y = W [h; r].

    Departs from the paper: the memory starts constant, at 1e-6, and the first weightings and read vectors are learned
    (Collier & Beel 2018: fastest and stable), where the paper says nothing. The first weightings start at the first
    slot, not spread over all: equal slots with equal weights would get equal gradients for ever.

    >>> core = NTM(3, NTMConfig(num_slots=8, slot_size=4, num_writes=2))
    >>> y, state = core.step(torch.ones(2, 3), core.initial_state(2))
    >>> tuple(y.shape), tuple(state.write_weights.shape)
    ((2, 128), (2, 2, 8))
    """

    def __init__(self, input_size: int, config: NTMConfig) -> None:
        super().__init__()
        if config.controller not in ("lstm", "feedforward"):
            raise ValueError(f"controller: {config.controller!r} given, 'lstm' or 'feedforward' allowed")
        if 2 * config.shift_range + 1 > config.num_slots:
            raise ValueError(f"shift_range: {config.shift_range} given, at most {(config.num_slots - 1) // 2} allowed")
        self.config = config
        self.input_size, self.output_size = input_size, config.hidden_size
        reads, writes, width = config.num_reads, config.num_writes, config.slot_size
        heads = reads + writes
        self._blocks = [
            heads * width,
            heads,
            heads,
            heads * (2 * config.shift_range + 1),
            heads,
            writes * width,
            writes * width,
        ]

        self.controller: LSTMController | nn.Linear
        if config.controller == "lstm":
            self.controller = LSTMController(input_size, reads * width, config.hidden_size)
        else:
            self.controller = nn.Linear(input_size + reads * width, config.hidden_size)
        self.heads = nn.Linear(config.hidden_size, sum(self._blocks))
        self.output = nn.Linear(config.hidden_size + reads * width, config.hidden_size)
        # Learned starts. Heads that are spread over all slots at first hardly learn to move: of associative recall
        # 30 % of the bits stayed wrong. The rest of the weighting differs from slot to slot.
        self.initial_read_weights = nn.Parameter(_at_first_slot(reads, config.num_slots))
        self.initial_write_weights = nn.Parameter(_at_first_slot(writes, config.num_slots))
        self.initial_read_vectors = nn.Parameter(0.1 * torch.randn(reads, width))
        for module in (self.controller, self.heads, self.output):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def initial_state(self, batch_size: int) -> NTMState:
        """Constant memory, learned weightings and read vectors."""
        config = self.config
        new = self.output.weight.new_zeros
        hidden = config.hidden_size if config.controller == "lstm" else 0

        def spread(start: Tensor) -> Tensor:
            return start.expand(batch_size, *start.shape)

        return NTMState(
            controller=ControllerState(new(batch_size, hidden), new(batch_size, hidden)),
            memory=new(batch_size, config.num_slots, config.slot_size) + 1e-6,
            read_weights=spread(torch.softmax(self.initial_read_weights, -1)),
            write_weights=spread(torch.softmax(self.initial_write_weights, -1)),
            read_vectors=spread(torch.tanh(self.initial_read_vectors)),
        )

    def step(self, x: Tensor, state: NTMState) -> tuple[Tensor, NTMState]:
        """Controller, write heads on the old memory, read heads on the new one."""
        seen, state = self._recur(state, *self._layers(x.unsqueeze(0)))
        y: Tensor = self.output(seen)
        return y, state

    def sequence(self, x: Tensor, state: NTMState, lengths: Tensor | None = None) -> tuple[Tensor, NTMState]:
        """As `step`, with the input's share of the controller and the output layer for all steps at once."""
        layers = self._layers(x)
        seen, state = unroll(lambda _, before: self._recur(before, *layers), x, state, lengths)
        return self.output(seen), state

    def _layers(self, x: Tensor) -> tuple[SharedLinear, SharedLinear]:
        """What every step of the inputs (T, B, I) goes through: the controller's weights, then the heads'."""
        heads = SharedLinear(self.heads.weight.t(), self.heads.bias.expand(*x.shape[:2], -1))
        if isinstance(self.controller, LSTMController):
            return self.controller.gates(x), heads
        seen, read = self.controller.weight.split([self.input_size, self.controller.in_features - self.input_size], 1)
        return SharedLinear(read.t(), F.linear(x, seen, self.controller.bias)), heads

    def _control(self, controller: SharedLinear, state: NTMState) -> tuple[Tensor, ControllerState]:
        reads = state.read_vectors.flatten(1)
        if isinstance(self.controller, LSTMController):
            after = self.controller.advance(controller, reads, state.controller)
            return after.hidden, after
        return torch.tanh(controller(reads)), state.controller

    def _recur(self, state: NTMState, control: SharedLinear, say: SharedLinear) -> tuple[Tensor, NTMState]:
        """What depends on the step before, up to [h ; r], which the output layer reads."""
        hidden, controller = self._control(control, state)
        reads, writes, width = self.config.num_reads, self.config.num_writes, self.config.slot_size
        keys, strength, gate, moves, sharpness, erase, add = say(hidden).split(self._blocks, -1)
        keys = keys.unflatten(-1, (reads + writes, width))
        strength = F.softplus(strength)  # β
        gate = torch.sigmoid(gate)  # g
        moves = torch.softmax(moves.unflatten(-1, (reads + writes, -1)), -1)  # s
        sharpness = addressing.oneplus(sharpness)  # γ

        def address(memory: Tensor, previous: Tensor, heads: slice) -> Tensor:
            content = addressing.content_weights(memory, keys[:, heads], strength[:, heads])
            gated = addressing.interpolate(content, previous, gate[:, heads])
            return addressing.sharpen(addressing.shift(gated, moves[:, heads]), sharpness[:, heads])

        write_weights = address(state.memory, state.write_weights, slice(reads, None))
        memory = addressing.erase_and_add(
            state.memory,
            write_weights,
            torch.sigmoid(erase).unflatten(-1, (writes, width)),
            add.unflatten(-1, (writes, width)),
        )
        read_weights = address(memory, state.read_weights, slice(reads))
        read_vectors = torch.bmm(read_weights, memory)
        seen = torch.cat([hidden, read_vectors.flatten(1)], -1)
        return seen, NTMState(controller, memory, read_weights, write_weights, read_vectors)


def _at_first_slot(heads: int, num_slots: int) -> Tensor:
    """Weightings before the softmax, (heads, num_slots): about 95 % at the first slot."""
    start = torch.randn(heads, num_slots)
    start[:, 0] = start.logsumexp(1) + 3.0
    return start
