"""Optimisers and schedules of recipes, among them RMSProp as Graves has it."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from memrl.recipe import Recipe


class GravesRMSProp(Optimizer):
    """RMSProp with centred second moments, momentum, and the damping inside of the root.

    Graves 2013, "Generating sequences with recurrent neural networks", eqs. 38-41, for each component ε of a gradient:
    n = ℵ n' + (1 - ℵ) ε², g = ℵ g' + (1 - ℵ) ε, Δ = ℶ Δ' - ג ε / √(n - g² + ד), w = w' + Δ. torch's RMSprop has the
    damping outside of the root, where 1e-4 hardly damps at all.

    Args:
        parameters: what to optimise.
        learning_rate: ג.
        decay: ℵ, of the moments, in [0, 1).
        momentum: ℶ, in [0, 1).
        damping: ד, above 0.
        weight_decay: L2 penalty, added to the gradient.

    Departs from the paper: no; the penalty is 0 there.

    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = GravesRMSProp([weight], learning_rate=0.1, damping=1e-4)
    >>> (weight**2).sum().backward()
    >>> optimizer.step()
    >>> weight  # 1 - 0.1 * 2 / √(0.05 * 4 - 0.1² + 1e-4)
    Parameter containing:
    tensor([0.5413], requires_grad=True)
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float = 1e-4,
        decay: float = 0.95,
        momentum: float = 0.9,
        damping: float = 1e-4,
        weight_decay: float = 0.0,
    ) -> None:
        if not (0 <= decay < 1 and 0 <= momentum < 1 and damping > 0):
            raise ValueError(
                f"decay, momentum, damping: {decay}, {momentum}, {damping} given, [0, 1), [0, 1) and above 0 allowed"
            )
        defaults = {"lr": learning_rate, "decay": decay, "momentum": momentum, "damping": damping}
        super().__init__(parameters, {**defaults, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        moments = self.state[parameter]
        if not moments:
            moments.update({name: torch.zeros_like(parameter) for name in ("square", "mean", "delta")})
        square, mean, delta = moments["square"], moments["mean"], moments["delta"]
        gradient = parameter.grad
        assert gradient is not None
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        square.mul_(group["decay"]).addcmul_(gradient, gradient, value=1 - group["decay"])
        mean.mul_(group["decay"]).add_(gradient, alpha=1 - group["decay"])
        root = square.addcmul(mean, mean, value=-1).add_(group["damping"]).sqrt_()
        delta.mul_(group["momentum"]).addcdiv_(gradient, root, value=-group["lr"])
        parameter.add_(delta)


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> Optimizer:
    """The optimiser of a recipe."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=recipe.momentum, weight_decay=decay)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, eps=1e-10, momentum=recipe.momentum, weight_decay=decay)
    return GravesRMSProp(parameters, rate, momentum=recipe.momentum, weight_decay=decay)


def make_schedule(optimizer: Optimizer, recipe: Recipe) -> LambdaLR:
    """What the learning rate is multiplied with, batch by batch."""

    def factor(step: int) -> float:
        done = step / recipe.steps
        if recipe.schedule == "linear":
            return 1.0 - done
        if recipe.schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
        if recipe.schedule == "halve":
            return float(0.5 ** (step // recipe.halve_every))
        return 1.0

    return LambdaLR(optimizer, factor)
