"""`memrl cores` and `memrl envs`: what there is to choose from."""

import ast
import contextlib
import dataclasses
import inspect
import io
import textwrap
import tokenize
from typing import Any

import gymnasium as gym
from rich import box
from rich.table import Table

from memrl import tree
from memrl.envs import list_envs, make_env
from memrl.registry import CoreEntry, core_entry, list_cores, make_core

from .console import plain_console
from .errors import UsageError, usage_errors
from .settings import CoresSettings, EnvsSettings

# Packages whose ids make_env takes as they are, with the beginnings of those ids.
_SUITES = {"MiniGrid": ("MiniGrid-", "BabyAI-"), "POPGym": ("popgym-",)}


def show_cores(settings: CoresSettings) -> int:
    """Print a table of all cores, or one core with its options; returns the exit code.

    Raises:
        UsageError: no such core, or no such input size.
    """
    console = plain_console()
    with usage_errors(ValueError):
        names = list_cores() if settings.core is None else (core_entry(settings.core).name,)
        sizes = {name: core_size(name, settings.input_size) for name in names}
    if settings.core is not None:
        entry = core_entry(settings.core)
        parameters, state_bytes = sizes[entry.name]
        console.print(f"{entry.name}: {summary_of(entry)}")
        console.print(f"paper       {entry.paper}")
        console.print(f"parameters  {parameters} at an input of {settings.input_size}")
        console.print(f"state       {state_bytes} bytes for each environment")
        table = Table("option", "default", "meaning", title="--set NAME=VALUE", title_justify="left")
        for name, default, meaning in options_of(entry):
            table.add_row(name, default, meaning)
        console.print(table)
        return 0
    table = Table("core", "paper", "options", title_justify="left")
    table.title = f"parameters at an input of {settings.input_size}; bytes of state for each environment"
    table.add_column("parameters", justify="right")
    table.add_column("state bytes", justify="right")
    for name in names:
        entry = core_entry(name)
        options = ", ".join(f"{option}={default}" for option, default, _ in options_of(entry))
        table.add_row(name, entry.paper, options, *map(str, sizes[name]))
    console.print(table)
    console.print("`memrl cores --core NAME` says what the options mean.")
    return 0


def show_envs(settings: EnvsSettings) -> int:
    """Print a table of memrl's environments, or all ids with a text in them, or draw one; returns the exit code.

    Raises:
        UsageError: options that do not fit, no id has the text in it, or whatever hinders the drawing.
    """
    settings.check()
    console = plain_console()
    if settings.render is not None:
        from .render import render_episode

        path, episode = render_episode(settings)
        console.print(f"episode     {episode}")
        console.print(f"picture     {path}")
        return 0
    suites = _suite_ids()
    if settings.filter is not None:
        wanted = settings.filter.lower()
        matching = sorted(env_id for env_id in gym.registry if wanted in env_id.lower())
        if not matching:
            raise UsageError(f"--filter: no environment id contains {settings.filter!r}")
        console.print("\n".join(matching))
        return 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("environment", no_wrap=True)
    table.add_column("what to remember")
    for heading in ("horizon", "for\nsteps", "optimal\nreturn", "without\nmemory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for card in list_envs():
        optimal = ("<= " if card.optimal_is_bound else "") + _rounded(card.optimal_return)
        memoryless = "unknown" if card.memoryless_return is None else _rounded(card.memoryless_return)
        memoryless = f">= {memoryless}" if card.memoryless_is_found else memoryless
        table.add_row(card.id, card.remember, str(card.horizon), str(card.steps_to_remember), optimal, memoryless)
    console.print(table)
    console.print("With keywords at their defaults. for steps: from the observation that shows it to its use.")
    for suite, ids in suites.items():
        example = f", e.g. {ids[0]}" if ids else ""
        console.print(f"{suite}: {len(ids)} ids{example}" if ids else f"{suite}: not installed")
    console.print("`memrl envs --filter TEXT` lists the ids that contain a text; any Gymnasium id works too.")
    console.print("`memrl envs --render ID` draws an episode.")
    return 0


def core_size(name: str, input_size: int) -> tuple[int, int]:
    """Trainable parameters of a core at its default options, and bytes of its state for one environment.

    >>> core_size("gru", 2)  # 3 gates, each with weights for 2 inputs and 128 hidden units, and two biases
    (50688, 512)
    """
    core = make_core(name, input_size)
    state = tree.leaves(core.initial_state(1))
    parameters = sum(parameter.numel() for parameter in core.parameters() if parameter.requires_grad)
    return parameters, sum(leaf.numel() * leaf.element_size() for leaf in state)


def summary_of(entry: CoreEntry) -> str:
    """The first line of a core's docstring."""
    return (inspect.getdoc(entry.core) or "").partition("\n")[0]


def options_of(entry: CoreEntry) -> list[tuple[str, str, str]]:
    """Name, default and meaning of every option of a core."""
    meanings = comments(entry.config)
    return [
        (field.name, shown(field.default), meanings.get(field.name, "")) for field in dataclasses.fields(entry.config)
    ]


def comments(config: type[Any]) -> dict[str, str]:
    """What the comment behind each field of a dataclass says; nothing where the source is not at hand."""
    try:
        source = textwrap.dedent(inspect.getsource(config))
    except (OSError, TypeError):
        return {}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    by_line = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    (definition,) = ast.parse(source).body
    assignments = [node for node in ast.walk(definition) if isinstance(node, ast.AnnAssign)]
    return {
        node.target.id: by_line[node.end_lineno]
        for node in assignments
        if isinstance(node.target, ast.Name) and node.end_lineno in by_line
    }


def shown(default: Any) -> str:
    """A default as one would type it behind `--set`."""
    if isinstance(default, bool) or default is None:
        return {True: "true", False: "false", None: "null"}[default]
    return str(default)


def _rounded(value: float) -> str:
    """Three decimals, without zeros at the end.

    >>> _rounded(-0.471154), _rounded(0.35), _rounded(-150.0)
    ('-0.471', '0.35', '-150')
    """
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _suite_ids() -> dict[str, list[str]]:
    """Ids of each suite; empty where its package is not installed."""
    with contextlib.suppress(ValueError):  # POPGym is not installed
        # It registers its ids when one of them is asked for.
        make_env("popgym-RepeatPreviousEasy-v0").close()
    return {
        suite: sorted(env_id for env_id in gym.registry if env_id.startswith(beginnings))
        for suite, beginnings in _SUITES.items()
    }
