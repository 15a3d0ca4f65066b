"""What losses of heads share: targets that fit the logits, and a mean over what is asked."""

from torch import Tensor
from torch.nn import functional as F

from memrl.heads.head import IGNORED


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of the targets that are not IGNORED; 0 if none is asked.

    torch's own mean over nothing is 0 / 0, and one such batch makes every weight NaN.

    Args:
        logits: (..., classes).
        targets: numbers of classes, or IGNORED, (...).

    Raises:
        ValueError: targets are not one for each row of logits.

    >>> import torch
    >>> cross_entropy(torch.zeros(3, 1, 2), torch.tensor([[0], [1], [IGNORED]]))
    tensor(0.6931)
    >>> cross_entropy(torch.zeros(3, 1, 2), torch.full((3, 1), IGNORED))
    tensor(0.)
    """
    check_targets(targets, logits.shape[:-1])
    cost = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    # Counted on the device: to ask there whether anything is asked would wait for it in every batch.
    return cost / (targets != IGNORED).sum().clamp(min=1)


def check_targets(targets: Tensor, shape: tuple[int, ...]) -> None:
    """Targets (B, T) for (T, B) are as many numbers, in another order, so a loss would come out of them.

    Raises:
        ValueError: `targets` has not that shape.
    """
    if targets.shape != shape:
        raise ValueError(f"targets: {tuple(targets.shape)} given, {tuple(shape)} needed, as the logits are")
