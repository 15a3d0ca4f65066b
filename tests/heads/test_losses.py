"""Losses of the heads: means of what is asked, nothing where nothing is asked, and targets that do not fit."""

import re

import pytest
import torch
from torch.nn import functional as F

from memrl.heads import IGNORED, BinaryVectors, NextToken, QuestionAnswering, Tagger

from .toys import HEADS, LENGTHS, small_core, tokens


def test_losses_are_means_of_what_is_asked_by_hand():
    core = small_core("none")
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 1.0]], [[5.0, 5.0]]])  # (3, 1, 2)
    targets = torch.tensor([[0], [0], [IGNORED]])
    by_hand = (torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log1p(torch.exp(torch.tensor(1.0)))) / 2
    for head in (Tagger(core, 2), QuestionAnswering(core, 2), NextToken(core, 2)):
        torch.testing.assert_close(head.loss(logits, targets), by_hand)
    # Binary vectors: all bits of a sequence together, here 4, and the mean over 2 sequences, of which one asks nothing.
    zeros = torch.zeros(3, 2, 2)
    asked = torch.full((3, 2, 2), float(IGNORED))
    asked[:2, 0] = 1.0
    torch.testing.assert_close(BinaryVectors(core, 2).loss(zeros, asked), 4 * torch.log(torch.tensor(2.0)) / 2)


@pytest.mark.parametrize("kind", [kind for kind in HEADS if kind != "binary"])
def test_losses_and_gradients_are_those_of_torchs_own_mean(kind):
    make, shape, targets = HEADS[kind]
    ours = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    torchs = ours.detach().clone().requires_grad_()
    only = torch.full_like(targets, IGNORED)
    only.view(-1)[0] = targets.view(-1)[0]
    for asked in (targets, only):
        loss = make(small_core("none")).loss(ours, asked)
        mean = F.cross_entropy(torchs.flatten(0, -2), asked.flatten(), ignore_index=IGNORED)
        assert loss.item() == mean.item()
        assert torch.equal(*torch.autograd.grad([loss, mean], [ours, torchs]))


@pytest.mark.parametrize("kind", HEADS)
def test_nothing_asked_costs_nothing(kind):
    make, _, targets = HEADS[kind]
    head = make(small_core("gru"))
    logits, _ = head(tokens(), lengths=LENGTHS)
    loss = head.loss(logits, torch.full_like(targets, IGNORED))
    loss.backward()
    assert loss.item() == 0
    gradients = [parameter.grad for parameter in head.parameters() if parameter.grad is not None]
    assert gradients
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("kind", HEADS)
def test_a_loss_takes_one_target_for_each_answer_only(kind):
    make, shape, targets = HEADS[kind]
    head, logits = make(small_core("gru")), torch.zeros(shape)
    wrong = {"a batch of one": targets.unsqueeze(-1), "too few": targets[:-1]}
    if targets.dim() > 1:
        wrong["batch first"] = targets.transpose(0, 1)
    if kind in ("classifier", "story_answer"):
        wrong["chances of each class"] = torch.full(shape, 1 / 3)  # torch would take these as well
    for given in wrong.values():
        with pytest.raises(ValueError, match=f"^targets: {re.escape(str(tuple(given.shape)))} given, .* needed"):
            head.loss(logits, given)
