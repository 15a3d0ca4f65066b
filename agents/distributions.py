"""SB3's categorical distribution without the overhead that dominates acting with small networks, and action masks."""

from typing import Any, Self

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution, MultiCategoricalDistribution
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


def masked(action_space: spaces.Space[Any], logits: Tensor, masks: Tensor) -> Distribution:
    """The distribution over those actions only that a mask allows, with the shapes that sb3-contrib's masks have.

    Args:
        action_space: Discrete (n), MultiDiscrete or MultiBinary.
        logits: of the unmasked distribution. Shape (B, logits).
        masks: true where a choice is allowed: (B, n) for Discrete, the choices of all parts side by side for
            MultiDiscrete, (not set, set) for every bit of MultiBinary. Shape (B, choices).

    Raises:
        ValueError: the shape does not fit, nothing is allowed in some row, or the space has no choices to mask.
    """
    if isinstance(action_space, spaces.Discrete):
        dims = [int(action_space.n)]
    elif isinstance(action_space, spaces.MultiDiscrete):
        dims = [int(n) for n in action_space.nvec]
    elif isinstance(action_space, spaces.MultiBinary):
        dims = [2] * logits.shape[1]  # a bit's logit l is the choice between (0, l)
        logits = torch.stack([torch.zeros_like(logits), logits], dim=-1).flatten(1)
    else:
        raise ValueError(f"action_masks: given, but {action_space} has no choices to mask")
    if masks.shape != logits.shape:
        raise ValueError(f"action_masks: shape {tuple(masks.shape)} given, {tuple(logits.shape)} needed")
    allowed = torch.stack([part.any(1) for part in masks.split(dims, dim=1)], dim=1)
    if not allowed.all():
        raise ValueError(f"action_masks: no action is allowed in row {int(torch.nonzero(~allowed)[0, 0])}")
    logits = logits.masked_fill(~masks, -torch.inf)
    if isinstance(action_space, spaces.Discrete):
        return LightCategorical(dims[0]).proba_distribution(logits)
    return MultiCategoricalDistribution(dims).proba_distribution(logits)
