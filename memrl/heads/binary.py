"""Binary vectors at the steps where they are asked for: the outputs of the algorithmic tasks."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from memrl.core import MemoryCore
from memrl.heads.head import IGNORED, Head
from memrl.heads.losses import check_targets


class BinaryVectors(Head):
    """A vector of independent bits at every step that asks for one, as in Graves et al. 2014, section 4.

    Logits are (T, B, num_bits), targets 0 or 1 (T, B, num_bits), IGNORED where nothing is asked; the loss is the binary
    cross-entropy of all bits of a sequence together, as there: RMSProp's damping and clipping go by its size.

    Args:
        core: any core.
        num_bits: width of an output vector.
        encoder: from inputs (T, B, ...) to (T, B, core.input_size); None if inputs are those already.

    >>> import torch
    >>> from memrl import make_core
    >>> copier = BinaryVectors(make_core("ntm", input_size=9), 8)
    >>> logits, _ = copier(torch.zeros(5, 2, 9))
    >>> loss = copier.loss(logits, torch.ones(5, 2, 8))
    >>> tuple(logits.shape)
    (5, 2, 8)
    """

    def __init__(self, core: MemoryCore[Any], num_bits: int, encoder: nn.Module | None = None) -> None:
        super().__init__(core, num_bits, encoder)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy of targets (T, B, num_bits) not IGNORED: summed over a sequence, mean over B."""
        check_targets(targets, logits.shape)
        asked = targets != IGNORED
        cost = F.binary_cross_entropy_with_logits(logits[asked], targets[asked].to(logits.dtype), reduction="sum")
        return cost / logits.shape[1]
