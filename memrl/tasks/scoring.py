"""Scores that several tasks share, counted by torchmetrics; needs the extra `nlp`."""

from collections.abc import Iterable

from torch import Tensor

from memrl.heads import IGNORED, Batch, Head


def accuracy(head: Head, batches: Iterable[Batch]) -> float:
    """Share of the targets that a head's highest logit names, in [0, 1]; IGNORED ones do not count.

    Args:
        head: with logits (..., classes) and targets (...).
        batches: each of fresh sequences.

    Raises:
        ImportError: `torchmetrics` is not installed.
    """
    try:
        from torchmetrics.classification import MulticlassAccuracy
    except ImportError:
        raise ImportError("scores need the package torchmetrics: pip install 'memrl[nlp]'") from None
    metric = MulticlassAccuracy(head.output.out_features, average="micro", ignore_index=IGNORED)
    for batch in batches:
        logits, _ = head.answer(batch)
        metric.update(logits.argmax(-1).cpu(), batch.targets.cpu())
    share: Tensor = metric.compute()
    return share.item()
