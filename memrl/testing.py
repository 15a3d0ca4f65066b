"""`check_core`: the laws every memory core obeys, for cores inside and outside this library.

Each law is one function whose docstring states it. A core that breaks one rarely crashes: it trains, a little
worse, on gradients or memories that are not its own. The laws run in float64 on short random sequences.
"""

import contextlib
import copy
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
Law = Callable[[Core, Generator], None]

STEPS, BATCH = 6, 3  # of the random sequences; long enough for spans of several lengths side by side
EXACT = 0.0
ROUNDING = 1e-9  # float64, a few steps, the same sums in another order; relative where numbers exceed 1

# What a core that breaks a law may throw instead of returning something wrong.
CRASHES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, pickle.PickleError)


def check_core(core: MemoryCore[Any], *, seed: int = 0) -> None:
    """Raise if the core breaks one of the laws that hosts rely on.

    Everything runs on copies in eval mode; the core and torch's random number generators stay as they were.
    It takes a second or two, more for a large core. Pickle has to find the core's class, so define it at the
    top of a module and not inside a function.

    Args:
        core: a built core, of any size, dtype and device.
        seed: of the random inputs, states and resets.

    Raises:
        AssertionError: the message begins with the law's name and says where, or by how much, it is broken.
        ValueError: `core` is no MemoryCore.

    >>> from memrl import check_core, make_core
    >>> check_core(make_core("lstm", input_size=3, hidden_size=4))
    """
    if not isinstance(core, MemoryCore):
        raise ValueError(f"core: {type(core).__name__} given, a built memrl.MemoryCore needed")
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices), _default_dtype(torch.float64), torch.enable_grad():
        for name, law in LAWS.items():
            draw = Generator().manual_seed(seed)
            torch.default_generator.manual_seed(seed)  # for a core that draws numbers itself
            with _reported_as("copies"):
                twin = copy.deepcopy(core).cpu().double().eval()
                if law is not _finite:  # training starts from what was built, so finite that has to be
                    _shake(twin, draw)
            with _reported_as(name):
                law(twin, draw)


@contextlib.contextmanager
def _reported_as(law: str) -> Iterator[None]:
    try:
        yield
    except AssertionError as broken:
        raise AssertionError(f"{law}: {broken}") from None
    except CRASHES as error:
        raise AssertionError(f"{law}: {type(error).__name__}: {error}") from error


# The laws.


def _registered(core: Core, draw: Generator) -> None:
    """Every tensor of a core is a parameter or buffer, so that `to`, optimisers and state_dict find it."""
    registered = {id(tensor) for tensor in (*core.parameters(), *core.buffers())}
    for name, (value, _) in _contents(core):
        if isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and value.dim()):
            _demand(id(value) in registered, f"{name} is a tensor, but neither parameter nor buffer")


def _copies(core: Core, draw: Generator) -> None:
    """A deep copy and an unpickled copy compute what the original computes, before and after it has run."""
    x, state, reset = _trial(core, draw)
    expected = core(x, state, reset)
    for what, twin in (("deepcopy", copy.deepcopy(core)), ("pickle", pickle.loads(pickle.dumps(core)))):
        _compare(_named(*twin(x, state, reset)), _named(*expected), ROUNDING, f"after {what}, ")


