"""The light categorical against torch's."""

import torch
from torch.distributions import Categorical

from memrl.agents.distributions import LightCategorical

LOGITS = torch.tensor([[0.0, 1.0, -2.0, 3.0], [5.0, 5.0, 5.0, 5.0], [0.0, 0.0, float("-inf"), 1.0]])


def test_equals_torchs_categorical():
    light, torchs = LightCategorical(4).proba_distribution(LOGITS), Categorical(logits=LOGITS)
    actions = torch.tensor([3, 0, 1])
    torch.testing.assert_close(light.log_prob(actions), torchs.log_prob(actions))
    torch.testing.assert_close(light.entropy(), torchs.entropy())
    assert light.mode().tolist() == [3, 0, 3]
    torch.testing.assert_close(light.distribution.probs, torchs.probs)


def test_samples_have_the_right_frequencies():
    torch.manual_seed(0)
    number = 100_000
    light = LightCategorical(4).proba_distribution(LOGITS[2:].expand(number, -1))
    found = torch.bincount(light.sample(), minlength=4) / number
    expected = Categorical(logits=LOGITS[2]).probs
    # Four standard deviations of a frequency are at most 4 * sqrt(1/4 / 100,000) = 0.0063.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.0063)
    assert found[2] == 0


def test_gradient_of_the_entropy_is_torchs_and_finite_where_an_action_is_impossible():
    ours, theirs = LOGITS[:2].clone().requires_grad_(), LOGITS[:2].clone().requires_grad_()
    LightCategorical(4).proba_distribution(ours).entropy().sum().backward()
    Categorical(logits=theirs).entropy().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
