"""Memformer: external slots that are read by attention and written by slot attention."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memrl import addressing
from memrl.core import MemoryCore
from memrl.registry import register_core


@dataclass(frozen=True)
class MemformerConfig:
    """Options of the Memformer."""

    slot_size: int = 64  # D, width of a slot, of a token and of the output
    num_slots: int = 8  # N, slots of the memory
    num_heads: int = 4  # attention heads; they share the D numbers evenly
    num_layers: int = 1  # encoder layers, each reading the slots
    segment: int = 1  # S, tokens between two writes; those of the unfinished segment are kept in the state
    temperature: float = 0.25  # τ of the slot attention, in (0, 1)


class MemformerState(NamedTuple):
    """Slots, and the tokens since they were last written."""

    slots: Tensor  # m, unit rows, (B, N, D)
    pending: Tensor  # embedded tokens of the unfinished segment, zero where there is none yet, (B, S - 1, D)
    num_pending: Tensor  # how many tokens are pending, 0 to S - 1, (B,)


class Attention(nn.Module):
    """Multi-head attention without biases: softmax(q kᵀ / √d) v (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, source: Tensor, *, causal: bool = False) -> Tensor:
        """Let x (B, S, D) look at source (B, M, D)."""
        query, key, value = (
            split_heads(linear(at), self.num_heads)
            for linear, at in ((self.query, x), (self.key, source), (self.value, source))
        )
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        attended: Tensor = self.out(join_heads(seen))
        return attended


class EncoderLayer(nn.Module):
    """One layer of the segment encoder: tokens see earlier tokens of the segment, then the slots, then themselves."""

    def __init__(self, config: MemformerConfig) -> None:
        super().__init__()
        width = config.slot_size
        if config.segment > 1:  # a single token has nothing else to attend to
            self.self_norm = nn.LayerNorm(width)
            self.self_attention = Attention(width, config.num_heads)
        self.read_norm = nn.LayerNorm(width)
        self.read = Attention(width, config.num_heads)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, slots: Tensor) -> Tensor:
        """Tokens (B, S, D) and slots (B, N, D) to tokens (B, S, D)."""
        if tokens.shape[1] > 1:
            normed = self.self_norm(tokens)
            tokens = tokens + self.self_attention(normed, normed, causal=True)
        tokens = tokens + self.read(self.read_norm(tokens), slots)
        tokens = tokens + self.feedforward(tokens)
        return tokens


