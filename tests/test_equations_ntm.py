"""NTM against a loop over slots and heads written from Graves et al. 2014, and its equations done by hand."""

import math

import numpy as np
import pytest
import torch

from memrl import addressing, make_core

STEPS, BATCH, INPUT, HIDDEN = 12, 3, 4, 6


def sigma(a):
    return 1 / (1 + np.exp(-a))


def softplus(a):
    return math.log1p(math.exp(a))


def softmax(a):
    e = np.exp(np.array(a) - max(a))
    return e / e.sum()


def cosine(a, b):
    # The paper has |a||b|; the floor repairs 0/0 at a blank memory and is nothing where norms exceed 1e-3.
    return (a @ b) / math.sqrt(max(a @ a, 1e-6) * max(b @ b, 1e-6))


def lstm_cell(p, x, h, c):
    gates = p["controller.weight_ih"] @ x + p["controller.bias_ih"] + p["controller.weight_hh"] @ h
    i, f, g, o = np.split(gates + p["controller.bias_hh"], 4)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def address(k, beta, g, s, gamma, w_before, memory):
    """Equations 5 to 9 for one head."""
    slots, half = len(memory), len(s) // 2
    w_content = softmax([beta * cosine(k, memory[i]) for i in range(slots)])
    w_gated = [g * w_content[i] + (1 - g) * w_before[i] for i in range(slots)]
    w_shifted = []
    for i in range(slots):
        w_shifted.append(sum(w_gated[(i - d) % slots] * s[d + half] for d in range(-half, half + 1)))
    total = sum(w_shifted[j] ** gamma for j in range(slots))
    return np.array([w_shifted[i] ** gamma / total for i in range(slots)])


def ntm_loop(p, x, *, controller, reads, writes, slots, width, shift):
    """One row x (T, I) from the initial state: outputs (T, O) and the final state's fields."""
    h, c = (np.zeros(HIDDEN), np.zeros(HIDDEN)) if controller == "lstm" else (np.zeros(0), np.zeros(0))
    memory = np.full((slots, width), 1e-6)
    w_read = [softmax(p["initial_read_weights"][r]) for r in range(reads)]
    w_write = [softmax(p["initial_write_weights"][j]) for j in range(writes)]
    r_vectors = [np.tanh(p["initial_read_vectors"][r]) for r in range(reads)]
    heads, kernel = reads + writes, 2 * shift + 1
    outputs = []
    for x_t in x:
        seen = np.concatenate([x_t, *r_vectors])
        if controller == "lstm":
            h, c = lstm_cell(p, seen, h, c)
            out = h
        else:
            out = np.tanh(p["controller.weight"] @ seen + p["controller.bias"])
        numbers = list(p["heads.weight"] @ out + p["heads.bias"])

        def take(count, numbers=numbers):
            taken, numbers[:] = numbers[:count], numbers[count:]
            return np.array(taken)

        k = [take(width) for _ in range(heads)]
        beta = [softplus(take(1)[0]) for _ in range(heads)]
        g = [sigma(take(1)[0]) for _ in range(heads)]
        s = [softmax(take(kernel)) for _ in range(heads)]
        gamma = [1 + softplus(take(1)[0]) for _ in range(heads)]
        erase = [sigma(take(width)) for _ in range(writes)]
        add = [take(width) for _ in range(writes)]
        assert not numbers

        for j in range(writes):
            n = reads + j
            w_write[j] = address(k[n], beta[n], g[n], s[n], gamma[n], w_write[j], memory)
        after = np.zeros_like(memory)
        for i in range(slots):
            for column in range(width):
                kept, added = memory[i, column], 0.0
                for j in range(writes):
                    kept *= 1 - w_write[j][i] * erase[j][column]
                    added += w_write[j][i] * add[j][column]
                after[i, column] = kept + added
        memory = after
        for r in range(reads):
            w_read[r] = address(k[r], beta[r], g[r], s[r], gamma[r], w_read[r], memory)
            r_vectors[r] = sum(w_read[r][i] * memory[i] for i in range(slots))
        outputs.append(p["output.weight"] @ np.concatenate([out, *r_vectors]) + p["output.bias"])
    final = {
        "controller.hidden": h,
        "controller.cell": c,
        "memory": memory,
        "read_weights": np.array(w_read),
        "write_weights": np.array(w_write),
        "read_vectors": np.array(r_vectors),
    }
    return np.array(outputs), final


def case(seed, scale=1.6, **options):
    """A core with random parameters, and inputs (T, B, I)."""
    generator = torch.Generator().manual_seed(seed)
    core = make_core("ntm", INPUT, hidden_size=HIDDEN, **options).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(STEPS, BATCH, INPUT, generator=generator, dtype=torch.float64)
    return core, x, torch.zeros(STEPS, BATCH, dtype=torch.bool)


def field(state, name):
    for part in name.split("."):
        state = getattr(state, part)
    return state.detach().numpy()


