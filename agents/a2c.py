"""Advantage actor-critic for policies with a memory."""

from typing import Any

import torch
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import explained_variance
from torch.nn import functional as F

from .on_policy import MemoryOnPolicyAlgorithm
from .policies import MlpMemoryPolicy


class MemoryA2C(MemoryOnPolicyAlgorithm):
    """A2C (Mnih et al. 2016, synchronous) that backpropagates through whole sequences of any memory core.

    One update per rollout, on all of it.

    Args:
        policy: "MlpMemoryPolicy", "CnnMemoryPolicy", "MultiInputMemoryPolicy" or a subclass of `MlpMemoryPolicy`.
        env: as in SB3.
        learning_rate: step size, or a function of the remaining progress (1 to 0).
        n_steps: steps per environment in one rollout; longer than SB3's 5, since gradients end where a rollout does.
        seq_len: longest stretch of backpropagation through time, in steps.
        gamma: discount.
        gae_lambda: bias-variance trade-off of the advantages; 1 is the paper's n-step return.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: gradients longer than this are scaled down.
        rms_prop_eps: added to the root in RMSprop's denominator.
        use_rms_prop: RMSprop as in the paper; False is Adam.
        normalize_advantage: to mean 0 and deviation 1 in each rollout.
        kwargs: previous_action, previous_reward as in `MemoryPPO`; stats_window_size, tensorboard_log, policy_kwargs,
            verbose, seed, device as in SB3.

    Raises:
        ValueError: an argument is out of its range.

    >>> model = MemoryA2C("MlpMemoryPolicy", "CartPole-v1", n_steps=16, device="cpu").learn(32)
    >>> model.num_timesteps
    32
    """

    def __init__(
        self,
        policy: str | type[MlpMemoryPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 7e-4,
        n_steps: int = 32,
        *,
        seq_len: int = 64,
        gamma: float = 0.99,
        gae_lambda: float = 1.0,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        rms_prop_eps: float = 1e-5,
        use_rms_prop: bool = True,
        normalize_advantage: bool = False,
        policy_kwargs: dict[str, Any] | None = None,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("refresh_states"):
            raise ValueError("refresh_states: True given, but A2C uses each rollout once: no stored state grows old")
        policy_kwargs = dict(policy_kwargs or {})
        if use_rms_prop and "optimizer_class" not in policy_kwargs:
            policy_kwargs["optimizer_class"] = torch.optim.RMSprop
            policy_kwargs["optimizer_kwargs"] = {"alpha": 0.99, "eps": rms_prop_eps, "weight_decay": 0}
        self.normalize_advantage = normalize_advantage
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
            policy_kwargs=policy_kwargs,
            _init_setup_model=_init_setup_model,
            **kwargs,
        )

    def train(self) -> None:
        """Update the policy once from the last rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        for batch in self.rollout_buffer.get(batch_size=None):
            values, log_prob, entropy = self.policy.evaluate_sequences(
                batch.observations, batch.actions, batch.sequences, batch.action_masks
            )
            advantages = batch.advantages
            if self.normalize_advantage and len(advantages) > 1:
                advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
            policy_loss = -(advantages * log_prob).mean()
            value_loss = F.mse_loss(batch.returns, values)
            entropy_loss = (log_prob if entropy is None else -entropy).mean()
            loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
            self.policy.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()

        self._n_updates += 1
        buffer = self.rollout_buffer
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record(
            "train/explained_variance", explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        )
        self.logger.record("train/entropy_loss", entropy_loss.item())
        self.logger.record("train/policy_loss", policy_loss.item())
        self.logger.record("train/value_loss", value_loss.item())
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", torch.exp(self.policy.log_std).mean().item())

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "MemoryA2C",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> "MemoryA2C":
        """Train for at least `total_timesteps` environment steps, as in SB3."""
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
