"""`refresh_states`: stored states replaced by what the policy of now would have remembered."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor

from .toys import (
    CORES,
    WEIGHTLESS,
    batch_of,
    collect,
    evaluate,
    exact,
    leaves,
    loosen,
    make,
    pick,
    places,
    ratios,
    replay,
    scripted,
    stored_states,
)


def kept(model, place):
    """The state that the buffer has for a sequence that goes on at (t, env)."""
    buffer = model.rollout_buffer
    return pick(buffer.stored, [buffer.state_rows[place]])


def assert_kept(model, expected, tolerance=1e-10):
    assert expected
    for place, state in expected.items():
        for ours, theirs in zip(leaves(kept(model, place)), leaves(state), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("core", CORES)
def test_refreshed_states_are_a_replay_with_the_weights_of_now(core):
    # Episodes of up to 13 steps in sequences of 3: three states in a row depend on each other.
    env = scripted([[13, 2], [-7, 1, 6], [50]])
    model = loosen(exact(make(core=core, env=env, n_steps=20, seq_len=3, policy_kwargs={"share_core": False})), 0.2)
    before = collect(model)
    old = stored_states(model, before)
    assert_kept(model, old)

    loosen(model, 0.1)
    model._refresh()
    new = stored_states(model, before)
    assert_kept(model, new)
    moved = [place for place in new if not same(old[place], new[place])]
    assert len(moved) == (0 if core in WEIGHTLESS else len(new))

    # States brought along from the rollout before have no predecessor in the buffer: they stay.
    first = model.rollout_buffer.state_rows[0]
    carried = np.flatnonzero(first >= 0)
    assert len(carried)
    for env_index in carried:
        assert same(kept(model, (0, env_index)), pick(before, [env_index]))

    thoughts, _ = replay(model, before)
    time, where = places(model)
    values = evaluate(model, batch_of(model)).values
    torch.testing.assert_close(values, thoughts.values[time, where], rtol=1e-10, atol=1e-10)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


def test_without_new_weights_refreshing_changes_no_probability():
    model = loosen(make(core="lstm", n_steps=20, seq_len=3))
    collect(model)
    model._refresh()
    assert (ratios(model) - 1).abs().max() <= 1e-6


@pytest.mark.parametrize("refresh", [True, False])
def test_states_are_refreshed_before_every_epoch_but_the_first(refresh):
    model = make(n_steps=20, seq_len=3, n_epochs=3, learning_rate=0.01, refresh_states=refresh)
    found = []
    refresh_states, get = model._refresh, model.rollout_buffer.get

    def spy():
        refresh_states()
        found.append("refresh")

    def epoch(batch_size):
        assert model.policy.training
        found.append("epoch")
        return get(batch_size)

    model._refresh, model.rollout_buffer.get = spy, epoch
    start = {name: p.clone() for name, p in model.policy.named_parameters()}
    model.learn(2 * 20 * 3)
    once = ["epoch"] + ["refresh", "epoch"] * 2 if refresh else ["epoch"] * 3
    assert found == 2 * once
    assert all(not torch.equal(start[name], p) for name, p in model.policy.named_parameters())


class Forgetful(FlattenExtractor):
    """Drops features out while training."""

    def forward(self, observations):
        return torch.nn.functional.dropout(super().forward(observations), 0.5, self.training)


def test_refreshed_states_are_those_of_acting_not_of_training():
    model = loosen(make(n_steps=20, seq_len=3, policy_kwargs={"features_extractor_class": Forgetful}))
    before = collect(model)
    model.policy.set_training_mode(True)
    model._refresh()
    assert model.policy.training
    model.policy.set_training_mode(False)
    assert_kept(model, stored_states(model, before), tolerance=1e-5)


def test_acting_is_not_training():
    model = loosen(make(policy_kwargs={"features_extractor_class": Forgetful}))
    model.policy.set_training_mode(True)
    collect(model)
    assert not model.policy.training
    assert (ratios(model) - 1).abs().max() <= 1e-5
