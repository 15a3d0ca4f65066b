"""The last action and the last reward as part of the observation."""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, unwrap_vec_normalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

Array = np.ndarray[Any, Any]


class VecPreviousInputs(VecEnvWrapper):
    """Add "previous_action" and "previous_reward" to the observation; both are zero when an episode begins.

    An action of a Discrete space is one-hot, of a MultiDiscrete space one-hot for each part, so that "no action yet"
    (zeros) differs from every action. A Dict observation gets two more keys; any other becomes a Dict with the key
    "observation".

    Args:
        venv: any SB3 VecEnv, for training or evaluation.
        action: add the previous action.
        reward: add the previous reward, as the environment gave it.

    Raises:
        ValueError: neither is asked for, or the action space is not one that SB3's policy-gradient agents have.

    >>> from stable_baselines3.common.env_util import make_vec_env
    >>> sorted(VecPreviousInputs(make_vec_env("CartPole-v1")).reset())
    ['observation', 'previous_action', 'previous_reward']
    """

    def __init__(self, venv: VecEnv, action: bool = True, reward: bool = True) -> None:
        if not (action or reward):
            raise ValueError("VecPreviousInputs: action and reward are both False; nothing to add")
        self.action, self.reward = action, reward
        self._encode, width = _encoder(venv.action_space)
        inner = venv.observation_space
        parts = dict(inner.spaces) if isinstance(inner, spaces.Dict) else {"observation": inner}
        if action:
            low, high = -np.inf if isinstance(venv.action_space, spaces.Box) else 0.0, np.inf
            high = high if isinstance(venv.action_space, spaces.Box) else 1.0
            parts["previous_action"] = spaces.Box(low, high, (width,), np.float32)
        if reward:
            parts["previous_reward"] = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        super().__init__(venv, observation_space=spaces.Dict(parts))
        self._normalize = unwrap_vec_normalize(venv)
        self._actions = np.zeros((venv.num_envs, width), np.float32)

    def reset(self) -> VecEnvObs:
        """Reset all; nothing came before."""
        self._actions[:] = 0
        return self._extend(self.venv.reset(), self._actions, np.zeros(self.num_envs, np.float32))

    def step_async(self, actions: Array) -> None:
        """Send actions and remember them."""
        self._actions = self._encode(np.asarray(actions))
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Observations with what led to them; the terminal observation of an episode too."""
        obs, rewards, dones, infos = self.venv.step_wait()
        # VecNormalize scales the rewards of training, but commonly not those of evaluation: show both unscaled.
        given = rewards if self._normalize is None else self._normalize.get_original_reward()
        for env in np.flatnonzero(dones):
            terminal = infos[env].get("terminal_observation")
            if terminal is not None:
                extended = self._extend(terminal, self._actions[env], np.float32(given[env]))
                infos[env]["terminal_observation"] = extended
        seen = self._extend(obs, np.where(dones[:, None], 0, self._actions), np.where(dones, 0, given))
        return seen, rewards, dones, infos

    def _extend(self, obs: Any, actions: Array, rewards: Any) -> dict[str, Any]:
        extended = dict(obs) if isinstance(obs, dict) else {"observation": obs}
        if self.action:
            extended["previous_action"] = actions.astype(np.float32)
        if self.reward:
            extended["previous_reward"] = np.asarray(rewards, np.float32)[..., None]
        return extended


def _encoder(space: spaces.Space[Any]) -> tuple[Any, int]:
    """A function from a batch of actions to float vectors, and their width."""
    if isinstance(space, spaces.Discrete):
        table = np.eye(int(space.n), dtype=np.float32)
        return lambda actions: table[actions.reshape(-1)], len(table)
    if isinstance(space, spaces.MultiDiscrete):
        tables = [np.eye(int(n), dtype=np.float32) for n in space.nvec.flatten()]
        return (
            lambda actions: np.concatenate(
                [table[column] for table, column in zip(tables, actions.reshape(len(actions), -1).T, strict=True)],
                1,
            ),
            sum(map(len, tables)),
        )
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        width = int(np.prod(space.shape))
        return lambda actions: actions.reshape(len(actions), width).astype(np.float32), width
    raise ValueError(f"action space: {space} given; Discrete, MultiDiscrete, MultiBinary or Box allowed")
