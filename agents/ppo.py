"""Proximal policy optimisation for policies with a memory."""

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import FloatSchedule, explained_variance
from torch.nn import functional as F

from .on_policy import MemoryOnPolicyAlgorithm
from .policies import MlpMemoryPolicy


class MemoryPPO(MemoryOnPolicyAlgorithm):
    """PPO (Schulman et al. 2017) that backpropagates through whole sequences of any memory core.

    Args:
        policy: "MlpMemoryPolicy", "CnnMemoryPolicy", "MultiInputMemoryPolicy" or a subclass of `MlpMemoryPolicy`.
        env: as in SB3.
        learning_rate: step size of Adam, or a function of the remaining progress (1 to 0).
        n_steps: steps per environment in one rollout.
        seq_len: longest stretch of backpropagation through time, in steps. Episodes are cut after `seq_len` steps
            and the state there is stored; independent of `batch_size` and `n_steps`.
        batch_size: about how many steps, in whole sequences, a minibatch has.
        n_epochs: passes over each rollout.
        gamma: discount.
        gae_lambda: bias-variance trade-off of the advantages.
        clip_range: how far the probability ratio may move, or a function of the remaining progress.
        clip_range_vf: the same for values, in units of return; None does not clip.
        normalize_advantage: to mean 0 and deviation 1 in each minibatch.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: gradients longer than this are scaled down.
        target_kl: stop an iteration's updates beyond 1.5 times this divergence; None never.
        refresh_states: before each epoch but the first, replace stored states by what the current policy remembers.
        previous_action: let the policy see its last action.
        previous_reward: let the policy see the last reward.
        kwargs: stats_window_size, tensorboard_log, policy_kwargs, verbose, seed, device as in SB3; `policy_kwargs`
            takes `core`, `core_kwargs`, `share_core` and SB3's own.

    Raises:
        ValueError: an argument is out of its range.

    >>> model = MemoryPPO("MlpMemoryPolicy", "CartPole-v1", n_steps=16, policy_kwargs={"core": "gru"}, device="cpu")
    >>> model = model.learn(32)
    >>> action, state = model.predict(model.get_env().reset())
    >>> state.actor.hidden.shape
    (1, 1, 128)
    """

    def __init__(
        self,
        policy: str | type[MlpMemoryPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 5e-4,
        n_steps: int = 128,
        *,
        seq_len: int = 64,
        batch_size: int = 512,
        n_epochs: int = 4,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = 0.03,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        if batch_size < 2:
            raise ValueError(f"batch_size: {batch_size} given, at least 2 needed to normalise advantages")
        if n_epochs < 1:
            raise ValueError(f"n_epochs: {n_epochs} given, at least 1 needed")
        self.batch_size, self.n_epochs = batch_size, n_epochs
        self.clip_range, self.clip_range_vf = clip_range, clip_range_vf
        self.normalize_advantage, self.target_kl = normalize_advantage, target_kl
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps=n_steps,
            seq_len=seq_len,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            _init_setup_model=_init_setup_model,
            **kwargs,
        )

    def _setup_model(self) -> None:
        super()._setup_model()
        self.clip_range = FloatSchedule(self.clip_range)
        if self.clip_range_vf is not None:
            self.clip_range_vf = FloatSchedule(self.clip_range_vf)

    def train(self) -> None:
        """Update the policy from the last rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        clip_range_vf = None
        if self.clip_range_vf is not None:
            clip_range_vf = self.clip_range_vf(self._current_progress_remaining)  # type: ignore[operator]

        logs: dict[str, list[float]] = {}
        for epoch in range(self.n_epochs):
            if epoch and self.refresh_states:
                self._refresh()
            stop = False
            for batch in self.rollout_buffer.get(self.batch_size):
                loss, terms = self.loss(batch, clip_range, clip_range_vf)
                for name, value in terms.items():
                    logs.setdefault(name, []).append(value)
                if self.target_kl is not None and terms["approx_kl"] > 1.5 * self.target_kl:
                    stop = True
                    break
                self.policy.optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
            self._n_updates += 1
            if stop:
                break

        for name, values in logs.items():
            self.logger.record(f"train/{name}", values[-1] if name == "loss" else float(np.mean(values)))
        buffer = self.rollout_buffer
        self.logger.record(
            "train/explained_variance", explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        )
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", torch.exp(self.policy.log_std).mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)

    def loss(
        self, batch: Any, clip_range: float, clip_range_vf: float | None = None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of one minibatch (Schulman et al. 2017, eqs. 7 and 9) and its terms under SB3's names.

        Padding never gets here: every tensor of a `Batch` holds real steps only.
        """
        values, log_prob, entropy = self.policy.evaluate_sequences(
            batch.observations, batch.actions, batch.sequences, batch.action_masks
        )
        advantages = batch.advantages
        if self.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)

        log_ratio = log_prob - batch.old_log_prob
        ratio = log_ratio.exp()
        policy_loss = -torch.min(advantages * ratio, advantages * ratio.clamp(1 - clip_range, 1 + clip_range)).mean()
        if clip_range_vf is not None:
            values = batch.old_values + (values - batch.old_values).clamp(-clip_range_vf, clip_range_vf)
        value_loss = F.mse_loss(batch.returns, values)
        entropy_loss = (log_prob if entropy is None else -entropy).mean()
        loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
        with torch.no_grad():
            terms = torch.stack(
                [
                    entropy_loss,
                    policy_loss,
                    value_loss,
                    (ratio - 1 - log_ratio).mean(),
                    ((ratio - 1).abs() > clip_range).float().mean(),
                    loss,
                ]
            ).tolist()
        names = ("entropy_loss", "policy_gradient_loss", "value_loss", "approx_kl", "clip_fraction", "loss")
        return loss, dict(zip(names, terms, strict=True))

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "MemoryPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> "MemoryPPO":
        """Train for at least `total_timesteps` environment steps, as in SB3."""
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
