"""Functions over states, against the same thing done by hand."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from memrl import tree


class Inner(NamedTuple):
    hidden: Tensor  # (B, 2)
    count: Tensor  # (B,)


class Outer(NamedTuple):
    inner: Inner
    memory: Tensor  # (B, 2, 3)
    empty: Tensor  # (B, 0)


def state(batch: int = 2, start: float = 0.0) -> Outer:
    """Row b of a leaf of n numbers holds start + 100 b + 0, 1, ..., n - 1."""

    def leaf(*shape: int) -> Tensor:
        numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
        return torch.stack([start + 100 * b + numbers for b in range(batch)])

    return Outer(Inner(leaf(2), leaf()), leaf(2, 3), torch.zeros(batch, 0))


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    for a, b in zip(found, expected, strict=True):
        if isinstance(b, tuple):
            assert_same(a, b)
        else:
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            assert torch.equal(a, b)


def test_map_applies_to_every_leaf_and_keeps_the_structure() -> None:
    doubled = tree.map(lambda leaf: 2 * leaf, state())
    s = state()
    assert_same(doubled, Outer(Inner(2 * s.inner.hidden, 2 * s.inner.count), 2 * s.memory, 2 * s.empty))


def test_map_takes_several_trees_leaf_by_leaf() -> None:
    summed = tree.map(lambda a, b, c: a + b - c, state(start=1), state(start=10), state(start=4))
    s = state()
    assert_same(summed, Outer(Inner(s.inner.hidden + 7, s.inner.count + 7), s.memory + 7, s.empty))


def test_map_keeps_plain_tuples_plain() -> None:
    mapped = tree.map(torch.neg, (torch.ones(2), (torch.zeros(2),)))
    assert_same(mapped, (-torch.ones(2), (-torch.zeros(2),)))


def test_map_refuses_trees_of_different_width() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        tree.map(torch.add, (torch.ones(1), torch.ones(1)), (torch.ones(1),))


def test_leaves_come_depth_first_in_field_order() -> None:
    s = state()
    leaves = tree.leaves(s)
    assert [id(leaf) for leaf in leaves] == [id(s.inner.hidden), id(s.inner.count), id(s.memory), id(s.empty)]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batch_size_and_size(batch: int) -> None:
    assert tree.batch_size(state(batch)) == batch
    assert tree.size(state(batch)) == 2 + 1 + 6 + 0


def test_size_of_a_batch_of_none() -> None:
    assert tree.size(tree.index(state(), slice(0))) == 9


def test_where_takes_rows() -> None:
    a, b = state(3), state(3, start=1000)
    picked = tree.where(torch.tensor([True, False, True]), a, b)
    for found, left, right in zip(tree.leaves(picked), tree.leaves(a), tree.leaves(b), strict=True):
        assert torch.equal(found, torch.stack([left[0], right[1], left[2]]))
    assert isinstance(picked.inner, Inner)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_where_lets_nothing_through_from_the_other_side(poison: float) -> None:
    mask = torch.tensor([True, False])
    good = tree.map(lambda leaf: leaf.clone().requires_grad_(), state())
    bad = tree.map(lambda leaf: torch.full_like(leaf, poison).requires_grad_(), state())
    chosen = tree.where(mask, good, bad)
    assert all(bool(leaf[0].isfinite().all()) for leaf in tree.leaves(chosen))

    torch.stack([leaf[0].square().sum() for leaf in tree.leaves(chosen)]).sum().backward()
    for leaf, other, value in zip(tree.leaves(good), tree.leaves(bad), tree.leaves(state()), strict=True):
        assert torch.equal(leaf.grad[0], 2 * value[0])
        assert torch.equal(leaf.grad[1], torch.zeros_like(value[1]))
        assert torch.equal(other.grad, torch.zeros_like(value))


def test_index_by_tensor_repeats_and_reorders() -> None:
    s = state(3)
    picked = tree.index(s, torch.tensor([2, 0, 2, 1]))
    for found, leaf in zip(tree.leaves(picked), tree.leaves(s), strict=True):
        assert torch.equal(found, torch.stack([leaf[2], leaf[0], leaf[2], leaf[1]]))
    assert_same(tree.index(s, slice(1, None)), tree.index(s, torch.tensor([1, 2])))


def test_cat_joins_along_the_batch() -> None:
    s = state(5)
    parts = [tree.index(s, slice(0, 2)), tree.index(s, slice(2, 3)), tree.index(s, slice(3, 5))]
    assert_same(tree.cat(parts), s)
    assert_same(tree.cat([s]), s)


def test_detach_keeps_values_and_cuts_the_graph() -> None:
    source = torch.ones(2, requires_grad=True)
    attached = Inner(source.expand(2, 2), 3 * source)
    cut = tree.detach(attached)
    assert_same(cut, Inner(torch.ones(2, 2), torch.full((2,), 3.0)))
    assert not any(leaf.requires_grad for leaf in cut)
    assert attached.count.requires_grad


def test_pack_lays_a_row_out_in_the_order_of_leaves() -> None:
    packed = tree.pack(state())
    row = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert torch.equal(packed, torch.stack([row, row + 100]))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("like_batch", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unpack_undoes_pack_whatever_batch_like_has(batch: int, like_batch: int, dtype: torch.dtype) -> None:
    s = tree.map(lambda leaf: leaf.to(dtype), state(batch, start=0.1))
    assert_same(tree.unpack(tree.pack(s), like=state(like_batch)), s)


def test_unpack_passes_gradients() -> None:
    packed = torch.zeros(2, 9, requires_grad=True)
    (7 * tree.unpack(packed, state(1)).memory).sum().backward()
    expected = torch.zeros(2, 9)
    expected[:, 3:] = 7
    assert torch.equal(packed.grad, expected)


@pytest.mark.parametrize("shape", [(2, 8), (2, 10), (9,), (1, 2, 9)])
def test_unpack_refuses_another_width(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^packed: shape .* given, \(batch, 9\) needed"):
        tree.unpack(torch.zeros(shape), state(1))


def test_unpack_takes_a_like_without_rows() -> None:
    s = state(2)
    assert_same(tree.unpack(tree.pack(s), like=tree.index(s, slice(0))), s)