# Seeds at which random parameters address slots sharply enough to matter: most blur every weighting to 1/N.
OPTIONS = {
    "plain": (7, {}),
    "feedforward": (11, {"controller": "feedforward"}),
    "no shift": (28, {"shift_range": 0}),
    "shift 2": (7, {"shift_range": 2}),
    "heads": (2, {"num_reads": 3, "num_writes": 2}),
    "feedforward heads shift 2": (
        28,
        {"controller": "feedforward", "num_reads": 2, "num_writes": 3, "shift_range": 2},
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_ntm_equals_loop(name):
    seed, given = OPTIONS[name]
    options = {"controller": "lstm", "num_reads": 1, "num_writes": 1, "shift_range": 1} | given
    core, x, reset = case(seed, num_slots=6, slot_size=3, **options)
    y, final = core(x, core.initial_state(BATCH), reset)

    p = {key: value.detach().numpy() for key, value in core.named_parameters()}
    for b in range(BATCH):
        y_loop, state_loop = ntm_loop(
            p,
            x[:, b].numpy(),
            controller=options["controller"],
            reads=options["num_reads"],
            writes=options["num_writes"],
            slots=6,
            width=3,
            shift=options["shift_range"],
        )
        np.testing.assert_allclose(y[:, b].detach(), y_loop, rtol=0, atol=1e-9)
        for key, value in state_loop.items():
            np.testing.assert_allclose(field(final, key)[b], value, rtol=0, atol=1e-9, err_msg=key)
    # The case says something: memory is of order 1, and the heads point somewhere.
    assert 0.1 < field(final, "memory").std() < 10
    assert field(final, "write_weights").std(axis=-1).mean() > 0.1
    assert field(final, "read_weights").std(axis=-1).mean() > 0.1


def test_reads_feed_back_inside_a_sequence():
    """What the heads read at t - 1 reaches the controller at t, from the given state and within one call."""
    core, x, reset = case(seed=3, num_slots=6, slot_size=3)
    state = core.initial_state(BATCH)
    _, before = core(x[:4], state, reset[:4])
    y, _ = core.step(x[4], before)
    changed = before._replace(read_vectors=before.read_vectors + 0.1)
    y_changed, after = core.step(x[4], changed)
    assert (y - y_changed).abs().max() > 1e-3
    assert not torch.allclose(after.controller.hidden, core.step(x[4], before)[1].controller.hidden, atol=1e-4)

    y_whole, _ = core(x, state, reset)
    with torch.no_grad():  # cut the columns of the controller that see the reads, step 0 apart
        core.controller.weight_ih[:, INPUT:] = 0
        state = state._replace(read_vectors=torch.zeros_like(state.read_vectors))
    y_cut, _ = core(x, state, reset)
    assert ((y_whole[1:] - y_cut[1:]).abs().amax(dim=-1) > 1e-3).all()


def test_sequence_equals_steps():
    core, x, reset = case(seed=4, num_slots=6, slot_size=3, num_reads=2)
    y, final = core(x, core.initial_state(BATCH), reset)
    state = core.initial_state(BATCH)
    for t in range(STEPS):
        y_t, state = core.step(x[t], state)
        torch.testing.assert_close(y_t, y[t], rtol=0, atol=1e-12)
    for key in (
        "memory",
        "read_weights",
        "write_weights",
        "read_vectors",
        "controller.hidden",
        "controller.cell",
    ):
        np.testing.assert_allclose(field(final, key), field(state, key), rtol=0, atol=1e-12, err_msg=key)


# One case per equation, worked out on paper. Tensors of one batch row.


def row(values):
    return torch.tensor([values], dtype=torch.float64)


def assert_row(actual, expected, atol=1e-12):
    torch.testing.assert_close(actual, row(expected), rtol=0, atol=atol)


def test_content_weights_by_hand():
    # Key (3, 4) against (6, 8), (4, -3), (-3, -4): cosines 1, 0, -1. β = ln 3: e^(β cos) = 3, 1, 1/3.
    # Sum 13/3: weights 9/13, 3/13, 1/13. The second head has strength 0: 1/3 each.
    memory = row([[6, 8], [4, -3], [-3, -4]])
    weights = addressing.content_weights(memory, row([[3, 4], [3, 4]]), row([math.log(3), 0]))
    assert_row(weights, [[9 / 13, 3 / 13, 1 / 13], [1 / 3, 1 / 3, 1 / 3]])


def test_content_weights_of_blank_memory_by_hand():
    # Norm of zero: the cosine is taken as 0, so all slots weigh the same, with a finite gradient.
    memory = torch.zeros(1, 4, 2, dtype=torch.float64, requires_grad=True)
    key = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    weights = addressing.content_weights(memory, key, row([5.0]))
    assert_row(weights, [[0.25, 0.25, 0.25, 0.25]])
    weights[0, 0, 0].backward()
    assert memory.grad.isfinite().all()
    assert key.grad.isfinite().all()


def test_interpolation_by_hand():
    # g = 1/4: 1/4 · (0.8, 0.2) + 3/4 · (0, 1) = (0.2, 0.8). g = 1 keeps the content weights.
    content, previous = row([[0.8, 0.2], [0.8, 0.2]]), row([[0.0, 1.0], [0.0, 1.0]])
    assert_row(addressing.interpolate(content, previous, row([0.25, 1.0])), [[0.2, 0.8], [0.8, 0.2]])


def test_shift_by_one_slot_moves_slot_0_to_slot_1():
    one_hot = row([[1.0, 0, 0, 0], [0, 0, 0, 1.0], [1.0, 0, 0, 0], [1.0, 0, 0, 0]])
    kernel = row([[0, 0, 1.0], [0, 0, 1.0], [1.0, 0, 0], [0, 1.0, 0]])  # shifts -1, 0, +1
    # +1: 0 -> 1, and from the last slot round to 0. -1: from 0 round to the last. 0: stays.
    assert_row(addressing.shift(one_hot, kernel), [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]])


def test_blurred_shift_by_hand():
    # w = (0.5, 0.3, 0.2); s(-1, 0, +1) = (0.1, 0.7, 0.2). w~(i) = 0.1 w(i+1) + 0.7 w(i) + 0.2 w(i-1), round:
    #   0.1·0.3 + 0.7·0.5 + 0.2·0.2 = 0.03 + 0.35 + 0.04 = 0.42
    #   0.1·0.2 + 0.7·0.3 + 0.2·0.5 = 0.02 + 0.21 + 0.10 = 0.33
    #   0.1·0.5 + 0.7·0.2 + 0.2·0.3 = 0.05 + 0.14 + 0.06 = 0.25
    assert_row(addressing.shift(row([[0.5, 0.3, 0.2]]), row([[0.1, 0.7, 0.2]])), [[0.42, 0.33, 0.25]])


def test_shift_wider_than_the_memory_wraps_round():
    # 3 slots, shifts -2..2: +2 is -1 there. Weight 1 on slot 0; s = (0.1, 0.2, 0.3, 0.25, 0.15).
    # Slot 0 gets shift 0: 0.3. Slot 1: +1 and -2, 0.25 + 0.1 = 0.35. Slot 2: +2 and -1, 0.15 + 0.2 = 0.35.
    kernel = row([[0.1, 0.2, 0.3, 0.25, 0.15]])
    assert_row(addressing.shift(row([[1.0, 0, 0]]), kernel), [[0.3, 0.35, 0.35]])


def test_sharpening_by_hand():
    # γ = 2: squares 0.25, 0.0625, 0.0625, sum 0.375: 2/3, 1/6, 1/6. γ = 1 changes nothing.
    weights = row([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    assert_row(addressing.sharpen(weights, row([2.0, 1.0])), [[2 / 3, 1 / 6, 1 / 6], [0.5, 0.25, 0.25]], atol=1e-9)


def test_erase_and_add_with_two_write_heads_by_hand():
    # Head 1: w = (0.5, 0), e = (1, 0), a = (2, 0). Head 2: w = (1, 0.5), e = (0.5, 0.5), a = (0, 4).
    # Slot 0, (1, 2): 1 · (1 - 0.5·1)(1 - 1·0.5) + 0.5·2 + 1·0 = 0.25 + 1 = 1.25
    #                 2 · (1 - 0.5·0)(1 - 1·0.5) + 0.5·0 + 1·4 = 1 + 4 = 5
    # Slot 1, (8, 4): 8 · (1 - 0)(1 - 0.5·0.5) + 0 + 0.5·0 = 6
    #                 4 · (1 - 0)(1 - 0.5·0.5) + 0 + 0.5·4 = 3 + 2 = 5
    # (Erasing and adding head by head would give slot 0 (1·0.5 + 1)·0.5 = 0.75 instead of 1.25.)
    memory = addressing.erase_and_add(
        row([[1.0, 2.0], [8.0, 4.0]]),
        row([[0.5, 0.0], [1.0, 0.5]]),
        row([[1.0, 0.0], [0.5, 0.5]]),
        row([[2.0, 0.0], [0.0, 4.0]]),
    )
    assert_row(memory, [[1.25, 5.0], [6.0, 5.0]])


def test_initial_state_by_hand():
    core, *_ = case(seed=1, num_slots=2, slot_size=1, shift_range=0)
    with torch.no_grad():
        core.initial_read_weights.copy_(row([math.log(3), 0]))  # softmax: 3/4, 1/4
        core.initial_write_weights.copy_(row([0, math.log(4)]))  # softmax: 1/5, 4/5
        core.initial_read_vectors.fill_(math.log(3) / 2)  # tanh: 1/2
    state = core.initial_state(1)
    assert_row(state.read_weights, [[0.75, 0.25]])
    assert_row(state.write_weights, [[0.2, 0.8]])
    assert_row(state.read_vectors, [[0.5]])
    assert_row(state.memory, [[1e-6], [1e-6]])
    assert_row(state.controller.hidden, [0.0] * HIDDEN)
    assert_row(state.controller.cell, [0.0] * HIDDEN)
