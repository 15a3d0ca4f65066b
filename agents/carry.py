"""A trained model that remembers by itself: nothing to hand in and out at every step."""

from typing import Any

import numpy as np

from memrl import tree

from .on_policy import MemoryOnPolicyAlgorithm

Array = np.ndarray[Any, Any]


class MemoryAgent:
    """Acts with a model and carries its state: `agent.reset()` when an episode begins, `agent.act(obs)` at every step.

    Args:
        model: a `MemoryPPO` or `MemoryA2C`; one model serves any number of agents.
        deterministic: take the most likely action.

    >>> import gymnasium as gym
    >>> from memrl.agents import MemoryPPO
    >>> agent = MemoryAgent(MemoryPPO("MlpMemoryPolicy", "CartPole-v1", n_steps=16, device="cpu"))
    >>> env = gym.make("CartPole-v1")
    >>> observation, _ = env.reset(seed=0)
    >>> agent.reset()
    >>> observation, *_ = env.step(agent.act(observation))
    """

    def __init__(self, model: MemoryOnPolicyAlgorithm, deterministic: bool = True) -> None:
        self.model, self.deterministic = model, deterministic
        self.state: tuple[Any, ...] | None = None
        self._starts: Array | None = None  # which environments begin an episode at the next step

    def reset(self, which: Array | list[bool] | None = None) -> None:
        """Forget everything, or, of several environments, what belongs to those where `which` is true.

        Raises:
            ValueError: `which` is not a truth value for each environment.
        """
        if which is None or self.state is None:
            self.state, self._starts = None, None
        else:
            starts, count = np.asarray(which), tree.batch_size(self.state)
            if starts.dtype != bool or starts.shape != (count,):
                raise ValueError(f"which: {which!r} given, True or False for each of {count} environments needed")
            self._starts = starts if self._starts is None else self._starts | starts

    def act(self, observation: Array | dict[str, Array], action_masks: Array | None = None) -> Array:
        """The action for an observation, or the actions for a batch of them.

        Raises:
            ValueError: the observation does not fit, or the number of environments changed without `reset()`.
        """
        starts = np.ones(1, bool) if self.state is None else self._starts
        action, self.state = self.model.predict(observation, self.state, starts, self.deterministic, action_masks)
        self._starts = None
        return action
