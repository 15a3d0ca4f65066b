"""The window route: any memory core as a features extractor of unmodified Stable-Baselines3."""

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from memrl.core import MemoryCore
from memrl.encoders import default_extractor
from memrl.registry import make_core

Pooling = Literal["last", "mean", "max"]


class MemoryExtractor(BaseFeaturesExtractor):
    """Unroll a memory core from its initial state over the window that `memrl.envs.HistoryWindow` puts together.

    A pure function of the observation: nothing is kept between calls, so it may be asked in any order, as SB3 does. It
    equals a memory that is carried through the episode as long as the window covers the episode; beyond that it forgets
    what has left the window. A call costs as many steps of the core as the longest history in the batch has; padding is
    never computed.

    Args:
        observation_space: Dict with "mask" and "window", or with "mask" and the parts of a Dict observation.
        core: name of the memory, one of `memrl.list_cores()`.
        core_kwargs: options of the core, as in `memrl.make_core`.
        encoder: features extractor that sees each step by itself; default: the one that fits a single observation.
        encoder_kwargs: its keyword arguments.
        features_dim: width of the features, by a linear layer behind the core; None: the core's own width.
        pooling: which of the core's outputs are the features: the last one, or the mean or the maximum over the window.
        normalize_images: divide images by 255, as SB3's policies do to single ones.
        flattened: for algorithms without Dict observations, such as CrossQ: the Dict space of the windows, if the
            environment flattens them to one vector by `gymnasium.wrappers.FlattenObservation`.

    Raises:
        ValueError: the space is not a window, an unknown core or option, or a width below 1.

    >>> from stable_baselines3 import PPO
    >>> from memrl.envs import HistoryWindow, make_env
    >>> env = HistoryWindow(make_env("memrl/TMaze-v0"), 16)
    >>> policy_kwargs = dict(features_extractor_class=MemoryExtractor, features_extractor_kwargs=dict(core="gru"))
    >>> model = PPO("MultiInputPolicy", env, n_steps=64, policy_kwargs=policy_kwargs, device="cpu").learn(64)
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        core: str = "lstm",
        core_kwargs: dict[str, Any] | None = None,
        *,
        encoder: type[BaseFeaturesExtractor] | None = None,
        encoder_kwargs: dict[str, Any] | None = None,
        features_dim: int | None = None,
        pooling: Pooling = "last",
        normalize_images: bool = True,
        flattened: spaces.Dict | None = None,
    ) -> None:
        step_space = step_space_of(observation_space if flattened is None else flattened)
        if flattened is not None and observation_space.shape != (spaces.flatdim(flattened),):
            raise ValueError(f"observation_space: {observation_space} given, flattened windows of {flattened} needed")
        if features_dim is not None and features_dim < 1:
            raise ValueError(f"features_dim: {features_dim} given, at least 1 needed")
        if pooling not in ("last", "mean", "max"):
            raise ValueError(f"pooling: {pooling!r} given, 'last', 'mean' or 'max' needed")
        seen = _as_seen(step_space)
        found, defaults = default_extractor(seen)
        kwargs = encoder_kwargs or {}
        built = (found(seen, **{**defaults, **kwargs}) if encoder is None else encoder(seen, **kwargs)).float()
        memory = make_core(core, int(built.features_dim), **(core_kwargs or {}))
        super().__init__(observation_space, features_dim or memory.output_size)
        self.encoder, self.pooling, self.step_space, self.flattened = built, pooling, step_space, flattened
        self.normalize_images = normalize_images
        self.shelter = _Shelter(memory)
        self.output = nn.Identity() if features_dim is None else nn.Linear(memory.output_size, features_dim)

    @property
    def core(self) -> MemoryCore[Any]:
        """The memory; its weights fit a core of the same name and options anywhere else."""
        return self.shelter.core

    def forward(self, observations: dict[str, Tensor] | Tensor) -> Tensor:
        """Windows, as SB3 prepares them, to features (B, features_dim)."""
        if isinstance(observations, Tensor):
            observations = self._unflatten(observations)
        valid = observations["mask"] > 0.5  # (B, K), a suffix of each row
        valid[:, -1] = True  # what is seen now is there, whatever the mask says
        lengths, order = valid.sum(1).sort(descending=True, stable=True)
        valid = valid[order]
        row, column = valid.nonzero(as_tuple=True)
        step = column - (valid.shape[1] - lengths)[row]
        steps = {key: part[order][row, column] for key, part in self._split(observations).items()}
        features = self.encoder(steps if isinstance(self.step_space, spaces.Dict) else steps["window"])

        x = features.new_zeros(int(lengths[0]), len(lengths), features.shape[1]).index_put((step, row), features)
        ragged = bool(lengths[-1] < lengths[0])
        y, _ = self.core.sequence(x, self.core.initial_state(len(lengths)), lengths.cpu() if ragged else None)
        if self.pooling == "last":
            pooled = y[lengths - 1, torch.arange(len(lengths), device=y.device)]
        else:
            outside = torch.arange(len(y), device=y.device)[:, None] >= lengths  # (T, B)
            fill = 0.0 if self.pooling == "mean" else -torch.inf
            y = torch.where(outside[..., None], torch.full_like(y, fill), y)
            pooled = y.sum(0) / lengths[:, None] if self.pooling == "mean" else y.amax(0)
        result: Tensor = self.output(torch.empty_like(pooled).index_copy(0, order, pooled))
        return result

    def _unflatten(self, vectors: Tensor) -> dict[str, Tensor]:
        assert self.flattened is not None  # or the space was no vector
        widths = [spaces.flatdim(part) for part in self.flattened.spaces.values()]
        found = zip(self.flattened.spaces.items(), vectors.split(widths, dim=1), strict=True)
        # Numbers that stand for choices are one-hot in a flattened observation, as SB3 prepares them too.
        shaped = (spaces.Box, spaces.MultiBinary)
        return {
            key: part.reshape(len(vectors), *(space.shape or ())) if isinstance(space, shaped) else part
            for (key, space), part in found
        }

    def _split(self, observations: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a single step's encoder would be given, (B, K, ...) for each part."""
        parts = self.step_space.spaces if isinstance(self.step_space, spaces.Dict) else {"window": self.step_space}
        window = observations["mask"].shape[1]
        split = {}
        for key, space in parts.items():
            part = observations[key]
            if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):  # one-hot, the steps side by side
                part = part.reshape(len(part), window, -1)
            elif isinstance(space, spaces.Box) and is_image_space(space):
                part = part / 255.0 if self.normalize_images else part.float()
                if not is_image_space_channels_first(space):
                    part = part.movedim(-1, 2)
            split[key] = part.unsqueeze(-1) if part.dim() == 2 else part
        return split


