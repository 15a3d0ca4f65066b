"""How memories find their slots: pure functions of the NTM, the DNC and the Memformer.

Shapes: B batch, N slots, W slot width, R heads. Weightings are (B, R, N) where several heads share a call.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Floor of squared norms in a cosine. Rows of fresh memory are zero, and 0/0 is not a similarity; norms above 1e-3 are
# compared exactly as in the papers.
NORM_FLOOR = 1e-6


def oneplus(x: Tensor) -> Tensor:
    """1 + log(1 + eˣ), at least 1 (Graves et al. 2016, Methods, "Interface parameters").

    >>> oneplus(torch.tensor(0.0))
    tensor(1.6931)
    """
    return 1 + F.softplus(x)


def content_weights(memory: Tensor, keys: Tensor, strengths: Tensor, masks: Tensor | None = None) -> Tensor:
    """Look slots up by what they hold.

    Graves et al. 2014, eqs. 5-6; Graves et al. 2016, "Content-based addressing": softmax_i(β · cos(k, M(i))).
    With masks (Csordás & Schmidhuber 2019, "masked content-based addressing"): cos(k ∘ m, M(i) ∘ m).

    Args:
        memory: M. Shape (B, N, W).
        keys: k, one per head. Shape (B, R, W).
        strengths: β >= 0. Shape (B, R).
        masks: m, in [0, 1]; None compares all of the width. Shape (B, R, W).

    Returns:
        Weightings, each summing to 1. Shape (B, R, N).

    Departs from the paper: norms are bounded below by 1e-3, so that empty slots have similarity 0, not 0/0.

    >>> content_weights(torch.eye(2).unsqueeze(0), torch.tensor([[[3.0, 0.0]]]), torch.tensor([[50.0]])).round()
    tensor([[[1., 0.]]])
    """
    if masks is None:
        tensors = (memory, keys, strengths)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return _ContentWeights.apply(*tensors)  # type: ignore[no-any-return, no-untyped-call]
        return _cosines(*tensors)[0]
    keys = keys * masks
    slot_norms = masks.square() @ memory.square().mT  # (B, R, N)
    scale = strengths.unsqueeze(-1) * keys.square().sum(-1, keepdim=True).clamp(min=NORM_FLOOR).rsqrt()
    keys = keys * masks  # (k ∘ m)·(M ∘ m) = (k ∘ m ∘ m)·M: the memory itself need not be copied per head
    return torch.softmax((keys * scale) @ memory.mT * slot_norms.clamp(min=NORM_FLOOR).rsqrt(), dim=-1)


def _cosines(memory: Tensor, keys: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weightings, k·M / |M|, 1 / |k| and 1 / |M|, with bounded norms."""
    per_slot = memory.square().sum(-1).clamp_(min=NORM_FLOOR).rsqrt_().unsqueeze(1)  # (B, 1, N)
    per_key = keys.square().sum(-1, keepdim=True).clamp_(min=NORM_FLOOR).rsqrt_()  # (B, R, 1)
    products = torch.bmm(keys, memory.mT).mul_(per_slot)
    return torch.softmax(products * (strengths.unsqueeze(-1) * per_key), dim=-1), products, per_key, per_slot


