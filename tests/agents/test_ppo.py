"""MemoryPPO's loss against a reference that replays episodes step by step, and its training loop."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from memrl import tree
from memrl.agents import MemoryPPO, PolicyState

from .toys import (
    BOX,
    CORES,
    Steps,
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
    pick,
    places,
    ratios,
    replay,
    scripted,
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
    total = 0.0
    for t in range(buffer.buffer_size):
        for b in range(buffer.n_envs):
            ratio = torch.exp(thoughts.log_probs[t, b] - old[t, b])
            clipped = min(max(ratio, torch.tensor(1 - clip)), torch.tensor(1 + clip))
            gain = min(ratio * advantages[t, b], clipped * advantages[t, b])
            value = thoughts.values[t, b]
            if clip_vf is not None:
                change = value - old_values[t, b]
                value = old_values[t, b] + min(max(change, torch.tensor(-clip_vf)), torch.tensor(clip_vf))
            error = (returns[t, b] - value) ** 2
            total = total - gain + model.vf_coef * error - model.ent_coef * thoughts.entropies[t, b]
    return total / returns.numel()


def cuts(model):
    """Where gradients end, counted by hand: at the rollout's start and `seq_len` steps into an episode."""
    starts = model.rollout_buffer.episode_starts.astype(bool)
    found = np.zeros_like(starts)
    for env in range(starts.shape[1]):
        age = model.seq_len
        for t in range(len(starts)):
            if starts[t, env]:
                age = 0
            elif age == model.seq_len:
                found[t, env], age = True, 0
            age += 1
    return found


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
    # Old probabilities that the policy no longer has: some ratios lie outside of the clip range, on either side.
    model.rollout_buffer.log_probs += np.random.default_rng(0).normal(0, 0.3, starts.shape).astype(np.float32)
    model.rollout_buffer.finish()
    loss, _ = model.loss(batch_of(model), 0.2)
    reference = reference_loss(model, replay(model, before, cuts(model)), 0.2)
    torch.testing.assert_close(loss, reference, rtol=1e-9, atol=1e-9)
    ours, theirs = gradients(model, loss), gradients(model, reference)
    assert_equal(ours, theirs, 1e-9)
    if core != "none":  # were gradients not cut, or cut elsewhere, these would not be equal
        whole = gradients(model, reference_loss(model, replay(model, before), 0.2))
        with pytest.raises(AssertionError):
            assert_equal(ours, whole, 1e-6)


@pytest.mark.parametrize("variant", ["separate cores", "separate encoders", "Gaussian", "value clipping", "raw advantages"])
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
    loosen(model, 0.05)  # now ratios differ from 1, and values from the old ones
    # Stored states were made by the old weights, so replay from each sequence's own.
    clip_vf = kwargs.get("clip_range_vf")
    loss, terms = model.loss(batch_of(model), 0.1, clip_vf)
    thoughts = stale_replay(model, before)
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


class Encoder(FlattenExtractor):
    """An encoder with weights, which actor and critic can have one each of."""

    def __init__(self, observation_space):
        super().__init__(observation_space)
        self.linear = torch.nn.Linear(self.features_dim, self.features_dim)

    def forward(self, observations):
        return torch.tanh(self.linear(super().forward(observations).to(self.linear.weight.dtype)))


def stale_replay(model, before):
    """`replay`, but sequences that do not open an episode start from the states that the rollout stored."""
    buffer = model.rollout_buffer
    values, log_probs, entropies = ({} for _ in range(3))
    for number, (env, start, length) in enumerate(zip(buffer.envs, buffer.starts, buffer.lengths, strict=True)):
        del number, length
    raise NotImplementedError(before, values, log_probs, entropies, PolicyState, pick, BOX, MemoryPPO, Steps)