def _shapes(core: Core, draw: Generator) -> None:
    """States are NamedTuples of floating tensors, batch in axis 0; a step keeps their layout."""
    for attribute in ("input_size", "output_size"):
        size = getattr(core, attribute, None)
        _demand(isinstance(size, int) and size >= 1, f"core.{attribute} is {size!r}, a number >= 1 needed")
    one = core.initial_state(1)
    _check_state(one, "initial_state(1)")
    for batch in (1, BATCH):
        called = f"initial_state({batch})"
        state = core.initial_state(batch)
        _check_state(state, called)
        for name, leaf in _leaves(state, called):
            _demand(leaf.shape[:1] == (batch,), f"{name} is {tuple(leaf.shape)}, ({batch}, ...) needed")
        _same_layout(tree.index(state, slice(1)), one, f"{called}[:1]", "initial_state(1)")
        y, after = core.step(_noise(core, draw, batch, core.input_size), state)
        needed = (batch, core.output_size)
        _demand(y.shape == needed, f"step gives {tuple(y.shape)}, {needed} needed")
        _check_state(after, "state after step")
        _same_layout(after, state, "state after step", called)
    x, state, reset = _trial(core, draw)
    y, after = core(x, state, reset)
    expected = (STEPS, BATCH, core.output_size)
    _demand(y.shape == expected, f"forward gives {tuple(y.shape)}, {expected} needed")
    _same_layout(after, state, "state after forward", "state before it")


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
    reset = _resets(x, draw, 0.3)
    before = dict(_contents(core))
    state = core.initial_state(BATCH)
    _, state = core.step(x[0], state)
    core(x, state, reset)
    after = dict(_contents(core))
    for name in {**before, **after}:
        _demand(name in before, f"{name} is new")
        _demand(name in after, f"{name} is gone")
        (was, writes_then), (now, writes_now) = before[name], after[name]
        _demand(was is now and writes_then == writes_now, f"{name} changed")


def _dtype(core: Core, draw: Generator) -> None:
    """Outputs and states have the dtype of the parameters, whatever torch's default is."""
    if not _tensors(core):
        return  # nothing to follow
    for dtype, default in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        with _default_dtype(default):
            core = core.to(dtype)
            state = core.initial_state(BATCH)
            for name, leaf in _leaves(state, "initial_state"):
                _demand(leaf.dtype == dtype, f"{name} is {leaf.dtype}, the parameters are {dtype}")
            y, after = core.step(_noise(core, draw, BATCH, core.input_size), state)
        for name, leaf in _named(y, after).items():
            _demand(leaf.dtype == dtype, f"{name} after step is {leaf.dtype}, the parameters are {dtype}")


def _device(core: Core, draw: Generator) -> None:
    """Tensors are made where the parameters are: on "meta", which is everywhere, and on an accelerator."""
    if not _tensors(core):
        return
    meta = copy.deepcopy(core).to("meta")
    with _OneDevice("meta"):
        state = meta.initial_state(BATCH)
        _on_device(_named(None, state), "meta", "initial_state: ")
        try:
            y, after = meta.step(torch.empty(BATCH, core.input_size, device="meta"), state)
        except RuntimeError as error:
            # A step may look at numbers, a counter say; "meta" tensors have none. An accelerator tells then.
            if not (isinstance(error, NotImplementedError) or "on meta tensors" in str(error)):
                raise
        else:
            _on_device(_named(y, after), "meta", "step: ")
    for device in _accelerators():
        x, state, reset = _trial(core.to(device, torch.float32), draw)
        _on_device(_named(*core(x, state, reset)), device, "forward: ")


def _deterministic(core: Core, draw: Generator) -> None:
    """In eval mode the same inputs give the same bits, wherever torch's random numbers stand."""
    x, state, reset = _trial(core, draw)
    first = _named(*core(x, state, reset))
    torch.rand(7, device=x.device)
    _compare(_named(*core(x, state, reset)), first, EXACT, "second run: ")


def _finite(core: Core, draw: Generator) -> None:
    """From the initial state on, outputs and states are finite, and so is the gradient of every parameter."""
    x, state, reset = _trial(core, draw)

    def from_start(x: Tensor, _: State) -> Any:
        return core(x, core.initial_state(BATCH), reset)

    for name, found in _results(core, from_start, x, state).items():
        if not found.isfinite().all():
            raise AssertionError(f"{name} is {_first(~found.isfinite(), found)}")


