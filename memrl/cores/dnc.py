"""Differentiable neural computer."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memrl import addressing, linkage
from memrl.controller import ControllerState, LSTMController
from memrl.core import MemoryCore, unroll
from memrl.registry import register_core
from memrl.shared_linear import SharedLinear

MASK_FLOOR = 0.1  # a mask never hides a column entirely (Csordás & Schmidhuber 2019)


@dataclass(frozen=True)
class DNCConfig:
    """Options of the DNC. The defaults are the paper's; each repair names its source."""

    hidden_size: int = 128  # H, width of the LSTM controller and of the output
    num_slots: int = 32  # N, rows of the memory
    slot_size: int = 16  # W, numbers in a row
    num_reads: int = 4  # R, read heads
    link: bool = True  # temporal links; False saves N x N numbers of state (Franke et al. 2018, content-based unit)
    masking: bool = False  # compare only parts of the key (Csordás & Schmidhuber 2019)
    deallocate: bool = False  # freeing a slot also erases it (Csordás & Schmidhuber 2019)
    sharpen: bool = False  # sharpen followed links (Csordás & Schmidhuber 2019)
    layer_norm: bool = False  # normalise the interface (Franke et al. 2018)
    bypass_dropout: float = 0.0  # drop out the controller's way around the memory, in [0, 1) (Franke et al. 2018)


class DNCState(NamedTuple):
    """All that the DNC carries from step to step; zero at the start."""

    controller: ControllerState
    memory: Tensor  # M, (B, N, W)
    usage: Tensor  # u, in [0, 1], (B, N)
    precedence: Tensor  # p, sums to at most 1, (B, N); (B, 0) without links
    link: Tensor  # L, (B, N, N); (B, 0, 0) without links
    write_weights: Tensor  # w^w, sums to at most 1, (B, N)
    read_weights: Tensor  # w^r, each sums to at most 1, (B, R, N)
    read_vectors: Tensor  # r, (B, R, W)


class Interface(NamedTuple):
    """What the controller tells the memory in one step."""

    read_keys: Tensor  # k^r, (B, R, W)
    write_key: Tensor  # k^w, (B, 1, W)
    write_vector: Tensor  # v, (B, 1, W)
    read_strengths: Tensor  # β^r >= 1, (B, R)
    write_strength: Tensor  # β^w >= 1, (B, 1)
    forward_sharpness: Tensor  # s^f >= 1, (B, R), only with sharpen
    backward_sharpness: Tensor  # s^b >= 1, (B, R), only with sharpen
    erase: Tensor  # e, in [0, 1], (B, 1, W)
    free_gates: Tensor  # f, in [0, 1], (B, R)
    allocation_gate: Tensor  # g^a, in [0, 1], (B, 1)
    write_gate: Tensor  # g^w, in [0, 1], (B, 1)
    write_mask: Tensor | None  # m^w, in [0.1, 1], (B, 1, W), only with masking
    read_masks: Tensor | None  # m^r, in [0.1, 1], (B, R, W), only with masking
    read_modes: Tensor  # π: backward, content, forward, sums to 1, (B, R, 3), only with link