class _ContentWeights(torch.autograd.Function):
    """`_cosines` with its gradient in a third of the operations, which is what small memories wait for."""

    @staticmethod
    def forward(ctx: Any, memory: Tensor, keys: Tensor, strengths: Tensor) -> Tensor:
        weights, products, per_key, per_slot = _cosines(memory, keys, strengths)
        ctx.save_for_backward(memory, keys, strengths, weights, products, per_key, per_slot)
        return weights

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        memory, keys, strengths, weights, products, per_key, per_slot = ctx.saved_tensors
        grad = torch._softmax_backward_data(grad, weights, -1, weights.dtype)  # of β (k·M) / (|k| |M|)
        grad_strengths = (grad * products).sum(-1, keepdim=True) * per_key
        strengths = strengths.unsqueeze(-1)
        grad = grad * (strengths * per_key)  # of (k·M) / |M|
        along_slots = (grad * products).sum(1).unsqueeze(-1)  # Σ_r g · (k·M) / |M|, (B, N, 1)
        grad = grad * per_slot  # of k·M
        # d(1/|v|)/dv = -v / |v|³ where the norm is above its floor, else 0.
        floor = NORM_FLOOR**-0.5
        slots = per_slot.mT
        pull = along_slots.mul_(slots.square()).masked_fill_(slots >= floor, 0.0)
        grad_memory = torch.bmm(grad.mT, keys).addcmul_(memory, pull, value=-1)
        pull = (grad_strengths * strengths).mul_(per_key.square()).masked_fill_(per_key >= floor, 0.0)
        grad_keys = torch.bmm(grad, memory).addcmul_(keys, pull, value=-1)
        return grad_memory, grad_keys, grad_strengths.squeeze(-1)


def interpolate(content: Tensor, previous: Tensor, gate: Tensor) -> Tensor:
    """Choose between content and the place before: g · w_c + (1 - g) · w' (Graves et al. 2014, eq. 7).

    Shapes (B, R, N), (B, R, N), (B, R) -> (B, R, N).

    >>> interpolate(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.25]]))
    tensor([[[0.2500, 0.7500]]])
    """
    return torch.lerp(previous, content, gate.unsqueeze(-1))


def shift(weights: Tensor, kernel: Tensor) -> Tensor:
    """Turn each weighting around the ring of slots.

    Graves et al. 2014, eq. 8: w̃(i) = Σ_j w(j) s(i - j mod N).

    Args:
        weights: Shape (B, R, N).
        kernel: s, how much to shift by -S, ..., S slots; sums to 1. Shape (B, R, 2S + 1).

    Returns:
        Weightings of the same sum. Shape (B, R, N).

    >>> shift(torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 0.0, 1.0]]]))
    tensor([[[0., 1., 0.]]])
    """
    reach = kernel.shape[-1] // 2
    ring = torch.cat([weights[..., weights.shape[-1] - reach :], weights, weights[..., :reach]], dim=-1)
    window = ring.unfold(-1, 2 * reach + 1, 1)  # (B, R, N, 2S + 1): w(i - S), ..., w(i + S)
    return (window @ kernel.flip(-1).unsqueeze(-1)).squeeze(-1)


def sharpen(weights: Tensor, sharpness: Tensor) -> Tensor:
    """Undo the blur of shifting: w^γ / Σ w^γ (Graves et al. 2014, eq. 9).

    Computed as softmax(γ · log w), which cannot underflow to 0/0 however small the weights are.

    Shapes (B, R, N), γ >= 1 (B, R) -> (B, R, N).

    >>> sharpen(torch.tensor([[[0.5, 0.25, 0.25]]]), torch.tensor([[2.0]]))
    tensor([[[0.6667, 0.1667, 0.1667]]])
    """
    logs = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()
    return torch.softmax(sharpness.unsqueeze(-1) * logs, dim=-1)


