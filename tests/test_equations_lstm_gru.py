"""LSTM and GRU cores against torch.nn, against loops over single units, and against one step done by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from memrl import make_core

STEPS, BATCH, INPUT, HIDDEN = 12, 3, 4, 5


def sigma(a):
    return 1 / (1 + math.exp(-a))


def lstm_loop(p, x, hidden, cell):
    """i, f, o = σ(W x + U h + b), g = tanh(same), c = f c' + i g, h = o tanh(c). x (T, I), hidden (L, H)."""
    layers, size = hidden.shape
    hidden, cell, outputs = hidden.copy(), cell.copy(), []
    for x_t in x:
        below = x_t
        for layer in range(layers):
            w, u = p[f"weight_ih_l{layer}"], p[f"weight_hh_l{layer}"]
            b = p[f"bias_ih_l{layer}"] + p[f"bias_hh_l{layer}"]
            h_new = np.zeros(size)
            for n in range(size):
                i_row, f_row, g_row, o_row = n, size + n, 2 * size + n, 3 * size + n
                i = sigma(w[i_row] @ below + u[i_row] @ hidden[layer] + b[i_row])
                f = sigma(w[f_row] @ below + u[f_row] @ hidden[layer] + b[f_row])
                g = math.tanh(w[g_row] @ below + u[g_row] @ hidden[layer] + b[g_row])
                o = sigma(w[o_row] @ below + u[o_row] @ hidden[layer] + b[o_row])
                cell[layer, n] = f * cell[layer, n] + i * g
                h_new[n] = o * math.tanh(cell[layer, n])
            hidden[layer] = below = h_new
        outputs.append(below.copy())
    return np.array(outputs), hidden, cell


def gru_loop(p, x, hidden):
    """r, z = σ(W x + U h + b), n = tanh(W x + b + r (U h + b')), h = (1 - z) n + z h'. One row, as above."""
    layers, size = hidden.shape
    hidden, outputs = hidden.copy(), []
    for x_t in x:
        below = x_t
        for layer in range(layers):
            w, u = p[f"weight_ih_l{layer}"], p[f"weight_hh_l{layer}"]
            b, b_h = p[f"bias_ih_l{layer}"], p[f"bias_hh_l{layer}"]
            h_new = np.zeros(size)
            for unit in range(size):
                r_row, z_row, n_row = unit, size + unit, 2 * size + unit
                r = sigma(w[r_row] @ below + b[r_row] + u[r_row] @ hidden[layer] + b_h[r_row])
                z = sigma(w[z_row] @ below + b[z_row] + u[z_row] @ hidden[layer] + b_h[z_row])
                n = math.tanh(w[n_row] @ below + b[n_row] + r * (u[n_row] @ hidden[layer] + b_h[n_row]))
                h_new[unit] = (1 - z) * n + z * hidden[layer, unit]
            hidden[layer] = below = h_new
        outputs.append(below.copy())
    return np.array(outputs), hidden


def peephole_loop(p, peepholes, x, hidden, cell):
    """i += p_i c', f += p_f c', and o += p_o c with the cell as it has just become. Peepholes (L, 3, H)."""
    layers, size = hidden.shape
    hidden, cell, outputs = hidden.copy(), cell.copy(), []
    for x_t in x:
        below = x_t
        for layer in range(layers):
            w, u = p[f"weight_ih_l{layer}"], p[f"weight_hh_l{layer}"]
            a = w @ below + u @ hidden[layer] + p[f"bias_ih_l{layer}"] + p[f"bias_hh_l{layer}"]
            h_new = np.zeros(size)
            for n in range(size):
                old = cell[layer, n]
                i = sigma(a[n] + peepholes[layer, 0, n] * old)
                f = sigma(a[size + n] + peepholes[layer, 1, n] * old)
                new = f * old + i * math.tanh(a[2 * size + n])
                o = sigma(a[3 * size + n] + peepholes[layer, 2, n] * new)
                cell[layer, n] = new
                h_new[n] = o * math.tanh(new)
            hidden[layer] = below = h_new
        outputs.append(below.copy())
    return np.array(outputs), hidden, cell


