"""The laws of memory cores: every core keeps them, and `check_core` names the one a broken core breaks."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import memrl
from memrl import testing, tree
from memrl.core import MemoryCore

# Small sizes, and option variants; a core that is not named here is checked as it comes.
SIZES: dict[str, dict[str, Any]] = {
    "none": {"hidden_size": 4},
    "lstm": {"hidden_size": 4},
    "gru": {"hidden_size": 4},
    "ntm": {"hidden_size": 5, "num_slots": 5, "slot_size": 3},
    "dnc": {"hidden_size": 5, "num_slots": 4, "slot_size": 3, "num_reads": 2},
    "memformer": {"slot_size": 4, "num_slots": 3, "num_heads": 2},
    "memn2n": {"hidden_size": 4, "num_slots": 3},
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "lstm": [
        {"num_layers": 2},
        {"num_layers": 2, "chrono_span": 8},
        {"peephole": True},
        {"peephole": True, "num_layers": 2, "chrono_span": 8},
    ],
    "gru": [{"num_layers": 2}, {"chrono_span": 8}],
    "ntm": [
        {"num_reads": 2, "num_writes": 2},
        {"controller": "feedforward", "num_reads": 2, "shift_range": 2},
    ],
    "dnc": [
        {"link": False},
        {"masking": True},
        {"deallocate": True},
        {"sharpen": True},
        {"layer_norm": True},
        {"bypass_dropout": 0.5},
        {"masking": True, "deallocate": True, "sharpen": True, "layer_norm": True},
    ],
    "memformer": [{"num_layers": 2}, {"segment": 3}, {"segment": 3, "num_layers": 2}],
    "memn2n": [
        {"tying": "layerwise"},
        {"num_hops": 1, "noise": 0.5},
        {"temporal": False},
        {"linear": True},
    ],
}
CASES = [(name, variant) for name in memrl.list_cores() for variant in [{}, *VARIANTS.get(name, [])]]


@pytest.mark.parametrize(("name", "variant"), CASES, ids=[f"{n}-{v}" for n, v in CASES])
def test_registered_core_keeps_the_laws(name: str, variant: dict[str, Any]) -> None:
    core = memrl.make_core(name, input_size=3, **SIZES.get(name, {}), **variant)
    memrl.check_core(core, seed=1)


@pytest.mark.parametrize("name", memrl.list_cores())
def test_registered_core_keeps_the_laws_as_it_comes(name: str) -> None:
    torch.manual_seed(0)
    memrl.check_core(memrl.make_core(name, input_size=8))


# A sound toy, and toys that break one law each.


class Inner(NamedTuple):
    hidden: Tensor


class ToyState(NamedTuple):
    controller: Inner
    trace: Tensor


class Toy(MemoryCore[ToyState]):
    """A small recurrent layer with a learned start, beside a decaying trace of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size, self.output_size = 2, 3
        self.inward, self.recurrent = nn.Linear(2, 3), nn.Linear(3, 3)
        self.first = nn.Parameter(torch.randn(3))
        self.register_buffer("decay", torch.tensor([0.5, 0.9]))

    def initial_state(self, batch_size: int) -> Any:
        return ToyState(Inner(self.first.expand(batch_size, 3)), self.first.new_zeros(batch_size, 2))

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden = torch.tanh(self.inward(x) + self.recurrent(state.controller.hidden))
        trace = self.decay * state.trace + x
        return hidden * trace.sum(1, keepdim=True), ToyState(Inner(hidden), trace)


BROKEN: list[tuple[str, str, type[Toy]]] = []


def breaks(law: str, saying: str = "") -> Callable[[type[Toy]], type[Toy]]:
    """Expect `check_core` to name this law, and the words to be in its message."""

    def note(core: type[Toy]) -> type[Toy]:
        BROKEN.append((law, saying, core))
        return core

    return note


@breaks("everything registered", "core.table")
class PlainTensorAttribute(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.eye(3)


@breaks("everything registered", "core.gains.0")
class ParameterInAList(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.gains = [nn.Parameter(torch.tensor(1.0))]


@breaks("shapes", "output_size")
class NoOutputSize(Toy):
    def __init__(self) -> None:
        super().__init__()
        del self.output_size


@breaks("shapes", "list, no NamedTuple")
class StateIsAList(Toy):
    def initial_state(self, batch_size: int) -> Any:
        return list(super().initial_state(batch_size))


@breaks("shapes", "tuple, no NamedTuple")
class StateIsAPlainTuple(Toy):
    def initial_state(self, batch_size: int) -> Any:
        return tuple(super().initial_state(batch_size))


@breaks("shapes", "trace is torch.int64")
class CountsInIntegers(Toy):
    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size)._replace(trace=torch.zeros(batch_size, 2, dtype=torch.int64))


@breaks("shapes", "controller.hidden is (2, 1, 3), (1, ...) needed")
class BatchInAxisOne(Toy):
    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size)._replace(controller=Inner(self.first.expand(2, batch_size, 3)))