def _step_is_sequence(core: Core, draw: Generator) -> None:
    """`forward` equals the loop over `step`, in outputs, state and gradients, wherever the resets fall."""
    x, state, random = _trial(core, draw)
    none, at_start, consecutive = torch.zeros_like(random), torch.zeros_like(random), torch.zeros_like(random)
    at_start[0], consecutive[2:4, 0] = True, True
    patterns = {
        "without resets": none,
        "resets at t=0": at_start,
        "consecutive resets": consecutive,
        "a reset at every step": torch.ones_like(random),
        "random resets": random,
        "many random resets": _resets(x, draw, 0.6),
    }
    for where, reset in patterns.items():
        found = _results(core, partial(core, reset=reset), x, state)
        expected = _results(core, partial(_loop, core, reset=reset), x, state)
        _compare(found, expected, ROUNDING, f"{where}: ")


def _chunked_is_whole(core: Core, draw: Generator) -> None:
    """A sequence run in pieces, the state handed on, equals the sequence run at once, gradients included."""
    x, state, reset = _trial(core, draw)

    def pieces(x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = []
        for piece in (slice(1), slice(1, 4), slice(4, STEPS)):
            y, state = core(x[piece], state, reset[piece])
            outputs.append(y)
        return torch.cat(outputs), state

    whole = _results(core, partial(core, reset=reset), x, state)
    _compare(_results(core, pieces, x, state), whole, ROUNDING, "pieces of 1, 3 and 2 steps: ")


def _reset_is_fresh_start(core: Core, draw: Generator) -> None:
    """What follows a reset depends on nothing before it, not even on NaN, and sends no gradient there."""
    x, state, _ = _trial(core, draw)
    for at in (0, STEPS // 2):
        reset = torch.zeros(STEPS, BATCH, dtype=torch.bool)
        reset[at] = True
        fresh = _named(*core(x[at:], core.initial_state(BATCH), torch.zeros_like(reset[at:])))
        for poison in (0.0, 1e3, float("nan"), float("inf")):
            before, earlier = _poisoned(state, poison, spare_counters=at > 0), x.clone()
            earlier[:at] = poison
            y, after = core(earlier, before, reset)
            _compare(_named(y[at:], after), fresh, ROUNDING, f"reset at t={at}, {poison} before it: ")

        def after_reset(x: Tensor, s: State, at: int = at, reset: Tensor = reset) -> tuple[Tensor, State]:
            y, s = core(x, s, reset)
            return y[at:], s

        found = _results(core, after_reset, x, state)
        _zero(found["gradient of x"][:at], f"reset at t={at}: gradient of x before it")
        for name, _ in _leaves(state, "state"):
            _zero(found[f"gradient of {name}"], f"reset at t={at}: gradient of the {name} before it")


def _no_future(core: Core, draw: Generator) -> None:
    """An output depends on no later input, in value or gradient."""
    x, state, reset = _trial(core, draw)
    reset = torch.zeros_like(reset)
    y, _ = core(x, state, reset)
    for t in range(STEPS - 1):
        changed = x.clone()
        changed[t + 1 :] += 1
        early = core(changed, state, reset)[0][: t + 1]
        _compare({"output": early}, {"output": y[: t + 1]}, ROUNDING, f"other inputs after t={t}: ")

        def output(x: Tensor, s: State, t: int = t) -> tuple[Tensor, State]:
            return core(x, s, reset)[0][t], ()

        gradient = _results(core, output, x, state)["gradient of x"]
        _zero(gradient[t + 1 :], f"output at t={t}: gradient of x after it")


def _rows_independent(core: Core, draw: Generator) -> None:
    """A batch row has the same results in any place and any company, and sends no gradient to other rows."""
    one, many = core.initial_state(1), core.initial_state(BATCH)
    for b in range(BATCH):
        same = tree.index(many, slice(b, b + 1))
        _compare(_named(None, same), _named(None, one), EXACT, f"initial_state({BATCH}), row {b}: ")

    x, state, reset = _trial(core, draw)
    reset = torch.zeros_like(reset)
    y, after = core(x, state, reset)
    order = torch.tensor([*range(1, BATCH), 0])
    permuted = _named(*core(x[:, order], tree.index(state, order), reset))
    _compare(permuted, _named(y[:, order], tree.index(after, order)), ROUNDING, "permuted rows: ")
    for b in range(BATCH):
        row, others = slice(b, b + 1), torch.arange(BATCH) != b
        alone = _named(*core(x[:, row], tree.index(state, row), reset[:, row]))
        _compare(alone, _named(y[:, row], tree.index(after, row)), ROUNDING, f"row {b} alone: ")

        ill_x = torch.where(others[:, None], x, torch.nan)
        ill = tree.where(others, state, _poisoned(state, torch.nan, spare_counters=True))
        ill_y, ill_after = core(ill_x, ill, reset)
        found = _named(ill_y[:, others], tree.index(ill_after, others))
        _compare(found, _named(y[:, others], tree.index(after, others)), ROUNDING, f"NaN in row {b}: ")

        def one_row(x: Tensor, s: State, row: slice = row) -> tuple[Tensor, State]:
            y, s = core(x, s, reset)
            return y[:, row], tree.index(s, row)

        found = _results(core, one_row, x, state)
        _zero(found["gradient of x"][:, others], f"row {b}: gradient of x of the other rows")
        for name, _ in _leaves(state, "state"):
            _zero(found[f"gradient of {name}"][others], f"row {b}: gradient of the {name} of the other rows")


def _gradcheck(core: Core, draw: Generator) -> None:
    """Gradients with respect to inputs, state and parameters equal finite differences (float64, 3 steps)."""
    findings = []
    for _ in range(3):  # next to a jump, where slots change places in a sorted order, finite differences mean nothing
        try:
            return _gradcheck_once(core, draw)
        except GradcheckError as error:
            findings.append(" ".join(str(error).split()))
    raise AssertionError(findings[0])


def _gradcheck_once(core: Core, draw: Generator) -> None:
    steps = 3
    x, state, _ = _trial(core, draw)
    reset = torch.zeros(steps, BATCH, dtype=torch.bool)
    reset[0, 0] = True  # one row takes in the initial state, and with it the parameters of that
    leaves, parameters = dict(_leaves(state, "state")), _learned(core)
    moving = {name: leaf for name, leaf in leaves.items() if not _counts(leaf)}
    sources = {name: v.detach() for name, v in {"x": x[:steps], **moving, **parameters}.items()}
    noise = [_normal(source, draw) for source in sources.values()]
    directions = [direction / direction.norm() for direction in noise]

    def run(*lengths: Tensor) -> Tensor:
        # Each source moves along one random direction, so that a large core takes no longer than a small one.
        along = zip(sources.items(), lengths, directions, strict=True)
        moved = {name: source + length * direction for (name, source), length, direction in along}
        names = iter(leaves)
        before = tree.map(lambda leaf: moved.get(next(names), leaf), state)
        y, after = functional_call(core, {name: moved[name] for name in parameters}, (moved["x"], before, reset))
        return _weighted_sum([y, *tree.leaves(after)])

    zeros = [torch.zeros((), requires_grad=True) for _ in sources]
    try:
        gradcheck(run, zeros, atol=1e-7, check_undefined_grad=False, nondet_tol=1e-9)
    except GradcheckError as error:
        raise GradcheckError(f"{error} (inputs, from 0: {', '.join(sources)})") from None


def _pack_round_trip(core: Core, draw: Generator) -> None:
    """`tree.unpack(tree.pack(state), like=core.initial_state(1))` gives the state back, bit by bit."""
    _, state, _ = _trial(core, draw)
    packed = tree.pack(state)
    _demand(packed.shape == (BATCH, tree.size(state)), f"packed shape {tuple(packed.shape)}")
    back = tree.unpack(packed, core.initial_state(1))
    _same_layout(back, state, "the unpacked state", "the state")
    _compare(_named(None, back), _named(None, state), EXACT, "unpacked ")


def _state_dict_round_trip(core: Core, draw: Generator) -> None:
    """All that a core has learned is in its state_dict: loaded into another one, it gives equal results."""
    x, state, reset = _trial(core, draw)
    twin = copy.deepcopy(core)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(1)
    twin.load_state_dict(core.state_dict())
    _compare(_named(*twin(x, state, reset)), _named(*core(x, state, reset)), EXACT, "loaded: ")


# In this order, so that a broken core is reported under the law that says most about the fault.
LAWS: dict[str, Law] = {
    "everything registered": _registered,
    "shapes": _shapes,
    "dtype": _dtype,
    "device": _device,
    "nothing kept on the module": _nothing_kept,
    "inputs not mutated": _nothing_mutated,
    "finite": _finite,
    "deterministic": _deterministic,
    "copies": _copies,
    "pack/unpack round trip": _pack_round_trip,
    "state_dict round trip": _state_dict_round_trip,
    "rows independent": _rows_independent,
    "no gradient from the future": _no_future,
    "reset = fresh start": _reset_is_fresh_start,
    "step = sequence": _step_is_sequence,
    "chunked = whole": _chunked_is_whole,
    "gradcheck": _gradcheck,
}


# Material: copies, random inputs, the slow loop.


def _shake(core: Core, draw: Generator) -> None:
    """Move every parameter a little: a layer that starts at zero would hide the faults behind it."""
    with torch.no_grad():
        for parameter in core.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_().add_(0.05 * _normal(parameter, draw))


def _learned(core: Core) -> dict[str, nn.Parameter]:
    return {name: p for name, p in core.named_parameters() if p.requires_grad and p.numel()}


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
        state = tree.map(lambda v: v if _counts(v) else v * (1 - 0.2 * _uniform(v, draw)), state)
    x = _noise(core, draw, STEPS, BATCH, core.input_size)
    return x, state, _resets(x, draw, 0.3)


def _resets(x: Tensor, draw: Generator, chance: float) -> Tensor:
    return _uniform(x[..., 0], draw) < chance


def _normal(like: Tensor, draw: Generator) -> Tensor:
    return torch.randn(like.shape, generator=draw).to(like)


def _uniform(like: Tensor, draw: Generator) -> Tensor:
    return torch.rand(like.shape, generator=draw).to(like)


def _counts(leaf: Tensor) -> bool:
    """Whether a leaf holds whole numbers only: a counter, for which nothing in between has a meaning."""
    return bool((leaf == leaf.round()).all())


def _poisoned(state: State, poison: float, *, spare_counters: bool) -> State:
    # No input can make a counter NaN, and a core may index with it.
    return tree.map(lambda v: v if spare_counters and _counts(v) else torch.full_like(v, poison), state)


def _loop(core: Core, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
    """What `forward` means."""
    outputs = []
    for x_t, reset_t in zip(x, reset, strict=True):
        state = tree.where(reset_t, core.initial_state(x.shape[1]), state)
        y, state = core.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs), state


def _results(core: Core, run: Callable[..., Any], x: Tensor, state: State) -> dict[str, Tensor]:
    """Everything a run gives, by name: outputs, state, and the gradients of a random weighting of both."""
    x = x.detach().clone().requires_grad_()
    state = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), state)
    results = _named(*run(x, state))
    loss = _weighted_sum(list(results.values()))
    sources = {"x": x, **dict(_leaves(state, "state")), **_learned(core)}
    gradients: Sequence[Tensor | None] = [None] * len(sources)
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    for (name, source), gradient in zip(sources.items(), gradients, strict=True):
        results[f"gradient of {name}"] = torch.zeros_like(source) if gradient is None else gradient
    return results


