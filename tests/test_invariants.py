"""What holds for every size, parameter and input: simplexes, bounds, finite numbers, for 10,000 steps too."""

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memrl import addressing, linkage, list_cores, make_core, tree
from memrl.registry import core_entry

# The same examples every time, no clock: CI neither flickers nor depends on a machine's speed.
same_examples = settings(
    derandomize=True, deadline=None, max_examples=60, database=None, suppress_health_check=list(HealthCheck)
)
SMALL = {"hidden_size": 8, "num_slots": 6, "slot_size": 8, "num_reads": 2, "num_heads": 2}


def small(name, **options):
    """The core with small sizes, as far as it has such options."""
    known = {field.name for field in dataclasses.fields(core_entry(name).config)}
    return make_core(name, 4, **{key: value for key, value in SMALL.items() if key in known} | options)


def randomise(core, scale, generator):
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


scales = st.sampled_from([0.1, 1.0, 3.0, 300.0])
seeds = st.integers(0, 2**31)


def run(name, input_size, seed, scale, input_scale, options, steps=8, batch=2, dtype=torch.float64):
    """States after each of some steps from the initial one, the initial one first."""
    generator = torch.Generator().manual_seed(seed)
    core = make_core(name, input_size, **options).to(dtype)
    randomise(core, scale, generator)
    state = core.initial_state(batch)
    states = [state]
    with torch.no_grad():
        for _ in range(steps):
            x = input_scale * torch.randn(batch, input_size, generator=generator, dtype=dtype)
            y, state = core.step(x, state)
            assert y.isfinite().all()
            assert all(leaf.isfinite().all() for leaf in tree.leaves(state))
            states.append(state)
    return states


def assert_simplex(weights, tolerance):
    assert (weights >= 0).all()
    assert (weights.sum(-1) - 1).abs().max() <= tolerance


def assert_within_simplex(weights, tolerance):
    assert (weights >= -tolerance).all()
    assert (weights.sum(-1) <= 1 + tolerance).all()


@same_examples
@given(
    seed=seeds,
    scale=scales,
    input_scale=st.sampled_from([0.0, 1.0, 100.0]),
    single=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "controller": st.sampled_from(["lstm", "feedforward"]),
            "hidden_size": st.integers(1, 6),
            "num_slots": st.integers(5, 12),
            "slot_size": st.integers(1, 5),
            "num_reads": st.integers(1, 3),
            "num_writes": st.integers(1, 3),
            "shift_range": st.integers(0, 2),
        }
    ),
)
def test_ntm_weightings_stay_on_the_simplex(seed, scale, input_scale, single, options):
    dtype, tolerance = (torch.float32, 1e-5) if single else (torch.float64, 1e-9)
    for state in run("ntm", 3, seed, scale, input_scale, options, dtype=dtype):
        assert_simplex(state.read_weights, tolerance)
        assert_simplex(state.write_weights, tolerance)


@same_examples
@given(
    seed=seeds,
    scale=scales,
    input_scale=st.sampled_from([0.0, 1.0, 100.0]),
    single=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "hidden_size": st.integers(1, 6),
            "num_slots": st.integers(1, 12),
            "slot_size": st.integers(1, 5),
            "num_reads": st.integers(1, 3),
            "link": st.booleans(),
            "masking": st.booleans(),
            "deallocate": st.booleans(),
            "sharpen": st.booleans(),
            "layer_norm": st.booleans(),
        }
    ),
)
def test_dnc_weightings_usage_and_links_stay_in_bounds(seed, scale, input_scale, single, options):
    options["sharpen"] = options["sharpen"] and options["link"]
    dtype, tolerance = (torch.float32, 1e-5) if single else (torch.float64, 1e-9)
    for state in run("dnc", 3, seed, scale, input_scale, options, dtype=dtype):
        assert_within_simplex(state.write_weights, tolerance)
        assert_within_simplex(state.read_weights, tolerance)
        assert (state.usage >= -tolerance).all()
        assert (state.usage <= 1 + tolerance).all()
        if options["link"]:
            assert_within_simplex(state.precedence, tolerance)
            assert_within_simplex(state.link, tolerance)  # rows
            assert_within_simplex(state.link.mT, tolerance)  # columns
            assert (state.link.diagonal(dim1=-2, dim2=-1) == 0).all()


