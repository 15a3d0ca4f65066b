"""From the words of a command line to settings, with every complaint in one line."""

import dataclasses
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial, wraps
from io import StringIO
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro

from .config import merge_options, read_config
from .errors import UsageError, usage_errors
from .presets import Preset, find_preset
from .settings import SharedSettings
from .zoo import ZooSettings, zoo_settings

Parsed = TypeVar("Parsed")
Shared = TypeVar("Shared", bound=SharedSettings)

# What int() and float() say, as a person would.
_PLAIN_WORDS = (
    (r"invalid literal for int\(\) with base 10: ('.*')", r"\1 given, a whole number needed"),
    (r"could not convert string to float: ('.*')", r"\1 given, a number needed"),
    (
        r"invalid choice ('.*') for argument '(.*?)'\. Expected one of \((.*?),?\)\.",
        r"\2: \1 given, one of \3 needed",
    ),
    (r"no type matching .* could be instantiated .*<class '\w+'>: ", ""),
    (r"Missing value for argument '(.*?)'\..*", r"\1: a value needed"),
    (r"^Error parsing ", ""),
    (r"^Missing from memrl \w+:", "missing"),
    (r"^Unrecognized options:", "unknown option"),
    (r"Perhaps you meant:", "did you mean"),
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def parse(settings: type[Parsed], words: Sequence[str], name: str, default: Parsed | None = None) -> Parsed:
    """Read the options of one command.

    Args:
        settings: dataclass to fill.
        words: what stands behind `memrl NAME`.
        name: of the command.
        default: values that the command line overrules.

    Raises:
        UsageError: the words do not fit; one line.
        SystemExit: with code 0, after printing the help that was asked for.
    """
    with _one_line_errors(words):
        defaults: Mapping[str, Any] = {} if default is None else {"default": default}
        parsed: Parsed = tyro.cli(
            settings, prog=f"memrl {name}", args=list(words), config=(tyro.conf.DisallowNone,), **defaults
        )
        return parsed


@dataclass(frozen=True)
class Request(Generic[Shared]):
    """What a command line asks for, and where the values that it left out come from."""

    settings: Shared
    command: Any  # all options, those that are no settings too
    preset: Preset | None
    zoo: ZooSettings | None

    @property
    def beneath(self) -> dict[str, Any]:
        """Options and number of copies that the preset or the zoo's file proposes."""
        source = self.preset or self.zoo
        return {} if source is None else {"n_envs": source.n_envs, **source.set}


def parse_with_config(settings: type[Shared], command: type[Any], words: Sequence[str], name: str) -> Shared:
    """The settings of `parse_request`."""
    return parse_request(settings, command, words, name).settings


def parse_request(settings: type[Shared], command: type[Any], words: Sequence[str], name: str) -> Request[Shared]:
    """Read the options of a command: the command line, beneath it `--config FILE`, beneath that a preset.

    Args:
        settings: dataclass to fill.
        command: a subclass of it with more fields, `config` and `preset` among them.
        words: what stands behind `memrl NAME`.
        name: of the command.

    Raises:
        UsageError: the words or the file do not fit; one line.
        SystemExit: with code 0, after printing the help that was asked for.
    """
    path = value_of("--config", words)
    config = read_config(Path(path), command) if path is not None else {}
    config_set, config_env_set = config.pop("set", {}), config.pop("env_set", {})
    # A file that says which preset it came from holds all its values, and stays what it is when the preset changes.
    config.setdefault("preset", "none" if "from_preset" in config else "auto")
    required = {field.name: tyro.MISSING for field in dataclasses.fields(settings) if _is_required(field)}
    words = gather(words)

    zoo = _read_zoo(words, config)
    proposed = {} if zoo is None else zoo.settings
    parsed = parse(command, words, name, default=command(**{**required, **proposed, **config}))
    same_env = parsed.env == config.get("env", parsed.env)
    # Environment keywords of the file belong to its environment alone.
    env_set = {**({} if zoo is None else zoo.env_set), **(config_env_set if same_env else {}), **parsed.env_set}
    one_core = getattr(parsed, "core", None)
    cores = [one_core] if one_core is not None else [core.strip() for core in parsed.cores.split(",")]

    preset = None
    if zoo is None:
        preset = find_preset(parsed.preset, env=parsed.env, env_set=env_set, cores=cores, algo=parsed.algo)
    if preset is not None:
        parsed = parse(command, words, name, default=command(**{**required, "n_envs": preset.n_envs, **config}))

    # Options that belong to the file's core or agent say nothing about another one named on the command line.
    for key, prefix in (("core", "core."), ("algo", "agent.")):
        if key in config and getattr(parsed, key) != config[key]:
            config_set = {option: value for option, value in config_set.items() if not option.startswith(prefix)}
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(settings)}
    source = preset or zoo
    beneath = merge_options({} if source is None else source.set, config_set, one_core)
    values["set"] = merge_options(beneath, parsed.set, one_core)
    values["env_set"] = env_set
    if source is not None:
        values["from_preset"] = source.name
    return Request(settings(**values), parsed, preset, zoo)


