"""`--set key=value`: parsing, and finding out whose option a key is."""

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import yaml

from memrl.registry import list_cores

from .errors import UsageError

# What the command line or the environment decides; the flag that does it, where there is one.
_RESERVED = {
    "policy": "",
    "env": "--env",
    "seed": "--seed",
    "device": "--device",
    "previous_action": "--previous-action",
    "previous_reward": "--previous-reward",
    "policy_kwargs": "policy.NAME=VALUE",
    "tensorboard_log": "--run-dir",
    "verbose": "",
    **dict.fromkeys(("use_sde", "sde_sample_freq", "rollout_buffer_class", "rollout_buffer_kwargs"), ""),
    **dict.fromkeys(("monitor_wrapper", "supported_action_spaces", "_init_setup_model"), ""),
}
_POLICY_RESERVED = {"observation_space", "action_space", "lr_schedule", "core", "core_kwargs", *_RESERVED}
_NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+")
# Classes in torch.nn that a file or a command line may name for policy.activation_fn.
ACTIVATIONS = ("ReLU", "Tanh", "ELU", "LeakyReLU", "GELU", "SiLU")
_LINEAR = re.compile(r"lin_[-+.\deE]*\d[-+.\deE]*")


@dataclass(frozen=True)
class Options:
    """The options of one training, by whom they are for."""

    core: dict[str, Any]
    agent: dict[str, Any]
    policy: dict[str, Any]

    def flat(self) -> dict[str, Any]:
        """One mapping again, every key with its prefix.

        >>> Options({"num_slots": 32}, {}, {}).flat()
        {'core.num_slots': 32}
        """
        parts = (("core", self.core), ("agent", self.agent), ("policy", self.policy))
        return {f"{whose}.{name}": value for whose, part in parts for name, value in part.items()}


def parse_value(text: str) -> Any:
    """One value, as YAML reads it.

    >>> parse_value("32"), parse_value("3e-4"), parse_value("true"), parse_value("[1, 2]")
    (32, 0.0003, True, [1, 2])
    """
    try:
        return plain(yaml.safe_load(text))
    except yaml.YAMLError:
        return text


def plain(value: Any) -> Any:
    """Read numbers such as 3e-4 as numbers: YAML 1.1 takes them for text unless they have a dot."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def parse_pairs(words: Iterable[str]) -> dict[str, Any]:
    """The words behind `--set`.

    Raises:
        UsageError: a word is not KEY=VALUE, or a key comes twice.

    >>> parse_pairs(["num_slots=32", "learning_rate=3e-4"])
    {'num_slots': 32, 'learning_rate': 0.0003}
    """
    pairs: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{word!r} given, KEY=VALUE needed")
        if key in pairs:
            raise UsageError(f"{key!r} given twice")
        pairs[key] = parse_value(text)
    return pairs


def show_pairs(pairs: Mapping[str, Any]) -> list[str]:
    """The inverse of `parse_pairs`, for help texts and for commands to run again.

    >>> show_pairs({"num_slots": 32, "link": False, "target_kl": None})
    ['num_slots=32', 'link=false', 'target_kl=null']
    """
    words = {None: "null", True: "true", False: "false"}
    return [
        f"{key}={words[value] if value is None or isinstance(value, bool) else value}" for key, value in pairs.items()
    ]


def route(given: Mapping[str, Any], *, core: str, config: type[Any], agent: type[Any], policy: type[Any]) -> Options:
    """Find out for whom each option is.

    Args:
        given: keys as the user wrote them; `core.`, `agent.`, `policy.` or the core's name may precede.
        core: name of the core.
        config: dataclass of the core's options.
        agent: class of the agent; its constructor's arguments are its options.
        policy: class of the policy; likewise. Its options always need the prefix.

    Raises:
        UsageError: nobody has such an option (the message names the nearest), two have it, or the value is of
            a wrong type.
    """
    known = {
        "core": {option.name: hint for option, hint in config_hints(config)},
        "agent": _arguments(agent, _RESERVED),
        "policy": _arguments(policy, _POLICY_RESERVED),
    }
    routed: dict[str, dict[str, Any]] = {"core": {}, "agent": {}, "policy": {}}
    for key, value in given.items():
        whose, name = _owner(key, core, known)
        if name in routed[whose]:
            raise UsageError(f"--set {key}: given twice")
        routed[whose][name] = fitted(key, value, known[whose][name])
    return Options(**routed)


def has_option(key: str, config: type[Any]) -> bool:
    """Whether a key without prefix names an option of this core."""
    return key in {option.name for option in fields(config)}


def agent_options(agent: type[Any]) -> list[str]:
    """What can be set of an agent."""
    return list(_arguments(agent, _RESERVED))


def defaults(agent: type[Any]) -> dict[str, Any]:
    """The agent's own arguments with their defaults, as far as a config file can hold them."""
    parameters = inspect.signature(agent).parameters
    found = {name: parameters[name].default for name in _arguments(agent, _RESERVED) if name in parameters}
    return {
        name: value for name, value in found.items() if value is None or isinstance(value, bool | int | float | str)
    }


