"""What comes next: language modelling."""

from typing import Any

import torch
from torch import Tensor, nn

from memrl import tree
from memrl.core import MemoryCore
from memrl.heads.head import Head
from memrl.heads.losses import cross_entropy


class NextToken(Head):
    """A distribution over the next token at every step; the state goes from one chunk of text to the next.

    Logits are (T, B, vocabulary), targets the tokens that follow (T, B), IGNORED on padding, the loss is the mean
    cross-entropy in nats for each token.

    Args:
        core: any core.
        vocabulary: tokens to choose from.
        encoder: from inputs (T, B, ...) to (T, B, core.input_size); an embedding of the same vocabulary unless given.

    >>> from memrl import make_core
    >>> model = NextToken(make_core("lstm", input_size=8), 50)
    >>> text = torch.randint(50, (21, 4))
    >>> logits, state = model(text[:10])
    >>> logits, state = model(text[10:20], state)  # goes on where the first chunk ended
    >>> loss = model.loss(logits, text[11:21])
    """

    def __init__(self, core: MemoryCore[Any], vocabulary: int, encoder: nn.Module | None = None) -> None:
        super().__init__(core, vocabulary, nn.Embedding(vocabulary, core.input_size) if encoder is None else encoder)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of tokens (T, B) that are not IGNORED."""
        return cross_entropy(logits, targets)

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, length: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Go on from a prompt, token by token.

        Args:
            prompt: tokens (T, B), at least one step.
            length: tokens to add, at least 0.
            temperature: above 0; below 1 keeps to what is likely.
            generator: of random numbers; torch's own unless given.

        Returns:
            The tokens after the prompt, (length, B).

        Raises:
            ValueError: an empty prompt or a temperature that is not above 0.
        """
        if not len(prompt):
            raise ValueError("prompt: 0 steps given, at least 1 needed")
        if not temperature > 0:
            raise ValueError(f"temperature: {temperature} given, a number above 0 needed")
        logits, state = self(prompt)
        tokens = [prompt[:0]]
        for _ in range(length):
            token = torch.multinomial(torch.softmax(logits[-1] / temperature, -1), 1, generator=generator).T
            tokens.append(token)
            logits, state = self(token, tree.detach(state))
        return torch.cat(tokens)
