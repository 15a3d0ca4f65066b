"""Cores by name: `register_core` adds one, `make_core` builds one, `list_cores` names them all."""

import dataclasses
import difflib
import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from memrl.core import MemoryCore

Core = TypeVar("Core", bound=type[MemoryCore[Any]])


@dataclass(frozen=True)
class CoreEntry:
    """What the registry knows of a core."""

    name: str
    core: type[MemoryCore[Any]]
    config: type[Any]
    paper: str  # author, year, title: for `memrl cores` and the README's table
    order: int  # where it stands in the list; the shipped cores come in the order of their history


_CORES: dict[str, CoreEntry] = {}


def register_core(name: str, config: type[Any], *, paper: str, order: int = 100) -> Callable[[Core], Core]:
    """Class decorator: make a core known as `name` to `make_core`, `check_core`'s suite and the command line.

    Args:
        name: a new, lower-case name.
        config: frozen dataclass of options, every field with a default. `Core(input_size, config)` builds the core.
        paper: where the memory comes from: "Author Year, Title".
        order: place in `list_cores()`.

    Raises:
        ValueError: the name is taken, or `config` is not a dataclass with defaults.
    """

    def register(core: Core) -> Core:
        if not core.__module__.startswith("memrl.cores."):
            _discover()  # or a name of ours would look free until somebody asks for it
        taken = _CORES.get(name)
        # The same class once more is a notebook cell that runs again.
        if taken and (taken.core.__module__, taken.core.__qualname__) != (core.__module__, core.__qualname__):
            raise ValueError(f"core {name!r}: already registered by {taken.core.__qualname__}")
        if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
            raise ValueError(f"core {name!r}: config must be a dataclass, {config!r} given")
        for field in dataclasses.fields(config):
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise ValueError(f"core {name!r}: config needs a default for {field.name!r}")
        _CORES[name] = CoreEntry(name, core, config, paper, order)
        return core

    return register


def list_cores() -> tuple[str, ...]:
    """Names of all registered cores; "none" is the memoryless control.

    >>> list_cores()[:3]
    ('none', 'lstm', 'gru')
    """
    _discover()
    return tuple(entry.name for entry in sorted(_CORES.values(), key=lambda e: (e.order, e.name)))


def core_entry(name: str) -> CoreEntry:
    """The entry of one core.

    Raises:
        ValueError: no core of that name; the message suggests the nearest.
    """
    _discover()
    if name not in _CORES:
        raise ValueError(f"unknown core {name!r}{suggest(name, list_cores())}")
    return _CORES[name]


def make_core(name: str, input_size: int, **options: Any) -> MemoryCore[Any]:
    """Build a core by name.

    Args:
        name: one of `list_cores()`.
        input_size: I, width of one input, at least 1.
        options: fields of the core's config; `memrl cores --core NAME` lists them.

    Raises:
        ValueError: unknown name or option (the message suggests the nearest), or a value out of its range.

    >>> make_core("lstm", input_size=8, hidden_size=32).output_size
    32
    """
    entry = core_entry(name)
    check_options(f"core {name!r}", entry.config, options)
    _check_value("input_size", input_size, int, least=1)
    return entry.core(input_size, entry.config(**options))


def check_options(whose: str, config: type[Any], options: Mapping[str, Any]) -> None:
    """Hold options against the fields of a config; a field's metadata "least" is its smallest whole number, else 1.

    Raises:
        ValueError: an option that there is not (the message suggests the nearest), or a value out of its range.
    """
    known, kinds = {field.name: field for field in dataclasses.fields(config)}, get_type_hints(config)
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"{whose} has no option {option!r}{suggest(option, known)}")
        _check_value(option, value, kinds[option], least=known[option].metadata.get("least", 1))


def _check_value(name: str, value: object, kind: object, least: int) -> None:
    """Hold a value against the annotation of its field; what else a core asks for, it checks itself."""
    number = not isinstance(value, bool)
    if kind is int and not (number and isinstance(value, Integral) and int(value) >= least):
        raise ValueError(f"{name}: {value!r} given, a whole number of at least {least} needed")
    if kind is float and not (number and isinstance(value, Real) and 0 <= float(value) < math.inf):
        raise ValueError(f"{name}: {value!r} given, a finite number of at least 0 needed")
    if kind is bool and not isinstance(value, bool):
        raise ValueError(f"{name}: {value!r} given, True or False needed")
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ValueError(f"{name}: {value!r} given, one of {', '.join(map(repr, get_args(kind)))} needed")


def suggest(word: str, known: Iterable[str]) -> str:
    """The tail of an error message: the nearest known word, and all of them."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" known: {', '.join(known)}"


def _discover() -> None:
    """Import every file in memrl/cores, so that adding a core is adding one file."""
    package = importlib.import_module("memrl.cores")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        importlib.import_module(f"memrl.cores.{module.name}")
