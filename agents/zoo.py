"""Hyperparameters in the format of RL Baselines3 Zoo, read as data: `ppo.yml`, `ppo_lstm.yml`, `a2c.yml`.

The zoo evaluates texts such as "dict(ortho_init=False, activation_fn=nn.ReLU)"; here they are parsed, and nothing but
numbers, words, lists, dicts and the names of activation functions is understood.
"""

import ast
import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from .options import ACTIVATIONS, activations, nearest, plain, schedules

# Keys of the zoo that are no hyperparameters of the agent, and what to do instead where they cannot be carried over.
_ELSEWHERE = {
    "frame_stack": "the memory takes its place; memrl.envs.HistoryWindow shows several observations at once",
    "env_wrapper": "names code; wrap the environment in Python",
    "vec_env_wrapper": "names code; wrap the environment in Python",
    "callback": "names code; hand callbacks to learn()",
    "monitor_kwargs": "make_vec_env has its own Monitor",
    "use_sde": "the memory agents have no state-dependent exploration",
    "sde_sample_freq": "the memory agents have no state-dependent exploration",
    "rollout_buffer_class": "the memory agents have their own, of sequences",
    "rollout_buffer_kwargs": "the memory agents have their own, of sequences",
}
_HANDLED = {"n_timesteps", "n_envs", "policy", "policy_kwargs", "normalize", "env_kwargs"}
_POLICY_KWARGS = ("net_arch", "activation_fn", "ortho_init", "log_std_init")
_LSTM_KWARGS = ("lstm_hidden_size", "n_lstm_layers", "enable_critic_lstm", "shared_lstm")
_CLASSES = ("RMSpropTFLike",)  # which the zoo's files name, and which are left out
_NORMALIZE = {"norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon", "norm_obs_keys"}


@dataclass(frozen=True, kw_only=True)
class ZooSettings:
    """What a hyperparameter file of the zoo says of one environment, for a memory agent."""

    name: str  # file and entry
    policy: str  # name of the memory policy
    n_envs: int
    set: Mapping[str, Any]  # options, as behind `memrl train --set`
    n_timesteps: int | None = None
    core: str | None = None  # "lstm" where the file's policy has one
    env_set: Mapping[str, Any] = field(default_factory=dict)  # keywords of the environment
    normalize: Mapping[str, Any] | None = None  # keywords of VecNormalize; None: do not normalise
    left_out: Mapping[str, str] = field(default_factory=dict)  # what was not carried over, and why

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `MemoryPPO` or `MemoryA2C`."""
        parts: dict[str, dict[str, Any]] = {"agent": {}, "core": {}, "policy": {}}
        for key, value in self.set.items():
            whose, _, option = key.rpartition(".")
            parts[whose or "agent"][option] = value
        core = {} if self.core is None else {"core": self.core, "core_kwargs": parts["core"]}
        return {**schedules(parts["agent"]), "policy_kwargs": {**activations(parts["policy"]), **core}}

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of `TrainSettings` beside its options."""
        found = {"steps": self.n_timesteps, "n_envs": self.n_envs, "core": self.core}
        return {key: value for key, value in found.items() if value is not None}


def read_zoo(path: str | Path, entry: str, algo: str = "ppo") -> ZooSettings:
    """Read the hyperparameters of one environment from a YAML file of RL Baselines3 Zoo.

    What the file leaves out has Stable-Baselines3's default, or sb3-contrib's for a policy with an LSTM, as in the zoo.

    Args:
        path: the file, e.g. `ppo_lstm.yml`.
        entry: the environment's id in the file; "default" of the file stands in for one that is not there.
        algo: ppo or a2c.

    Raises:
        ValueError: no such entry, a key that the zoo does not know, or a text that is more than data.

    Warns:
        UserWarning: what was not carried over.

    >>> from pathlib import Path
    >>> text = 'CartPole-v1: {n_envs: 8, n_timesteps: 1e5, policy: MlpLstmPolicy, learning_rate: lin_0.001, '
    >>> _ = Path("zoo.yml").write_text(text + 'policy_kwargs: "dict(activation_fn=nn.ReLU, lstm_hidden_size=64)"}')
    >>> zoo = read_zoo("zoo.yml", "CartPole-v1")
    >>> zoo.n_timesteps, zoo.core, zoo.set["core.hidden_size"], zoo.arguments["policy_kwargs"]["activation_fn"].__name__
    (100000, 'lstm', 64, 'ReLU')
    """
    found = _carry_over(path, entry, algo, None)
    if found.left_out:
        left_out = "; ".join(f"{key}: {why}" for key, why in found.left_out.items())
        warnings.warn(f"{found.name}: not carried over: {left_out}", UserWarning, stacklevel=2)
    return found