def erase_and_add(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """Write with several heads: all erasures, which do not depend on their order, then all additions.

    Graves et al. 2014, eqs. 3-4: M(i) ∘ Π_p (1 - w_p(i) e_p) + Σ_p w_p(i) a_p.

    Args:
        memory: M. Shape (B, N, W).
        weights: w_p. Shape (B, P, N).
        erase: e_p, in [0, 1]. Shape (B, P, W).
        add: a_p. Shape (B, P, W).
    """
    for head in range(weights.shape[1]):
        memory = memory - memory * (weights[:, head].unsqueeze(-1) * erase[:, head].unsqueeze(-2))
    return torch.baddbmm(memory, weights.mT, add)


def retention(free_gates: Tensor, read_weights: Tensor) -> Tensor:
    """How much of each slot the free gates keep.

    Graves et al. 2016, "Dynamic memory allocation": ψ = Π_i (1 - f_i w^{r,i}).

    Shapes (B, R) in [0, 1], (B, R, N) -> (B, N) in [0, 1].

    >>> retention(torch.tensor([[1.0, 0.5]]), torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]))
    tensor([[0.0000, 0.5000]])
    """
    kept = 1 - free_gates.unsqueeze(-1) * read_weights
    product, *others = kept.unbind(1)
    for other in others:  # few heads: cheaper than the backward pass of prod, which looks for zeros
        product = product * other
    return product


def update_usage(usage: Tensor, write_weights: Tensor, retention: Tensor) -> Tensor:
    """Slots fill by writing and empty by freeing.

    Graves et al. 2016, "Dynamic memory allocation": u = (u' + w' - u' ∘ w') ∘ ψ, with the write weighting w' of the
    step before.

    Shapes (B, N) three times -> (B, N) in [0, 1].

    >>> update_usage(torch.tensor([[0.5]]), torch.tensor([[0.5]]), torch.tensor([[1.0]]))
    tensor([[0.7500]])
    """
    return torch.lerp(write_weights, torch.ones_like(usage), usage) * retention  # u + (1 - u) w


def allocation_weights(usage: Tensor) -> Tensor:
    """Weight the least used slots most, for writing.

    Graves et al. 2016, Methods, "Dynamic memory allocation":
    a[φ_j] = (1 - u[φ_j]) · Π_{i<j} u[φ_i], where φ lists slots by rising usage.

    Args:
        usage: u, how taken each slot is, in [0, 1]. Shape (B, N).

    Returns:
        a, non-negative; sums to 1 - Π u, so to 1 if any slot is free. Shape (B, N).

    Departs from the paper: of two slots the first counts as less used until it is used by 4 ε more for each slot
    between them; ε is the rounding of float32 (of float64 for float64). The sort order carries no gradient, as there.

    >>> allocation_weights(torch.tensor([[0.9, 0.0, 0.5]]))
    tensor([[0., 1., 0.]])
    """
    # Slots that nothing has told apart yet are equally free but for rounding, which differs with the size of the batch
    # and must not choose between them: a little more for each slot than for the one before takes the first of them.
    exact = usage.detach() if usage.dtype == torch.float64 else usage.detach().float()
    slots = torch.arange(usage.shape[-1], dtype=exact.dtype, device=usage.device)
    order = torch.add(exact, slots, alpha=4 * torch.finfo(exact.dtype).eps).argsort(dim=-1)  # φ
    rising = usage.gather(-1, order)  # u[φ]
    before = F.pad(rising[..., :-1], (1, 0), value=1.0).cumprod(-1)  # Π_{i<j} u[φ_i]
    return torch.zeros_like(usage).scatter(-1, order, (1 - rising) * before)


def slot_attention(
    queries: Tensor,
    slot_keys: Tensor,
    token_keys: Tensor,
    slots: Tensor,
    token_values: Tensor,
    temperature: float,
) -> Tensor:
    """Each slot looks at itself and at the new tokens, never at other slots, and becomes what it attends to.

    Wu et al. 2022 (Memformer), "Memory slot attention": A_i = softmax([q_i·k_i ; q_i·K_x] / τ),
    m_i' = A_i [m_i ; V_x], scaled by √d as attention is.

    Args:
        queries: q, one per slot. Shape (..., N, d).
        slot_keys: k. Shape (..., N, d).
        token_keys: K_x. Shape (..., S, d).
        slots: m, raw. Shape (..., N, d).
        token_values: V_x. Shape (..., S, d).
        temperature: τ in (0, 1); below 1 a slot rather keeps or replaces than mixes.

    Returns:
        m'. Shape (..., N, d).
    """
    own = (queries * slot_keys).sum(-1, keepdim=True)
    attention = torch.softmax(
        torch.cat([own, queries @ token_keys.mT], -1) / (temperature * queries.shape[-1] ** 0.5), dim=-1
    )
    return attention[..., :1] * slots + attention[..., 1:] @ token_values
