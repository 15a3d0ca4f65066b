"""MemoryPPO with an LSTM beside sb3-contrib's RecurrentPPO: one rollout, equal weights, equal updates."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from .toys import Steps, collect, loosen, make, scripted

HIDDEN = 8
STEPS = 12


def twins(action_space, layers, **kwargs):
    """Our agent, and theirs with the same weights under its own names."""
    kwargs = {
        "n_epochs": 1,
        "batch_size": 3 * STEPS,
        "gae_lambda": 0.9,
        "ent_coef": 0.02,
        "max_grad_norm": 1e9,
    } | kwargs
    net_arch = {"pi": [6], "vf": [6]}
    ours = make(
        env=scripted(action_space=action_space),
        core="lstm",
        n_steps=STEPS,
        seq_len=STEPS,  # they cut at episodes only
        policy_kwargs={"share_core": False, "core_kwargs": {"hidden_size": HIDDEN, "num_layers": layers}},
        **kwargs,
    )
    theirs = RecurrentPPO(
        "MlpLstmPolicy",
        scripted(action_space=action_space),
        n_steps=STEPS,
        device="cpu",
        policy_kwargs={"net_arch": net_arch, "lstm_hidden_size": HIDDEN, "n_lstm_layers": layers},
        **kwargs,
    )
    loosen(ours)
    theirs.policy.load_state_dict({their_name(name): w for name, w in ours.policy.state_dict().items()})
    return ours, theirs


def their_name(name):
    return name.replace("critic_core.rnn", "lstm_critic").replace("core.rnn", "lstm_actor")


def their_states(state):
    """(B, layers, H) to (layers, B, H), twice for the actor and twice for the critic."""
    pairs = ((s.hidden.transpose(0, 1), s.cell.transpose(0, 1)) for s in (state.actor, state.critic))
    return RNNStates(*((hidden.contiguous(), cell.contiguous()) for hidden, cell in pairs))


def copy_rollout(ours, theirs, before):
    """Fill their buffer with our rollout, and their states, which they make themselves from our first one."""
    mine, buffer = ours.rollout_buffer, theirs.rollout_buffer
    buffer.reset()
    states = their_states(before)
    for t in range(STEPS):
        obs, starts = mine.observation_parts[""][t], torch.as_tensor(mine.episode_starts[t])
        values, log_probs = (torch.as_tensor(column[t]) for column in (mine.values, mine.log_probs))
        buffer.add(
            obs,
            mine.actions[t],
            mine.rewards[t],
            mine.episode_starts[t],
            values,
            log_probs,
            lstm_states=states,
        )
        with torch.no_grad():
            their_values = theirs.policy.predict_values(torch.as_tensor(obs), states.vf, starts).flatten()
            distribution, _ = theirs.policy.get_distribution(torch.as_tensor(obs), states.pi, starts)
            _, _, _, states = theirs.policy(torch.as_tensor(obs), states, starts)
        actions = torch.as_tensor(mine.actions[t])
        actions = actions[:, 0] if isinstance(ours.action_space, spaces.Discrete) else actions
        torch.testing.assert_close(their_values, values, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(distribution.log_prob(actions), log_probs, rtol=1e-5, atol=1e-6)
    buffer.compute_returns_and_advantage(last_values(ours), ours._last_episode_starts)
    np.testing.assert_allclose(buffer.returns, mine.returns, rtol=1e-6, atol=1e-6)


def last_values(model):
    """Values after the rollout, for which the buffer has no room."""
    with torch.no_grad():
        starts = torch.as_tensor(model._last_episode_starts)
        return model.policy.predict_values(torch.as_tensor(model._last_obs), model._last_state, starts)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("clip_range_vf", [None, 0.05])
@pytest.mark.parametrize("space", ["discrete", "box"])
def test_same_loss_and_gradients_as_recurrent_ppo(space, clip_range_vf, layers, monkeypatch):
    action_space = spaces.Discrete(3) if space == "discrete" else spaces.Box(-1, 1, (2,), np.float32)
    ours, theirs = twins(action_space, layers, clip_range=0.03, clip_range_vf=clip_range_vf)
    before = collect(ours)
    starts = ours.rollout_buffer.episode_starts
    assert starts[1:].sum() >= 6
    assert not starts[0].all()  # so memories come in from the rollout before
    theirs._setup_learn(1)
    copy_rollout(ours, theirs, before)
    # New weights for both, or every ratio would be 1 and nothing clipped.
    loosen(ours, 0.02)
    theirs.policy.load_state_dict({their_name(name): w for name, w in ours.policy.state_dict().items()})

    # They turn the rollout round at a random place, where they cut a sequence in two: turn by 0.
    monkeypatch.setattr(np.random, "randint", lambda *_: 0)
    steps = [Steps(model) for model in (ours, theirs)]
    for model in (ours, theirs):
        model.train()
    (our_gradients,), (their_gradients,) = (each.gradients for each in steps)
    logs = [model.logger.name_to_value for model in (ours, theirs)]
    for name in ("loss", "policy_gradient_loss", "value_loss", "entropy_loss", "clip_fraction"):
        assert logs[0][f"train/{name}"] == pytest.approx(logs[1][f"train/{name}"], rel=1e-5, abs=1e-6), name
    assert logs[0]["train/approx_kl"] == pytest.approx(logs[1]["train/approx_kl"], rel=1e-3, abs=1e-7)
    assert 0 < logs[0]["train/clip_fraction"] < 1
    assert {their_name(name) for name in our_gradients} == their_gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in their_gradients.values())
    assert largest > 0.01
    for name, gradient in our_gradients.items():
        other = their_gradients[their_name(name)]
        assert (gradient - other).abs().max() <= 1e-5 * largest, name