def zoo_settings(path: Path, entry: str, algo: str, core: str | None) -> ZooSettings:
    """The same for `memrl train --zoo FILE` or FILE#ENTRY, which does not normalise.

    Args:
        path: with #ENTRY where it is not the environment's id.
        entry: the environment's id.
        algo: ppo or a2c.
        core: that the command line names; options of an LSTM are for no other.

    Raises:
        ValueError: as in `read_zoo`.
    """
    file, _, named = str(path).partition("#")
    found = _carry_over(file, named or entry, algo, core)
    if found.normalize is None:
        return found
    why = "memrl train has no running statistics; use VecNormalize in Python (read_zoo)"
    return replace(found, left_out={"normalize": why, **found.left_out})


def literal(text: str) -> Any:
    """Data written as Python: "dict(net_arch=[64], activation_fn=nn.ReLU)"; activation functions by their names.

    Raises:
        ValueError: anything else stands in it; nothing of it is evaluated.

    >>> literal("dict(pi=[64], activation_fn=nn.ReLU, sizes=(1, 2))")
    {'pi': [64], 'activation_fn': 'ReLU', 'sizes': (1, 2)}
    """
    try:
        return _data(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is not data: {error}") from None


def _data(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        if all(keyword.arg is not None for keyword in node.keywords):
            return {keyword.arg: _data(keyword.value) for keyword in node.keywords}
    elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("nn", "th.nn", "torch.nn"):
        if node.attr in ACTIVATIONS:
            return node.attr
    elif isinstance(node, ast.Dict) and None not in node.keys:
        return {_data(key): _data(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}
    elif isinstance(node, ast.List | ast.Tuple):
        items = [_data(item) for item in node.elts]
        return tuple(items) if isinstance(node, ast.Tuple) else items
    elif isinstance(node, ast.Name) and node.id in _CLASSES:
        return node.id
    elif isinstance(node, ast.Constant | ast.UnaryOp):
        return ast.literal_eval(node)
    known = f"numbers, words, lists, dict(...) and nn.{', nn.'.join(ACTIVATIONS)}"
    raise ValueError(f"{ast.unparse(node)!r} is not read; {known} are")


def _carry_over(path: str | Path, entry: str, algo: str, core: str | None) -> ZooSettings:
    entry, data = _entry(Path(path), entry)
    policy = str(data.get("policy", "MlpPolicy"))
    lstm = "Lstm" in policy
    if policy.replace("Lstm", "") not in ("MlpPolicy", "CnnPolicy", "MultiInputPolicy"):
        raise ValueError(f"policy: {policy!r} given, Mlp, Cnn or MultiInput, with or without Lstm, and Policy needed")
    options = _peers_defaults(algo, lstm=lstm)
    left_out: dict[str, str] = {}
    for key, value in data.items():
        if key in options:
            options[key] = value
        elif key in _ELSEWHERE:
            if value:
                left_out[key] = _ELSEWHERE[key]
        elif key not in _HANDLED:
            raise ValueError(f"{key}: neither {algo} nor the zoo has this key{nearest(key, [*options, *_HANDLED])}")
    if lstm:
        options["seq_len"] = options["n_steps"]  # sb3-contrib's gradients go back to where the rollout begins
    core = core or ("lstm" if lstm else None)
    options |= _policy_options(_dict_of(data, "policy_kwargs"), policy, core, left_out)
    return ZooSettings(
        name=f"{Path(path).name}#{entry}",
        policy=policy.replace("Lstm", "").replace("Policy", "MemoryPolicy"),
        n_envs=_whole("n_envs", data.get("n_envs", 1)),
        set=options,
        n_timesteps=_whole("n_timesteps", data["n_timesteps"]) if "n_timesteps" in data else None,
        core=core,
        env_set=_dict_of(data, "env_kwargs"),
        normalize=_normalize(data, options["gamma"]),
        left_out=left_out,
    )


def _entry(path: Path, entry: str) -> tuple[str, dict[str, Any]]:
    """The entry, or the one for everything else, with its name."""
    try:
        file = plain(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(file, dict):
        raise ValueError("a mapping of environments to hyperparameters needed")
    entry = entry if entry in file or "default" not in file else "default"
    data = file.get(entry)
    if data is None:
        raise ValueError(f"no entry {entry!r}{nearest(entry, map(str, file))}")
    if not isinstance(data, dict):
        raise ValueError(f"{entry}: a mapping of hyperparameters needed, {data!r} given")
    return entry, {str(key): value for key, value in data.items()}


def _peers_defaults(algo: str, *, lstm: bool) -> dict[str, Any]:
    """What the zoo's agent does where the file says nothing, as far as ours has the option."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import A2C, PPO

    from .build import ALGORITHMS
    from .options import agent_options

    if algo not in ALGORITHMS:
        raise ValueError(f"algo: {algo!r} given, one of {', '.join(ALGORITHMS)} needed")
    peer: Any = A2C if algo == "a2c" else RecurrentPPO if lstm else PPO
    parameters = inspect.signature(peer).parameters
    return {name: parameters[name].default for name in agent_options(ALGORITHMS[algo]) if name in parameters}


def _policy_options(
    kwargs: Mapping[str, Any], policy: str, core: str | None, left_out: dict[str, str]
) -> dict[str, Any]:
    """Options of policy and core from the zoo's policy_kwargs; adds to `left_out` what has no counterpart."""
    # Stable-Baselines3's default; ours has one layer of 64 behind the core.
    layers: list[int] = [] if policy.startswith("Cnn") else [64, 64]
    options: dict[str, Any] = {"policy.net_arch": {"pi": layers, "vf": layers}}
    for key, value in kwargs.items():
        if key == "net_arch" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            options["policy.net_arch"] = value[0]  # as it was written before Stable-Baselines3 1.8
        elif key in _POLICY_KWARGS:
            options[f"policy.{key}"] = value
        elif key not in _LSTM_KWARGS:
            left_out[f"policy_kwargs {key}"] = "the memory policies have no such option, or it names code"
    if "Lstm" not in policy:
        left_out |= {f"policy_kwargs {key}": f"{policy} has no LSTM" for key in _LSTM_KWARGS if key in kwargs}
    elif core != "lstm":
        left_out |= {f"policy_kwargs {key}": f"the core is {core}" for key in _LSTM_KWARGS if key in kwargs}
    else:
        options["core.hidden_size"] = kwargs.get("lstm_hidden_size", 256)
        options["core.num_layers"] = kwargs.get("n_lstm_layers", 1)
        options["policy.share_core"] = bool(kwargs.get("shared_lstm", False))
        if not kwargs.get("enable_critic_lstm", True) and not options["policy.share_core"]:
            left_out["policy_kwargs enable_critic_lstm"] = (
                "a critic without memory does not exist here; it gets its own"
            )
    return options


def _normalize(data: Mapping[str, Any], gamma: float) -> dict[str, Any] | None:
    given = data.get("normalize", False)
    if given is False or given is None:
        return None
    kwargs = {} if given is True else _dict_of(data, "normalize")
    if unknown := sorted(set(kwargs) - _NORMALIZE):
        raise ValueError(f"normalize: VecNormalize has no {unknown[0]!r}{nearest(unknown[0], _NORMALIZE)}")
    return {**kwargs, "gamma": gamma}  # the agent's own, as in the zoo


def _whole(key: str, value: Any) -> int:
    """A number of things, which the zoo also writes as 1e6."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < float("inf"):
        raise ValueError(f"{key}: {value!r} given, a whole number of at least 1 needed")
    return int(value)


def _dict_of(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A mapping that is written as one, or as text."""
    value = data.get(key) or {}
    try:
        value = literal(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{key}: a mapping needed, {value!r} given")
    return {str(name): item for name, item in value.items()}