class _Shelter(nn.Module):
    """Keeps SB3's `ortho_init`, which re-draws every linear layer of an extractor, from a core's own initialisation."""

    def __init__(self, core: MemoryCore[Any]) -> None:
        super().__init__()
        self.core = core

    def apply(self, fn: Any) -> "_Shelter":
        """As in torch, except for SB3's initialisation."""
        asked = fn.func if isinstance(fn, partial) else fn
        return self if asked is BasePolicy.init_weights else super().apply(fn)


def step_space_of(window_space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space of a single observation, given the space of windows of it.

    Raises:
        ValueError: it is not a space that `HistoryWindow` makes.

    >>> step_space_of(spaces.Dict(window=spaces.MultiDiscrete([4] * 8), mask=spaces.MultiBinary(8)))
    Discrete(4)
    """
    if not isinstance(window_space, spaces.Dict) or not isinstance(window_space.get("mask"), spaces.MultiBinary):
        raise ValueError(
            f"observation_space: {window_space} given, a window needed; memrl.envs.HistoryWindow makes one"
        )
    window = int(np.prod(window_space["mask"].shape or ()))
    parts = {key: _one_step(space, window) for key, space in window_space.spaces.items() if key != "mask"}
    if not parts:
        raise ValueError(f"observation_space: {window_space} given, a window beside the mask needed")
    return parts["window"] if parts.keys() == {"window"} else spaces.Dict(parts)


def _one_step(space: spaces.Space[Any], window: int) -> spaces.Space[Any]:
    if isinstance(space, spaces.Box) and space.shape[:1] == (window,):
        # A number without an axis gets one, as features need one.
        return spaces.Box(np.atleast_1d(space.low[0]), np.atleast_1d(space.high[0]), dtype=space.dtype.type)
    if isinstance(space, spaces.MultiBinary) and tuple(space.shape)[:1] == (window,):
        return spaces.MultiBinary(space.shape[1:])
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.size % window == 0:
        nvec = space.nvec[: space.nvec.size // window]
        return spaces.Discrete(int(nvec[0])) if len(nvec) == 1 else spaces.MultiDiscrete(nvec)
    raise ValueError(f"observation_space: {space} is not a window of {window} steps")


def _as_seen(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space with images channels first, as SB3 would arrange a single observation."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _as_seen(part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Box) and is_image_space(space) and not is_image_space_channels_first(space):
        return spaces.Box(np.moveaxis(space.low, -1, 0), np.moveaxis(space.high, -1, 0), dtype=space.dtype.type)
    return space
