"""`check_core`: the laws every memory core obeys, for cores inside and outside this library.

Each law is one function whose docstring states it. A core that breaks one rarely crashes: it trains, a little worse,
on gradients or memories that are not its own. The laws run in float64 on copies, on short random sequences.
"""

import contextlib
import copy
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from memrl import tree
from memrl.core import MemoryCore

Core = MemoryCore[Any]
State = tuple[Any, ...]
Run = Callable[[Tensor, State], tuple[Tensor, State]]

STEPS, BATCH = 6, 3  # of the random sequences; long enough for spans of several lengths side by side
EXACT = 0.0
ROUNDING = 1e-9  # float64, a few steps, the same sums in another order; relative where numbers exceed 1

# What a core that breaks a law may throw instead of returning something wrong: torch's usual complaints.
CRASHES = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError)


def check_core(core: MemoryCore[Any], *, seed: int = 0) -> None:
    """Raise if the core breaks one of the laws that hosts rely on.

    Small sizes suffice and keep it within seconds. The core itself stays as it was, and so do torch's random number
    generators: everything runs in eval mode on copies, with slightly shaken parameters, since a layer that starts at
    zero would hide what is behind it.

    Args:
        core: a built core, of any size, dtype and device.
        seed: of the random inputs, states and resets.

    Raises:
        AssertionError: the message begins with the name of the law and says where, or by how much, it is broken.
        ValueError: `core` is no MemoryCore.

    >>> check_core(make_core("lstm", input_size=3, hidden_size=4))
    """
    if not isinstance(core, MemoryCore):
        raise ValueError(f"core: {type(core).__name__} given, a memrl.MemoryCore needed")
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices), _default_dtype(torch.float64), torch.enable_grad():
        for name, law in LAWS.items():
            draw = Generator().manual_seed(seed)
            torch.default_generator.manual_seed(seed)  # a core that draws numbers is caught by its own law
            try:
                law(_copy(core, draw), draw)
            except AssertionError as broken:
                raise AssertionError(f"{name}: {broken}") from None
            except CRASHES as error:
                raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error


# The laws.


def _copies(core: Core, draw: Generator) -> None:
    """A deep copy and an unpickled copy compute what the original computes, before and after it has run."""
    x, state, reset = _trial(core, draw)
    expected = core(x, state, reset)
    for what, twin in (("deepcopy", copy.deepcopy(core)), ("pickle", pickle.loads(pickle.dumps(core)))):
        _compare(_named(*twin(x, state, reset)), _named(*expected), ROUNDING, f"after {what}, ")


def _shapes(core: Core, draw: Generator) -> None:
    """States are NamedTuples of floating tensors, batch in axis 0; a step keeps shapes and types, and fills (B, O)."""
    for attribute in ("input_size", "output_size"):
        size = getattr(core, attribute, None)
        _demand(isinstance(size, int) and size >= 1, f"core.{attribute} is {size!r}, a whole number >= 1 needed")
    one = core.initial_state(1)
    _check_state(one, "initial_state(1)")
    for batch in (1, BATCH):
        state = core.initial_state(batch)
        _check_state(state, f"initial_state({batch})")
        for name, leaf in _leaves(state, f"initial_state({batch})"):
            _demand(leaf.shape[:1] == (batch,), f"{name} has shape {tuple(leaf.shape)}, batch {batch} needed in axis 0")
        _same_layout(tree.index(state, slice(1)), one, f"initial_state({batch})", "initial_state(1)")
        y, after = core.step(_noise(core, draw, batch, core.input_size), state)
        _demand(y.shape == (batch, core.output_size), f"step gives {tuple(y.shape)}, ({batch}, {core.output_size}) needed")
        _check_state(after, "state after step")
        _same_layout(after, state, "state after step", f"initial_state({batch})")
    x, state, reset = _trial(core, draw)
    y, after = core(x, state, reset)
    expected = (STEPS, BATCH, core.output_size)
    _demand(y.shape == expected, f"forward gives {tuple(y.shape)}, {expected} needed")
    _same_layout(after, state, "state after forward", "the state before it")


