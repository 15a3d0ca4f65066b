"""Action masks outside of training: a model that asks its environments what is allowed."""

from typing import Any, cast

import numpy as np
from gymnasium import spaces
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import VecEnv

from .on_policy import MemoryOnPolicyAlgorithm

Array = np.ndarray[Any, Any]


class MaskedPredictor:
    """A model for SB3's `evaluate_policy`, acting only as the environments' `action_masks()` allow.

    sb3-contrib has an `evaluate_policy` of its own for masks, which does not hand the state on: a model with a memory
    forgets at every step there.

    Args:
        model: an agent with a memory.
        env: the environments that it will be evaluated on; without `action_masks`, everything is allowed.

    >>> from stable_baselines3.common.evaluation import evaluate_policy
    >>> from memrl.agents import MemoryPPO
    >>> model = MemoryPPO("MlpMemoryPolicy", "CartPole-v1", n_steps=16, device="cpu")
    >>> mean, std = evaluate_policy(MaskedPredictor(model, model.get_env()), model.get_env(), n_eval_episodes=2)
    """

    def __init__(self, model: MemoryOnPolicyAlgorithm, env: VecEnv) -> None:
        self.model, self.env = model, env
        # As in training, where a Box has no choices to mask.
        self.supported = not isinstance(env.action_space, spaces.Box) and is_masking_supported(env)

    def predict(
        self,
        observation: Array | dict[str, Array],
        state: tuple[Any, ...] | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, tuple[Any, ...] | None]:
        """As the model's, with the masks of this moment."""
        masks = get_action_masks(self.env) if self.supported else None
        return self.model.predict(observation, state, episode_start, deterministic, masks)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the model's."""
        return getattr(self.model, name)


class MaskedEvalCallback(EvalCallback):
    """SB3's EvalCallback for environments with `action_masks()`; arguments as there."""

    def _on_step(self) -> bool:
        model: Any = self.model
        self.model = cast(BaseAlgorithm, MaskedPredictor(model, self.eval_env))
        try:
            return super()._on_step()
        finally:
            self.model = model