@register_core(
    "dnc",
    DNCConfig,
    paper="Graves et al. 2016, Hybrid computing using a neural network with dynamic external memory",
    order=4,
)
class DNC(MemoryCore[DNCState]):
    """A controller with a memory it allocates, links in the order of writing, and looks up by content.

    Graves et al. 2016, Methods. In a step the controller reads x and the last read vectors, the write head
    addresses M' and makes M, then the read heads address M; y = W_y h + W_r [r¹ ... r^R].

    Departs from the paper: norms in cosines are bounded below by 1e-3 (`addressing.NORM_FLOOR`), and the forget gate of
    the controller starts open, with a bias of 1.

    >>> core = DNC(3, DNCConfig(num_slots=8, slot_size=4))
    >>> y, state = core.step(torch.ones(2, 3), core.initial_state(2))
    >>> tuple(y.shape), tuple(state.link.shape), tuple(state.read_vectors.shape)
    ((2, 128), (2, 8, 8), (2, 4, 4))
    """

    def __init__(self, input_size: int, config: DNCConfig) -> None:
        super().__init__()
        if not 0 <= config.bypass_dropout < 1:
            raise ValueError(f"bypass_dropout: {config.bypass_dropout} given, [0, 1) allowed")
        if config.sharpen and not config.link:
            raise ValueError("sharpen: True given, but with link=False there are no links to sharpen")
        self.config = config
        self.input_size, self.output_size = input_size, config.hidden_size
        reads, width = config.num_reads, config.slot_size
        # Blocks of the interface, grouped by nonlinearity, so that a step takes one operation for each group.
        self._linear = [reads * width, width, width]
        self._oneplus = [reads, 1, *([reads, reads] if config.sharpen else [0, 0])]
        self._sigmoid = [width, reads, 1, 1, *([width, reads * width] if config.masking else [0, 0])]
        self._groups = [
            sum(self._linear),
            sum(self._oneplus),
            sum(self._sigmoid),
            3 * reads if config.link else 0,
        ]

        self.controller = LSTMController(input_size, reads * width, config.hidden_size)
        self.interface = nn.Linear(config.hidden_size, sum(self._groups))
        self.norm = nn.LayerNorm(sum(self._groups)) if config.layer_norm else nn.Identity()
        self.output = nn.Linear(config.hidden_size + reads * width, config.hidden_size)
        for linear in (self.interface, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def initial_state(self, batch_size: int) -> DNCState:
        """Zeros: an empty memory in which every slot is free."""
        config = self.config
        slots, linked = config.num_slots, config.num_slots if config.link else 0

        def zeros(*shape: int) -> Tensor:
            return self.output.weight.new_zeros(batch_size, *shape)

        return DNCState(
            controller=self.controller.initial_state(batch_size),
            memory=zeros(slots, config.slot_size),
            usage=zeros(slots),
            precedence=zeros(linked),
            link=zeros(linked, linked),
            write_weights=zeros(slots),
            read_weights=zeros(config.num_reads, slots),
            read_vectors=zeros(config.num_reads, config.slot_size),
        )

    def step(self, x: Tensor, state: DNCState) -> tuple[Tensor, DNCState]:
        """Controller, write, link, read, in this order."""
        seen, state = self._recur(state, *self._layers(x.unsqueeze(0)))
        y: Tensor = self.output(seen)
        return y, state

    def sequence(self, x: Tensor, state: DNCState, lengths: Tensor | None = None) -> tuple[Tensor, DNCState]:
        """As `step`, with the input's share of the controller and the output layer for all steps at once."""
        layers = self._layers(x)
        seen, state = unroll(lambda _, before: self._recur(before, *layers), x, state, lengths)
        return self.output(seen), state

    def _layers(self, x: Tensor) -> tuple[SharedLinear, SharedLinear]:
        """What every step of the inputs (T, B, I) goes through: [r ; h] to the gates, h to the interface vector ξ."""
        interface = SharedLinear(self.interface.weight.t(), self.interface.bias.expand(*x.shape[:2], -1))
        return self.controller.gates(x), interface

    def _recur(self, state: DNCState, gates: SharedLinear, interface: SharedLinear) -> tuple[Tensor, DNCState]:
        """What depends on the step before, up to [h ; r], which the output layer reads."""
        controller = self.controller.advance(gates, state.read_vectors.flatten(1), state.controller)
        say = self._interface(interface(controller.hidden))

        # Write: to free slots or to slots that hold what the key names, found in the memory as it was.
        retention = addressing.retention(say.free_gates, state.read_weights)
        usage = addressing.update_usage(state.usage, state.write_weights, retention)
        allocation = addressing.allocation_weights(usage)
        content = addressing.content_weights(state.memory, say.write_key, say.write_strength, say.write_mask).squeeze(1)
        write_weights = say.write_gate * torch.lerp(content, allocation, say.allocation_gate)
        memory = state.memory * retention.unsqueeze(-1) if self.config.deallocate else state.memory
        memory = memory + write_weights.unsqueeze(-1) * (say.write_vector - memory * say.erase)

        # Read: by content in the new memory, or along the links from where the heads were.
        read_weights = addressing.content_weights(memory, say.read_keys, say.read_strengths, say.read_masks)
        link, precedence = state.link, state.precedence
        if self.config.link:
            link, after, before = linkage.follow_link(link, precedence, write_weights, state.read_weights)
            precedence = linkage.update_precedence(precedence, write_weights)
            if self.config.sharpen:
                after = linkage.sharpen_link(after, say.forward_sharpness)
                before = linkage.sharpen_link(before, say.backward_sharpness)
            backward, content, forward = say.read_modes.unsqueeze(2).unbind(-1)  # (B, R, 1) each
            read_weights = backward * before + content * read_weights + forward * after
        read_vectors = torch.bmm(read_weights, memory)

        bypass = F.dropout(controller.hidden, self.config.bypass_dropout, self.training)
        seen = torch.cat([bypass, read_vectors.flatten(1)], -1)
        return seen, DNCState(controller, memory, usage, precedence, link, write_weights, read_weights, read_vectors)

    def _interface(self, numbers: Tensor) -> Interface:
        """Cut the interface vector ξ into its parts and bring each into its range."""
        reads, width = self.config.num_reads, self.config.slot_size
        linear, strengths, gates, modes = self.norm(numbers).split(self._groups, -1)
        read_keys, write_key, write_vector = linear.split(self._linear, -1)
        erase, free_gates, allocation_gate, write_gate, write_mask, read_masks = torch.sigmoid(gates).split(
            self._sigmoid, -1
        )
        read_strengths, write_strength, *sharpness = addressing.oneplus(strengths).split(self._oneplus, -1)
        masking = self.config.masking
        return Interface(
            read_keys=read_keys.unflatten(-1, (reads, width)),
            write_key=write_key.unsqueeze(1),
            write_vector=write_vector.unsqueeze(1),
            read_strengths=read_strengths,
            write_strength=write_strength,
            forward_sharpness=sharpness[0],
            backward_sharpness=sharpness[1],
            erase=erase.unsqueeze(1),
            free_gates=free_gates,
            allocation_gate=allocation_gate,
            write_gate=write_gate,
            write_mask=MASK_FLOOR + (1 - MASK_FLOOR) * write_mask.unsqueeze(1) if masking else None,
            read_masks=MASK_FLOOR + (1 - MASK_FLOOR) * read_masks.unflatten(-1, (reads, width)) if masking else None,
            read_modes=torch.softmax(modes.unflatten(-1, (-1, 3)), -1) if self.config.link else modes,
        )