def _nothing_mutated(core: Core, draw: Generator) -> None:
    """`step` and `forward` leave x, state and reset as they were."""
    x, state, reset = _trial(core, draw)
    given = {"x": x, "reset": reset, **dict(_leaves(state, "state"))}
    before = {name: (tensor.clone(), tensor._version) for name, tensor in given.items()}
    with torch.no_grad():  # with gradients torch itself would refuse to overwrite leaves, in its own words
        core.step(x[0], state)
        _unchanged(given, before, "step")
        core(x, state, reset)
        _unchanged(given, before, "forward")


def _nothing_kept(core: Core, draw: Generator) -> None:
    """A run stores nothing on the module: no attribute, no tensor, no changed buffer or parameter."""
    x = _noise(core, draw, STEPS, BATCH, core.input_size)
    reset = torch.rand(STEPS, BATCH, generator=draw).to(x.device) < 0.3
    before = dict(_contents(core))
    state = core.initial_state(BATCH)
    y, state = core.step(x[0], state)
    core(x, state, reset)
    after = dict(_contents(core))
    for name in {**before, **after}:
        was, now = before.get(name), after.get(name)
        _demand(was is not None, f"the core got a new attribute {name}")
        _demand(now is not None, f"the core lost its attribute {name}")
        _demand(was is not None and now is not None and was[0] is now[0] and was[1] == now[1], f"{name} changed")


def _dtype(core: Core, draw: Generator) -> None:
    """Outputs and states have the dtype of the parameters, whatever torch's default is."""
    if not _tensors(core):
        return  # nothing that `to` could convert
    for dtype in (torch.float32, torch.float64):
        with _default_dtype(torch.float32 if dtype is torch.float64 else torch.float64):
            core = core.to(dtype)
            state = core.initial_state(BATCH)
            y, after = core.step(_noise(core, draw, BATCH, core.input_size), state)
        found = {"output": y, **dict(_leaves(state, "initial_state")), **dict(_leaves(after, "state after step"))}
        for name, tensor in found.items():
            _demand(tensor.dtype == dtype, f"{name} is {tensor.dtype} where the parameters are {dtype}")


def _device(core: Core, draw: Generator) -> None:
    """Nothing is made on the CPU for a core that lives elsewhere: on "meta" always, on an accelerator if there is one."""
    if not _tensors(core):
        return
    meta = copy.deepcopy(core).to("meta")
    with _OneDevice("meta"):
        state = meta.initial_state(BATCH)
        _on_device({**dict(_leaves(state, "initial_state"))}, "meta")
        try:
            y, after = meta.step(torch.empty(BATCH, core.input_size, device="meta"), state)
        except RuntimeError as error:
            # A step may look at numbers (a counter, say); "meta" tensors have none. Only an accelerator can tell then.
            if not (isinstance(error, NotImplementedError) or "meta tensors" in str(error)):
                raise
        else:
            _on_device({"output": y, **dict(_leaves(after, "state after step"))}, "meta")
    for device in _accelerators():
        x, state, reset = _trial(core.to(device, torch.float32), draw)
        y, after = core(x, state, reset)
        _on_device({"output": y, **dict(_leaves(after, "state after forward"))}, device)


def _deterministic(core: Core, draw: Generator) -> None:
    """In eval mode the same inputs give the same bits, wherever torch's random numbers stand."""
    x, state, reset = _trial(core, draw)
    first = _named(*core(x, state, reset))
    torch.rand(7, device=x.device)
    _compare(_named(*core(x, state, reset)), first, EXACT, "second run: ")


def _finite(core: Core, draw: Generator) -> None:
    """From the initial state, outputs, states and all gradients are finite, those of a learned initial state included."""
    x, _, reset = _trial(core, draw)
    for name, found in _results(core, lambda x, s: core(x, s, reset), x, core.initial_state(BATCH)).items():
        _demand(bool(found.isfinite().all()), f"{name} holds {_first(~found.isfinite(), found)}")


