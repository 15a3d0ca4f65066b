"""What people know, to hold the cores against: bags of words, the commonest tag, n-grams, torch's own LSTM, guesses."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from math import log2
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

Texts = Sequence[tuple[Sequence[str], int]]  # words, and the class of each text


class BagOfWords:
    """Logistic regression on the words and pairs of neighbours that a text holds, by full batches of L-BFGS."""

    def __init__(self, texts: Texts, penalty: float, least: int = 2) -> None:
        counts = Counter(feature for words, _ in texts for feature in bag(words))
        frequent = sorted((feature for feature, count in counts.items() if count >= least), key=str)
        self.column = {feature: place for place, feature in enumerate(frequent)}
        labels = torch.tensor([label for _, label in texts])
        self.weight = torch.zeros(len(self.column) + 1, int(labels.max()) + 1, requires_grad=True)
        design = self._design(texts)
        optimizer = torch.optim.LBFGS([self.weight], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(design @ self.weight, labels) + penalty / len(texts) * self.weight[1:].square().sum()
            loss.backward()
            return loss

        optimizer.step(loss)
        self.parameters = self.weight.numel()

    def _design(self, texts: Texts) -> Tensor:
        ones = [(row, 0) for row in range(len(texts))]  # the intercept
        for row, (words, _) in enumerate(texts):
            ones += [(row, self.column[feature] + 1) for feature in bag(words) if feature in self.column]
        shape = (len(texts), len(self.column) + 1)
        return torch.sparse_coo_tensor(torch.tensor(ones).T, torch.ones(len(ones)), shape, check_invariants=True)

    def accuracy(self, texts: Texts) -> float:
        right = (self._design(texts) @ self.weight).argmax(1) == torch.tensor([label for _, label in texts])
        return right.float().mean().item()


def bag(words: Sequence[str]) -> set[Hashable]:
    """The words of a text and its pairs of neighbours, in lower case.

    >>> sorted(bag(["Who", "was"]), key=str)
    [('who', 'was'), 'was', 'who']
    """
    lower = [word.lower() for word in words]
    return {*lower, *pairwise(lower)}


def commonest_tags(train: Iterable[tuple[Sequence[str], Sequence[str]]]) -> Callable[[Sequence[str]], list[str]]:
    """A tagger that gives every word the tag it had most often, and O to words it never met."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            counts[word.lower()][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return lambda words: [best.get(word.lower(), "O") for word in words]


class NGrams:
    """Interpolated n-grams of characters by Witten & Bell 1991.

    p(c | h) = (n(h, c) + t(h) p(c | h')) / (n(h) + t(h)): n counts, t(h) is how many different characters followed h,
    h' is h without its oldest character; below the single characters all of the alphabet are equally likely.
    """

    def __init__(self, text: NDArray[np.int64], alphabet: int, order: int) -> None:
        self.alphabet, self.order = alphabet, order
        self.after: list[dict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(order)]
        numbers = text.tolist()
        for length, after in enumerate(self.after):
            for start in range(len(numbers) - length):
                after[tuple(numbers[start : start + length])][numbers[start + length]] += 1
        self.totals = [{h: sum(counts.values()) for h, counts in after.items()} for after in self.after]
        self.parameters = sum(len(counts) for after in self.after for counts in after.values())

    def probability(self, character: int, history: Sequence[int]) -> float:
        """Of a character after at least `order` - 1 others, or after all there are."""
        p = 1 / self.alphabet
        for length in range(min(self.order, len(history) + 1)):
            h = tuple(history[len(history) - length :])
            if (counts := self.after[length].get(h)) is None:
                break
            p = (counts[character] + len(counts) * p) / (self.totals[length][h] + len(counts))
        return p

    def bits_per_character(self, text: NDArray[np.int64]) -> float:
        numbers = text.tolist()
        bits = (
            -log2(self.probability(character, numbers[max(0, place - self.order + 1) : place]))
            for place, character in enumerate(numbers)
        )
        return sum(bits) / len(numbers)


class PlainLSTM(nn.Module):
    """A character model as anybody writes it, with nothing of memrl."""

    def __init__(self, alphabet: int, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet, embedding_size)
        self.lstm = nn.LSTM(embedding_size, hidden_size)
        self.output = nn.Linear(hidden_size, alphabet)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.lstm(self.embedding(tokens), state)
        return self.output(y), state


def best_guess(train: Iterable[tuple[Hashable, Hashable]], test: Iterable[tuple[Hashable, Hashable]]) -> float:
    """Accuracy of the commonest answer to each question, for those who do not read the facts.

    >>> best_guess([("a", 1), ("a", 1), ("a", 2), ("b", 2)], [("a", 1), ("b", 1)])
    0.5
    """
    counts: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    overall: Counter[Hashable] = Counter()
    for question, answer in train:
        counts[question][answer] += 1
        overall[answer] += 1
    right = [answer == (counts.get(question) or overall).most_common(1)[0][0] for question, answer in test]
    return sum(right) / len(right)