@same_examples
@given(seed=seeds, slots=st.integers(1, 40), full=st.booleans())
def test_allocation_sums_to_what_is_free(seed, slots, full):
    generator = torch.Generator().manual_seed(seed)
    usage = torch.rand(3, slots, generator=generator, dtype=torch.float64)
    usage[0] = usage[0].round(decimals=1)  # with equal ones, zeros and ones
    if full:
        usage[1] = 1.0
    weights = addressing.allocation_weights(usage)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), 1 - usage.prod(-1), rtol=0, atol=1e-12)


@same_examples
@given(seed=seeds, slots=st.integers(1, 20), writes=st.integers(1, 30))
def test_links_of_any_writes_stay_in_bounds(seed, slots, writes):
    generator = torch.Generator().manual_seed(seed)
    link, precedence = torch.zeros(2, slots, slots).double(), torch.zeros(2, slots).double()
    for _ in range(writes):  # from nearly one slot to nearly all alike, from nothing written to all
        logits = 8 * torch.rand((), generator=generator) * torch.randn(2, slots, generator=generator).double()
        write_weights = logits.softmax(-1) * torch.rand(2, 1, generator=generator).double().pow(0.1)
        link, *_ = linkage.follow_link(link, precedence, write_weights, write_weights.unsqueeze(1))
        precedence = linkage.update_precedence(precedence, write_weights)
        for weights in (link, link.mT, precedence):
            assert_within_simplex(weights, 1e-12)
        assert (link.diagonal(dim1=-2, dim2=-1) == 0).all()


