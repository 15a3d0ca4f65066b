"""Cores by name: `register_core` adds one, `make_core` builds one, `list_cores` names them all."""

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

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
        if name in _CORES and _CORES[name].core.__qualname__ != core.__qualname__:
            raise ValueError(f"core {name!r}: already registered by {_CORES[name].core.__qualname__}")
        if not dataclasses.is_dataclass(config):
            raise ValueError(f"core {name!r}: config must be a dataclass, {config!r} given")
        config()  # every option needs a default
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
    known = [field.name for field in dataclasses.fields(entry.config)]
    for option in options:
        if option not in known:
            raise ValueError(f"core {name!r} has no option {option!r}{suggest(option, known)}")
    if input_size < 1:
        raise ValueError(f"input_size: {input_size} given, at least 1 needed")
    return entry.core(input_size, entry.config(**options))


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
