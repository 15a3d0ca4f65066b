"""A policy's step as a file that runs without memrl: ONNX, or torch.export's own format."""

import importlib.util
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from memrl import __version__, tree

from .on_policy import MemoryOnPolicyAlgorithm
from .policies import MlpMemoryPolicy

Format = Literal["onnx", "torch"]
Array = np.ndarray[Any, Any]
OUTPUTS = ("action", "logits", "value", "new_state")
SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}


class StepGraph(nn.Module):
    """One step of a policy as a pure function of tensors, normalisation of observations included.

    Args:
        policy: whose step; it must be on the CPU.
        normalize: the environment wrapper whose statistics the policy was trained with.
    """

    def __init__(self, policy: MlpMemoryPolicy, normalize: VecNormalize | None = None) -> None:
        super().__init__()
        self.policy = policy
        self.space, self.action_space = policy.observation_space, policy.action_space
        self.parts = self.space.spaces if isinstance(self.space, spaces.Dict) else {"obs": self.space}
        self.scales = _scales(self.parts, normalize)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Observations (one input for each key of a Dict), packed state (B, S), episode start (B,) bool.

        Returns:
            The most likely action (B, ...), the distribution's logits or means (B, ...), values (B,) and the packed
            state to hand in next time (B, S).
        """
        *seen, packed, starts = inputs
        seen = [self._scaled(key, value) for key, value in zip(self.parts, seen, strict=True)]
        obs: Any = dict(zip(self.parts, seen, strict=True)) if isinstance(self.space, spaces.Dict) else seen[0]
        policy = self.policy
        initial = policy.initial_state(1)
        fresh = tree.map(lambda leaf: leaf.expand(packed.shape[0], *leaf.shape[1:]), initial)
        state = tree.where(starts, fresh, tree.unpack(packed, initial))
        features = policy.extract_features(obs)
        for_actor, for_critic = features if isinstance(features, tuple) else (features, features)
        latent, actor_state = policy.core.step(for_actor, state.actor)
        if policy.critic_core is None:
            critic, state = latent, state._replace(actor=actor_state)
        else:
            critic, critic_state = policy.critic_core.step(for_critic, state.critic)
            state = state._replace(actor=actor_state, critic=critic_state)
        logits = policy.action_net(policy.mlp_extractor.forward_actor(latent))
        value = policy.value_net(policy.mlp_extractor.forward_critic(critic)).flatten()
        return self._most_likely(logits), logits, value, tree.pack(state)

    def _scaled(self, key: str, value: Tensor) -> Tensor:
        if key not in self.scales:
            return value
        mean, scale, limit = self.scales[key]
        return ((value - mean) / scale).clamp(-limit, limit)

    def _most_likely(self, logits: Tensor) -> Tensor:
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return logits.argmax(-1)
        if isinstance(space, spaces.MultiDiscrete):
            parts = logits.split([int(n) for n in space.nvec], dim=-1)
            return torch.stack([part.argmax(-1) for part in parts], dim=-1)
        if isinstance(space, spaces.MultiBinary):
            return (logits > 0).long()
        assert isinstance(space, spaces.Box)
        shaped = logits.reshape(-1, *space.shape)
        return torch.maximum(torch.minimum(shaped, _tensor(space.high)), _tensor(space.low))

    def input_names(self) -> list[str]:
        """Names of the inputs, in their order; a key called like another input or an output gets "obs." in front."""
        taken = {"state", "episode_start", *OUTPUTS}
        return [*(f"obs.{key}" if key in taken else key for key in self.parts), "state", "episode_start"]

    def example(self, batch: int = 3) -> list[Tensor]:
        """Inputs of the right shapes and types, random observations at the start of an episode."""
        seen = [torch.as_tensor(np.stack([space.sample() for _ in range(batch)])) for space in self.parts.values()]
        state = torch.zeros(batch, tree.size(self.policy.initial_state(1)))
        return [*seen, state, torch.ones(batch, dtype=torch.bool)]


def export_policy(
    model: MemoryOnPolicyAlgorithm, path: str | Path, format: Format = "onnx", normalize: VecNormalize | None = None
) -> float:
    """Write one step of a model's policy to a file, and check it against the policy.

    Inputs: the observation ("obs", or the keys of a Dict; as the environments of the model show it), "state" (B, S)
    float32 and "episode_start" (B,) bool. Outputs: "action" (the most likely one), "logits" (of a Box: the mean),
    "value" and "new_state". Where `episode_start` is true the state that is handed in does not matter: begin with
    zeros. Any number of environments B may be stepped at once. The file's metadata say what it is.

    Args:
        model: a trained agent.
        path: file to write, ending in .onnx or .pt2; an existing one is not overwritten.
        format: "onnx", or "torch" for `torch.export.load`.
        normalize: the VecNormalize that the model was trained under; its statistics become part of the graph. None:
            that of the model's own environment, if it has one.

    Returns:
        The largest difference between file and policy over 20 random steps with their own states.

    Raises:
        ValueError: an unknown format, a package is missing, statistics do not fit the observations, or what the file
            computes is not what the policy does.
        FileExistsError: the file exists.
        FileNotFoundError: there is no such folder.
    """
    if format not in SUFFIX:
        raise ValueError(f"format: {format!r} given, 'onnx' or 'torch' needed")
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; export writes new files only")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")
    if normalize is None and model.get_env() is not None:
        normalize = model.get_vec_normalize_env()
    if format == "onnx" and (missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]):
        raise ValueError(f"format: 'onnx' needs {', '.join(missing)}; pip install 'memrl[export]'")
    was_training, device = model.policy.training, model.policy.device
    model.policy.set_training_mode(False)
    model.policy.to("cpu")
    try:
        graph = StepGraph(model.policy, normalize).eval()
        with torch.no_grad(), _quiet():
            inputs = tuple(graph.example())
            batch = torch.export.Dim.DYNAMIC
            program = torch.export.export(graph, inputs, dynamic_shapes=(tuple({0: batch} for _ in inputs),))
            unchecked = path.with_name(f".{path.name}.{os.getpid()}{SUFFIX[format]}")
            try:
                _save(program, unchecked, format, graph, _describe(model, graph))
                difference = _compare(graph, normalize, unchecked, format)
                unchecked.rename(path)
            finally:
                unchecked.unlink(missing_ok=True)
            return difference
    finally:
        model.policy.to(device)
        model.policy.set_training_mode(was_training)


_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def _save(
    program: torch.export.ExportedProgram, path: Path, format: Format, graph: StepGraph, notes: dict[str, str]
) -> None:
    if format == "torch":
        torch.export.save(program, path, extra_files={"memrl.json": json.dumps(notes)})
        return
    exported = torch.onnx.export(
        program,
        dynamo=True,
        input_names=graph.input_names(),
        output_names=list(OUTPUTS),
        custom_translation_table=_translations(),
        verbose=False,
    )
    assert exported is not None
    exported.model.metadata_props.update(notes)
    exported.save(path)


def _translations() -> dict[Any, Any]:
    """What torch's exporter does not know: the product that a DNC's cumulative product is broken down to."""
    from onnxscript import opset18

    def prod(value: Any, dims: Any, output_dtype: Any = None) -> Any:
        axes: Any = opset18.Constant(value_ints=[int(dim) for dim in dims])
        return opset18.ReduceProd(value, axes, keepdims=0)

    return {torch.ops.prims.prod.default: prod}


def _describe(model: MemoryOnPolicyAlgorithm, graph: StepGraph) -> dict[str, str]:
    return {
        "memrl": __version__,
        "core": model.policy.core_name,
        "core_kwargs": json.dumps(model.policy.core_kwargs),
        "state_size": str(tree.size(model.policy.initial_state(1))),
        "observation_space": str(graph.space),
        "action_space": str(graph.action_space),
    }


def _compare(graph: StepGraph, normalize: VecNormalize | None, path: Path, format: Format) -> float:
    """Step the file and the policy itself side by side, each with its own state."""
    run, policy = load_step(path, format, graph.input_names()), graph.policy
    worst = [0.0]
    for batch in (1, 4):
        *_, state, _ = graph.example(batch)
        theirs, memory = state.numpy(), policy.initial_state(batch)
        for step in range(20):
            *seen, _, starts = graph.example(batch)
            starts = starts if step == 0 else torch.rand(batch) < 0.1
            action, _, value, theirs = run([*(part.numpy() for part in seen), theirs, starts.numpy()])
            obs = _as_seen(graph, normalize, seen)
            best, values, _, after = policy(obs, memory, starts, deterministic=True)
            distribution, _ = policy.get_distribution(obs, memory, starts)
            chosen = torch.as_tensor(action).to(best.dtype)
            if isinstance(graph.action_space, spaces.Box):
                low, high = graph.action_space.low, graph.action_space.high
                worst.append(np.abs(action - np.clip(best.numpy(), low, high)).max())
            else:  # of two equally likely actions either will do
                worst.append((distribution.log_prob(best) - distribution.log_prob(chosen)).abs().max().item())
            worst.append(np.abs(value - values.flatten().numpy()).max())
            worst.append(np.abs(theirs - tree.pack(after).numpy()).max(initial=0.0))
            memory = after
    difference = float(np.max(worst))  # which is NaN if one of them is
    if not difference < 1e-2:
        raise ValueError(f"export: the file differs from the policy by {difference}; nothing was written")
    return difference


def _as_seen(graph: StepGraph, normalize: VecNormalize | None, seen: list[Tensor]) -> Any:
    """Raw observations as the policy gets them."""
    parts = dict(zip(graph.parts, seen, strict=True))
    if normalize is not None and normalize.norm_obs:
        if isinstance(normalize.observation_space, spaces.Dict):
            own = {key: parts[key].numpy() for key in normalize.observation_space.spaces}
            scaled: Any = normalize.normalize_obs(own)
            parts |= {key: torch.as_tensor(part) for key, part in scaled.items()}
        else:
            (key,) = graph.scales
            parts[key] = torch.as_tensor(normalize.normalize_obs(parts[key].numpy()))
    return parts if isinstance(graph.space, spaces.Dict) else parts["obs"]


def _scales(
    parts: Mapping[str, spaces.Space[Any]], normalize: VecNormalize | None
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Mean, deviation and limit of each part of the observation that is normalised.

    Raises:
        ValueError: statistics are of parts that the policy does not see, or of another shape.
    """
    if normalize is None or not normalize.norm_obs:
        return {}
    rms: Any = normalize.obs_rms
    if not isinstance(rms, dict):  # of the whole observation, which wrappers may have made a part of a Dict
        rms = {"observation" if "observation" in parts else "obs": rms}
    for key, each in rms.items():
        if key not in parts or each.mean.shape != parts[key].shape:
            raise ValueError(
                f"normalize: statistics of {key!r} {each.mean.shape} given, observations have no such part"
            )
    return {
        key: (_tensor(each.mean), _tensor(np.sqrt(each.var + normalize.epsilon)), normalize.clip_obs)
        for key, each in rms.items()
    }


def load_step(path: str | Path, format: Format, input_names: list[str]) -> Any:
    """A function from a list of NumPy inputs to the list of outputs of an exported step."""
    if format == "torch":
        module = torch.export.load(path).module()
        return lambda inputs: [out.detach().numpy() for out in module(*map(torch.as_tensor, inputs))]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    used = {each.name for each in session.get_inputs()}  # an input that changes nothing is left out of the graph
    return lambda inputs: session.run(
        list(OUTPUTS), {name: value for name, value in zip(input_names, inputs, strict=True) if name in used}
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's reports of its progress and of packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _tensor(array: Any) -> Tensor:
    return torch.as_tensor(np.asarray(array, dtype=np.float32))
