"""Sentences as numbers, and batches of them; needs the extra `nlp`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from memrl.heads import Batch
from memrl.tasks.generated import opening

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PADDING, UNKNOWN = 0, 1  # numbers that are no words
Item = TypeVar("Item")
Label = TypeVar("Label")


def number_words(texts: Iterable[Sequence[str]], least: int = 1) -> "Tokenizer":
    """A tokenizer with a number for every word of some texts, upper and lower case alike.

    Args:
        texts: the words of each.
        least: how often a word must occur; all rarer ones share the number UNKNOWN.

    Raises:
        ImportError: `tokenizers` is not installed.

    >>> tokenizer = number_words([["who", "was", "Who"], ["is"]], least=2)
    >>> encode(tokenizer, [["WHO", "is"]]), tokenizer.get_vocab_size()
    ([[2, 1]], 3)
    """
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ImportError:
        raise ImportError("words need the package tokenizers: pip install 'memrl[nlp]'") from None
    tokenizer = Tokenizer(models.WordLevel(unk_token="[unknown]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(
        special_tokens=["[padding]", "[unknown]"], min_frequency=least, show_progress=False
    )
    tokenizer.train_from_iterator((" ".join(words) for words in texts), trainer)
    return tokenizer


def encode(tokenizer: "Tokenizer", texts: Iterable[Sequence[str]]) -> list[list[int]]:
    """The numbers of the words of each text."""
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), is_pretokenized=True)]


class Sentences(NamedTuple, Generic[Label]):
    """Sentences as numbers, and what is to be known of each."""

    vocabulary: int  # numbers in use, PADDING and UNKNOWN among them
    parts: dict[str, list[tuple[list[int], Label]]]  # "train", "valid" and "test"


def number_sentences(parts: Mapping[str, Sequence[tuple[list[str], Label]]], least: int) -> Sentences[Label]:
    """Sentences of words as numbers; only words of "train" have one.

    Args:
        parts: "train", "valid" and "test": words, and what is to be known of them.
        least: how often a word must occur in "train".
    """
    tokenizer = number_words((words for words, _ in parts["train"]), least)
    return Sentences(
        tokenizer.get_vocab_size(),
        {
            part: list(zip(encode(tokenizer, texts), labels, strict=True))
            for part, sentences in parts.items()
            for texts, labels in [zip(*sentences, strict=True)]
        },
    )


def word_embedding(vocabulary: int, size: int, dropout: float) -> nn.Module:
    """An encoder from numbers (T, B) to vectors (T, B, size), with dropout on every component.

    Vectors start small, so that rare words, which hardly learn anything, hardly say anything.
    """
    embedding = nn.Embedding(vocabulary, size, padding_idx=PADDING)
    nn.init.normal_(embedding.weight, std=0.1)
    nn.init.zeros_(embedding.weight.data[PADDING])
    return nn.Sequential(embedding, nn.Dropout(dropout))


def check_dropout(dropout: float) -> None:
    """Raise a ValueError unless a share lies in [0, 1)."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: {dropout} given, a number from 0 to below 1 needed")


def pad(rows: Sequence[Sequence[int]], padding: int = PADDING) -> Tensor:
    """Rows of numbers side by side, filled up at the end. Shape (longest, rows).

    >>> pad([[5, 6], [7]])
    tensor([[5, 7],
            [6, 0]])
    """
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], padding_value=padding)


def batch(rows: Sequence[Sequence[int]], targets: Tensor) -> Batch:
    """Sentences side by side, each of which is a sequence of its own."""
    inputs = pad(rows)
    reset = opening(*inputs.shape)
    return Batch(inputs, reset, targets, torch.tensor([len(row) for row in rows]))


def in_order(items: Sequence[Item], batch_size: int) -> Iterator[Sequence[Item]]:
    """All items once, `batch_size` at a time; the last batch may be smaller."""
    return (items[start : start + batch_size] for start in range(0, len(items), batch_size))


def shuffled(
    examples: Sequence[tuple[list[int], Label]], batch_size: int, seed: int
) -> Iterator[Sequence[tuple[list[int], Label]]]:
    """Batches without end: every example once in each pass, with others that are about as long.

    Args:
        examples: a sentence, and what is to be known of it.
        batch_size: examples in a batch; one batch of a pass may be smaller.
        seed: of the order.

    Raises:
        ValueError: no examples, of which no batch could be made.
    """
    if not examples:
        raise ValueError("examples: none given, at least 1 needed")
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(examples)).tolist()
        # Sorted within pools of 32 batches: little padding, yet other batches in every pass.
        pools = (sorted(pool, key=lambda place: len(examples[place][0])) for pool in in_order(order, 32 * batch_size))
        batches = [places for pool in pools for places in in_order(pool, batch_size)]
        for number in rng.permutation(len(batches)):
            yield [examples[place] for place in batches[number]]