@same_examples
@given(seed=seeds, slots=st.integers(3, 20), step=st.integers(-2, 2))
def test_shift_by_a_whole_step_is_a_roll(seed, slots, step):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, 3, slots, generator=generator).double().softmax(-1)
    kernel = torch.zeros(2, 3, 5, dtype=torch.float64)
    kernel[..., step + 2] = 1
    torch.testing.assert_close(addressing.shift(weights, kernel), weights.roll(step, -1), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sharpness", [1.0, 20.0, 41.0])
def test_sharpening_does_not_underflow(dtype, sharpness):
    weights = torch.zeros(1, 4, 1000, dtype=dtype)
    weights[0, 0] = 1e-3  # uniform: 1e-60 at γ = 20
    weights[0, 1] = 1e-30
    weights[0, 1, 7] = 2e-30  # tiny, and one twice the others
    weights[0, 2, 3] = 1.0  # one-hot, zeros elsewhere
    weights[0, 3, 500:] = 2e-3  # half of them zero
    weights.requires_grad_()
    gamma = torch.full((1, 4), sharpness, dtype=dtype, requires_grad=True)
    sharp = addressing.sharpen(weights, gamma)
    assert_simplex(sharp.detach(), 1e-5)
    torch.testing.assert_close(sharp[0, 0], torch.full_like(sharp[0, 0], 1e-3), rtol=1e-4, atol=0)
    twice = 2.0**sharpness  # 2^γ against 999 ones
    assert sharp[0, 1, 7].item() == pytest.approx(twice / (twice + 999), rel=1e-3)
    assert sharp[0, 2, 3].item() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(sharp[0, 3, 500:], torch.full((500,), 2e-3, dtype=dtype), rtol=1e-4, atol=0)

    (sharp * torch.linspace(0, 1, 1000, dtype=dtype)).sum().backward()
    assert weights.grad.isfinite().all()
    assert gamma.grad.isfinite().all()


@pytest.mark.parametrize("num_slots", [1, 6, 128])
def test_ntm_heads_start_at_the_first_slot(num_slots):
    """However many slots there are: heads that are spread over all of them at first learn to move late or never."""
    torch.manual_seed(0)
    core = make_core("ntm", 4, num_slots=num_slots, num_reads=2, num_writes=3, shift_range=int(num_slots > 1))
    state = core.initial_state(1)
    for weights in (state.read_weights, state.write_weights):
        assert weights[..., 0].min() > 0.9
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


def test_ntm_slots_are_not_exchangeable():
    """Equal rows of memory and uniform first weightings would give all slots the same gradient for ever."""
    torch.manual_seed(0)
    core = make_core("ntm", 4, hidden_size=8, num_slots=6, slot_size=3, num_reads=2, num_writes=2)
    state = core.initial_state(2)
    for weights in (state.read_weights, state.write_weights):
        slots = weights[0, 0].sort().values
        assert (slots[1:] - slots[:-1]).min() > 1e-6
    memory = state.memory.detach().requires_grad_()
    state = state._replace(memory=memory)
    for _ in range(2):
        y, state = core.step(torch.randn(2, 4), state)
    y.square().sum().backward()
    gradient = memory.grad[0]
    differences = (gradient.unsqueeze(0) - gradient.unsqueeze(1)).abs().amax(-1)
    assert differences[~torch.eye(6, dtype=torch.bool)].min() > 1e-4 * gradient.abs().max()


def test_dnc_writes_apart_from_the_first_step_on():
    """Blank slots are alike; allocation is what breaks the tie."""
    torch.manual_seed(0)
    core = make_core("dnc", 4, hidden_size=8, num_slots=6, slot_size=3)
    _, state = core.step(torch.randn(2, 4), core.initial_state(2))
    top = state.write_weights.sort(descending=True).values
    assert (top[:, 0] > top[:, 1] + 0.1).all()


VARIANTS = [
    *((name, {}) for name in list_cores()),
    ("ntm", {"controller": "feedforward", "num_writes": 2, "shift_range": 2}),
    ("dnc", {"link": False}),
    ("dnc", {"masking": True, "deallocate": True, "sharpen": True, "layer_norm": True}),
    ("memformer", {"segment": 3, "num_layers": 2}),
    ("memn2n", {"tying": "key-value", "position_encoding": True}),
]
IDS = [" ".join([name, *options]) for name, options in VARIANTS]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
@pytest.mark.parametrize("strength", [0.0, 1e4, -1e4, 1e30, -1e30])
def test_strong_inputs_give_finite_numbers(name, options, strength):
    torch.manual_seed(0)
    core = small(name, **options)
    x = torch.full((6, 3, 4), strength)
    x[2:, 1] *= torch.rand(4, 4)  # not one number only
    x[3:, 2] = torch.randn(3, 4)  # back to ordinary inputs
    y, state = core(x, core.initial_state(3), torch.zeros(6, 3, dtype=torch.bool))
    assert y.isfinite().all()
    assert all(leaf.isfinite().all() for leaf in tree.leaves(state))
    if abs(strength) <= 1e4:
        y.square().mean().backward()
        gradients = [parameter.grad for parameter in core.parameters() if parameter.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)


LONG_RUNS = [(name, options, 1_000 if options else 10_000) for name, options in VARIANTS]


@pytest.mark.parametrize(("name", "options", "steps"), LONG_RUNS, ids=IDS)
def test_thousands_of_steps_without_reset_stay_bounded(name, options, steps):
    torch.manual_seed(1)
    core = small(name, **options)
    state = core.initial_state(2)
    with torch.no_grad():
        for _ in range(steps // 500):
            y, state = core(torch.randn(500, 2, 4), state, torch.zeros(500, 2, dtype=torch.bool))
            assert y.abs().max() < 1e4  # false for NaN as well
            assert all(leaf.abs().max() < 1e4 for leaf in tree.leaves(state) if leaf.numel())
            if name == "ntm":
                assert_simplex(state.read_weights, 1e-3)
                assert_simplex(state.write_weights, 1e-3)
            elif name == "dnc":
                for weights in (
                    state.read_weights,
                    state.write_weights,
                    state.precedence,
                    state.link,
                    state.link.mT,
                ):
                    assert_within_simplex(weights, 1e-3)
                assert_within_simplex(state.usage.unsqueeze(-1), 1e-3)
            elif name == "memformer":
                assert (state.slots.norm(dim=-1) - 1).abs().max() < 1e-3
