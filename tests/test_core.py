"""`MemoryCore.forward`: batches cut at their resets, against each column walked by itself."""

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from memrl import tree
from memrl.core import MemoryCore

I, O = 2, 3  # noqa: E741  # the library's axis letters


class MixerState(NamedTuple):
    hidden: Tensor
    steps: Tensor


class Mixer(MemoryCore[MixerState]):
    """A recurrent layer that starts at learned, non-zero numbers and counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size, self.output_size = I, O
        self.layer = nn.Linear(I + O, O, dtype=torch.float64)
        self.first = nn.Parameter(torch.randn(O, dtype=torch.float64))

    def initial_state(self, batch_size: int) -> MixerState:
        return MixerState(self.first.expand(batch_size, O), self.first.new_zeros(batch_size))

    def step(self, x: Tensor, state: MixerState) -> tuple[Tensor, MixerState]:
        hidden = torch.tanh(self.layer(torch.cat([x, state.hidden], dim=1)))
        return hidden * (1 + state.steps.unsqueeze(1)), MixerState(hidden, state.steps + 1)


class Spy(Mixer):
    """Notes what the hook for reset-free stretches is given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, MixerState, Tensor | None]] = []

    def sequence(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        self.calls.append((x, state, lengths))
        return super().sequence(x, state, lengths)


def column_by_column(core: Mixer, x: Tensor, state: MixerState, reset: Tensor) -> tuple[Tensor, MixerState]:
    """The protocol's words, one column and one step at a time, without any function of the library."""
    columns, ends = [], []
    for b in range(x.shape[1]):
        hidden, steps = state.hidden[b], state.steps[b]
        outputs = []
        for t in range(len(x)):
            if reset[t, b]:
                hidden, steps = core.first, torch.zeros((), dtype=torch.float64)
            hidden = torch.tanh(core.layer.weight @ torch.cat([x[t, b], hidden]) + core.layer.bias)
            outputs.append(hidden * (1 + steps))
            steps = steps + 1
        columns.append(torch.stack(outputs))
        ends.append((hidden, steps))
    hidden, steps = zip(*ends, strict=True)
    return torch.stack(columns, dim=1), MixerState(torch.stack(hidden), torch.stack(steps))


def material(steps: int, batch: int, seed: int = 0) -> tuple[Tensor, MixerState]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, batch, I, dtype=torch.float64, generator=draw)
    hidden = torch.randn(batch, O, dtype=torch.float64, generator=draw)
    return x, MixerState(hidden, torch.arange(5, 5 + batch, dtype=torch.float64))


@st.composite
def resets(draw: st.DrawFn) -> Tensor:
    steps, batch = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    flags = draw(st.lists(st.booleans(), min_size=steps * batch, max_size=steps * batch))
    return torch.tensor(flags).reshape(steps, batch)


@settings(max_examples=300, deadline=None)
@given(reset=resets(), seed=st.integers(0, 3))
def test_forward_is_the_loop_over_columns(reset: Tensor, seed: int) -> None:
    torch.manual_seed(seed)
    core = Mixer()
    x, state = material(*reset.shape, seed=seed)
    sources = [x.requires_grad_(), state.hidden.requires_grad_(), *core.parameters()]

    def everything(result: tuple[Tensor, MixerState]) -> list[Tensor]:
        y, after = result
        weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
        loss = (y * weights).sum() + (after.hidden * weights[-1].flip(0)).sum()
        gradients = torch.autograd.grad(loss, sources, materialize_grads=True)
        return [y, *after, *gradients]

    found = everything(core(x, state, reset))
    expected = everything(column_by_column(core, x, state, reset))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


