"""Presets: hyperparameters that were measured, by environment and core, as data in `memrl/presets/*.yaml`.

One file per family of environments, a list of presets in each; the first that fits is taken, those of `default.yaml`
after all others. Nothing in a file is evaluated.
"""

import importlib.resources
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from .errors import UsageError, usage_errors
from .options import fits, nearest, plain

_BOUNDS = ("min", "max", "default")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Hyperparameters for some environments and cores, and what says that they are good."""

    name: str
    envs: Sequence[str]  # ids or patterns of ids, with * as in file names; of a twin, either id
    cores: Sequence[str] | None = None  # those it was measured with; None for any
    algo: str = "ppo"
    where: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # keyword of the environment: min, max
    n_envs: int
    set: Mapping[str, Any]  # as behind --set
    command: str  # that measured it
    result: str  # of that command

    def fits(self, env: str, env_set: Mapping[str, Any], cores: Iterable[str], algo: str) -> bool:
        """Whether this preset is for an environment with these keywords, and for each of these cores."""
        return (
            algo == self.algo
            and any(fnmatchcase(name, pattern) for name in _names(env) for pattern in self.envs)
            and (self.cores is None or set(cores) <= set(self.cores))
            and all(_between(env_set.get(keyword), **bounds) for keyword, bounds in self.where.items())
        )


def list_presets(folder: Traversable | None = None) -> tuple[Preset, ...]:
    """All presets in the order in which they are tried.

    Args:
        folder: of YAML files; those that come with memrl unless given.

    Raises:
        UsageError: a file is no list of presets; the message names file, preset and key.

    >>> list_presets()[-1].name
    'default'
    """
    folder = importlib.resources.files("memrl") / "presets" if folder is None else folder
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    files.sort(key=lambda file: (file.name == "default.yaml", file.name))
    presets = [preset for file in files for preset in _read(file)]
    names = [preset.name for preset in presets]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"presets: two are called {name!r}")
    return tuple(presets)


def find_preset(
    wanted: str, *, env: str, env_set: Mapping[str, Any], cores: Sequence[str], algo: str, folder: Path | None = None
) -> Preset | None:
    """The preset of a training, or of a comparison of several cores.

    Args:
        wanted: auto, none, or a preset's name, which is then taken for any environment and core.
        env: the environment's id.
        env_set: its keywords.
        cores: a preset must be for all of them; the memoryless control goes along with whatever others get.
        algo: the agent.
        folder: where to look instead of memrl's own presets.

    Raises:
        UsageError: no preset of that name, or one for another agent.

    >>> find_preset("auto", env="memrl/TMaze-v0", env_set={"length": 50}, cores=["lstm"], algo="ppo").name
    'tmaze_long'
    """
    if wanted == "none":
        return None
    presets = list_presets(folder)
    if wanted == "auto":
        remembering = [core for core in cores if core != "none"] or cores
        return next((preset for preset in presets if preset.fits(env, env_set, remembering, algo)), None)
    for preset in presets:
        if preset.name == wanted:
            if preset.algo != algo:
                raise UsageError(f"--preset {wanted}: for --algo {preset.algo}, {algo} given")
            return preset
    raise UsageError(f"--preset: no preset {wanted!r}{nearest(wanted, ['auto', 'none', *(p.name for p in presets)])}")


def _read(file: Traversable) -> list[Preset]:
    about = f"presets/{file.name}: "
    with usage_errors(OSError, yaml.YAMLError, UnicodeDecodeError, about=about):
        entries = plain(yaml.safe_load(file.read_text(encoding="utf-8")))
    if not isinstance(entries, list):
        raise UsageError(f"{about}a list of presets needed")
    return [_preset(entry, about) for entry in entries]


def _preset(entry: Any, about: str) -> Preset:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UsageError(f"{about}a mapping with a name needed, {entry!r} given")
    about += f"{entry['name']}: "
    hints, known = typing.get_type_hints(Preset), {option.name: option for option in fields(Preset)}
    for key, value in entry.items():
        if key not in known:
            raise UsageError(f"{about}unknown key {key!r}{nearest(str(key), known)}")
        if not fits(value, hints[key]) or (isinstance(value, str) and hints[key] is not str):
            raise UsageError(f"{about}{key}: {value!r} is not of the right type")
    with usage_errors(TypeError, about=about):  # a key is missing
        preset = Preset(**entry)
    for keyword, bounds in preset.where.items():
        numbers = isinstance(bounds, dict) and all(fits(bound, float) for bound in bounds.values())
        if not numbers or not set(bounds) <= set(_BOUNDS):
            raise UsageError(f"{about}where: {keyword}: numbers for {', '.join(_BOUNDS)} needed, {bounds!r} given")
    if preset.n_envs < 1:
        raise UsageError(f"{about}n_envs: {preset.n_envs} given, at least 1 needed")
    return preset


def _names(env: str) -> list[str]:
    """The id without "package:" in front, and the id of memrl's twin of it.

    >>> _names("popgym-RepeatPreviousHard-v0")
    ['popgym-RepeatPreviousHard-v0', 'memrl/RepeatPrevious-v0']
    """
    from memrl.envs import list_envs  # not before it is needed: `memrl --help` reads this file too

    name = env.rpartition(":")[2]
    # Without a version Gymnasium takes the newest, which is the one that has a card.
    cards = list_envs()
    return [name, *(card.id for card in cards if name in card.twin_of or name == card.id.rpartition("-v")[0])]


def _between(value: Any, min: float = float("-inf"), max: float = float("inf"), default: float | None = None) -> bool:
    value = default if value is None else value
    return isinstance(value, int | float) and min <= value <= max