def _step_is_sequence(core: Core, draw: Generator) -> None:
    """`forward` equals the loop over `step`, in outputs, final state and gradients, wherever the resets fall."""
    x, state, random = _trial(core, draw)
    none, at_start, consecutive = torch.zeros_like(random), torch.zeros_like(random), torch.zeros_like(random)
    at_start[0], consecutive[2:4, 0] = True, True
    patterns = {
        "without resets": none,
        "resets at t=0": at_start,
        "consecutive resets": consecutive,
        "a reset at every step": torch.ones_like(random),
        "random resets": random,
        "other random resets": torch.rand(STEPS, BATCH, generator=draw).to(x.device) < 0.5,
    }
    for where, reset in patterns.items():
        found = _results(core, lambda x, s, reset=reset: core(x, s, reset), x, state)
        expected = _results(core, lambda x, s, reset=reset: _loop(core, x, s, reset), x, state)
        _compare(found, expected, ROUNDING, f"{where}: ")


def _chunked_is_whole(core: Core, draw: Generator) -> None:
    """A sequence run in pieces, the state handed on, equals the sequence run at once, gradients included."""
    x, state, reset = _trial(core, draw)

    def pieces(x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = []
        for part, resets in zip(x.split([1, 3, 2]), reset.split([1, 3, 2]), strict=True):
            y, state = core(part, state, resets)
            outputs.append(y)
        return torch.cat(outputs), state

    whole = _results(core, lambda x, s: core(x, s, reset), x, state)
    _compare(_results(core, pieces, x, state), whole, ROUNDING, "pieces of 1, 3 and 2 steps: ")


def _reset_is_fresh_start(core: Core, draw: Generator) -> None:
    """What follows a reset depends on nothing before it, be that NaN or infinite, and sends no gradient there."""
    x, state, _ = _trial(core, draw)
    for at in (0, STEPS // 2):
        reset = torch.zeros(STEPS, BATCH, dtype=torch.bool, device=x.device)
        reset[at, 1] = True  # the other rows run on, and must not be touched either
        fresh = _named(*core(x[at:, 1:2], core.initial_state(1), torch.zeros_like(reset[at:, 1:2])))
        for poison in (0.0, 1e3, float("nan"), float("inf")):
            row = torch.arange(BATCH, device=x.device) == 1
            # A counter cannot be poisoned by an input, so it may stay sound unless it is replaced at once.
            spare = at > 0
            bad = tree.map(lambda v, p=poison, s=spare: v if s and _counts(v) else torch.full_like(v, p), state)
            before = tree.where(row, bad, state)
            earlier = x.clone()
            earlier[:at, 1] = poison
            y, after = core(earlier, before, reset)
            found = _named(y[at:, 1:2], tree.index(after, slice(1, 2)))
            _compare(found, fresh, ROUNDING, f"reset at t={at}, {poison} before it, against a fresh start: ")
            y_calm, calm = core(x, state, reset)
            others = _named(y[:, ~row], tree.index(after, ~row))
            _compare(others, _named(y_calm[:, ~row], tree.index(calm, ~row)), ROUNDING, f"{poison} in a row that resets: ")

        def after_reset(x: Tensor, state: State, at: int = at, reset: Tensor = reset) -> tuple[Tensor, State]:
            y, state = core(x, state, reset)
            return y[at:, 1], tree.index(state, slice(1, 2))

        found = _results(core, after_reset, x, state)
        _zero(found["gradient of x"][:at, 1], f"reset at t={at}: gradient of x before it")
        for name, _ in _leaves(state, "state"):
            _zero(found[f"gradient of {name}"][1], f"reset at t={at}: gradient of the {name} before it")


def _no_future(core: Core, draw: Generator) -> None:
    """An output depends on no later input, in value or gradient."""
    x, state, random = _trial(core, draw)
    for reset in (torch.zeros_like(random), random):
        y, _ = core(x, state, reset)
        for t in range(STEPS - 1):
            changed = x.clone()
            changed[t + 1 :] += 1
            early = core(changed, state, reset)[0][: t + 1]
            _compare({"output": early}, {"output": y[: t + 1]}, ROUNDING, f"inputs after t={t} changed: ")

            def up_to_now(x: Tensor, s: State, t: int = t, reset: Tensor = reset) -> tuple[Tensor, State]:
                return core(x, s, reset)[0][t], ()

            gradient = _results(core, up_to_now, x, state)["gradient of x"]
            _zero(gradient[t + 1 :], f"gradient of output {t} with respect to x after it")


def _rows_independent(core: Core, draw: Generator) -> None:
    """A batch row has the same results in any place, in any company, and sends gradients to no other row."""
    one, many = core.initial_state(1), core.initial_state(BATCH)
    for b in range(BATCH):
        _compare(_named(None, tree.index(many, slice(b, b + 1))), _named(None, one), EXACT, f"initial_state, row {b}: ")
    x, state, reset = _trial(core, draw)
    y, after = core(x, state, reset)
    order = torch.tensor([*range(1, BATCH), 0], device=x.device)
    permuted = _named(*core(x[:, order], tree.index(state, order), reset[:, order]))
    _compare(permuted, _named(y[:, order], tree.index(after, order)), ROUNDING, "permuted rows: ")
    for b in range(BATCH):
        row = slice(b, b + 1)
        alone = _named(*core(x[:, row], tree.index(state, row), reset[:, row]))
        _compare(alone, _named(y[:, row], tree.index(after, row)), ROUNDING, f"row {b} alone: ")

        def one_row(x: Tensor, s: State, row: slice = row) -> tuple[Tensor, State]:
            y, s = core(x, s, reset)
            return y[:, row], tree.index(s, row)

        found = _results(core, one_row, x, state)
        others = torch.arange(BATCH, device=x.device) != b
        _zero(found["gradient of x"][:, others], f"gradient of row {b} with respect to x of other rows")
        for name, _ in _leaves(state, "state"):
            _zero(found[f"gradient of {name}"][others], f"gradient of row {b} with respect to the {name} of other rows")


def _gradcheck(core: Core, draw: Generator) -> None:
    """Gradients with respect to inputs, state and parameters equal finite differences (float64, 3 steps)."""
    steps = 3
    x, state, _ = _trial(core, draw)
    reset = torch.zeros(steps, BATCH, dtype=torch.bool, device=x.device)
    reset[0, 0] = True  # one row takes in the initial state, and with it the parameters of that
    parameters = dict(core.named_parameters())
    leaves = tree.leaves(state)
    moving = [i for i, leaf in enumerate(leaves) if not _counts(leaf)]
    inputs = [t.detach().clone().requires_grad_() for t in (x[:steps], *(leaves[i] for i in moving), *parameters.values())]

    def run(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        handed = iter(tensors)
        filled = [next(handed) if i in moving else leaf for i, leaf in enumerate(leaves)]
        remaining = iter(filled)
        before = tree.map(lambda _: next(remaining), state)
        swapped = dict(zip(parameters, handed, strict=True))
        y, after = functional_call(core, swapped, (x, before, reset))
        return tuple(tensor for tensor in (y, *tree.leaves(after)) if tensor.numel())

    try:
        gradcheck(run, inputs, fast_mode=True, check_undefined_grad=False, nondet_tol=1e-9)
    except GradcheckError as error:
        raise AssertionError(" ".join(str(error).split())) from None


def _pack_round_trip(core: Core, draw: Generator) -> None:
    """`tree.unpack(tree.pack(state), like=core.initial_state(1))` gives the state back, bit by bit."""
    _, state, _ = _trial(core, draw)
    packed = tree.pack(state)
    _demand(packed.shape == (BATCH, tree.size(state)), f"packed shape {tuple(packed.shape)}")
    back = tree.unpack(packed, core.initial_state(1))
    _same_layout(back, state, "the unpacked state", "the state")
    _compare(_named(None, back), _named(None, state), EXACT, "unpacked ")


def _state_dict_round_trip(core: Core, draw: Generator) -> None:
    """All that a core has learned is in its state_dict: loaded into another one, it gives the same results."""
    x, state, reset = _trial(core, draw)
    twin = copy.deepcopy(core)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(1)
    twin.load_state_dict(core.state_dict())
    _compare(_named(*twin(x, state, reset)), _named(*core(x, state, reset)), EXACT, "loaded: ")


# In this order, so that a broken core is reported under the law that says most about the fault.
LAWS: dict[str, Callable[[Core, Generator], None]] = {
    "shapes": _shapes,
    "dtype": _dtype,
    "device": _device,
    "nothing kept on the module": _nothing_kept,
    "inputs not mutated": _nothing_mutated,
    "deterministic": _deterministic,
    "copies": _copies,
    "pack/unpack round trip": _pack_round_trip,
    "state_dict round trip": _state_dict_round_trip,
    "finite": _finite,
    "rows independent": _rows_independent,
    "no gradient from the future": _no_future,
    "reset = fresh start": _reset_is_fresh_start,
    "step = sequence": _step_is_sequence,
    "chunked = whole": _chunked_is_whole,
    "gradcheck": _gradcheck,
}


# Material: copies, random inputs, the slow loop.


def _copy(core: Core, draw: Generator) -> Core:
    twin = copy.deepcopy(core).to(torch.float64).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.requires_grad_()
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw).to(parameter)
    return twin


def _tensors(core: Core) -> list[Tensor]:
    return [tensor for tensor in (*core.parameters(), *core.buffers()) if tensor.is_floating_point()]


def _noise(core: Core, draw: Generator, *shape: int) -> Tensor:
    like = next(iter(_tensors(core)), torch.empty(0))
    return torch.randn(*shape, generator=draw).to(like)


def _trial(core: Core, draw: Generator) -> tuple[Tensor, State, Tensor]:
    """Random inputs (T, B, I), a state in which something has happened, random resets (T, B)."""
    with torch.no_grad():
        state: State = core.initial_state(BATCH)
        for _ in range(4):
            _, state = core.step(_noise(core, draw, BATCH, core.input_size), state)
        # Sorting and maxima have no derivative at ties, and slots that nothing has told apart yet are tied.
        state = tree.map(
            lambda leaf: leaf * (1 if _counts(leaf) else 1 - 0.2 * torch.rand(leaf.shape, generator=draw).to(leaf)), state
        )
    x = _noise(core, draw, STEPS, BATCH, core.input_size)
    return x, state, torch.rand(STEPS, BATCH, generator=draw).to(x.device) < 0.3


def _counts(leaf: Tensor) -> bool:
    """Whether a leaf holds whole numbers only: a counter, which breaks where a little is added (or is empty)."""
    return bool((leaf == leaf.round()).all())


def _loop(core: Core, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
    """What `forward` means."""
    outputs = []
    for x_t, reset_t in zip(x, reset, strict=True):
        state = tree.where(reset_t, core.initial_state(x.shape[1]), state)
        y, state = core.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs), state


def _results(core: Core, run: Run, x: Tensor, state: State) -> dict[str, Tensor]:
    """Everything a run gives, by name: outputs, final state, gradients of a random weighting of both."""
    x = x.detach().clone().requires_grad_()
    state = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), state)
    results = _named(*run(x, state))
    draw = Generator().manual_seed(0)
    loss = torch.zeros((), dtype=x.dtype, device=x.device)
    for found in results.values():
        loss = loss + (found * torch.randn(found.shape, generator=draw).to(found)).sum()
    sources = {"x": x, **dict(_leaves(state, "state")), **{f"parameter {n}": p for n, p in core.named_parameters()}}
    gradients: Sequence[Tensor | None] = [None] * len(sources)
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    for (name, source), gradient in zip(sources.items(), gradients, strict=True):
        results[f"gradient of {name}"] = torch.zeros_like(source) if gradient is None else gradient
    return results


