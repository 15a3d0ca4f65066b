"""What MemoryPPO and MemoryA2C share: rollouts that carry a state, and the buffer that keeps it."""

import io
import pathlib
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from memrl import tree

from .buffer import SequenceBuffer
from .policies import CnnMemoryPolicy, MlpMemoryPolicy, MultiInputMemoryPolicy, PolicyState
from .previous import VecPreviousInputs

Array = np.ndarray[Any, Any]


class MemoryOnPolicyAlgorithm(OnPolicyAlgorithm):
    """Rollouts in which the policy's state is carried, reset at episode starts and stored at sequence starts.

    Subclasses write `train`. Arguments are SB3's, and `seq_len`, `refresh_states`, `previous_action`,
    `previous_reward` as in `MemoryPPO`.
    """

    policy: MlpMemoryPolicy
    rollout_buffer: SequenceBuffer
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpMemoryPolicy": MlpMemoryPolicy,
        "CnnMemoryPolicy": CnnMemoryPolicy,
        "MultiInputMemoryPolicy": MultiInputMemoryPolicy,
    }

    def __init__(
        self,
        policy: str | type[MlpMemoryPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule,
        *,
        n_steps: int,
        seq_len: int,
        refresh_states: bool = False,
        previous_action: bool = False,
        previous_reward: bool = False,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        if n_steps < 1:
            raise ValueError(f"n_steps: {n_steps} given, at least 1 needed")
        if seq_len < 1:
            raise ValueError(f"seq_len: {seq_len} given, at least 1 needed")
        if {"rollout_buffer_class", "rollout_buffer_kwargs"} & kwargs.keys():
            raise ValueError("rollout_buffer_class: given, but sequences need the buffer that the agent has")
        if isinstance(policy, type) and not issubclass(policy, MlpMemoryPolicy):
            raise ValueError(f"policy: {policy.__name__} given; a subclass of MlpMemoryPolicy needed")
        self.seq_len, self.refresh_states = seq_len, refresh_states
        self.previous_action, self.previous_reward = previous_action, previous_reward
        self._last_state: PolicyState | None = None
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            use_sde=False,
            sde_sample_freq=-1,
            supported_action_spaces=(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
            _init_setup_model=False,
            **kwargs,
        )
        if self.env is not None and (previous_action or previous_reward):
            self.env = self._with_previous(self.env)
            self.observation_space = self.env.observation_space
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.rollout_buffer = SequenceBuffer(
            self.n_steps,
            self.observation_space,
            self.action_space,
            seq_len=self.seq_len,
            device=self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
        )
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        ).to(self.device)
        self._last_state = None

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """As in SB3; previous action and reward are added if the model reads them."""
        wrapped = self._wrap_env(env, self.verbose)
        super().set_env(self._with_previous(wrapped), force_reset)
        if force_reset:  # otherwise the episodes go on, and so does what is remembered of them
            self._last_state = None

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """As in SB3; previous action and reward are added to `env` if the model reads them."""
        if env is None:
            return super().load(path, None, device, custom_objects, print_system_info, force_reset, **kwargs)
        # Whether they are to be added is known only after loading.
        wrapped = cls._wrap_env(env)
        kwargs["n_envs"] = wrapped.num_envs
        model = super().load(path, None, device, custom_objects, print_system_info, force_reset, **kwargs)
        model.set_env(wrapped, force_reset)
        wrapped.seed(model.seed)
        return model

    def _with_previous(self, env: VecEnv) -> VecEnv:
        asked = {"previous_action"} if self.previous_action else set()
        asked |= {"previous_reward"} if self.previous_reward else set()
        if isinstance(env.observation_space, spaces.Dict):
            asked -= env.observation_space.spaces.keys()
        if not asked:
            return env
        return VecPreviousInputs(env, action=self.previous_action, reward=self.previous_reward)

    def predict(
        self,
        observation: Array | dict[str, Array],
        state: tuple[Any, ...] | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
        action_masks: Array | None = None,
    ) -> tuple[Array, tuple[Any, ...] | None]:
        """As in SB3 and, with masks, MaskablePPO; hand the state back in at the next step."""
        return self.policy.predict(observation, state, episode_start, deterministic, action_masks)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_last_state"]

    def collect_rollouts(  # type: ignore[override]
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: SequenceBuffer, n_rollout_steps: int
    ) -> bool:
        """Act for `n_rollout_steps` in every environment and fill the buffer, as in SB3, with a memory.

        Returns:
            False if a callback stopped training.
        """
        if self._last_obs is None or self._last_episode_starts is None:
            raise RuntimeError("no observation yet: `learn` resets the environments first")
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()
        if self._last_state is None or tree.batch_size(self._last_state) != env.num_envs:
            with torch.no_grad():
                self._last_state = self.policy.initial_state(env.num_envs)

        maskable = not isinstance(self.action_space, spaces.Box) and is_masking_supported(env)
        for _ in range(n_rollout_steps):
            starts = self._last_episode_starts.astype(bool)
            masks = get_action_masks(env).reshape(env.num_envs, -1).astype(bool) if maskable else None
            rollout_buffer.begin(self._last_state, starts)
            with torch.no_grad():
                obs = obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]
                allowed = None if masks is None else self._tensor(masks)
                actions, values, log_probs, state = self.policy(
                    obs, self._last_state, self._tensor(starts), action_masks=allowed
                )
            chosen = actions.cpu().numpy()
            taken = chosen
            if isinstance(self.action_space, spaces.Box):
                taken = np.clip(chosen, self.action_space.low, self.action_space.high)
            new_obs, rewards, dones, infos = env.step(taken)
            self.num_timesteps += env.num_envs

            callback.update_locals(locals())
            if not callback.on_step():
                # Training may go on later: from here, or a memory would be carried into an episode that is not its own.
                self._last_obs, self._last_episode_starts, self._last_state = new_obs, dones, state  # type: ignore[assignment]
                return False
            self._update_info_buffer(infos, dones)
            if dones.any():
                rewards = self._bootstrap(rewards, dones, infos, state)
            rollout_buffer.add(self._last_obs, chosen, rewards, starts, values, log_probs, masks)
            self._last_obs, self._last_episode_starts, self._last_state = new_obs, dones, state  # type: ignore[assignment]

        with torch.no_grad():
            obs = obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]
            last_values = self.policy.predict_values(obs, self._last_state, self._tensor(dones))
        rollout_buffer.compute_returns_and_advantage(last_values, dones)
        rollout_buffer.finish()
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _tensor(self, starts: Array) -> Tensor:
        return torch.as_tensor(starts.astype(bool), device=self.device)

    def _bootstrap(self, rewards: Array, dones: Array, infos: list[dict[str, Any]], state: PolicyState) -> Array:
        """Where an episode was cut off by a time limit, add the value of going on; where it ended, add nothing.

        The value is that of the terminal observation with the memory of the episode it belongs to.
        """
        cut = [
            i
            for i in np.flatnonzero(dones)
            if infos[i].get("TimeLimit.truncated") and "terminal_observation" in infos[i]
        ]
        if not cut:
            return rewards
        terminal = [infos[i]["terminal_observation"] for i in cut]
        if isinstance(terminal[0], dict):
            stacked: Any = {key: np.stack([obs[key] for obs in terminal]) for key in terminal[0]}
        else:
            stacked = np.stack(terminal)
        obs, _ = self.policy.obs_to_tensor(stacked)
        with torch.no_grad():
            goes_on = torch.zeros(len(cut), dtype=torch.bool, device=self.device)
            rows = torch.as_tensor(cut, device=self.device)
            values = self.policy.predict_values(obs, tree.index(state, rows), goes_on)
        rewards = rewards.copy()
        rewards[cut] += self.gamma * values.flatten().cpu().numpy()
        return rewards

    def _refresh(self) -> None:
        """Replay the rollout to replace stored states by what the policy, as it is now, would have remembered."""
        buffer = self.rollout_buffer
        self.policy.set_training_mode(False)  # the states being replaced come from acting
        with torch.no_grad():
            for earlier, later in buffer.successors():
                batch = buffer.batch(earlier)
                state = self.policy.final_state(batch.observations, batch.sequences)
                rows = torch.as_tensor(buffer.rows[later], device=self.device)
                tree.map(lambda stored, new, rows=rows: stored.index_copy_(0, rows, new), buffer.stored, state)
        self.policy.set_training_mode(True)
