"""DNC against a loop over slots and heads written from Graves et al. 2016, and its equations done by hand."""

import math

import numpy as np
import pytest
import torch

from memrl import addressing, linkage, make_core

STEPS, BATCH, INPUT, HIDDEN, SLOTS, WIDTH = 12, 3, 4, 6, 5, 3


def sigma(a):
    return 1 / (1 + np.exp(-a))


def oneplus(a):
    return 1 + math.log1p(math.exp(a))


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


def layer_norm(a, scale, offset):
    return (a - a.mean()) / math.sqrt(a.var() + 1e-5) * scale + offset


def content(memory, key, strength, mask=None):
    """C(M, k, β): softmax over slots of β cos(k, M(i)); Csordas 2019 masks key and memory by the same m."""
    mask = np.ones_like(key) if mask is None else mask
    return softmax([strength * cosine(key * mask, slot * mask) for slot in memory])


def allocate(usage):
    """a[φ_j] = (1 - u[φ_j]) Π_{i<j} u[φ_i], φ the slots by rising usage, the first of equals first."""
    free_list = sorted(range(len(usage)), key=lambda i: (usage[i], i))
    weights, product = np.zeros(len(usage)), 1.0
    for slot in free_list:
        weights[slot] = (1 - usage[slot]) * product
        product *= usage[slot]
    return weights


def sharpen(d, s):
    """S(d, s) of Csordas 2019."""
    top = max(value + 1e-6 for value in d)
    powers = [((value + 1e-6) / top) ** s for value in d]
    return np.array([power / sum(powers) for power in powers])


def dnc_loop(
    p, x, *, reads, slots=SLOTS, width=WIDTH, link=True, masking=False, deallocate=False, sharpen_links=False,
    normalise=False,
):  # fmt: skip
    """One row x (T, I) from the initial state: outputs (T, O) and the final state's fields."""
    h, c = np.zeros(HIDDEN), np.zeros(HIDDEN)
    memory, u, precedence = np.zeros((slots, width)), np.zeros(slots), np.zeros(slots)
    links, w_write = np.zeros((slots, slots)), np.zeros(slots)
    w_read = [np.zeros(slots) for _ in range(reads)]
    r_vectors = [np.zeros(width) for _ in range(reads)]
    outputs = []
    for x_t in x:
        h, c = lstm_cell(p, np.concatenate([x_t, *r_vectors]), h, c)
        xi = p["interface.weight"] @ h + p["interface.bias"]
        if normalise:
            xi = layer_norm(xi, p["norm.weight"], p["norm.bias"])
        numbers = list(xi)

        def take(count, numbers=numbers):
            taken, numbers[:] = numbers[:count], numbers[count:]
            return np.array(taken)

        def one(function, take=take):
            return function(take(1)[0])

        k_read = [take(width) for _ in range(reads)]
        k_write, v = take(width), take(width)
        beta_read = [one(oneplus) for _ in range(reads)]
        beta_write = one(oneplus)
        if sharpen_links:
            s_forward = [one(oneplus) for _ in range(reads)]
            s_backward = [one(oneplus) for _ in range(reads)]
        e = sigma(take(width))
        free = [one(sigma) for _ in range(reads)]
        g_allocation, g_write = one(sigma), one(sigma)
        m_write, m_read = None, [None] * reads
        if masking:
            m_write = sigma(take(width)) * 0.9 + 0.1
            m_read = [sigma(take(width)) * 0.9 + 0.1 for _ in range(reads)]
        if link:
            modes = [softmax(take(3)) for _ in range(reads)]
        assert not numbers

        psi = np.ones(slots)
        for i in range(slots):
            for r in range(reads):
                psi[i] *= 1 - free[r] * w_read[r][i]
        u = np.array([(u[i] + w_write[i] - u[i] * w_write[i]) * psi[i] for i in range(slots)])
        a, c_write = allocate(u), content(memory, k_write, beta_write, m_write)
        w_write = np.array([g_write * (g_allocation * a[i] + (1 - g_allocation) * c_write[i]) for i in range(slots)])
        after = np.zeros_like(memory)
        for i in range(slots):
            for column in range(width):
                old = memory[i, column] * (psi[i] if deallocate else 1)
                after[i, column] = old * (1 - w_write[i] * e[column]) + w_write[i] * v[column]
        memory = after

        if link:
            new_links = np.zeros_like(links)
            for i in range(slots):
                for j in range(slots):
                    if i != j:
                        kept = (1 - w_write[i] - w_write[j]) * links[i, j]
                        new_links[i, j] = kept + w_write[i] * precedence[j]
            links = new_links
            precedence = np.array([(1 - sum(w_write)) * precedence[i] + w_write[i] for i in range(slots)])

        for r in range(reads):
            c_read = content(memory, k_read[r], beta_read[r], m_read[r])
            if link:
                f, b = np.zeros(slots), np.zeros(slots)
                for i in range(slots):
                    for j in range(slots):
                        f[i] += links[i, j] * w_read[r][j]
                        b[i] += links[j, i] * w_read[r][j]
                if sharpen_links:
                    f, b = sharpen(f, s_forward[r]), sharpen(b, s_backward[r])
                w_read[r] = modes[r][0] * b + modes[r][1] * c_read + modes[r][2] * f
            else:
                w_read[r] = c_read
            r_vectors[r] = sum(w_read[r][i] * memory[i] for i in range(slots))
        outputs.append(p["output.weight"] @ np.concatenate([h, *r_vectors]) + p["output.bias"])
    final = {
        "controller.hidden": h,
        "controller.cell": c,
        "memory": memory,
        "usage": u,
        "precedence": precedence if link else np.zeros(0),
        "link": links if link else np.zeros((0, 0)),
        "write_weights": w_write,
        "read_weights": np.array(w_read),
        "read_vectors": np.array(r_vectors),
    }
    return np.array(outputs), final


