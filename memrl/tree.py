"""Functions over states: nested NamedTuples whose leaves are tensors with the batch in axis 0.

A host (rollout buffer, SB3 policy, ONNX graph) resets, selects, stores and moves a state with these, and never
learns what is inside it.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Tree = TypeVar("Tree", bound=tuple[Any, ...])


def map(fn: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `fn` to the leaves of one or several trees of the same structure.

    >>> map(lambda a, b: a + b, (torch.ones(2),), (torch.ones(2),))
    (tensor([2., 2.]),)
    """
    mapped = [
        map(fn, *branches) if isinstance(branches[0], tuple) else fn(*branches)
        for branches in zip(tree, *others, strict=True)
    ]
    # A NamedTuple takes its fields as separate arguments, a plain tuple takes one iterable.
    return cast(Tree, type(tree)(*mapped) if hasattr(tree, "_fields") else tuple(mapped))


def leaves(tree: tuple[Any, ...]) -> list[Tensor]:
    """The tensors of a tree, depth first, in field order.

    >>> leaves((torch.zeros(1), (torch.ones(1),)))
    [tensor([0.]), tensor([1.])]
    """
    return [leaf for branch in tree for leaf in (leaves(branch) if isinstance(branch, tuple) else [branch])]


def batch_size(tree: tuple[Any, ...]) -> int:
    """The common length of axis 0."""
    return leaves(tree)[0].shape[0]


def where(mask: Tensor, tree: Tree, other: Tree) -> Tree:
    """Rows of `tree` where `mask` (B,) is true, rows of `other` elsewhere.

    A selection, never a product: initial states may be non-zero, and 0 × NaN is NaN.

    >>> where(torch.tensor([True, False]), (torch.zeros(2),), (torch.tensor([1.0, float("nan")]),))
    (tensor([0., nan]),)
    """
    return map(lambda a, b: torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b), tree, other)


def index(tree: Tree, rows: Tensor | slice) -> Tree:
    """The given rows of every leaf, in that order."""
    return map(lambda leaf: leaf[rows], tree)


def cat(trees: Sequence[Tree]) -> Tree:
    """Join states along the batch axis."""
    return trees[0] if len(trees) == 1 else map(lambda *parts: torch.cat(parts), *trees)


def detach(tree: Tree) -> Tree:
    """The same values, cut off from the graph that made them."""
    return map(lambda leaf: leaf.detach(), tree)


def size(tree: tuple[Any, ...]) -> int:
    """How many numbers one batch row of the state holds."""
    return sum(leaf.shape[1:].numel() for leaf in leaves(tree))


def pack(tree: tuple[Any, ...]) -> Tensor:
    """One tensor (B, size) for hosts that want a single array.

    >>> pack((torch.zeros(2, 1), torch.ones(2, 1, 2)))
    tensor([[0., 1., 1.],
            [0., 1., 1.]])
    """
    return torch.cat([leaf.flatten(1) if leaf.dim() > 1 else leaf.unsqueeze(1) for leaf in leaves(tree)], dim=1)


def unpack(packed: Tensor, like: Tree) -> Tree:
    """The inverse of `pack`, shaped as `like` (a state of any batch size, e.g. `core.initial_state(1)`).

    Raises:
        ValueError: the width of `packed` is not the size of `like`.
    """
    if packed.dim() != 2 or packed.shape[1] != size(like):
        raise ValueError(f"packed: shape {tuple(packed.shape)} given, (batch, {size(like)}) needed")
    parts = iter(packed.split([leaf.shape[1:].numel() for leaf in leaves(like)], dim=1))
    return map(lambda leaf: next(parts).reshape(packed.shape[0], *leaf.shape[1:]), like)
