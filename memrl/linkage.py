"""The DNC's temporal links: which slot was written after which, and following them.

The link matrix is the largest part of a DNC, N x N for every row of the batch and step of the sequence. So both
directions of the computation are written out: one new matrix per step, one saved, worked on in blocks that fit the
cache.
"""

from typing import Any

import torch
from torch import Tensor

# Numbers of a block of link matrices: 1 MiB in float32, about what a core's own cache holds.
_BLOCK = 2**18


def update_precedence(precedence: Tensor, write_weights: Tensor) -> Tensor:
    """Which slot was written last: p = (1 - Σ w) p' + w (Graves et al. 2016, "Temporal memory linkage").

    >>> update_precedence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.5]]))
    tensor([[0.5000, 0.5000]])
    """
    return (1 - write_weights.sum(-1, keepdim=True)) * precedence + write_weights


def follow_link(
    link: Tensor, precedence: Tensor, write_weights: Tensor, read_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Note what was written after what, then step from the slots read before to those after and before them.

    Graves et al. 2016, "Temporal memory linkage": L[i, j] = (1 - w[i] - w[j]) L'[i, j] + w[i] p'[j], L[i, i] = 0;
    f = L w^r', b = Lᵀ w^r'.

    Args:
        link: L'; L[i, j] tells how surely slot i was written right after slot j. Shape (B, N, N).
        precedence: p' of the step before. Shape (B, N).
        write_weights: w. Shape (B, N).
        read_weights: w^r' of the step before. Shape (B, R, N).

    Returns:
        L, zero on the diagonal, rows and columns summing to at most 1 (B, N, N); forward weightings f and backward
        weightings b (B, R, N).

    Departs from the paper: no. Second derivatives are not available.

    >>> first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> link, after, before = follow_link(torch.zeros(1, 2, 2), first, second, first.unsqueeze(1))
    >>> link, after  # slot 1 was written after slot 0, so from slot 0 forward leads to slot 1
    (tensor([[[0., 0.],
             [1., 0.]]]), tensor([[[0., 1.]]]))
    """
    tensors = (link, precedence, write_weights, read_weights)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _FollowLink.apply(*tensors)  # type: ignore[no-any-return, no-untyped-call]
    return _follow(*tensors)


def sharpen_link(weights: Tensor, sharpness: Tensor) -> Tensor:
    """Undo the blur of followed links: S(d, s) = ((d + ε) / max(d + ε))^s, normalised.

    Csordás & Schmidhuber 2019, "Sharpness enhancement of the temporal links"; ε = 1e-6.

    Shapes (B, R, N), s >= 1 (B, R) -> (B, R, N), summing to 1.
    """
    return torch.softmax(sharpness.unsqueeze(-1) * (weights + 1e-6).log(), dim=-1)


def _follow(link: Tensor, precedence: Tensor, weights: Tensor, reads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if torch.compiler.is_exporting():  # a graph for any batch size, without writing in place
        scale = (1 - weights).unsqueeze(-1) - weights.unsqueeze(-2)
        new = scale * link + weights.unsqueeze(-1) * precedence.unsqueeze(-2)
        new = new * (1 - torch.eye(link.shape[-1], dtype=link.dtype, device=link.device))
        return new, torch.bmm(reads, new.mT), torch.bmm(reads, new)
    rows = max(1, _BLOCK // link[0].numel())
    if rows >= len(link):
        new = (1 - weights).unsqueeze(-1) - weights.unsqueeze(-2)
        new.mul_(link).baddbmm_(weights.unsqueeze(-1), precedence.unsqueeze(-2))
        new.diagonal(dim1=-2, dim2=-1).zero_()
        return new, torch.bmm(reads, new.mT), torch.bmm(reads, new)
    new, after, before = torch.empty_like(link), torch.empty_like(reads), torch.empty_like(reads)
    for start in range(0, len(link), rows):
        block = slice(start, start + rows)
        new[block], after[block], before[block] = _follow(link[block], precedence[block], weights[block], reads[block])
    return new, after, before


class _FollowLink(torch.autograd.Function):
    """Saves the links before and after, which is one matrix per step: the one after is the next step's one before."""

    @staticmethod
    def forward(ctx: Any, link: Tensor, precedence: Tensor, weights: Tensor, reads: Tensor) -> Any:
        new, after, before = _follow(link, precedence, weights, reads)
        ctx.save_for_backward(link, precedence, weights, reads, new)
        ctx.set_materialize_grads(False)
        return new, after, before

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_new: Tensor | None, grad_after: Tensor | None, grad_before: Tensor | None) -> Any:
        link, precedence, weights, reads, new = ctx.saved_tensors
        grad_after = torch.zeros_like(reads) if grad_after is None else grad_after
        grad_before = torch.zeros_like(reads) if grad_before is None else grad_before
        given = [grad_after, grad_before, link, precedence, weights, reads, new]
        rows = max(1, _BLOCK // link[0].numel())
        if rows >= len(link):
            return _follow_backward(grad_new, ctx.needs_input_grad[0], *given)
        grads = [torch.empty_like(tensor) for tensor in (link, precedence, weights, reads)]
        for start in range(0, len(link), rows):
            block = slice(start, start + rows)
            new_block = None if grad_new is None else grad_new[block]
            parts = _follow_backward(new_block, True, *(tensor[block] for tensor in given))
            for grad, part in zip(grads, parts, strict=True):
                if part is not None:
                    grad[block] = part
        return tuple(grads)


def _follow_backward(
    grad_new: Tensor | None,
    needs_link: bool,
    grad_after: Tensor,
    grad_before: Tensor,
    link: Tensor,
    precedence: Tensor,
    weights: Tensor,
    reads: Tensor,
    new: Tensor,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
    """Gradients of link, precedence, write weights and read weights."""
    grad_reads = torch.bmm(grad_after, new).baddbmm_(grad_before, new.mT)
    # f and b each reach the link by a product of two thin matrices; both together are one.
    left, right = torch.cat([grad_after, reads], 1).mT, torch.cat([reads, grad_before], 1)
    grad = torch.bmm(left, right) if grad_new is None else torch.baddbmm(grad_new, left, right)
    grad.diagonal(dim1=-2, dim2=-1).zero_()
    grad_precedence = torch.bmm(weights.unsqueeze(-2), grad).squeeze(-2)
    grad_weights = torch.bmm(grad, precedence.unsqueeze(-1)).squeeze(-1)
    through = grad * link
    grad_weights -= through.sum(-1)
    grad_weights -= through.sum(-2)
    if not needs_link:
        return None, grad_precedence, grad_weights, grad_reads
    grad_link = torch.sub((1 - weights).unsqueeze(-1), weights.unsqueeze(-2), out=through).mul_(grad)
    return grad_link, grad_precedence, grad_weights, grad_reads