def _weighted_sum(results: list[Tensor]) -> Tensor:
    """One number that every number counts in, each with its own random weight, always the same."""
    draw = Generator().manual_seed(0)
    return torch.stack([(result * _normal(result, draw)).sum() for result in results]).sum()


def _named(y: Tensor | None, state: State) -> dict[str, Tensor]:
    outputs = {} if y is None else {"output": y}
    return {**outputs, **dict(_leaves(state, "state"))}


def _leaves(state: State, name: str) -> Iterator[tuple[str, Any]]:
    """Leaves with their paths, e.g. ("state.controller.hidden", tensor)."""
    for field, branch in zip(getattr(state, "_fields", range(len(state))), state, strict=True):
        path = f"{name}.{field}"
        if isinstance(branch, tuple):
            yield from _leaves(branch, path)
        else:
            yield path, branch


def _contents(core: Core) -> Iterator[tuple[str, tuple[object, int]]]:
    """All values in the attributes of a module and its submodules, and how often each was overwritten."""
    seen = set()

    def walk(name: str, value: object) -> Iterator[tuple[str, tuple[object, int]]]:
        inside: Iterator[tuple[object, object]] | None = None
        if isinstance(value, (nn.Module, dict)):
            inside = iter((vars(value) if isinstance(value, nn.Module) else value).items())
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            inside = enumerate(value)
        if inside is None:
            yield name, (value, value._version if isinstance(value, Tensor) else 0)
        elif id(value) not in seen:
            seen.add(id(value))
            for key, item in inside:
                private_dict = key in ("_parameters", "_buffers", "_modules")  # users write core.weight
                yield from walk(name if private_dict else f"{name}.{key}", item)

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
                raise AssertionError(f"{func.__name__}: a tensor on {tensor.device}, the core on {self.device}")
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
    given = type(state).__name__
    _demand(isinstance(state, tuple) and hasattr(state, "_fields"), f"{name} is a {given}, no NamedTuple")
    _demand(len(state) > 0, f"{name} is empty; a core without memory has one leaf of shape (B, 0)")
    for field, branch in zip(state._fields, state, strict=True):
        if isinstance(branch, Tensor):
            _demand(branch.is_floating_point(), f"{name}.{field} is {branch.dtype}, floating point needed")
        else:
            _check_state(branch, f"{name}.{field}")