def _named(y: Tensor | None, state: State) -> dict[str, Tensor]:
    outputs = {} if y is None else {"output": y}
    return {**outputs, **{f"final {name}": leaf for name, leaf in _leaves(state, "state")}}


def _leaves(state: State, name: str) -> Iterator[tuple[str, Any]]:
    """Leaves with their paths, e.g. ("state.controller.hidden", tensor)."""
    for field, branch in zip(getattr(state, "_fields", range(len(state))), state, strict=True):
        path = f"{name}.{field}"
        if isinstance(branch, tuple):
            yield from _leaves(branch, path)
        else:
            yield path, branch


def _contents(core: Core) -> Iterator[tuple[str, tuple[object, int]]]:
    """Everything reachable from the module's attributes, with a count of the changes made in place."""

    def walk(name: str, value: object) -> Iterator[tuple[str, tuple[object, int]]]:
        if isinstance(value, nn.Module):
            value = value.__dict__
        if isinstance(value, dict):
            for key, item in value.items():
                yield from walk(f"{name}.{key}", item)
        elif isinstance(value, (list, tuple)):
            for key, item in enumerate(value):
                yield from walk(f"{name}[{key}]", item)
        else:
            yield name, (value, value._version if isinstance(value, Tensor) else 0)

    yield from walk("core", core)


