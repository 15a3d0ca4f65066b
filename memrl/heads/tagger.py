"""A label for every step."""

from typing import Any

from torch import Tensor, nn

from memrl.core import MemoryCore
from memrl.heads.head import Head
from memrl.heads.losses import cross_entropy


class Tagger(Head):
    """A tag for every step, from what came until then.

    Logits are (T, B, num_tags), targets tag numbers (T, B), IGNORED on padding, the loss is the mean cross-entropy.

    Args:
        core: any core.
        num_tags: tags to choose from.
        encoder: from inputs (T, B, ...) to (T, B, core.input_size); None if inputs are those already.

    >>> import torch
    >>> from memrl import make_core
    >>> from memrl.heads import IGNORED
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
        return cross_entropy(logits, targets)
