"""Memformer against a loop over slots, tokens and heads written from Wu et al. 2022; equations by hand."""

import math

import numpy as np
import pytest
import torch

from memrl import addressing, make_core

STEPS, BATCH, INPUT, SLOTS, SIZE = 13, 3, 4, 3, 6


def softmax(a):
    e = np.exp(np.array(a) - max(a))
    return e / e.sum()


def layer_norm(p, name, a):
    return (a - a.mean()) / math.sqrt(a.var() + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def attend(p, name, x, sources, heads):
    """Multi-head softmax(q k / √d) v of one token over a list of vectors."""
    width = len(x) // heads
    q = p[f"{name}.query.weight"] @ x
    ks = [p[f"{name}.key.weight"] @ source for source in sources]
    vs = [p[f"{name}.value.weight"] @ source for source in sources]
    mixed = np.zeros(len(x))
    for head in range(heads):
        block = slice(head * width, (head + 1) * width)
        weights = softmax([q[block] @ k[block] / math.sqrt(width) for k in ks])
        mixed[block] = sum(weight * v[block] for weight, v in zip(weights, vs, strict=True))
    return p[f"{name}.out.weight"] @ mixed


def encode(p, tokens, slots, layers, heads, segment):
    """The tokens of one segment through all layers; each sees itself, the tokens before it and the slots."""
    stream = [token.copy() for token in tokens]
    for layer in range(layers):
        name = f"layers.{layer}"
        if segment > 1:
            normed = [layer_norm(p, f"{name}.self_norm", h) for h in stream]
            for j in range(len(stream)):
                stream[j] = stream[j] + attend(p, f"{name}.self_attention", normed[j], normed[: j + 1], heads)
        for j, h in enumerate(stream):
            stream[j] = h + attend(p, f"{name}.read", layer_norm(p, f"{name}.read_norm", h), slots, heads)
        for j, h in enumerate(stream):
            inner = p[f"{name}.feedforward.1.weight"] @ layer_norm(p, f"{name}.feedforward.0", h)
            inner = np.maximum(inner + p[f"{name}.feedforward.1.bias"], 0)
            stream[j] = h + p[f"{name}.feedforward.3.weight"] @ inner + p[f"{name}.feedforward.3.bias"]
    return [layer_norm(p, "norm", h) for h in stream]


def write(p, ys, slots, heads, temperature):
    """m_i' = softmax([q_i k_i ; q_i K_x] / τ√d) [m_i ; V_x] per head, then (m_i' + b_i) / |m_i' + b_i|."""
    size = len(slots[0])
    width = size // heads
    written = []
    for i, slot in enumerate(slots):
        new = np.zeros(size)
        for head in range(heads):
            block = slice(head * width, (head + 1) * width)
            q, k = (p["write_query.weight"] @ slot)[block], (p["write_key.weight"] @ slot)[block]
            scores = [q @ k] + [q @ (p["write_key.weight"] @ y)[block] for y in ys]
            values = [slot[block]] + [(p["write_value.weight"] @ y)[block] for y in ys]
            weights = softmax([score / (temperature * math.sqrt(width)) for score in scores])
            new[block] = sum(weight * value for weight, value in zip(weights, values, strict=True))
        new = new + p["bias"][i]
        written.append(new / math.sqrt(new @ new))
    return written


def memformer_loop(p, x, *, layers, heads, segment, temperature):
    """One row x (T, I) from the initial state: outputs (T, D) and the final state's fields."""
    slots = [b / math.sqrt(b @ b) for b in p["bias"]]
    pending, outputs = [], []
    for x_t in x:
        pending.append(p["embed.weight"] @ x_t + p["embed.bias"])
        ys = encode(p, pending, slots, layers, heads, segment)
        outputs.append(ys[-1])
        if len(pending) == segment:
            slots, pending = write(p, ys, slots, heads, temperature), []
    padded = np.zeros((segment - 1, len(slots[0])))  # a full segment is written, so one token fewer can wait
    for j, token in enumerate(pending):
        padded[j] = token
    return np.array(outputs), {"slots": np.array(slots), "pending": padded, "num_pending": float(len(pending))}


def case(seed, scale=0.6, **options):
    """A core with random parameters, and inputs (T, B, I)."""
    generator = torch.Generator().manual_seed(seed)
    core = make_core("memformer", INPUT, **({"slot_size": SIZE, "num_slots": SLOTS} | options)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(STEPS, BATCH, INPUT, generator=generator, dtype=torch.float64)
    return core, x, torch.zeros(STEPS, BATCH, dtype=torch.bool)


OPTIONS = {
    "one token": {},
    "two heads": {"num_heads": 2},
    "two layers": {"num_layers": 2, "num_heads": 3},
    "segment": {"segment": 3},
    "segment, heads, layers": {"segment": 3, "num_heads": 2, "num_layers": 2},
    "segment 5, warm": {"segment": 5, "num_heads": 6, "temperature": 0.8},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_memformer_equals_loop(name):
    options = {"num_heads": 1, "num_layers": 1, "segment": 1, "temperature": 0.25} | OPTIONS[name]
    core, x, reset = case(seed=len(name), **options)
    y, final = core(x, core.initial_state(BATCH), reset)

    p = {key: value.detach().numpy() for key, value in core.named_parameters()}
    for b in range(BATCH):
        y_loop, state_loop = memformer_loop(
            p,
            x[:, b].numpy(),
            layers=options["num_layers"],
            heads=options["num_heads"],
            segment=options["segment"],
            temperature=options["temperature"],
        )
        np.testing.assert_allclose(y[:, b].detach(), y_loop, rtol=0, atol=1e-9)
        for key, value in state_loop.items():
            np.testing.assert_allclose(getattr(final, key)[b].detach(), value, rtol=0, atol=1e-9, err_msg=key)
    # The case says something: the slots have moved, and differently for each row.
    assert (final.slots - core.initial_state(BATCH).slots).abs().max() > 0.1
    assert (final.slots[0] - final.slots[1]).abs().max() > 0.01


@pytest.mark.parametrize("segment", [1, 3])
def test_sequence_equals_steps(segment):
    core, x, reset = case(seed=7, segment=segment, num_heads=2, num_layers=2)
    y, final = core(x, core.initial_state(BATCH), reset)
    state = core.initial_state(BATCH)
    for t in range(STEPS):
        y_t, state = core.step(x[t], state)
        torch.testing.assert_close(y_t, y[t], rtol=0, atol=1e-12)
    for leaf, leaf_step in zip(final, state, strict=True):
        torch.testing.assert_close(leaf, leaf_step, rtol=0, atol=1e-12)


def test_sequence_from_within_a_segment():
    """A call may begin with tokens pending, another number of them in each row."""
    core, x, reset = case(seed=8, segment=3, num_heads=2)
    whole = [core(x[: 10 + b, b : b + 1], core.initial_state(1), reset[: 10 + b, :1]) for b in range(BATCH)]
    begun = [core(x[: 5 + b, b : b + 1], core.initial_state(1), reset[: 5 + b, :1])[1] for b in range(BATCH)]
    state = type(begun[0])(*(torch.cat(parts) for parts in zip(*begun, strict=True)))
    assert state.num_pending.tolist() == [2, 0, 1]
    rest = torch.stack([x[5 + b : 10 + b, b] for b in range(BATCH)], dim=1)
    y, final = core(rest, state, reset[:5])
    for b, (y_whole, final_whole) in enumerate(whole):
        torch.testing.assert_close(y[:, b], y_whole[5 + b :, 0], rtol=0, atol=1e-12)
        for leaf, leaf_whole in zip(final, final_whole, strict=True):
            torch.testing.assert_close(leaf[b], leaf_whole[0], rtol=0, atol=1e-12)


def test_what_was_written_is_read_by_every_layer_of_the_next_segment():
    core, x, reset = case(seed=9, segment=3, num_layers=2, num_heads=3)
    state = core.initial_state(BATCH)
    y, _ = core(x, state, reset)
    changed = x.clone()
    changed[2] += 1  # the last token of the first segment
    y_changed, _ = core(changed, state, reset)
    torch.testing.assert_close(y_changed[:2], y[:2], rtol=0, atol=0)
    assert ((y_changed[2:] - y[2:]).abs().amax(dim=-1) > 1e-6).all()


# One case per equation, worked out on paper. Tensors of one batch row.


def row(values):
    return torch.tensor([values], dtype=torch.float64)


def assert_row(actual, expected, atol=1e-12):
    torch.testing.assert_close(actual, row(expected), rtol=0, atol=atol)


def test_slot_attention_by_hand():
    # d = 4, τ = 1/4: scores are divided by 1/4 · √4 = 1/2. Two tokens.
    # Slot 0: q = (1, 0, 0, 0) against own key (ln 2)/2, tokens (ln 3)/2 and 0: e^(2·score) = 2, 3, 1 of 6.
    #   Raw slot 6, values 12 and -6: (2·6 + 3·12 - 1·6)/6 = 42/6 = 7.
    # Slot 1: q = 0: a third each: (9 + 12 - 6)/3 = 5.
    def vectors(*firsts):
        return row([[first, 0.0, 0.0, 0.0] for first in firsts])

    new = addressing.slot_attention(
        queries=vectors(1.0, 0.0),
        slot_keys=vectors(math.log(2) / 2, 5.0),
        token_keys=vectors(math.log(3) / 2, 0.0),
        slots=vectors(6.0, 9.0),
        token_values=vectors(12.0, -6.0),
        temperature=0.25,
    )
    torch.testing.assert_close(new, vectors(7.0, 5.0), rtol=0, atol=1e-12)


def test_a_slot_sees_only_itself_and_the_tokens():
    generator = torch.Generator().manual_seed(0)
    q, k, m = (torch.randn(1, 3, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    token_keys, token_values = (torch.randn(1, 2, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    base = addressing.slot_attention(q, k, token_keys, m, token_values, 0.5)
    for part in range(3):
        changed = [q.clone(), k.clone(), m.clone()]
        changed[part][0, 1] += 1
        new = addressing.slot_attention(changed[0], changed[1], token_keys, changed[2], token_values, 0.5)
        torch.testing.assert_close(new[:, [0, 2]], base[:, [0, 2]], rtol=0, atol=0)
        assert (new[:, 1] - base[:, 1]).abs().max() > 1e-3
    seen = addressing.slot_attention(q, k, token_keys, m, token_values + 1, 0.5)
    assert ((seen - base).abs().amax(dim=-1) > 1e-3).all()  # all of them see the tokens


def blank(bias, **options):
    core = make_core("memformer", 1, **({"slot_size": 2, "num_slots": 2, "num_heads": 1} | options)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
        core.bias.copy_(torch.tensor(bias))
    return core


def test_initial_slots_are_the_normalised_biases():
    # (0, 4)/4 and (6, -8)/10
    assert_row(blank([[0.0, 4.0], [6.0, -8.0]]).initial_state(1).slots, [[0.0, 1.0], [0.6, -0.8]])


def test_forgetting_and_normalisation_by_hand():
    # Blank projections: attention is 1/2 on the slot, 1/2 on a token of value 0, so m' = m/2.
    # Slot 0: (6, 0)/2 + (0, 4) = (3, 4), norm 5: (0.6, 0.8).  Slot 1: (0, -4)/2 + (0, 1) = (0, -1).
    core = blank([[0.0, 4.0], [0.0, 1.0]])
    state = core.initial_state(1)._replace(slots=row([[6.0, 0.0], [0.0, -4.0]]))
    _, state = core.step(torch.ones(1, 1).double(), state)
    assert_row(state.slots, [[0.6, 0.8], [0.0, -1.0]])


def test_slots_drift_towards_their_bias_when_nothing_is_written():
    # The biased memory normalisation: m/2 + b, normalised, over and over, ends at b/|b|: forgotten.
    core = blank([[0.0, 4.0], [3.0, 4.0]])
    state = core.initial_state(1)._replace(slots=row([[1.0, 0.0], [0.0, -1.0]]))
    for _ in range(60):
        _, state = core.step(torch.ones(1, 1).double(), state)
    assert_row(state.slots, [[0.0, 1.0], [0.6, 0.8]], atol=1e-9)


def test_a_segment_is_written_when_it_is_full():
    core = blank([[0.0, 4.0], [0.0, 1.0]], segment=2)
    with torch.no_grad():
        core.embed.bias.copy_(torch.tensor([7.0, -7.0]))
    # First token: slots as they were. Second: the segment is full; 1/3 on the slot, 2/3 on tokens of value 0.
    # Slot 0: (9, 0)/3 + (0, 4) = (3, 4): (0.6, 0.8). Slot 1: (0, -6)/3 + (0, 1) = (0, -1).
    slots = row([[9.0, 0.0], [0.0, -6.0]])
    state = core.initial_state(1)._replace(slots=slots)
    _, state = core.step(torch.ones(1, 1).double(), state)
    assert_row(state.slots, slots[0].tolist())
    assert_row(state.pending, [[7.0, -7.0]])
    assert state.num_pending.tolist() == [1.0]
    _, state = core.step(torch.ones(1, 1).double(), state)
    assert_row(state.slots, [[0.6, 0.8], [0.0, -1.0]])
    assert_row(state.pending, [[0.0, 0.0]])
    assert state.num_pending.tolist() == [0.0]