def case(seed, scale=1.2, **options):
    """A core with random parameters, and inputs (T, B, I)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"hidden_size": HIDDEN, "num_slots": SLOTS, "slot_size": WIDTH, "num_reads": 2}
    core = make_core("dnc", INPUT, **(sizes | options)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(STEPS, BATCH, INPUT, generator=generator, dtype=torch.float64)
    return core, x, torch.zeros(STEPS, BATCH, dtype=torch.bool)


def field(state, name):
    for part in name.split("."):
        state = getattr(state, part)
    return state.detach().numpy()


FIELDS = ("memory", "usage", "precedence", "link", "write_weights", "read_weights", "read_vectors")
# Seeds at which random parameters use slots unevenly enough to matter: most blur every weighting to 1/N.
OPTIONS = {
    "plain": (5, {}),
    "one read": (28, {"num_reads": 1}),
    "four reads": (33, {"num_reads": 4}),
    "no link": (15, {"link": False}),
    "masking": (4, {"masking": True}),
    "deallocate": (5, {"deallocate": True}),
    "sharpen": (39, {"sharpen": True}),
    "layer norm": (10, {"layer_norm": True}),
    "all": (12, {"masking": True, "deallocate": True, "sharpen": True, "layer_norm": True}),
    "all but link": (
        39,
        {"link": False, "masking": True, "deallocate": True, "layer_norm": True, "num_reads": 3},
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_dnc_equals_loop(name):
    seed, options = OPTIONS[name]
    core, x, reset = case(seed, **options)
    y, final = core(x, core.initial_state(BATCH), reset)

    p = {key: value.detach().numpy() for key, value in core.named_parameters()}
    renamed = {"sharpen": "sharpen_links", "layer_norm": "normalise", "num_reads": "reads"}
    settings = {"reads": 2} | {renamed.get(key, key): value for key, value in options.items()}
    for b in range(BATCH):
        y_loop, state_loop = dnc_loop(p, x[:, b].numpy(), **settings)
        np.testing.assert_allclose(y[:, b].detach(), y_loop, rtol=0, atol=1e-9)
        for key, value in state_loop.items():
            np.testing.assert_allclose(field(final, key)[b], value, rtol=0, atol=1e-9, err_msg=key)
    # The case says something: memory is of order 1, weightings tell slots apart, something is linked.
    assert 0.1 < field(final, "memory").std() < 10
    for key in ("usage", "read_weights", "write_weights"):
        assert field(final, key).std(axis=-1).mean() > 0.003, key
    assert not options.get("link", True) or field(final, "link").max() > 0.02


def test_bypass_dropout_is_the_identity_in_eval_mode_and_only_there():
    options = {"masking": True, "num_reads": 2}
    core, x, reset = case(seed=5, bypass_dropout=0.5, **options)
    plain, *_ = case(seed=5, **options)
    plain.load_state_dict(core.state_dict())
    y_plain, final_plain = plain(x, plain.initial_state(BATCH), reset)
    core.eval()
    y, final = core(x, core.initial_state(BATCH), reset)
    torch.testing.assert_close(y, y_plain, rtol=0, atol=0)

    # In training it drops what the output sees of the controller, never the state.
    core.train()
    torch.manual_seed(0)
    y_dropped, final_dropped = core(x, core.initial_state(BATCH), reset)
    assert not torch.allclose(y_dropped, y_plain)
    for key in (*FIELDS, "controller.hidden", "controller.cell"):
        np.testing.assert_allclose(field(final, key), field(final_plain, key), rtol=0, atol=0)
        np.testing.assert_allclose(field(final_dropped, key), field(final_plain, key), rtol=0, atol=0)


OPTION_SETS = [OPTIONS[name][1] for name in ("plain", "no link", "all")]


@pytest.mark.parametrize("options", OPTION_SETS, ids=["plain", "no link", "all"])
def test_reads_feed_back_at_every_step(options):
    """What the heads read at t - 1 reaches the controller at t, from the given state and within one call."""
    core, x, reset = case(seed=6, **options)
    state = core.initial_state(BATCH)
    for t in range(STEPS):
        y, after = core.step(x[t], state)
        changed = state._replace(read_vectors=state.read_vectors + 0.1)
        y_changed, after_changed = core.step(x[t], changed)
        assert ((y - y_changed).abs().amax(dim=-1) > 1e-4).all(), t
        hidden, hidden_changed = after.controller.hidden, after_changed.controller.hidden
        assert ((hidden - hidden_changed).abs().amax(dim=-1) > 1e-4).all(), t
        state = after

    y_whole, _ = core(x, core.initial_state(BATCH), reset)
    with torch.no_grad():  # nothing is read before step 0, so cutting the controller off changes what follows
        core.controller.weight_ih[:, INPUT:] = 0
    y_cut, _ = core(x, core.initial_state(BATCH), reset)
    torch.testing.assert_close(y_cut[0], y_whole[0], rtol=0, atol=1e-12)
    assert ((y_whole[1:] - y_cut[1:]).abs().amax(dim=-1) > 1e-4).all()


@pytest.mark.parametrize("options", OPTION_SETS, ids=["plain", "no link", "all"])
def test_sequence_equals_steps(options):
    core, x, reset = case(seed=7, **options)
    y, final = core(x, core.initial_state(BATCH), reset)
    state = core.initial_state(BATCH)
    for t in range(STEPS):
        y_t, state = core.step(x[t], state)
        torch.testing.assert_close(y_t, y[t], rtol=0, atol=1e-12)
    for key in (*FIELDS, "controller.hidden", "controller.cell"):
        np.testing.assert_allclose(field(final, key), field(state, key), rtol=0, atol=1e-12, err_msg=key)


# One case per equation, worked out on paper. Tensors of one batch row.


def row(values):
    return torch.tensor([values], dtype=torch.float64)


def assert_row(actual, expected, atol=1e-12):
    torch.testing.assert_close(actual, row(expected), rtol=0, atol=atol)


def test_retention_by_hand():
    # f = (0.5, 1); w1 = (0.4, 0.6), w2 = (0, 0.5).
    # ψ0 = (1 - 0.5·0.4)(1 - 1·0) = 0.8;  ψ1 = (1 - 0.5·0.6)(1 - 1·0.5) = 0.7·0.5 = 0.35
    assert_row(addressing.retention(row([0.5, 1.0]), row([[0.4, 0.6], [0.0, 0.5]])), [0.8, 0.35])


def test_usage_by_hand():
    # (0.5 + 0.4 - 0.5·0.4)·0.8 = 0.7·0.8 = 0.56;  (1 + 0.3 - 1·0.3)·0.35 = 0.35;  (0 + 0.25 - 0)·1 = 0.25
    usage = addressing.update_usage(row([0.5, 1.0, 0.0]), row([0.4, 0.3, 0.25]), row([0.8, 0.35, 1.0]))
    assert_row(usage, [0.56, 0.35, 0.25])


def test_allocation_of_a_free_slot_by_hand():
    # Order: slot 1 (0), slot 2 (0.5), slot 0 (0.9). a1 = 1 - 0 = 1; a2 = 0.5·0 = 0; a0 = 0.1·0·0.5 = 0
    assert_row(addressing.allocation_weights(row([0.9, 0.0, 0.5])), [0, 1, 0])


def test_allocation_without_a_free_slot_by_hand():
    # Order: slot 1 (0.25), slot 0 (0.5), slot 2 (0.8).
    # a1 = 0.75; a0 = 0.5·0.25 = 0.125; a2 = 0.2·0.25·0.5 = 0.025. Sum 0.9 = 1 - 0.5·0.25·0.8
    weights = addressing.allocation_weights(row([0.5, 0.25, 0.8]))
    assert_row(weights, [0.125, 0.75, 0.025])
    assert weights.sum().item() == pytest.approx(1 - 0.5 * 0.25 * 0.8, abs=1e-12)


def test_allocation_of_a_full_memory_is_zero():
    assert_row(addressing.allocation_weights(row([1.0, 1.0, 1.0])), [0, 0, 0])


def test_allocation_among_equal_slots_takes_exactly_one():
    # A blank memory: all slots are free, one gets everything. Which one is open: slots are exchangeable.
    for slots in (2, 5, 100):
        weights = addressing.allocation_weights(torch.zeros(3, slots).double())
        assert (weights.sort(dim=-1).values == torch.tensor([0.0] * (slots - 1) + [1.0])).all()
    # Two free slots and one half taken: a = 1, 0 and 0.5·0 = 0, in this or the other order of the first two.
    assert sorted(addressing.allocation_weights(row([0.0, 0.5, 0.0]))[0].tolist()) == [0, 0, 1]


def test_erase_and_write_by_hand():
    # M = (4, 1), w = 0.5, e = (0.5, 1), v = (2, -2): 4·(1 - 0.25) + 0.5·2 = 4;  1·(1 - 0.5) + 0.5·(-2) = -0.5
    memory = addressing.erase_and_add(row([[4.0, 1.0]]), row([[0.5]]), row([[0.5, 1.0]]), row([[2.0, -2.0]]))
    assert_row(memory, [[4.0, -0.5]])


def test_precedence_by_hand():
    # w = (0.4, 0.3), sum 0.7: 0.3·0.6 + 0.4 = 0.58;  0.3·0.1 + 0.3 = 0.33
    assert_row(linkage.update_precedence(row([0.6, 0.1]), row([0.4, 0.3])), [0.58, 0.33])


def test_link_by_hand():
    # w = (0.4, 0.3), p = (0.6, 0.1); both decay by 1 - 0.4 - 0.3 = 0.3.
    # L[0,1] = 0.3·0.2 + 0.4·0.1 = 0.06 + 0.04 = 0.1;  L[1,0] = 0.3·0.5 + 0.3·0.6 = 0.15 + 0.18 = 0.33
    # Read before: (0.5, 0.2). f = L w = (0.1·0.2, 0.33·0.5) = (0.02, 0.165);  b = Lᵀ w = (0.33·0.2, 0.1·0.5)
    link, forward, backward = linkage.follow_link(
        row([[0.0, 0.2], [0.5, 0.0]]), row([0.6, 0.1]), row([0.4, 0.3]), row([[0.5, 0.2]])
    )
    assert_row(link, [[0.0, 0.1], [0.33, 0.0]])
    assert_row(forward, [[0.02, 0.165]])
    assert_row(backward, [[0.066, 0.05]])


def test_writing_slot_0_then_slot_1_links_them():
    link, precedence = torch.zeros(1, 3, 3).double(), torch.zeros(1, 3).double()
    reads = row([[1.0, 0, 0], [0, 1.0, 0]])
    for write in ([1.0, 0, 0], [0, 1.0, 0]):
        # with the precedence of the step before
        link, forward, backward = linkage.follow_link(link, precedence, row(write), reads)
        precedence = linkage.update_precedence(precedence, row(write))
    assert_row(link, [[0, 0, 0], [1, 0, 0], [0, 0, 0]])  # L[1, 0] = 1: slot 1 was written after slot 0
    assert_row(precedence, [0, 1, 0])
    # Forward from 0 is 1, backward from 1 is 0; nothing follows slot 1, nothing precedes slot 0.
    assert_row(forward, [[0, 1, 0], [0, 0, 0]])
    assert_row(backward, [[0, 0, 0], [1, 0, 0]])


def link_inputs(batch=3, slots=4, reads=2):
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, slots, slots), (batch, slots), (batch, slots), (batch, reads, slots)
    return [(torch.rand(s, generator=generator).double() / 4).requires_grad_() for s in shapes]


@pytest.mark.parametrize("block", [2**18, 16, 32])  # all at once, row by row, two rows and one
def test_gradient_of_the_link_equals_finite_differences(block, monkeypatch):
    monkeypatch.setattr(linkage, "_BLOCK", block)
    inputs = link_inputs()
    assert torch.autograd.gradcheck(linkage.follow_link, inputs)
    for output in range(3):  # and when only one of the three is used
        assert torch.autograd.gradcheck(lambda *given, output=output: linkage.follow_link(*given)[output], inputs)
    with torch.no_grad():  # the values of the path that keeps no graph
        plain = linkage.follow_link(*inputs)
    torch.testing.assert_close(linkage.follow_link(*inputs), plain, rtol=0, atol=0)


def test_blocks_of_the_link_do_not_change_it(monkeypatch):
    inputs = link_inputs(batch=5)
    whole = linkage.follow_link(*inputs)
    monkeypatch.setattr(linkage, "_BLOCK", 32)
    torch.testing.assert_close(linkage.follow_link(*inputs), whole, rtol=0, atol=1e-15)


def test_oneplus_by_hand():
    # 1 + ln(1 + e^0) = 1 + ln 2; 1 + ln(1 + 2) = 1 + ln 3; far below 1 + 0; far above 1 + x.
    values = addressing.oneplus(row([0.0, math.log(2), -50.0, 50.0]))
    assert_row(values, [1 + math.log(2), 1 + math.log(3), 1.0, 51.0])


def test_masked_content_by_hand():
    # β = ln 3. With m = (1, 0): key (3, ·) against (3, ·) and (-1, ·), cosines 1, -1: 3 to 1/3, so 0.9, 0.1.
    # With m = (0.5, 1): key (8, 3) becomes (4, 3). Slot (6, 4) becomes (3, 4): cosine (12 + 12)/25 = 0.96.
    #   Slot (-6, 4) becomes (-3, 4): cosine (-12 + 12)/25 = 0. 3^0.96 : 1 = 2.8710 : 1, so 0.74167, 0.25833.
    memory = row([[3.0, 100.0], [-1.0, 4.0]])
    weights = addressing.content_weights(memory, row([[3.0, 4.0]]), row([math.log(3)]), row([[1.0, 0.0]]))
    assert_row(weights, [[0.9, 0.1]])
    memory = row([[6.0, 4.0], [-6.0, 4.0]])
    weights = addressing.content_weights(memory, row([[8.0, 3.0]]), row([math.log(3)]), row([[0.5, 1.0]]))
    assert_row(weights, [[0.74167, 0.25833]], atol=1e-5)


def test_link_sharpening_by_hand():
    # S((0.2, 0.4), 2): (0.2/0.4)² = 0.25 and 1, over 1.25: 0.2, 0.8 (the 1e-6 inside moves the 6th decimal).
    # Where nothing is linked all slots are equal: S((0, 0), 5) = 0.5, 0.5.
    sharpened = linkage.sharpen_link(row([[0.2, 0.4], [0.0, 0.0]]), row([2.0, 5.0]))
    assert_row(sharpened, [[0.2, 0.8], [0.5, 0.5]], atol=1e-5)


# A core with blank weights does what its interface bias says. A bias of 20 is a gate of 1 - 2e-9.

ON, OFF = 20.0, -20.0


def scripted(bias, state=None, **options):
    """One step of a core with 2 slots of width 1 and a read head, whose interface is always `bias`."""
    sizes = {"hidden_size": 1, "num_slots": 2, "slot_size": 1, "num_reads": 1}
    core = make_core("dnc", 1, **(sizes | options)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
        assert core.interface.bias.shape == (len(bias),)
        core.interface.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    if state is None:
        state = core.initial_state(1)._replace(
            memory=row([[2.0], [-3.0]]),
            usage=row([0.5, 0.25]),
            write_weights=row([0.0, 0.0]),
            read_weights=row([[0.5, 0.25]]),
        )
    return core.step(torch.zeros(1, 1).double(), state)[1]


def test_interface_order_and_write_weights_by_hand():
    # Interface: read key 1, write key 1, write vector 5, read strength 0, write strength for a oneplus
    #   of ln 3; erase 0, free gate -ln 3, allocation gate -ln 3, write gate ln 4, read modes all content.
    # ψ = 1 - 1/4·(0.5, 0.25) = (0.875, 0.9375);  u = (0.5·0.875, 0.25·0.9375) = (0.4375, 0.234375)
    # a: slot 1 first: 1 - 0.234375 = 0.765625; slot 0: 0.5625·0.234375 = 0.1318359375
    # c: cosines of key 1 with 2 and -3: 1, -1; with β = ln 3: 0.9, 0.1
    # w = 0.8·(0.25·a + 0.75·c): slot 0: 0.8·(0.0329589844 + 0.675) = 0.5663671875
    #                            slot 1: 0.8·(0.1914062500 + 0.075) = 0.2131250000
    # M: slot 0: 2·(1 - 0.5·0.5663671875) + 5·0.5663671875 = 2 + 4·0.5663671875 = 4.26546875
    #    slot 1: -3·(1 - 0.5·0.213125) + 5·0.213125 = -3 + 6.5·0.213125 = -1.6146875
    # p = w (nothing was written before).  Read: content only; β = 1 + ln 2, cosines 1, -1: e^(2β) = 4e² to 1.
    strength = math.log(math.exp(math.log(3) - 1) - 1)
    gates = [0.0, -math.log(3), -math.log(3), math.log(4)]
    state = scripted([1.0, 1.0, 5.0, 0.0, strength, *gates, OFF, ON, OFF])
    assert_row(state.usage, [0.4375, 0.234375], atol=1e-9)
    assert_row(state.write_weights, [0.5663671875, 0.213125], atol=1e-9)
    assert_row(state.memory, [[4.26546875], [-1.6146875]], atol=1e-8)
    assert_row(state.precedence, [0.5663671875, 0.213125], atol=1e-9)
    ratio = 4 * math.exp(2)
    assert_row(state.read_weights, [[ratio / (1 + ratio), 1 / (1 + ratio)]], atol=1e-8)
    assert_row(state.read_vectors, [[(4.26546875 * ratio - 1.6146875) / (1 + ratio)]], atol=1e-7)


def linked_state():
    """Slot 1 was written after slot 0; the head last read 0.6 of slot 0 and 0.3 of slot 1."""
    core = make_core("dnc", 1, hidden_size=1, num_slots=2, slot_size=1, num_reads=1).double()
    return core.initial_state(1)._replace(
        memory=row([[2.0], [2.0]]), link=row([[0.0, 0.0], [0.8, 0.0]]), read_weights=row([[0.6, 0.3]])
    )


def test_read_modes_by_hand():
    # No writing (write gate off), so links stay.
    # f = L w = (0, 0.8·0.6) = (0, 0.48);  b = Lᵀ w = (0.8·0.3, 0) = (0.24, 0);  c = (0.5, 0.5).
    # Modes (backward, content, forward) from the logits ln 3, ln 2, ln 1: 1/2, 1/3, 1/6.
    # w = (0.12 + 1/6, 1/6 + 0.08) = (0.28667, 0.24667), the sum 0.2 + 1/3.
    modes = [math.log(3), math.log(2), 0.0]
    state = scripted([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, OFF, 0.0, OFF, *modes], linked_state())
    assert_row(state.read_weights, [[0.12 + 1 / 6, 1 / 6 + 0.08]], atol=1e-7)
    assert_row(state.read_vectors, [[2 * (0.2 + 1 / 3)]], atol=1e-7)
    assert_row(state.link, [[0.0, 0.0], [0.8, 0.0]], atol=1e-7)


def test_sharpened_read_modes_by_hand():
    # As above with S on the links: f = (0, 0.48) -> (~0, ~1), b = (0.24, 0) -> (~1, ~0), at any sharpness.
    # w = (1/2 + 1/6, 1/6 + 1/6).
    modes = [math.log(3), math.log(2), 0.0]
    bias = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, OFF, 0.0, OFF, *modes]
    state = scripted(bias, linked_state(), sharpen=True)
    assert_row(state.read_weights, [[1 / 2 + 1 / 6, 1 / 6 + 1 / 6]], atol=1e-5)


def test_deallocation_by_hand():
    # Free gate 1/2: ψ = 1 - 0.5·(0.6, 0.3) = (0.7, 0.85). No writing: memory is scaled by ψ, or not.
    bias = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, OFF, OFF, ON, OFF]
    assert_row(scripted(bias, linked_state(), deallocate=True).memory, [[1.4], [1.7]], atol=1e-7)
    assert_row(scripted(bias, linked_state()).memory, [[2.0], [2.0]], atol=1e-7)


def test_masks_by_hand():
    # Width 2, write mask (on, off) = (1, 0.1), read mask (off, on) = (0.1, 1); content only.
    # Memory (1, 1), (1, -1). Write key (1, 10) masked (1, 1): slots masked (1, 0.1), (1, -0.1):
    #   cosines 1.1, 0.9 over sqrt(2·1.01) = 1.421267: 0.773957, 0.633238; β = 1 + ln 2 = 1.693147;
    #   difference 0.140719·1.693147 = 0.238259; weights σ(0.238259) = 0.559285, 0.440715.
    # Write gate 1, allocation gate 0, erase 0, vector 0: memory stays. Read key (10, 1) masked (1, 1):
    #   slots masked (0.1, 1), (0.1, -1): cosines 1.1, -0.9 over 1.421267: 0.773957, -0.633238;
    #   difference 1.407195·1.693147 = 2.382588; weights σ(2.382588) = 0.915490, 0.084510.
    core = make_core("dnc", 1, hidden_size=1, num_slots=2, slot_size=2, num_reads=1)
    state = core.double().initial_state(1)._replace(memory=row([[1.0, 1.0], [1.0, -1.0]]))
    keys_and_vector = [10.0, 1.0, 1.0, 10.0, 0.0, 0.0]
    gates = [OFF, OFF, OFF, OFF, ON]  # erase (2), free gate, allocation gate, write gate
    bias = [*keys_and_vector, 0.0, 0.0, *gates, ON, OFF, OFF, ON, OFF, ON, OFF]
    state = scripted(bias, state, masking=True, slot_size=2)
    assert_row(state.memory, [[1.0, 1.0], [1.0, -1.0]], atol=1e-7)
    assert_row(state.write_weights, [0.559285, 0.440715], atol=2e-6)
    assert_row(state.read_weights, [[0.915490, 0.084510]], atol=2e-6)
