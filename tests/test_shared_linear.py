"""A layer shared by the steps of a sequence, against plain products."""

import pytest
import torch

from memrl.shared_linear import SharedLinear


@pytest.mark.parametrize("rows", [(3, 3, 3), (3, 2, 1)])
def test_values_and_gradients_are_those_of_plain_products(rows):
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    weight, terms, start = numbers(4, 4), numbers(3, 3, 4), numbers(3, 4)

    def run(product):
        x, outputs = start, []
        for t, count in enumerate(rows):
            x = torch.tanh(product(t, x[:count]))  # each step's gradient passes through all later ones
            outputs.append(x.square().sum())
        total = torch.stack(outputs).sum()
        return total, torch.autograd.grad(total, (weight, terms, start))

    linear = SharedLinear(weight, terms)
    total, gradients = run(lambda _, x: linear(x))
    expected, expected_gradients = run(lambda t, x: x @ weight + terms[t, : len(x)])
    torch.testing.assert_close(total, expected)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-12, atol=1e-12)


def test_steps_after_the_last_that_is_learned_from_give_nothing():
    weight = torch.ones(2, 2, requires_grad=True)
    linear = SharedLinear(weight, torch.zeros(3, 1, 2))
    first, *_ = [linear(torch.ones(1, 2)) for _ in range(3)]
    first.sum().backward()
    assert weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_without_gradients_nothing_is_kept():
    weight = torch.ones(2, 2, requires_grad=True)
    with torch.no_grad():
        linear = SharedLinear(weight, torch.zeros(1, 1, 2))
        linear(torch.ones(1, 2))
    assert linear._inputs == []


def test_frozen_weights_pass_gradients_on():
    x = torch.ones(1, 2, requires_grad=True)
    SharedLinear(torch.ones(2, 2), torch.zeros(1, 1, 2))(x).sum().backward()
    assert x.grad.tolist() == [[2.0, 2.0]]