@register_core("memformer", MemformerConfig, paper="Wu et al. 2022, Memformer: a memory-augmented transformer", order=5)
class Memformer(MemoryCore[MemformerState]):
    """Slots beside a transformer encoder: each segment reads them, and rewrites them when it is complete.

    Wu et al. 2022. Reading, in every layer: softmax(x W_Q (M W_K)ᵀ) M W_V. Writing, after the last layer: a slot
    attends to itself and to the tokens of the segment, at temperature τ (`addressing.slot_attention`). Forgetting:
    m ← m' + b, m ← m / ‖m‖, with a learned bias b per slot; m_0 = b / ‖b‖.

    Acting one step at a time is a segment of one. A longer `segment` writes more rarely: tokens see the slots as the
    last complete segment left them, and the earlier tokens of their own segment. One step at a time or a whole
    sequence at once, the result is the same.

    Departs from the paper: self-attention inside a segment is causal, since an agent acts before the segment ends;
    layers normalise their input first; attention in the write is scaled by √d as well as by τ.

    >>> core = Memformer(3, MemformerConfig(slot_size=8, num_heads=2))
    >>> y, state = core.step(torch.ones(2, 3), core.initial_state(2))
    >>> tuple(y.shape), tuple(state.slots.shape)
    ((2, 8), (2, 8, 8))
    """

    def __init__(self, input_size: int, config: MemformerConfig) -> None:
        super().__init__()
        if config.slot_size % config.num_heads:
            raise ValueError(f"num_heads: {config.num_heads} given, must divide slot_size {config.slot_size}")
        if not 0 < config.temperature < 1:
            raise ValueError(f"temperature: {config.temperature} given, between 0 and 1 allowed")
        if config.segment < 1:
            raise ValueError(f"segment: {config.segment} given, at least 1 needed")
        self.config = config
        width = config.slot_size
        self.input_size, self.output_size = input_size, width
        self.embed = nn.Linear(input_size, width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        self.write_query, self.write_key, self.write_value = (nn.Linear(width, width, bias=False) for _ in range(3))
        # Rows of norm about 0.1: against slots of norm 1 the bias forgets slowly, until training makes it stronger.
        self.bias = nn.Parameter(0.1 * width**-0.5 * torch.randn(config.num_slots, width))

    def initial_state(self, batch_size: int) -> MemformerState:
        """Each slot at the place it forgets towards: m_0 = b / ‖b‖."""
        segment, width = self.config.segment, self.config.slot_size
        slots = F.normalize(self.bias, dim=-1).expand(batch_size, -1, -1)
        pending = self.bias.new_zeros(batch_size, segment - 1, width)
        return MemformerState(slots, pending, self.bias.new_zeros(batch_size))

    def step(self, x: Tensor, state: MemformerState) -> tuple[Tensor, MemformerState]:
        """Read with one more token of the segment; write if that completes it."""
        slots, pending, num_pending = state
        token = self.token(x).unsqueeze(1)
        if self.config.segment == 1:
            y = self.encode(token, slots)
            return y[:, 0], MemformerState(self.write(slots, y), pending, num_pending)
        # (B, S), one true in a row: where in its segment the token goes
        place = torch.arange(self.config.segment, device=x.device) == num_pending.unsqueeze(1)
        tokens = torch.where(place.unsqueeze(-1), token, F.pad(pending, (0, 0, 0, 1)))
        y = self.encode(tokens, slots)
        full = place[:, -1]
        slots = torch.where(full.view(-1, 1, 1), self.write(slots, y), slots)
        pending = torch.where(full.view(-1, 1, 1), 0.0, tokens[:, :-1])
        return y[place], MemformerState(slots, pending, torch.where(full, 0.0, num_pending + 1))

    def sequence(
        self, x: Tensor, state: MemformerState, lengths: Tensor | None = None
    ) -> tuple[Tensor, MemformerState]:
        """Segment by segment: the tokens of one are encoded together."""
        segment = self.config.segment
        if segment == 1:
            return super().sequence(x, state, lengths)
        steps, rows = x.shape[:2]
        first = state.num_pending.long()  # where in its segment each row goes on
        length = torch.full_like(first, steps) if lengths is None else lengths.to(x.device)
        end = first + length
        segments = -(-int(end.max()) // segment)

        step, row = torch.arange(steps, device=x.device).unsqueeze(1), torch.arange(rows, device=x.device)
        place = (first + step).clamp(max=segments * segment - 1)  # (T, B); beyond a row's length: never written
        tokens = F.pad(state.pending, (0, 0, 0, segments * segment - segment + 1))
        inside = step < length
        rows_of = row.expand_as(place)
        tokens = tokens.index_put((rows_of[inside], place[inside]), self.token(x)[inside])

        slots, encoded = state.slots, []
        for k, part in enumerate(tokens.split(segment, dim=1)):
            encoded.append(self.encode(part, slots))
            full = end >= (k + 1) * segment
            slots = torch.where(full.view(-1, 1, 1), self.write(slots, encoded[-1]), slots)

        left = end % segment
        rest = torch.arange(segment - 1, device=x.device)
        pending = F.pad(tokens, (0, 0, 0, segment))[row.unsqueeze(1), (end - left).unsqueeze(1) + rest]
        pending = torch.where((rest < left.unsqueeze(1)).unsqueeze(-1), pending, 0.0)
        return torch.cat(encoded, 1)[rows_of, place], MemformerState(slots, pending, left.to(state.num_pending.dtype))

    def token(self, x: Tensor) -> Tensor:
        """Inputs (..., I) as tokens (..., D), bounded: squares of what is larger overflow in the layer norms."""
        token: Tensor = self.embed(x)
        return token.clamp(-1e6, 1e6)

    def encode(self, tokens: Tensor, slots: Tensor) -> Tensor:
        """Tokens (B, S, D) that have read the slots (B, N, D)."""
        for layer in self.layers:
            tokens = layer(tokens, slots)
        encoded: Tensor = self.norm(tokens)
        return encoded

    def write(self, slots: Tensor, encoded: Tensor) -> Tensor:
        """Slots (B, N, D) after a complete segment of encoded tokens (B, S, D)."""
        heads = self.config.num_heads
        written = addressing.slot_attention(
            queries=split_heads(self.write_query(slots), heads),
            slot_keys=split_heads(self.write_key(slots), heads),
            token_keys=split_heads(self.write_key(encoded), heads),
            slots=split_heads(slots, heads),
            token_values=split_heads(self.write_value(encoded), heads),
            temperature=self.config.temperature,
        )
        new: Tensor = F.normalize(join_heads(written) + self.bias, dim=-1)
        return new


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, S, D) to (B, heads, S, D / heads)."""
    split: Tensor = x.unflatten(-1, (num_heads, -1))
    return split.transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, heads, S, d) to (B, S, heads d)."""
    return x.transpose(1, 2).flatten(-2)
