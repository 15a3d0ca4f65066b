"""A label for every step."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from memrl.core import MemoryCore
from memrl.heads.head import IGNORED, Head


class Tagger(Head):
    """A tag for every step, from what came until then.

    Logits are (T, B, num_tags), targets tag numbers (T, B), IGNORED on padding, the loss is the mean cross-entropy.

    Args:
        core: any core.
        num_tags: tags to choose from.
        encoder: from inputs (T, B, ...) to (T, B, core.input_size); None if inputs are those already.

    >>> import torch
    >>> from memrl import make_core
    >>> tagger = Tagger(make_core("gru", input_size=8), 5, encoder=nn.Embedding(100, 8))
    >>> logits, _ = tagger(torch.tensor([[5, 7], [9, 0]]), lengths=torch.tensor([2, 1]))
    >>> loss = tagger.loss(logits, torch.tensor([[1, 2], [4, IGNORED]]))
    >>> tuple(logits.shape)
    (2, 2, 5)
    """

    def __init__(self, core: MemoryCore[Any], num_tags: int, encoder: nn.Module | None = None) -> None:
        super().__init__(core, num_tags, encoder)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of tag numbers (T, B) that are not IGNORED."""
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