def case(name, layers, seed, **options):
    """A core with random parameters, inputs (T, B, I) and a random state (B, L, H per field)."""
    generator = torch.Generator().manual_seed(seed)
    core = make_core(name, INPUT, hidden_size=HIDDEN, num_layers=layers, **options).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.copy_(0.8 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = 1.5 * torch.randn(STEPS, BATCH, INPUT, generator=generator, dtype=torch.float64)
    start = core.initial_state(BATCH)
    state = type(start)(*(torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) for leaf in start))
    return core, x, state, torch.zeros(STEPS, BATCH, dtype=torch.bool)


@pytest.mark.parametrize("layers", [1, 2, 4])  # 4 layers for a batch of 3: swapped axes cannot hide
def test_lstm_equals_loop_and_torch(layers):
    core, x, state, reset = case("lstm", layers, seed=layers)
    y, final = core(x, state, reset)
    assert state.hidden.shape == state.cell.shape == (BATCH, layers, HIDDEN)

    p = {key: value.detach().numpy() for key, value in core.rnn.named_parameters()}
    for b in range(BATCH):
        y_loop, hidden, cell = lstm_loop(p, x[:, b].numpy(), state.hidden[b].numpy(), state.cell[b].numpy())
        np.testing.assert_allclose(y[:, b].detach(), y_loop, rtol=0, atol=1e-9)
        np.testing.assert_allclose(final.hidden[b].detach(), hidden, rtol=0, atol=1e-9)
        np.testing.assert_allclose(final.cell[b].detach(), cell, rtol=0, atol=1e-9)

    peer = torch.nn.LSTM(INPUT, HIDDEN, layers).double()
    peer.load_state_dict(core.rnn.state_dict())
    start = (state.hidden.transpose(0, 1).contiguous(), state.cell.transpose(0, 1).contiguous())
    y_peer, (hidden, cell) = peer(x, start)
    torch.testing.assert_close(y, y_peer, rtol=0, atol=1e-12)
    torch.testing.assert_close(final.hidden, hidden.transpose(0, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(final.cell, cell.transpose(0, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_peephole_lstm_equals_loop(layers):
    core, x, state, reset = case("lstm", layers, seed=20 + layers, peephole=True)
    y, final = core(x, state, reset)
    p = {key: value.detach().numpy() for key, value in core.rnn.named_parameters()}
    peepholes = core.peepholes.detach().numpy()
    for b in range(BATCH):
        row = (x[:, b].numpy(), state.hidden[b].numpy(), state.cell[b].numpy())
        y_loop, hidden, cell = peephole_loop(p, peepholes, *row)
        np.testing.assert_allclose(y[:, b].detach(), y_loop, rtol=0, atol=1e-9)
        np.testing.assert_allclose(final.hidden[b].detach(), hidden, rtol=0, atol=1e-9)
        np.testing.assert_allclose(final.cell[b].detach(), cell, rtol=0, atol=1e-9)
        assert np.abs(y_loop - lstm_loop(p, *row)[0]).max() > 0.1  # and the peepholes are felt


def test_peepholes_are_parameters_that_start_at_zero_and_train():
    core = make_core("lstm", 2, hidden_size=3, peephole=True)
    assert dict(core.named_parameters())["peepholes"].abs().max() == 0
    plain = make_core("lstm", 2, hidden_size=3)
    plain.load_state_dict({key: value for key, value in core.state_dict().items() if key != "peepholes"})
    x, reset = torch.ones(4, 1, 2), torch.zeros(4, 1, dtype=torch.bool)
    y, _ = core(x, core.initial_state(1), reset)
    torch.testing.assert_close(y, plain(x, plain.initial_state(1), reset)[0])
    y.sum().backward()
    assert (core.peepholes.grad != 0).all()


def test_output_gate_looks_at_the_new_cell_by_hand():
    # One unit, all weights 0: i = f = σ(0) = 0.5, g = tanh(atanh 0.8) = 0.8, so c' = 0 becomes c = 0.4;
    # o = σ(10 * 0.4), where a gate on the old cell would be σ(0).
    core = make_core("lstm", 1, hidden_size=1, peephole=True).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
        core.rnn.bias_ih_l0[2] = math.atanh(0.8)
        core.peepholes[0, 2] = 10.0
    y, state = core.step(torch.zeros(1, 1, dtype=torch.float64), core.initial_state(1))
    assert state.cell.item() == pytest.approx(0.4)
    assert y.item() == pytest.approx(math.tanh(0.4) / (1 + math.exp(-4)))


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_gru_equals_loop_and_torch(layers):
    core, x, state, reset = case("gru", layers, seed=10 + layers)
    y, final = core(x, state, reset)
    assert state.hidden.shape == (BATCH, layers, HIDDEN)

    p = {key: value.detach().numpy() for key, value in core.rnn.named_parameters()}
    for b in range(BATCH):
        y_loop, hidden = gru_loop(p, x[:, b].numpy(), state.hidden[b].numpy())
        np.testing.assert_allclose(y[:, b].detach(), y_loop, rtol=0, atol=1e-9)
        np.testing.assert_allclose(final.hidden[b].detach(), hidden, rtol=0, atol=1e-9)

    peer = torch.nn.GRU(INPUT, HIDDEN, layers).double()
    peer.load_state_dict(core.rnn.state_dict())
    y_peer, hidden = peer(x, state.hidden.transpose(0, 1).contiguous())
    torch.testing.assert_close(y, y_peer, rtol=0, atol=1e-12)
    torch.testing.assert_close(final.hidden, hidden.transpose(0, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_steps_and_resets_equal_fresh_torch_calls(name):
    core, x, state, reset = case(name, layers=2, seed=20)
    reset[5, 1] = reset[9, 1] = reset[7, 2] = True
    y, final = core(x, state, reset)

    y_step = torch.zeros_like(y)
    for b, cuts in enumerate([[0, STEPS], [0, 5, 9, STEPS], [0, 7, STEPS]]):
        for start, end in itertools.pairwise(cuts):
            begin = state if start == 0 else core.initial_state(BATCH)
            hidden = tuple(leaf[b].unsqueeze(1).contiguous() for leaf in begin)  # (L, 1, H)
            y_peer, _ = core.rnn(x[start:end, b : b + 1], hidden if name == "lstm" else hidden[0])
            y_step[start:end, b] = y_peer[:, 0]
    torch.testing.assert_close(y, y_step, rtol=0, atol=1e-12)

    carried = core.initial_state(1)  # row 2 stepped by itself from its reset on
    for t in range(7, STEPS):
        y_one, carried = core.step(x[t, 2:], carried)
        torch.testing.assert_close(y_one[0], y[t, 2], rtol=0, atol=1e-12)
    torch.testing.assert_close(carried.hidden[0], final.hidden[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_initial_state_is_zero(name):
    core, *_ = case(name, layers=2, seed=30)
    assert all(torch.equal(leaf, torch.zeros(7, 2, HIDDEN, dtype=torch.float64)) for leaf in core.initial_state(7))


def scalar_core(name, weights):
    core = make_core(name, 1, hidden_size=1).double()
    with torch.no_grad():
        for key, value in core.rnn.named_parameters():
            value.copy_(torch.tensor(weights[key], dtype=torch.float64).reshape(value.shape))
    return core


def test_lstm_step_by_hand():
    log3 = math.log(3)
    # x = 1, h' = 1, c' = 2. Gates i, f, g, o in this order:
    #   i = σ(ln 3)         = 3/4     (all of it from W x)
    #   f = σ(-ln 3)        = 1/4     (all of it from U h')
    #   g = tanh((ln 3)/2)  = 1/2     (half from each bias)
    #   o = σ(0)            = 1/2
    # c = 1/4 · 2 + 3/4 · 1/2 = 0.875;  h = 1/2 · tanh(0.875) = 1/2 · 0.7039056 = 0.3519528
    core = scalar_core(
        "lstm",
        {
            "weight_ih_l0": [log3, 0, 0, 0],
            "weight_hh_l0": [0, -log3, 0, 0],
            "bias_ih_l0": [0, 0, log3 / 4, 0],
            "bias_hh_l0": [0, 0, log3 / 4, 0],
        },
    )
    state = type(core.initial_state(1))(torch.ones(1, 1, 1).double(), torch.full((1, 1, 1), 2.0).double())
    y, state = core.step(torch.ones(1, 1).double(), state)
    assert state.cell.item() == pytest.approx(0.875, abs=1e-12)
    assert y.item() == state.hidden.item() == pytest.approx(0.3519528, abs=1e-7)


def test_gru_step_by_hand():
    log3 = math.log(3)
    # x = 1, h' = 1. Gates r, z, n in this order:
    #   r = σ(0) = 1/2;  z = σ(-ln 3) = 1/4
    #   n = tanh(0 + r · (0 · h' + ln 3)) = tanh((ln 3)/2) = 1/2   (with the bias outside r's bracket: 0.8)
    # h = (1 - 1/4) · 1/2 + 1/4 · 1 = 0.625
    core = scalar_core(
        "gru",
        {
            "weight_ih_l0": [0, -log3, 0],
            "weight_hh_l0": [0, 0, 0],
            "bias_ih_l0": [0, 0, 0],
            "bias_hh_l0": [0, 0, log3],
        },
    )
    state = type(core.initial_state(1))(torch.ones(1, 1, 1).double())
    y, state = core.step(torch.ones(1, 1).double(), state)
    assert y.item() == state.hidden.item() == pytest.approx(0.625, abs=1e-12)


def kept_in_a_step(name, **options):
    """How much of a state of 1 every unit keeps in a step without input: σ of the gate's bias, seen from outside."""
    torch.manual_seed(0)
    core = make_core(name, 1, hidden_size=4000, **options).double()
    with torch.no_grad():
        for key, value in core.rnn.named_parameters():
            if "weight" in key:
                value.zero_()
            else:  # the candidate adds nothing
                value[2 * 4000 : 3 * 4000] = 0.0
    state = core.initial_state(1)
    start = {"lstm": "cell", "gru": "hidden"}[name]
    _, after = core.step(torch.zeros(1, 1).double(), state._replace(**{start: torch.ones(1, 1, 4000).double()}))
    return core, getattr(after, start).flatten().detach().numpy()


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_chrono_gates_remember_for_times_uniform_up_to_the_span(name):
    core, kept = kept_in_a_step(name, chrono_span=50)
    assert stats.kstest(1 / (1 - kept), "uniform", (2, 48)).pvalue > 1e-3
    if name == "lstm":  # the input gate is the forget gate's complement
        bias = (core.rnn.bias_ih_l0 + core.rnn.bias_hh_l0).detach().numpy()
        np.testing.assert_allclose(bias[:4000], -bias[4000:8000])


def test_without_a_span_the_forget_gate_has_a_bias_of_one():
    _, kept = kept_in_a_step("lstm")
    np.testing.assert_allclose(kept, 1 / (1 + math.exp(-1)), rtol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_span_reaches_every_layer_and_one_step_is_none(name):
    torch.manual_seed(0)
    core = make_core(name, 2, num_layers=2, chrono_span=2)  # log U(1, 1) = 0: gates half open
    gate = slice(128, 256)
    assert all((getattr(core.rnn, f"bias_{b}_l1")[gate] == 0).all() for b in ("ih", "hh"))
    with pytest.raises(ValueError, match="chrono_span: 1 given"):
        make_core(name, 2, chrono_span=1)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("width", [2, 400])
def test_input_weights_are_scaled_with_the_input(name, width):
    torch.manual_seed(0)
    core = make_core(name, width, hidden_size=64, num_layers=2)
    for layer, inputs in enumerate((width, 64)):
        weight = getattr(core.rnn, f"weight_ih_l{layer}").detach().numpy().ravel()
        assert stats.kstest(weight, "uniform", (-(inputs**-0.5), 2 * inputs**-0.5)).pvalue > 1e-3