def _accelerators() -> list[str]:
    return ["cuda"] if torch.cuda.is_available() else ["mps"] if torch.backends.mps.is_available() else []


class _OneDevice(TorchFunctionMode):
    """Refuses every operation that takes or makes a tensor elsewhere; torch lets some of them pass."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in (*args, result):
            # Single numbers may come from anywhere; torch mixes them freely.
            if isinstance(tensor, Tensor) and tensor.dim() and tensor.device.type != self.device:
                raise AssertionError(f"{func.__name__} uses or makes a tensor on {tensor.device} beside {self.device}")
        return result


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# Demands.


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _check_state(state: Any, name: str) -> None:
    _demand(isinstance(state, tuple) and hasattr(state, "_fields"), f"{name} is a {type(state).__name__}, no NamedTuple")
    for field, branch in zip(state._fields, state, strict=True):
        if isinstance(branch, Tensor):
            _demand(branch.is_floating_point(), f"{name}.{field} is {branch.dtype}, a floating point tensor needed")
        else:
            _check_state(branch, f"{name}.{field}")


def _same_layout(state: Any, like: Any, name: str, like_name: str) -> None:
    found, expected = list(_leaves(state, "")), list(_leaves(like, ""))
    _demand(
        type(state) is type(like) and [n for n, _ in found] == [n for n, _ in expected],
        f"{name} is a {type(state).__name__} of {[n for n, _ in found]}, {like_name} a {type(like).__name__} of "
        f"{[n for n, _ in expected]}",
    )
    for (field, a), (_, b) in zip(found, expected, strict=True):
        _demand(
            a.shape == b.shape and a.dtype == b.dtype,
            f"{name}{field} is {a.dtype} {tuple(a.shape)}, {like_name}{field} is {b.dtype} {tuple(b.shape)}",
        )


def _on_device(found: dict[str, Tensor], device: str) -> None:
    for name, tensor in found.items():
        _demand(tensor.device.type == device, f"{name} is on {tensor.device}, the parameters on {device}")


def _unchanged(given: dict[str, Tensor], before: dict[str, tuple[Tensor, int]], who: str) -> None:
    for name, tensor in given.items():
        value, version = before[name]
        same = torch.equal(tensor, value) and tensor._version == version
        _demand(same, f"{who} wrote into the {name} it was given")


def _compare(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float, where: str) -> None:
    for name, target in expected.items():
        value = found[name]
        _demand(value.shape == target.shape, f"{where}{name} has shape {tuple(value.shape)}, not {tuple(target.shape)}")
        if not target.numel():
            continue
        difference = (value - target).abs()
        wrong = ~(difference <= tolerance * target.abs().clamp(min=1))  # true for NaN as well
        _demand(not bool(wrong.any()), f"{where}{name} differs by {_first(wrong, difference)}")


def _zero(gradient: Tensor, what: str) -> None:
    _demand(bool((gradient == 0).all()), f"{what} is {_first(gradient != 0, gradient)}, not 0")


def _first(wrong: Tensor, values: Tensor) -> str:
    place = wrong.nonzero()[0].tolist() if wrong.any() else []
    return f"{values[tuple(place)].item():.3g} at {place}" if place else "nothing"
