"""SB3's categorical distribution without the overhead that dominates acting with small networks."""

from typing import Self

import torch
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor


class LightCategorical(CategoricalDistribution):
    """The same distribution as SB3's, straight on log-probabilities.

    torch.distributions validates, normalises and samples by way of probabilities at every step, which costs more than
    an LSTM step does. `distribution` still gives torch's object, built when it is asked for.
    """

    log_probs: Tensor  # normalised, (B, actions)

    def proba_distribution(self, action_logits: Tensor) -> Self:
        """Take logits (B, actions)."""
        self.log_probs = torch.log_softmax(action_logits, dim=-1)
        return self

    @property
    def distribution(self) -> torch.distributions.Categorical:
        """The torch distribution, for those who look into it."""
        return torch.distributions.Categorical(logits=self.log_probs)

    @distribution.setter
    def distribution(self, _: object) -> None:
        """SB3's constructor sets it to None."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probabilities (B,) of actions (B,)."""
        return self.log_probs.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropies (B,) in nats; an impossible action adds nothing."""
        return -(self.log_probs.exp() * self.log_probs.clamp(min=torch.finfo(self.log_probs.dtype).min)).sum(-1)

    def sample(self) -> Tensor:
        """Actions (B,) by racing exponential clocks: argmax of p / Exp(1) has distribution p."""
        return (self.log_probs - torch.empty_like(self.log_probs).exponential_().log()).argmax(-1)

    def mode(self) -> Tensor:
        """The most likely actions (B,)."""
        return self.log_probs.argmax(-1)