@breaks("shapes", "step gives (1, 2), (1, 3) needed")
class OutputTooNarrow(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        return y[:, :2], state


@breaks("shapes", "state after step.trace is torch.float64 (1, 4)")
class GrowingState(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = super().step(x, state._replace(trace=state.trace[:, :2]))
        return y, after._replace(trace=torch.cat([state.trace, x], dim=1))


@breaks("shapes", "state after step is a tuple")
class StepReturnsAPlainTuple(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = super().step(x, state)
        return y, tuple(after)


@breaks("dtype", "initial_state.trace is torch.float64, the parameters are torch.float32")
class StateInTheDefaultDtype(Toy):
    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size)._replace(trace=torch.zeros(batch_size, 2, device=self.first.device))


@breaks("dtype", "output after step is torch.float64")
class OutputInDoublePrecision(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        return y.double(), state


@breaks("device", "tensor: a tensor on cpu, the core on meta")
class StateOnTheCpu(Toy):
    def initial_state(self, batch_size: int) -> Any:
        return ToyState(
            Inner(self.first.expand(batch_size, 3)),
            torch.tensor([[0.0, 0.0]] * batch_size).to(self.first.dtype),
        )


@breaks("device", "eye: a tensor on cpu, the core on meta")
class ConstantOnTheCpu(Toy):  # "meta" @ "cpu" is no error, "cuda" @ "cpu" is
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        return y @ torch.eye(3, dtype=y.dtype), state


@breaks("nothing kept on the module", "core.last")
class KeepsItsState(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        self.last = state
        return y, state


@breaks("nothing kept on the module", "core.calls changed")
class CountsItsCalls(Toy):
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.calls += 1
        return super().step(x, state)


@breaks("nothing kept on the module", "core.history.0 is new")
class AppendsToAList(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.history: list[Tensor] = []

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.history.append(x)
        return super().step(x, state)


@breaks("nothing kept on the module", "core.decay changed")
class RunningMeanInABuffer(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        with torch.no_grad():
            self.decay.mul_(0.99)
        return super().step(x, state)


@breaks("inputs not mutated", "step wrote into the state.trace")
class OverwritesItsState(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = super().step(x, state)
        state.trace.mul_(self.decay).add_(x)
        return y, after


@breaks("inputs not mutated", "step wrote into the x")
class NormalisesInPlace(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().step(x.clamp_(-0.1, 0.1), state)


@breaks("inputs not mutated", "forward wrote into the reset")
class OverwritesResets(Toy):
    def forward(self, x: Tensor, state: Any, reset: Tensor) -> tuple[Tensor, Any]:
        result = super().forward(x, state, reset)
        reset.zero_()
        return result


@breaks("finite", "gradient of first is nan")
class RootOfZero(Toy):
    """Its start is fine in value only, and only before the first update."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.first)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        length = state.controller.hidden.square().sum(1, keepdim=True).sqrt()
        y, state = super().step(x, state)
        return y + length, state


@breaks("finite", "output is nan")
class ZeroByZero(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = super().step(x, state)
        return y + (state.trace / state.trace.norm(dim=1, keepdim=True)).sum(1, keepdim=True), after


@breaks("deterministic", "second run: output differs by")
class DropsOutInEvalMode(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        return nn.functional.dropout(y, 0.5), state


@breaks("copies", "pickle")
class HoldsALambda(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.squash = lambda x: x.tanh()


@breaks("copies", "after deepcopy, output differs by")
class CopiesAreBuiltAnew(Toy):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return double_of, (type(self),)


def double_of(kind: type[Toy]) -> Toy:
    return kind().double()


@breaks("pack/unpack round trip", "torch.float64")
class TwoDtypes(Toy):  # nothing learned, so there is no dtype for the state to follow; one array cannot hold two
    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.input_size, self.output_size = 2, 2

    def initial_state(self, batch_size: int) -> Any:
        single = torch.zeros(batch_size, 1, dtype=torch.float32)
        return ToyState(Inner(single), torch.zeros(batch_size, 2, dtype=torch.float64))

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        trace = 0.5 * state.trace + x
        return trace, ToyState(state.controller, trace)


@breaks("state_dict round trip", "loaded: output differs by")
class ForgetsToSave(Toy):
    def state_dict(self, *args: Any, **options: Any) -> Any:
        saved = super().state_dict(*args, **options)
        del saved["recurrent.weight"]
        return saved

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        with torch.no_grad():
            self.recurrent.weight.zero_()  # as a newly built one has other numbers here
        return super().load_state_dict(state_dict, strict=False, assign=assign)


@breaks("rows independent", "permuted rows: output differs by")
class RowsByNumber(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        return y + torch.arange(len(y), device=y.device).to(y).unsqueeze(1), state


@breaks("rows independent", "row 0 alone: output differs by")
class LeaksTheBatchMean(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        return y - y.mean(0), state


@breaks("rows independent", "NaN in row 0: output differs by nan at [0, 0, 0]")
class LeaksNanOnly(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        return y + 0.0 * x.sum(), state


@breaks("rows independent", "row 0: gradient of x of the other rows")
class LeaksGradientsOnly(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = super().step(x, state)
        mean = x.mean(0, keepdim=True).expand_as(x).sum(1, keepdim=True)
        return torch.where(x.isfinite().all(), y + mean - mean.detach(), y), after


@breaks("rows independent", "initial_state(3), row 1: state.trace differs by 1")
class StartsByRow(Toy):
    def initial_state(self, batch_size: int) -> Any:
        rows = torch.arange(batch_size, device=self.first.device).to(self.first)
        return super().initial_state(batch_size)._replace(trace=rows.unsqueeze(1).expand(-1, 2))


@breaks("no gradient from the future", "other inputs after t=0: output differs by")
class NormalisesOverTime(Toy):
    def sequence(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        y, state = super().sequence(x, state, lengths)
        return y - y.detach().mean(0), state


@breaks("no gradient from the future", "output at t=0: gradient of x after it")
class FutureInTheGradient(Toy):
    def sequence(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        y, state = super().sequence(x, state, lengths)
        return y + y.sum(0) - y.sum(0).detach(), state


def resetting(core: Toy, x: Tensor, state: Any, reset: Tensor, select: Callable[[Tensor, Any, Any], Any]) -> Any:
    outputs = []
    for x_t, reset_t in zip(x, reset, strict=True):
        state = select(reset_t.unsqueeze(1), core.initial_state(len(x_t)), state)
        y, state = core.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs), state


@breaks("reset = fresh start", "reset at t=0, nan before it: output differs by nan")
class ResetMultiplies(Toy):
    def forward(self, x: Tensor, state: Any, reset: Tensor) -> tuple[Tensor, Any]:
        def select(now: Tensor, first: Any, state: Any) -> Any:
            return tree.map(lambda a, b: a * now.to(a) + b * (~now).to(b), first, state)

        return resetting(self, x, state, reset, select)


@breaks("reset = fresh start", "reset at t=0, 1000.0 before it: output differs by")
class ResetForgetsTheTrace(Toy):
    def forward(self, x: Tensor, state: Any, reset: Tensor) -> tuple[Tensor, Any]:
        def select(now: Tensor, first: Any, state: Any) -> Any:
            return state._replace(controller=tree.where(now[:, 0], first.controller, state.controller))

        return resetting(self, x, state, reset, select)


@breaks("reset = fresh start", "reset at t=3: gradient of x before it")
class GradientPassesTheReset(Toy):
    def forward(self, x: Tensor, state: Any, reset: Tensor) -> tuple[Tensor, Any]:
        def select(now: Tensor, first: Any, state: Any) -> Any:
            def through(a: Tensor, b: Tensor) -> Tensor:
                finite = b.nan_to_num(0.0, 0.0, 0.0)
                return torch.where(now, a.detach() + (finite - finite.detach()), b)

            return tree.map(through, first, state)

        y, after = resetting(self, x, state, torch.cat([torch.zeros_like(reset[:1]), reset[1:]]), select)
        if not reset[0].any():
            return y, after
        return resetting(self, x, tree.where(reset[0], self.initial_state(x.shape[1]), state), reset, select)


@breaks("step = sequence", "consecutive resets: output differs by")
class ResetsAfterTheStep(Toy):
    """Right where all rows start together, wrong where one does."""

    def forward(self, x: Tensor, state: Any, reset: Tensor) -> tuple[Tensor, Any]:
        if reset.all(1).any() or not reset.any():
            return super().forward(x, state, reset)
        return super().forward(x, state, torch.cat([torch.zeros_like(reset[:1]), reset[:-1]]))


@breaks("step = sequence", "state.controller.hidden differs by")
class ForgetsThatRowsEnd(Toy):
    def sequence(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        return super().sequence(x, state)


@breaks("step = sequence", "without resets: state.trace differs by")
class ReturnsTheStateBefore(Toy):
    def sequence(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        y, after = super().sequence(x, state, lengths)
        return y, after._replace(trace=after.trace * 1.001)


@breaks("step = sequence", "without resets: gradient of")
class DetachesInTheSequence(Toy):
    def sequence(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        return super().sequence(x, tree.map(lambda leaf: leaf - (leaf.detach() * 0.5 - leaf * 0.5), state), lengths)


@breaks("chunked = whole", "output differs by")
class SingleStepsStartAnew(Toy):
    def sequence(self, x: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        return super().sequence(x, state if len(x) > 1 else self.initial_state(x.shape[1]), lengths)


class TwiceTheGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


@breaks("gradcheck", "(inputs, from 0: x, state.controller.hidden, state.trace, first, inward.weight")
class WrongBackward(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = super().step(x, state)
        return TwiceTheGradient.apply(y), state


@breaks("gradcheck")
class DetachesInTheStep(Toy):
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().step(x, state._replace(controller=tree.detach(state.controller)))


@breaks("gradcheck")
class DetachesItsStart(Toy):
    def initial_state(self, batch_size: int) -> Any:
        return tree.detach(super().initial_state(batch_size))


def test_sound_toy_keeps_the_laws() -> None:
    for seed in range(5):
        memrl.check_core(Toy(), seed=seed)


@pytest.mark.parametrize(("law", "saying", "core"), BROKEN, ids=[core.__name__ for _, _, core in BROKEN])
def test_broken_core_is_found_and_the_law_named(law: str, saying: str, core: type[Toy]) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError) as raised:
        memrl.check_core(core())
    message = str(raised.value)
    assert message.startswith(f"{law}: ")
    assert saying in message


def test_every_law_has_a_broken_core() -> None:
    assert {law for law, _, _ in BROKEN} == set(testing.LAWS)


def test_core_that_cannot_be_copied_is_reported_so() -> None:
    core = KeepsItsState()
    core.step(torch.zeros(1, 2), core.initial_state(1))  # now a tensor with a graph behind it is on the module
    with pytest.raises(AssertionError, match=r"^copies: RuntimeError"):
        memrl.check_core(core)


class Counted(NamedTuple):
    count: Tensor
    sum: Tensor


class EveryThird(MemoryCore[Counted]):
    """Gives the sum of every three inputs; asks its counter in Python, which "meta" tensors cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size = self.output_size = 2
        self.scale = nn.Parameter(torch.ones(2))

    def initial_state(self, batch_size: int) -> Counted:
        return Counted(self.scale.new_zeros(batch_size), self.scale.new_zeros(batch_size, 2))

    def step(self, x: Tensor, state: Counted) -> tuple[Tensor, Counted]:
        total, count = state.sum + x * self.scale, state.count + 1
        full = count >= 3
        if full.any():
            reset = tree.where(full, self.initial_state(len(x)), Counted(count, total))
            return torch.where(full.unsqueeze(1), total, 0.0), reset
        return torch.zeros_like(total), Counted(count, total)


def test_core_with_a_counter_and_a_branch_on_it_keeps_the_laws() -> None:
    for seed in range(3):
        memrl.check_core(EveryThird(), seed=seed)


def test_frozen_half_precision_core_in_training_mode_is_checked_too() -> None:
    memrl.check_core(Toy().to(torch.bfloat16).train().requires_grad_(False))


@pytest.mark.parametrize("core", [Toy, LeaksTheBatchMean, DropsOutInEvalMode, RunningMeanInABuffer])
def test_core_and_random_numbers_stay_as_they_were(core: type[Toy]) -> None:
    checked = core().to(torch.float32).train()
    checked.inward.requires_grad_(False)
    parameters = list(checked.parameters())
    saved, attributes = copy.deepcopy(checked.state_dict()), {m: dict(vars(m)) for m in checked.modules()}
    generator, default, grads = torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        memrl.check_core(checked)
    except AssertionError:
        assert core is not Toy
    assert torch.equal(torch.get_rng_state(), generator)
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (default, grads)
    assert all(now is then for now, then in zip(checked.parameters(), parameters, strict=True))
    assert {m: dict(vars(m)) for m in checked.modules()}.keys() == attributes.keys()
    assert all(vars(m).keys() == attributes[m].keys() for m in checked.modules())
    assert all(m.training for m in checked.modules())
    assert [p.requires_grad for p in checked.inward.parameters()] == [False, False]
    assert checked.first.requires_grad
    assert all(p.grad is None and p.dtype is torch.float32 for p in parameters)
    for name, tensor in checked.state_dict().items():
        assert torch.equal(tensor, saved[name]), name


def test_the_seed_decides_what_is_drawn() -> None:
    def message(seed: int) -> str:
        with pytest.raises(AssertionError) as raised:
            memrl.check_core(broken, seed=seed)
        return str(raised.value)

    broken = LeaksTheBatchMean()
    assert message(3) == message(3) != message(4)


def test_what_is_no_core_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^core: Linear given"):
        memrl.check_core(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"^core: ABCMeta given"):
        memrl.check_core(Toy)