def _same_layout(state: State, like: State, name: str, like_name: str) -> None:
    kinds = type(state).__name__, type(like).__name__
    _demand(type(state) is type(like), f"{name} is a {kinds[0]}, {like_name} a {kinds[1]}")
    found = {path: f"{leaf.dtype} {tuple(leaf.shape)}" for path, leaf in _leaves(state, "")}
    expected = {path: f"{leaf.dtype} {tuple(leaf.shape)}" for path, leaf in _leaves(like, "")}
    for path in {**expected, **found}:
        a, b = found.get(path, "missing"), expected.get(path, "missing")
        _demand(a == b, f"{name}{path} is {a}, {like_name}{path} is {b}")


def _on_device(found: dict[str, Tensor], device: str, where: str) -> None:
    for name, leaf in found.items():
        _demand(leaf.device.type == device, f"{where}{name} is on {leaf.device}, the core is on {device}")


def _unchanged(given: dict[str, Tensor], before: dict[str, tuple[Tensor, int]], who: str) -> None:
    for name, tensor in given.items():
        value, version = before[name]
        same = tensor._version == version and torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=True)
        _demand(same, f"{who} wrote into the {name} it was given")


def _compare(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float, where: str) -> None:
    for name, target in expected.items():
        value = found[name]
        shapes = tuple(value.shape), tuple(target.shape)
        _demand(value.shape == target.shape, f"{where}{name} has shape {shapes[0]}, not {shapes[1]}")
        if not target.numel():
            continue
        difference = (value - target).abs()
        wrong = ~(difference <= tolerance * target.abs().clamp(min=1))  # true for NaN as well
        if wrong.any():
            raise AssertionError(f"{where}{name} differs by {_first(wrong, difference)}")


def _zero(gradient: Tensor, what: str) -> None:
    if gradient.any():
        raise AssertionError(f"{what} is {_first(gradient != 0, gradient)}, not 0")


def _first(wrong: Tensor, values: Tensor) -> str:
    place = wrong.nonzero()[0].tolist()
    return f"{values[tuple(place)].item():.3g} at {place}"