def _read_zoo(words: Sequence[str], config: Mapping[str, Any]) -> ZooSettings | None:
    """The hyperparameters that `--zoo FILE` has for the environment; None where the option is not given."""
    path, env = value_of("--zoo", words), value_of("--env", words) or config.get("env")
    if path is None or env is None:
        return None
    core = value_of("--core", words) or config.get("core")
    with usage_errors(ValueError, OSError, about=f"--zoo {path}: "):
        return zoo_settings(Path(path), env, value_of("--algo", words) or config.get("algo", "ppo"), core)


def call(function: Callable[..., Any], words: Sequence[str], name: str) -> Any:
    """Call a function with arguments from the command line; what it prints or raises is not touched."""

    @wraps(function)
    def later(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        return partial(function, *args, **kwargs)

    with _one_line_errors(words):
        ready = tyro.cli(later, prog=f"memrl {name}", args=list(words))
    return ready()


def gather(words: Sequence[str]) -> list[str]:
    """Join the values of repeated `--set` and `--env-set`, of which tyro would keep the last only.

    >>> gather(["--set", "a=1", "--seed", "3", "--set", "b=2"])
    ['--seed', '3', '--set', 'a=1', 'b=2']
    """
    gathered: dict[str, list[str]] = {}
    others: list[str] = []
    values = others
    for word in words:
        flag, equals, value = word.partition("=")
        name = flag.replace("_", "-")
        if name in ("--set", "--env-set"):
            values = gathered.setdefault(name, [])
            values.extend([value] if equals else [])
        elif word.startswith("--"):
            values = others
            values.append(word)
        else:
            values.append(word)
    return others + [word for name, pairs in gathered.items() for word in (name, *pairs)]


def condense(box: str) -> str:
    r"""The message in the boxes that tyro draws, in one line.

    >>> print(condense("╭─ Value error ─╮\n│ Error parsing --n: no number │\n│ ─── │\n│ For full ...│\n╰─╯"))
    --n: no number
    """
    # Coloured if standard output is a terminal; if it is not UTF-8, lines are ASCII and sides are open.
    sections: list[list[str]] = [[]]
    for line in _COLOUR.sub("", box).splitlines():
        text = line.strip("│").rstrip()
        if line.startswith("╭") or set(text.strip()) in ({"─"}, {"-"}):
            sections.append([])
        else:
            sections[-1].append(text)
    said = []
    for section in sections[1:]:  # the first holds the title, if anything
        lines = textwrap.dedent("\n".join(section)).splitlines()
        head = " ".join(line for line in lines if not line.startswith((" ", "╰")))
        flags = ", ".join(line.split("  ")[2].strip() for line in lines if re.match(r" {4}\S", line))
        if not head or head.startswith(("Argument helptext", "For full ")):
            continue
        for pattern, words in _PLAIN_WORDS:
            head = re.sub(pattern, words, head)
        said.append(f"{head} {flags}".strip())
    return "; ".join(said)


@contextmanager
def _one_line_errors(words: Sequence[str]) -> Iterator[None]:
    """Fold the box that tyro prints on bad input into one line."""
    columns = os.environ.get("COLUMNS")
    if not {"-h", "--help"} & set(words):
        os.environ["COLUMNS"] = "10000"  # so that no message is broken into lines in the middle of a word
    printed = StringIO()
    try:
        with redirect_stderr(printed):
            yield
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(condense(printed.getvalue())) from None
    finally:
        os.environ.pop("COLUMNS", None)
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _is_required(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def value_of(flag: str, words: Sequence[str]) -> str | None:
    """The value of a flag that is needed before the others are read; a wrong form of it is left to tyro."""
    found = None
    for place, word in enumerate(words):
        if word == flag and place + 1 < len(words):
            found = words[place + 1]
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found
