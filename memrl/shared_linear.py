"""A linear layer that every step of a sequence uses."""

from typing import Any

import torch
from torch import Tensor


class SharedLinear:
    """y_t = x_t W + b_t, called once a step; what the steps give W's gradient is one product, after the last.

    Autograd would make a gradient as large as W at every step and add it to the others: for a controller's weights
    that is more memory traffic than the step itself.

    Args:
        weight: W. Shape (I, O).
        terms: b, known before the first step. Shape (T, B, O).

    >>> weight = torch.ones(2, 3, requires_grad=True)
    >>> linear = SharedLinear(weight, torch.zeros(4, 1, 3))
    >>> sum(linear(torch.ones(1, 2)).sum() for _ in range(4)).backward()
    >>> weight.grad
    tensor([[4., 4., 4.],
            [4., 4., 4.]])
    """

    def __init__(self, weight: Tensor, terms: Tensor) -> None:
        self._inputs: list[Tensor] = []
        self._deferred = torch.is_grad_enabled() and weight.requires_grad
        if self._deferred:
            terms = _AddProducts.apply(terms, weight, self._inputs)  # type: ignore[no-untyped-call]
        self._weight = weight.detach() if self._deferred else weight
        self._may_end = len(terms) > 1  # a single step has all its rows: no question for a graph of any batch size
        self._terms = iter(terms.unbind(0))

    def __call__(self, x: Tensor) -> Tensor:
        """The next step, x (B', I) to y (B', O), for the first B' <= B rows."""
        term = next(self._terms)
        if self._deferred:
            self._inputs.append(x.detach())
        if self._may_end and len(x) < len(term):
            term = term[: len(x)]
        return torch.addmm(term, x, self._weight)


class _AddProducts(torch.autograd.Function):
    """b as it is; the gradients that reach b_t are those of y_t, so W's is Σ_t x_tᵀ g_t."""

    @staticmethod
    def forward(ctx: Any, terms: Tensor, weight: Tensor, inputs: list[Tensor]) -> Tensor:
        ctx.inputs = inputs  # filled by the steps
        return terms.view_as(terms)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grads = [step[: len(x)] for step, x in zip(grad, ctx.inputs, strict=True)]
        return grad, torch.cat(ctx.inputs).t() @ torch.cat(grads), None
