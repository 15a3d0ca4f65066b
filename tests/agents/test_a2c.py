"""MemoryA2C's one update against a slow reference, torch's optimizers and SB3's A2C."""

import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from memrl.agents import MemoryA2C

from .toys import (
    CORES,
    Steps,
    assert_equal,
    collect,
    exact,
    gradients,
    loosen,
    make,
    replay,
    scripted,
    stored_states,
)


def reference_loss(model, thoughts):
    """Policy gradient, squared error of the values and entropy, step by step."""
    buffer = model.rollout_buffer
    advantages = buffer.advantages.astype(float)
    if model.normalize_advantage:
        advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    total = 0.0
    for t, b in np.ndindex(advantages.shape):
        error = float(buffer.returns[t, b]) - thoughts.values[t, b]
        total = total - thoughts.log_probs[t, b] * advantages[t, b] + model.vf_coef * error**2
        total = total - model.ent_coef * thoughts.entropies[t, b]
    return total / advantages.size


@pytest.mark.parametrize("normalize_advantage", [False, True])
@pytest.mark.parametrize("core", CORES)
def test_the_update_is_the_reference_gradient(core, normalize_advantage):
    model = make(MemoryA2C, core=core, max_grad_norm=1e9, normalize_advantage=normalize_advantage)
    model = loosen(exact(model), 0.2)
    before = collect(model)
    thoughts, _ = replay(model, before, stored_states(model, before))
    expected = gradients(model, reference_loss(model, thoughts))
    steps = Steps(model)
    finish = model.rollout_buffer._columns
    model.rollout_buffer._columns = [column.double() for column in finish]
    model.train()
    (found,) = steps.gradients  # one update, on all of the rollout
    assert_equal(found, {name: value for name, value in expected.items() if name in found}, 1e-7)
    assert all(not value.any() for name, value in expected.items() if name not in found)


@pytest.mark.parametrize("use_rms_prop", [True, False])
def test_rmsprop_or_adam_takes_the_step(use_rms_prop):
    model = make(MemoryA2C, use_rms_prop=use_rms_prop, learning_rate=0.01, rms_prop_eps=0.3)
    collect(model)
    twin = copy.deepcopy(list(model.policy.parameters()))
    optimizer = (
        torch.optim.RMSprop(twin, lr=0.01, alpha=0.99, eps=0.3)
        if use_rms_prop
        else torch.optim.Adam(twin, lr=0.01, eps=1e-5)  # SB3's default
    )
    steps = Steps(model)
    for _ in range(2):
        model.train()
        named = dict(model.policy.named_parameters())
        for name, parameter in zip(named, twin, strict=True):
            parameter.grad = steps.gradients[-1].get(name)
        optimizer.step()
    for ours, theirs in zip(model.policy.parameters(), twin, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_rollout_of_one_step_does_not_become_nan():
    model = make(MemoryA2C, env=scripted([[5]]), n_steps=1, normalize_advantage=True)
    model.learn(3)
    assert all(torch.isfinite(parameter).all() for parameter in model.policy.parameters())


class OneLayer(BaseFeaturesExtractor):
    """What the core `none` does, for a policy of SB3."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 8)
        self.layer = torch.nn.Linear(3, 8)

    def forward(self, observations):
        return torch.tanh(self.layer(observations))


@pytest.mark.parametrize(
    "action_space", [spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)], ids=["discrete", "box"]
)
def test_without_memory_it_is_a2c(action_space):
    """The whole algorithm beside SB3's: same episodes, same weights, same weights after three updates."""
    kwargs = {
        "learning_rate": 0.01,
        "gae_lambda": 0.9,
        "ent_coef": 0.01,
        "normalize_advantage": True,
        "seed": 3,
    }
    ours = make(MemoryA2C, env=scripted(action_space=action_space), core="none", **kwargs)
    theirs = A2C(
        "MlpPolicy",
        scripted(action_space=action_space),
        n_steps=12,
        device="cpu",
        policy_kwargs={"features_extractor_class": OneLayer, "net_arch": {"pi": [6], "vf": [6]}},
        **kwargs,
    )
    weights = {name.replace("core.", "features_extractor."): w for name, w in ours.policy.state_dict().items()}
    names = theirs.policy.state_dict().keys()
    aliases = {name: name.replace("pi_", "").replace("vf_", "") for name in names}  # SB3 lists a shared encoder thrice
    theirs.policy.load_state_dict({name: weights[alias] for name, alias in aliases.items()})
    # Actions are drawn from the same stream, minibatch order needs none of it.
    for model in (ours, theirs):
        torch.manual_seed(0)
        model.learn(3 * 3 * 12)
    np.testing.assert_allclose(
        ours.rollout_buffer.returns, reshaped(theirs.rollout_buffer.returns), rtol=1e-4, atol=1e-4
    )
    after = theirs.policy.state_dict()
    for name, weight in ours.policy.state_dict().items():
        torch.testing.assert_close(weight, after[name.replace("core.", "features_extractor.")], rtol=1e-4, atol=1e-5)
    assert not torch.equal(weights["action_net.weight"], after["action_net.weight"])


def reshaped(column):
    """SB3 flattens a rollout environment by environment once it has been learned from."""
    return column.reshape(3, 12).T


def test_refreshing_states_is_refused_because_there_is_one_epoch():
    with pytest.raises(ValueError, match="refresh_states: True given"):
        MemoryA2C("MlpMemoryPolicy", "CartPole-v1", refresh_states=True, device="cpu")
