"""End-to-end memory network: the last inputs, kept as they came, and read in several hops."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memrl import tree
from memrl.core import MemoryCore
from memrl.registry import register_core

# Products of larger inputs, each hop with those of the hop before, overflow float32.
INPUT_BOUND = 1e4


@dataclass(frozen=True)
class MemN2NConfig:
    """Options of the memory network."""

    hidden_size: int = 64  # d, width of the embeddings and of the output
    num_slots: int = 50  # N, how many of the last inputs are kept
    num_hops: int = 3  # K, how often the memory is read for one output
    tying: Literal["adjacent", "layerwise", "key-value"] = "adjacent"  # which embeddings the hops share
    temporal: bool = True  # a learned vector for each place in the order of time
    position_encoding: bool = False  # an input is a sentence, as `memrl.tasks.babi_sentences.BagsOfWords` has it
    noise: float = 0.0  # chance that an empty memory follows an input while training, in [0, 1)
    read_empty: bool = False  # slots without an input are read too, as nothing at all: who finds nothing can say so
    linear: bool = False  # read without softmax, as a linear start does before it trains on with softmax


class MemN2NState(NamedTuple):
    """The last inputs. Nothing is embedded yet, so what is remembered never is older than the embeddings."""

    memory: Tensor  # x_i, the newest last, 0 where there is none, (B, N, I)
    filled: Tensor  # 1 where a slot holds an input, else 0, (B, N)


class Hop(NamedTuple):
    """What one hop reads with."""

    key: Tensor  # A, (I, d)
    value: Tensor  # C, (I, d)
    key_time: Tensor  # T_A, newest last, (N, d)
    value_time: Tensor  # T_C, newest last, (N, d)


@register_core("memn2n", MemN2NConfig, paper="Sukhbaatar et al. 2015, End-to-end memory networks", order=6)
class MemN2N(MemoryCore[MemN2NState]):
    """A list of the last inputs that each new input is a question to; it is read before the input joins it.

    Sukhbaatar et al. 2015, section 2, with x as the question and x_i as what came before it: u = B x,
    p_i = softmax(uᵀ(A x_i + T_A(i))) (eq. 1), o = Σ p_i (C x_i + T_C(i)) (eq. 2), u ← u + o (eq. 4), K times; the
    output is u, to which a head applies W (eq. 3). T counts from the newest input. `tying`:

    - "adjacent": A of a hop is C of the hop before it, B = A¹. Wᵀ = Cᴷ is `head.weight = core.answer_weight`.
    - "layerwise": all hops share A, C and H, with u ← H u + o; B is its own.
    - "key-value": an input is a key and a value, one half each (Miller et al. 2016, section 3): u = A k, p compares u
      with A k_i, o = Σ p_i A v_i, u ← R_j (u + o). A question may leave its value half 0.

    With `position_encoding` (section 4.1) the halves of an input, or of a key, are bags of words f and g and are
    embedded as A f + (k/d) ∘ A g, k = 1 ... d: Σ_j l_j ∘ A x_j in full, since l_kj is linear in k.

    With `read_empty` the softmax of eq. 1 runs over all N slots, and those without an input (m_i = c_i = 0) take their
    share, as in the authors' code: weights of the inputs then sum to less than 1. Without softmax (`linear`) it is
    nothing.

    Departs from the paper: inputs are bounded to ±10,000, and random noise is drawn as each input is kept (an empty
    memory behind it, with the chance `noise`), not once for each story.

    >>> core = MemN2N(3, MemN2NConfig(hidden_size=4, num_slots=8))
    >>> y, state = core.step(torch.ones(2, 3), core.initial_state(2))
    >>> tuple(y.shape), tuple(state.memory.shape), state.filled[0].tolist()
    ((2, 4), (2, 8, 3), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    """

    def __init__(self, input_size: int, config: MemN2NConfig) -> None:
        super().__init__()
        if not 0 <= config.noise < 1:
            raise ValueError(f"noise: {config.noise} given, [0, 1) allowed")
        parts = (2 if config.tying == "key-value" else 1) * (2 if config.position_encoding else 1)
        if input_size % parts:
            parted = "sentences as two bags of words, keys and values in halves"
            raise ValueError(f"input_size: {input_size} given, a multiple of {parts} needed ({parted})")
        self.config = config
        self.input_size, self.output_size = input_size, config.hidden_size
        width, slots, hops = config.hidden_size, config.num_slots, config.num_hops

        def normal(count: int, *shape: int) -> nn.ParameterList:
            return nn.ParameterList(nn.Parameter(0.1 * torch.randn(shape)) for _ in range(count))

        embeddings, times, updates = {
            "adjacent": (hops + 1, hops + 1, 0),  # A¹, C¹ = A², ..., Cᴷ
            "layerwise": (3, 2, 1),  # A, C, B
            "key-value": (1, 1, hops),
        }[config.tying]
        self.embeddings = normal(embeddings, input_size // parts, width)
        self.times = normal(times if config.temporal else 0, slots, width)
        self.updates = normal(updates, width, width)
        self.coordinates: Tensor  # k = 1 ... d, (d,)
        self.register_buffer("coordinates", torch.arange(1.0, width + 1), persistent=False)

    @property
    def answer_weight(self) -> nn.Parameter | None:
        """Cᴷ, (words, d), which a head takes as its weights: Wᵀ = Cᴷ. None without adjacent tying."""
        return self.embeddings[-1] if self.config.tying == "adjacent" else None

    def initial_state(self, batch_size: int) -> MemN2NState:
        """No inputs yet."""
        slots, like = self.config.num_slots, self.embeddings[0]
        return MemN2NState(like.new_zeros(batch_size, slots, self.input_size), like.new_zeros(batch_size, slots))

    def step(self, x: Tensor, state: MemN2NState) -> tuple[Tensor, MemN2NState]:
        """Read, then keep the input."""
        y, _ = self.read(x, state)
        return y, self.keep(x.unsqueeze(0), state)

    def sequence(self, x: Tensor, state: MemN2NState, lengths: Tensor | None = None) -> tuple[Tensor, MemN2NState]:
        """All steps side by side: each reads its own window of the memory followed by the inputs."""
        joined, place = self._join(x, state)
        slots, end = self.config.num_slots, joined.filled.shape[1]
        outputs = []
        block = max(slots, 32)  # queries at a time; more would waste products with inputs outside of their windows
        for start in range(slots, end, block):
            stop = min(start + block, end)
            window = MemN2NState(*(leaf[:, start - slots : stop - 1] for leaf in joined))
            outputs.append(self._hop_by_hop(joined.memory[:, start:stop], window)[0])
        y = torch.cat(outputs, 1).transpose(0, 1)
        if place is not None:
            y = y[place[:-1], torch.arange(y.shape[1], device=y.device)]
        return y, self._newest(joined, place, lengths)

    def read(self, x: Tensor, state: MemN2NState) -> tuple[Tensor, Tensor]:
        """Ask the memory without changing it.

        Args:
            x: the question. Shape (B, I).
            state: what is remembered.

        Returns:
            u after the last hop, shape (B, d), and where each hop looked: p, the newest input last, shape (B, K, N).
            Each p sums to 1, to less with `read_empty`, or to 0 while nothing is remembered.
        """
        y, weights = self._hop_by_hop(_bounded(x).unsqueeze(1), state)
        return y[:, 0], weights[:, 0]

    def keep(self, x: Tensor, state: MemN2NState, lengths: Tensor | None = None) -> MemN2NState:
        """The state after inputs that ask nothing: that of `sequence`, without the work of reading.

        Args:
            x: inputs. Shape (T, B, I).
            state: state before x[0].
            lengths: steps of each row, 0 to T, in any order; None when all are T. Shape (B,).
        """
        return self._newest(*self._join(x, state), lengths)

    def _join(self, x: Tensor, state: MemN2NState) -> tuple[MemN2NState, Tensor | None]:
        """The memory with the inputs behind it, newest last; with noise also how many slots precede each, (T + 1, B).

        Only noise makes that differ from the number of steps.
        """
        x = _bounded(x)
        filled = torch.ones_like(x[..., 0])
        place = None
        if self.training and self.config.noise:
            taken = 1 + (torch.rand_like(filled) < self.config.noise).long()
            place = F.pad(taken.cumsum(0), (0, 0, 1, 0))
            at = place[:-1], torch.arange(x.shape[1], device=x.device).expand_as(taken)
            longest = int(place[-1].max())
            x = x.new_zeros(longest, *x.shape[1:]).index_put(at, x)
            filled = filled.new_zeros(longest, filled.shape[1]).index_put(at, filled)
        new = MemN2NState(x.transpose(0, 1), filled.T)
        return tree.map(lambda old, new: torch.cat([old, new], 1), state, new), place

    def _newest(self, joined: MemN2NState, place: Tensor | None, lengths: Tensor | None) -> MemN2NState:
        """The last N slots of each row, counted from where that row ends."""
        slots = self.config.num_slots
        if lengths is None:
            if place is None:
                return tree.map(lambda leaf: leaf[:, -slots:], joined)
            end = place[-1]
        else:
            end = lengths.to(joined.filled.device)
            if place is not None:
                end = place[end, torch.arange(len(end), device=end.device)]
        rows = torch.arange(len(end), device=end.device)
        last = end.unsqueeze(1) + torch.arange(slots, device=rows.device)
        return tree.map(lambda leaf: leaf[rows.unsqueeze(1), last], joined)

    def _hop_by_hop(self, x: Tensor, window: MemN2NState) -> tuple[Tensor, Tensor]:
        """Let S questions (B, S, I) read; question s sees the N slots from s on, of N + S - 1.

        What is embedded is the question, not each slot: u·A x = (Aᵀ u)·x and Σ p C x = C Σ p x.
        """
        seen = window.filled.unfold(1, self.config.num_slots, 1) > 0  # (B, S, N)
        query, hops = self._hops()
        u, weights = x @ query, []
        for k, (key, value, key_time, value_time) in enumerate(hops):
            p = _own_window((u @ key.T) @ window.memory.mT, self.config.num_slots) + u @ key_time.T
            if not self.config.linear:
                p = torch.softmax(p.masked_fill(~seen, 0 if self.config.read_empty else torch.finfo(p.dtype).min), -1)
            p = p.masked_fill(~seen, 0)
            o = (_back_in_place(p, window.memory.shape[1]) @ window.memory) @ value + p @ value_time
            if self.config.tying == "layerwise":
                u = u @ self.updates[0].T + o
            elif self.config.tying == "key-value":
                u = (u + o) @ self.updates[k].T
            else:
                u = u + o
            weights.append(p)
        return u, torch.stack(weights, 2)

    def _hops(self) -> tuple[Tensor, list[Hop]]:
        """B, (I, d), and what each hop reads with."""
        config, words = self.config, [self._in_full(embedding) for embedding in self.embeddings]
        times = list(self.times) or [words[0].new_zeros(config.num_slots, config.hidden_size)] * (config.num_hops + 1)
        if config.tying == "adjacent":
            pairs = zip(words, words[1:], times, times[1:], strict=False)
            return words[0], [Hop(*pair) for pair in pairs]
        if config.tying == "layerwise":
            return words[2], [Hop(words[0], words[1], times[0], times[1])] * config.num_hops
        nothing = torch.zeros_like(words[0])
        key, value = torch.cat([words[0], nothing]), torch.cat([nothing, words[0]])
        return key, [Hop(key, value, times[0], times[0])] * config.num_hops

    def _in_full(self, embedding: Tensor) -> Tensor:
        """The map of a sentence's two bags of words, A f + (k/d) ∘ A g, as one matrix (2V, d)."""
        if not self.config.position_encoding:
            return embedding
        return torch.cat([embedding, embedding * (self.coordinates / self.config.hidden_size)])


def _bounded(x: Tensor) -> Tensor:
    return x.clamp(-INPUT_BOUND, INPUT_BOUND)


def _own_window(scores: Tensor, slots: int) -> Tensor:
    """Of row s its columns s to s + N - 1: (B, S, N + S - 1) to (B, S, N)."""
    batch, steps, columns = scores.shape
    if steps == 1:
        return scores
    # One number more in a row, and each row begins one place further to the left.
    return F.pad(scores.flatten(1), (0, steps)).view(batch, steps, columns + 1)[..., :slots]


def _back_in_place(weights: Tensor, columns: int) -> Tensor:
    """The inverse, with zeros around the windows: (B, S, N) to (B, S, N + S - 1)."""
    batch, steps, slots = weights.shape
    if steps == 1:
        return weights
    wider = F.pad(weights, (0, columns + 1 - slots)).flatten(1)
    return wider[:, : steps * columns].view(batch, steps, columns)