def nearest(word: str, known: Iterable[str]) -> str:
    """The tail of an error message: the nearest known word, or all of them.

    >>> nearest("num_slot", ["num_slots", "slot_size"])
    "; did you mean 'num_slots'?"
    """
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _owner(key: str, core: str, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    prefix, dot, rest = key.partition(".")
    if dot and prefix == core:
        return _owner(rest, core, known)
    if dot and prefix in known:
        if rest not in known[prefix]:
            raise UsageError(f"--set {key}: no such option{nearest(rest, known[prefix])}")
        return prefix, rest
    if dot and prefix in list_cores():
        raise UsageError(f"--set {key}: the core is {core}, not {prefix}")
    owners = [whose for whose in ("core", "agent") if key in known[whose]]
    if len(owners) == 1:
        return owners[0], key
    if owners:
        raise UsageError(f"--set {key}: both the core and the agent have it; write core.{key} or agent.{key}")
    if key in _RESERVED:
        raise UsageError(f"--set {key}: not set here" + (f"; use {_RESERVED[key]}" if _RESERVED[key] else ""))
    everything = [*known["core"], *known["agent"]]
    raise UsageError(f"--set {key}: neither core {core!r} nor the agent has this option{nearest(key, everything)}")


def config_hints(config: type[Any]) -> Iterable[tuple[Any, Any]]:
    """Fields of a dataclass with their types."""
    hints = typing.get_type_hints(config)
    return [(option, hints[option.name]) for option in fields(config)]


def _arguments(built: type[Any], reserved: Iterable[str]) -> dict[str, Any]:
    """What a constructor takes, with types; through `**kwargs` on to what its base classes take."""
    hints: dict[str, Any] = {}
    for base in built.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                hints.setdefault(parameter.name, parameter.annotation)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return {name: hint for name, hint in hints.items() if name not in {"self", *reserved}}


def schedules(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options with lin_X made a schedule that falls linearly from X to zero over the training."""
    from stable_baselines3.common.utils import LinearSchedule

    def made(value: Any) -> Any:
        return (
            LinearSchedule(float(value[4:]), 0.0, 1.0) if isinstance(value, str) and _LINEAR.fullmatch(value) else value
        )

    return {name: made(value) for name, value in options.items()}


def activations(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options of a policy with the name of an activation function made its class.

    >>> activations({"activation_fn": "ReLU", "ortho_init": False})
    {'activation_fn': <class 'torch.nn.modules.activation.ReLU'>, 'ortho_init': False}
    """
    from torch import nn

    name = options.get("activation_fn")
    return {**options, "activation_fn": getattr(nn, name)} if name in ACTIVATIONS else dict(options)


def fitted(key: str, value: Any, hint: Any) -> Any:
    """The value as the option wants it: lists become tuples where it is one.

    Raises:
        UsageError: it is of a wrong type.
    """
    if key == "policy.activation_fn":
        if value not in ACTIVATIONS:
            raise UsageError(f"--set {key}: {value!r} given, one of {', '.join(ACTIVATIONS)} needed")
        return value
    linear = isinstance(value, str) and _LINEAR.fullmatch(value) and _mentions(Callable, hint)
    if not linear and not fits(value, hint):
        raise UsageError(f"--set {key}: {value!r} given, {_name(hint)} needed")
    return tuple(value) if isinstance(value, list) and _mentions(tuple, hint) else value


def fits(value: Any, hint: Any) -> bool:
    """Whether a value read from YAML can be of this type; true where a type is beyond YAML's words.

    >>> fits(1, float), fits("a", int | None), fits(None, int | None), fits(True, int)
    (True, False, True, False)
    """
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return fits(value, typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    if hint in (None, type(None)):
        return value is None
    kind = origin or hint
    if kind is Any or isinstance(kind, str) or kind is inspect.Parameter.empty:
        return True
    if kind is Callable or not isinstance(kind, type):
        return False
    if issubclass(kind, Mapping):
        return isinstance(value, dict)
    if kind in (tuple, list) or issubclass(kind, Sequence):
        return isinstance(value, list | tuple)
    return False


def _mentions(kind: Any, hint: Any) -> bool:
    return any((typing.get_origin(part) or part) is kind for part in (hint, *typing.get_args(hint)))


def _name(hint: Any) -> str:
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a word",
        type(None): "null",
    }
    kinds = {Callable: "lin_NUMBER"}
    if any(typing.get_origin(part) is typing.Literal for part in parts):
        return " or ".join(repr(choice) for part in parts for choice in typing.get_args(part))
    return " or ".join(
        dict.fromkeys(words.get(part) or kinds.get(typing.get_origin(part)) or str(part) for part in parts)
    )