@settings(max_examples=300, deadline=None)
@given(reset=resets())
def test_hook_gets_every_span_once_longest_first_without_resets(reset: Tensor) -> None:
    steps, batch = reset.shape
    core = Spy()
    _, state = material(steps, batch)
    place = torch.arange(steps * batch, dtype=torch.float64).reshape(steps, batch)  # says which input this is
    core(place.unsqueeze(2).expand(-1, -1, I), state, reset)

    ((x, spans, lengths),) = core.calls
    if not reset[1:].any():
        assert lengths is None
        assert torch.equal(x[..., 0], place)
        lengths = torch.full((batch,), steps)
    assert lengths.device.type == "cpu"
    assert not lengths.is_floating_point()
    assert lengths.tolist() == sorted(lengths.tolist(), reverse=True)
    assert (len(x), x.shape[1]) == (int(lengths[0]), len(lengths))
    assert tree.batch_size(spans) == len(lengths)

    found = {}
    for row, length in enumerate(lengths.tolist()):
        start, column = divmod(int(x[0, row, 0]), batch)
        assert torch.equal(x[:length, row, 0], place[start : start + length, column])
        assert (start, column) not in found
        found[start, column] = length
        handed_on = start == 0 and not reset[0, column]
        assert torch.equal(spans.hidden[row], state.hidden[column] if handed_on else core.first)
        assert spans.steps[row] == (5 + column if handed_on else 0)

    expected = {}
    for column in range(batch):
        opens = [0] + [t for t in range(1, steps) if reset[t, column]]
        for start, end in zip(opens, [*opens[1:], steps], strict=True):
            expected[start, column] = end - start
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_default_hook_ends_each_row_after_its_own_length(lengths: list[int]) -> None:
    lengths = sorted(lengths, reverse=True)
    core = Mixer()
    x, state = material(lengths[0], len(lengths))
    y, after = core.sequence(x, state, torch.tensor(lengths))
    assert y.shape == (lengths[0], len(lengths), O)
    for b, length in enumerate(lengths):
        row = slice(b, b + 1)
        no_reset = torch.zeros(length, 1, dtype=torch.bool)
        y_row, after_row = column_by_column(core, x[:length, row], tree.index(state, row), no_reset)
        assert torch.allclose(y[:length, row], y_row, rtol=1e-12, atol=1e-12)
        for a, b_ in zip(tree.index(after, row), after_row, strict=True):
            assert torch.allclose(a, b_, rtol=1e-12, atol=1e-12)


def test_hook_takes_no_more_steps_than_the_longest_span() -> None:
    class Counting(Mixer):
        taken = 0

        def step(self, x: Tensor, state: MixerState) -> tuple[Tensor, MixerState]:
            Counting.taken += 1
            return super().step(x, state)

    reset = torch.zeros(12, 2, dtype=torch.bool)
    reset[[0, 3, 6, 9], 0] = True
    reset[[2, 6, 10], 1] = True
    core = Counting()
    core(*material(12, 2), reset)
    assert Counting.taken == 4


def test_padding_may_hold_anything() -> None:
    class Untidy(Mixer):
        def sequence(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
            y, state = super().sequence(x, state, lengths)
            if lengths is not None:
                padding = torch.arange(len(x)).unsqueeze(1) >= lengths
                y = torch.where(padding.unsqueeze(2), torch.nan, y)
            return y, state

    core = Untidy()
    x, state = material(4, 2)
    reset = torch.tensor([[False, False], [True, False], [False, False], [False, True]])
    y, _ = core(x, state, reset)
    assert torch.allclose(y, column_by_column(core, x, state, reset)[0])


def given_x(shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    return (
        torch.zeros(shape, dtype=torch.float64),
        material(1, 3)[1],
        torch.zeros(shape[:2], dtype=torch.bool),
    )


def given_reset(reset: Tensor) -> tuple[Any, Any, Any]:
    return *material(4, 3), reset


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (given_x((4, 3, I + 1)), r"^x: shape \(4, 3, 3\) given, \(time >= 1, batch, 2\) needed"),
        (given_x((3, I)), r"^x: shape \(3, 2\) given"),
        (given_x((1, 4, 3, I)), r"^x: shape \(1, 4, 3, 2\) given"),
        (given_x((0, 3, I)), r"^x: shape \(0, 3, 2\) given"),
        (given_reset(torch.zeros(4, 3)), r"^reset: torch.float32 \(4, 3\) given, torch.bool \(4, 3\) needed"),
        (given_reset(torch.zeros(4, 3, dtype=torch.uint8)), r"^reset: torch.uint8"),
        (given_reset(torch.zeros(3, 4, dtype=torch.bool)), r"^reset: torch.bool \(3, 4\) given"),
        (given_reset(torch.zeros(4, dtype=torch.bool)), r"^reset: torch.bool \(4,\) given"),
        (given_reset(torch.zeros(4, 3, 1, dtype=torch.bool)), r"^reset: torch.bool \(4, 3, 1\) given"),
        (
            (material(4, 3)[0], material(4, 2)[1], torch.zeros(4, 3, dtype=torch.bool)),
            r"^state: batch of 2 given, x has a batch of 3",
        ),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments: tuple[Any, Any, Any], message: str) -> None:
    core = Spy()
    with pytest.raises(ValueError, match=message):
        core(*arguments)
    assert not core.calls


def test_protocol_cannot_be_built_without_its_two_methods() -> None:
    class Half(MemoryCore[MixerState]):
        def initial_state(self, batch_size: int) -> MixerState:
            raise AssertionError("never called")

    with pytest.raises(TypeError, match="step"):
        Half()
