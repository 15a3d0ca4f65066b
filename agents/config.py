"""`config.yaml`: data that says how to do a run again, and how it meets the command line."""

import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .errors import UsageError, usage_errors
from .options import fits, nearest, plain
from .settings import SharedSettings

Settings = TypeVar("Settings", bound=SharedSettings)

_COMMAND_LINE_ONLY = {"config", "zoo", "show_config"}


def read_config(path: Path, settings: type[Any]) -> dict[str, Any]:
    """Read and check a config file; dashes in keys may be underscores, as on the command line.

    Args:
        path: a YAML file with the same keys as the command's options.
        settings: the dataclass it will fill.

    Raises:
        UsageError: no such file, not a mapping, an unknown key, or a value of a wrong type.
    """
    with usage_errors(OSError, yaml.YAMLError, UnicodeDecodeError, about=f"--config {path}: "):
        data = plain(yaml.safe_load(path.read_text(encoding="utf-8")))
    if not isinstance(data, dict):
        raise UsageError(f"--config {path}: a mapping of options to values needed, as in a run's config.yaml")
    hints = typing.get_type_hints(settings, include_extras=False)
    known = [field.name for field in fields(settings)]
    config = {}
    for key, value in data.items():
        name = str(key).replace("-", "_")
        if name not in known or name in _COMMAND_LINE_ONLY:
            raise UsageError(f"--config {path}: unknown option {key!r}{nearest(name, known)}")
        if not fits(value, hints[name]):
            raise UsageError(f"--config {path}: {key}: {value!r} is not of the right type; see --help")
        config[name] = value
    return config


def write_config(path: Path, settings: Any, comment: Sequence[str] = ()) -> None:
    """Write settings so that `--config` reads them back.

    Args:
        path: a new file.
        settings: dataclass to write, `run_dir` included.
        comment: lines that go in front.
    """
    replace_text(path, config_text(settings, comment))


def config_text(settings: SharedSettings, comment: Sequence[str] = ()) -> str:
    """What `write_config` writes."""
    data = {key: _data(value) for key, value in asdict(settings).items()}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return "".join(f"# {line}\n" for line in comment) + text


def replace_text(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def merge_options(config: Mapping[str, Any], given: Mapping[str, Any], core: str | None = None) -> dict[str, Any]:
    """Options of a config file and of the command line in one; a key with and without prefix is one key.

    Args:
        config: options that are overruled.
        given: options that overrule them.
        core: the one core that both are for, whose name may be a prefix too.

    >>> merge_options({"core.num_slots": 32, "gamma": 0.9}, {"dnc.num_slots": 64}, core="dnc")
    {'gamma': 0.9, 'dnc.num_slots': 64}
    """

    def bare(key: str) -> str:
        prefix, _, rest = key.partition(".")
        return rest if prefix in ("core", "agent", core) else key

    replaced = {bare(key) for key in given}
    return {**{key: value for key, value in config.items() if bare(key) not in replaced}, **given}


def _data(value: Any) -> Any:
    """Tuples and other mappings as YAML knows them."""
    if isinstance(value, Mapping):
        return {str(key): _data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_data(item) for item in value]
    return value
