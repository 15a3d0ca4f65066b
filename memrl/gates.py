"""How the weights of gated recurrent layers start: what an input moves at first, and how long a gate holds."""

import torch
from torch import Tensor, nn


def start_input_weights(weight: Tensor) -> None:
    """Draw input weights (gates, I) uniformly from ±1/√I, as torch does for linear layers.

    For recurrent layers torch goes by the hidden size instead: 128 units then hardly feel an observation of two numbers
    (each moves a gate by at most 0.09), and what a policy learns where it is often, it does where it is rarely too.
    """
    bound = weight.shape[1] ** -0.5
    nn.init.uniform_(weight, -bound, bound)


def chrono_bias(size: int, span: int) -> Tensor:
    """Bias of gates that hold from one step to about `span` steps. Shape (size,).

    Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", eq. 16: b ~ log U(1, T - 1). A gate σ(b) that
    multiplies a cell in every step keeps it for 1 / (1 - σ(b)) = 1 + exp(b) steps, here uniform in [2, T].

    Args:
        size: gates.
        span: T, the longest dependency in steps, at least 2.
    """
    return torch.empty(size).uniform_(1, span - 1).log_()


def check_chrono_span(span: int) -> None:
    """Refuse a span that no gate can have.

    Raises:
        ValueError: it is 1; 0 stands for no span.
    """
    if span == 1:
        raise ValueError(f"chrono_span: {span} given, 0 (none) or a number of steps from 2 on needed")
