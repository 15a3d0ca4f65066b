"""F1 of spans in BIO tags, as the CoNLL shared tasks count them: type, first and last word must all be right."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Words `start` to `end` - 1 carry one slot."""

    slot: str
    start: int
    end: int


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of one sequence of tags.

    Tjong Kim Sang & Buchholz 2000, "Introduction to the CoNLL-2000 shared task: chunking", and its `conlleval`: a span
    ends before O, before B and before I of another type; an I that nothing opened opens a span itself.

    Args:
        tags: "O", "B-type" or "I-type" for each word.

    >>> spans(["B-city", "I-city", "O", "B-date", "B-date"])
    [Span(slot='city', start=0, end=2), Span(slot='date', start=3, end=4), Span(slot='date', start=4, end=5)]
    """
    found: list[Span] = []
    open_slot, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        kind, _, slot = tag.partition("-")
        if open_slot and (kind != "I" or slot != open_slot):
            found.append(Span(open_slot, start, place))
            open_slot = ""
        if kind != "O" and not open_slot:
            open_slot, start = slot, place
    return found


class SpanCounts(NamedTuple):
    """Spans of some sequences: how many were found rightly, found at all, and are there."""

    correct: int
    found: int
    present: int

    def f1(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]; 0 where no span was found and none is there.

        >>> SpanCounts(correct=1, found=1, present=3).f1()
        0.5
        """
        return 2 * self.correct / max(self.found + self.present, 1)


def count_spans(predictions: Iterable[Sequence[str]], targets: Iterable[Sequence[str]]) -> SpanCounts:
    """Compare the tags of sequences with the right ones, span by span.

    >>> count_spans([["B-city", "I-city", "O"]], [["B-city", "I-city", "B-city"]])
    SpanCounts(correct=1, found=1, present=2)
    """
    correct = found = present = 0
    for predicted, target in zip(predictions, targets, strict=True):
        these, those = set(spans(predicted)), set(spans(target))
        correct += len(these & those)
        found += len(these)
        present += len(those)
    return SpanCounts(correct, found, present)
