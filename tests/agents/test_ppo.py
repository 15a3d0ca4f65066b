"""MemoryPPO's loss against a reference that replays episodes step by step, and its training loop."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from memrl import tree

from .toys import (
    CORES,
    WEIGHTLESS,
    Encoder,
    assert_equal,
    batch_of,
    collect,
    evaluate,
    exact,
    gradients,
    leaves,
    loosen,
    make,
    numpy_state,
    places,
    ratios,
    replay,
    scripted,
    stored_states,
)

GAUSSIAN = spaces.Box(-1, 1, (2,), np.float32)


def reference_loss(model, thoughts, clip, clip_vf=None):
    """The clipped surrogate, value and entropy terms over all (T, B) steps, written from the PPO paper."""
    buffer = model.rollout_buffer
    advantages, returns, old_values, old = (
        torch.as_tensor(getattr(buffer, name)).to(thoughts.values.dtype)
        for name in ("advantages", "returns", "values", "log_probs")
    )
    if model.normalize_advantage:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    within = lambda x, bound: torch.minimum(torch.maximum(x, -bound), bound)  # noqa: E731
    clip, clip_vf = (torch.tensor(c or np.inf, dtype=old.dtype) for c in (clip, clip_vf))
    total = 0.0
    for t in range(buffer.buffer_size):
        for b in range(buffer.n_envs):
            ratio = torch.exp(thoughts.log_probs[t, b] - old[t, b])
            gain = torch.minimum(ratio * advantages[t, b], (1 + within(ratio - 1, clip)) * advantages[t, b])
            value = old_values[t, b] + within(thoughts.values[t, b] - old_values[t, b], clip_vf)
            error = (returns[t, b] - value) ** 2
            total = total - gain + model.vf_coef * error - model.ent_coef * thoughts.entropies[t, b]
    return total / returns.numel()


@pytest.mark.parametrize("share_core", [True, False])
@pytest.mark.parametrize("core", CORES)
def test_ratio_is_one_before_the_first_update(core, share_core):
    model = make(core=core, policy_kwargs={"share_core": share_core})
    collect(model)
    starts = model.rollout_buffer.episode_starts
    assert starts[1:].any()
    assert not starts[0].all()
    assert (ratios(model) - 1).abs().max() <= 1e-6
    # The same with weights at which a policy has opinions.
    loosen(model)
    collect(model)
    assert np.ptp(model.rollout_buffer.log_probs) > 0.1
    assert (ratios(model) - 1).abs().max() <= 3e-6


@pytest.mark.parametrize("share_core", [True, False])
@pytest.mark.parametrize("core", CORES)
def test_predict_step_by_step_reproduces_the_training_forward(core, share_core):
    model = loosen(make(core=core, policy_kwargs={"share_core": share_core}))
    before = collect(model)
    buffer, policy = model.rollout_buffer, model.policy
    with torch.no_grad():
        thoughts = evaluate(model, batch_of(model))
    time, env = places(model)
    state = numpy_state(before)
    for t in range(buffer.buffer_size):
        obs, starts = buffer.observation_parts[""][t], buffer.episode_starts[t].astype(bool)
        with torch.no_grad():
            now = tree.map(torch.as_tensor, state)
            distribution, after = policy.get_distribution(torch.as_tensor(obs), now, torch.as_tensor(starts))
            values = policy.predict_values(torch.as_tensor(obs), now, torch.as_tensor(starts)).flatten()
            log_probs = distribution.log_prob(torch.as_tensor(buffer.actions[t, :, 0]))
        actions, state = model.predict(obs, state=state, episode_start=starts, deterministic=True)
        assert actions.tolist() == distribution.distribution.probs.argmax(-1).tolist()
        for ours, theirs in zip(leaves(state), leaves(after), strict=True):
            np.testing.assert_array_equal(ours, theirs.numpy())
        mine = np.flatnonzero(time == t)[np.argsort(env[time == t])]
        for step_by_step, trained in zip((values, log_probs, distribution.entropy()), thoughts, strict=True):
            torch.testing.assert_close(trained[mine], step_by_step, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("core", CORES)
def test_loss_and_gradients_are_those_of_episodes_replayed_one_by_one(core):
    """A done inside a sequence of steps is the same as separate episodes."""
    model = loosen(exact(make(core=core)), 0.2)
    before = collect(model)
    starts = model.rollout_buffer.episode_starts
    assert starts[1:].sum() >= 6
    # Probabilities that the policy no longer has: some ratios lie outside of the clip range, on either side.
    model.rollout_buffer.log_probs += np.random.default_rng(0).normal(0, 0.3, starts.shape).astype(np.float32)
    model.rollout_buffer.finish()
    loss, _ = model.loss(batch_of(model), 0.2)
    thoughts, _ = replay(model, before, stored_states(model, before))
    reference = reference_loss(model, thoughts, 0.2)
    torch.testing.assert_close(loss, reference, rtol=1e-9, atol=1e-9)
    ours, theirs = gradients(model, loss), gradients(model, reference)
    assert_equal(ours, theirs, 1e-9)
    if core not in WEIGHTLESS:  # were gradients not cut, or cut elsewhere, these would not be equal
        whole = gradients(model, reference_loss(model, replay(model, before)[0], 0.2))
        with pytest.raises(AssertionError):
            assert_equal(ours, whole, 1e-6)


@pytest.mark.parametrize(
    "variant", ["separate cores", "separate encoders", "Gaussian", "value clipping", "raw advantages"]
)
def test_loss_of_every_variant_is_the_reference(variant):
    kwargs = {
        "separate cores": {"policy_kwargs": {"share_core": False}},
        "separate encoders": {"policy_kwargs": {"share_core": False, "share_features_extractor": False}},
        "Gaussian": {"env": scripted(action_space=GAUSSIAN)},
        "value clipping": {"clip_range_vf": 0.1},
        "raw advantages": {"normalize_advantage": False},
    }[variant]
    if variant == "separate encoders":
        kwargs["policy_kwargs"]["features_extractor_class"] = Encoder
    model = loosen(exact(make(ent_coef=0.1, vf_coef=0.3, **kwargs)), 0.2)
    if variant == "separate encoders":
        del model.policy.extract_features
    before = collect(model)
    stored = stored_states(model, before)
    loosen(model, 0.07)  # now ratios differ from 1, values from the old ones, and stored states are stale
    clip_vf = kwargs.get("clip_range_vf")
    loss, terms = model.loss(batch_of(model), 0.1, clip_vf)
    thoughts, _ = replay(model, before, stored)
    reference = reference_loss(model, thoughts, 0.1, clip_vf)
    torch.testing.assert_close(loss, reference, rtol=1e-9, atol=1e-9)
    assert_equal(gradients(model, loss), gradients(model, reference), 1e-9)

    log_ratio = (thoughts.log_probs.detach() - torch.as_tensor(model.rollout_buffer.log_probs)).numpy()
    ratio = np.exp(log_ratio)
    assert 0 < terms["clip_fraction"] < 1
    assert terms["clip_fraction"] == pytest.approx((np.abs(ratio - 1) > 0.1).mean())
    assert terms["approx_kl"] == pytest.approx((ratio - 1 - log_ratio).mean(), rel=1e-6)
    assert terms["entropy_loss"] == pytest.approx(-thoughts.entropies.mean().item())
    assert terms["loss"] == pytest.approx(loss.item())


@pytest.mark.parametrize("core", CORES)
def test_padding_and_order_of_a_minibatch_change_nothing(core):
    model = loosen(exact(make(core=core, normalize_advantage=False)), 0.2)
    collect(model)
    loosen(model, 0.05)
    whole = batch_of(model)
    together = evaluate(model, whole)
    loss, _ = model.loss(whole, 0.2)
    expected = gradients(model, loss)
    lengths = model.rollout_buffer.lengths
    assert len(set(lengths)) >= 4  # so there is padding of several sizes

    order = np.random.default_rng(0).permutation(len(lengths))
    shuffled, _ = model.loss(batch_of(model, order), 0.2)
    torch.testing.assert_close(shuffled, loss, rtol=1e-10, atol=1e-10)
    assert_equal(gradients(model, shuffled), expected, 1e-10)

    # Each sequence by itself, where it has no padding at all, weighted by its share of the steps.
    apart = [evaluate(model, batch_of(model, [i])) for i in range(len(lengths))]
    for ours, theirs in zip((torch.cat(column) for column in zip(*apart, strict=True)), together, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    total = sum(model.loss(batch_of(model, [i]), 0.2)[0] * n / lengths.sum() for i, n in enumerate(lengths))
    torch.testing.assert_close(total, loss, rtol=1e-10, atol=1e-10)
    assert_equal(gradients(model, total), expected, 1e-10)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_nothing_that_a_core_says_about_padding_reaches_the_loss(poison):
    model = loosen(make())
    collect(model)
    batch = batch_of(model)
    loss, _ = model.loss(batch, 0.2)
    expected = gradients(model, loss)
    real = torch.zeros(batch.sequences.longest, len(batch.sequences.fresh), dtype=torch.bool)
    real[batch.sequences.step, batch.sequences.row] = True
    assert not real.all()
    forward = model.policy.core.forward

    def poisoned(x, state, reset):
        assert x[~real].eq(0).all()
        y, state = forward(x, state, reset)
        return torch.where(real.unsqueeze(-1), y, poison), state

    model.policy.core.forward = poisoned
    again, _ = model.loss(batch, 0.2)
    assert again.item() == loss.item()
    assert_equal(gradients(model, again), expected, 0.0)


@pytest.mark.parametrize("extreme", [-200.0, 200.0])
def test_old_probabilities_of_other_sequences_cannot_overflow_a_loss(extreme):
    model = loosen(make())
    collect(model)
    buffer = model.rollout_buffer
    chosen = np.flatnonzero(buffer.envs == 1)
    loss, _ = model.loss(batch_of(model, chosen), 0.2)
    expected = gradients(model, loss)
    buffer.log_probs[:, [0, 2]] = extreme
    buffer.finish()
    again, terms = model.loss(batch_of(model, chosen), 0.2)
    assert again.item() == loss.item()
    assert np.isfinite(list(terms.values())).all()
    assert_equal(gradients(model, again), expected, 0.0)
