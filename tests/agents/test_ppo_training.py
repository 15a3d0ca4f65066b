"""What `train` does around the loss: schedules, clipping, early stopping, epochs; and wrong arguments."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from memrl.agents import MemoryA2C, MemoryPPO, MlpMemoryPolicy

from .toys import Steps, batch_of, collect, gradients, loosen, make, scripted

ROLLOUT = 3 * 12  # steps of three environments


def recorded(model, name):
    """Values that the model logs under a name, one for each rollout."""
    found = []
    record = model.logger.record

    def spy(key, value, *args, **kwargs):
        if key == name:
            found.append(value)
        record(key, value, *args, **kwargs)

    model.logger.record = spy
    return found


def ready(**kwargs):
    model = make(**kwargs)
    model._setup_learn(0)
    model.set_logger(model.logger)  # or `learn` would make another one
    return model


@pytest.mark.parametrize("agent", [MemoryPPO, MemoryA2C])
def test_learning_rate_schedule_is_followed(agent):
    model = ready(agent=agent, learning_rate=lambda remaining: 0.01 * remaining)
    logged, steps = recorded(model, "train/learning_rate"), Steps(model)
    model.learn(4 * ROLLOUT)
    expected = [0.0075, 0.005, 0.0025, 0.0]
    assert logged == pytest.approx(expected)
    assert sorted(set(np.round(steps.rates, 9)), reverse=True) == pytest.approx(expected)


def test_clip_schedules_are_followed():
    model = ready(clip_range=lambda left: 0.1 + 0.2 * left, clip_range_vf=lambda left: 1.0 + left)
    clip, clip_vf = recorded(model, "train/clip_range"), recorded(model, "train/clip_range_vf")
    used = []
    loss = model.loss
    model.loss = lambda batch, clip, clip_vf: used.append((clip, clip_vf)) or loss(batch, clip, clip_vf)
    model.learn(2 * ROLLOUT)
    assert clip == pytest.approx([0.2, 0.1])
    assert clip_vf == pytest.approx([1.5, 1.0])
    assert sorted(set(used), reverse=True) == [(0.2, 1.5), (0.1, 1.0)]


def test_every_epoch_takes_a_step_for_every_minibatch():
    model = ready(n_epochs=3, batch_size=12)
    steps = Steps(model)
    model.learn(ROLLOUT)
    assert len(steps.rates) == 3 * 3
    assert model._n_updates == 3


def test_target_kl_stops_an_iteration():
    free = ready(n_epochs=8, batch_size=12, learning_rate=0.05)
    steps = Steps(free)
    free.learn(ROLLOUT)
    assert len(steps.rates) == 8 * 3

    model = ready(n_epochs=8, batch_size=12, learning_rate=0.05, target_kl=0.01)
    divergences, steps, loss = [], Steps(model), model.loss

    def spy(*args):
        result = loss(*args)
        divergences.append(result[1]["approx_kl"])
        return result

    model.loss = spy
    model.learn(ROLLOUT)
    assert 1 <= len(steps.rates) < 8 * 3
    # Every minibatch but the last one was within 1.5 times the target, and was learned from.
    assert len(divergences) == len(steps.rates) + 1
    assert max(divergences[:-1]) <= 0.015 < divergences[-1]


@pytest.mark.parametrize("agent", [MemoryPPO, MemoryA2C])
def test_long_gradients_are_scaled_down_and_short_ones_left_alone(agent):
    found = {}
    for limit in (1e-3, 1e6):
        model = ready(agent=agent, max_grad_norm=limit)
        steps = Steps(model)
        model.learn(ROLLOUT)
        found[limit] = torch.cat([g.flatten() for g in steps.gradients[0].values()])
    assert found[1e-3].norm() == pytest.approx(1e-3, rel=1e-3)
    assert found[1e6].norm() > 1e-2
    torch.testing.assert_close(found[1e-3] / found[1e-3].norm(), found[1e6] / found[1e6].norm())


def test_a_minibatch_of_one_step_is_not_normalised():
    model = make(env=scripted([[1]]), n_steps=1)
    collect(model)
    loss, _ = model.loss(batch_of(model), 0.2)
    assert all(torch.isfinite(g).all() for g in gradients(model, loss).values())


def test_normalised_advantages_are_those_of_the_minibatch():
    model = loosen(make())
    collect(model)
    loss = model.loss(batch_of(model, [0, 1, 2]), 0.2)[0]
    model.rollout_buffer.advantages = 7 * model.rollout_buffer.advantages + 3
    model.rollout_buffer.finish()
    torch.testing.assert_close(model.loss(batch_of(model, [0, 1, 2]), 0.2)[0], loss)


def test_logged_terms_are_means_over_minibatches():
    model = ready(n_epochs=2, batch_size=12)
    terms, loss = [], model.loss
    logged = {name: recorded(model, f"train/{name}") for name in ("value_loss", "approx_kl", "clip_fraction", "loss")}

    def spy(*args):
        result = loss(*args)
        terms.append(result[1])
        return result

    model.loss = spy
    model.learn(ROLLOUT)
    assert len(terms) == 6
    for name in ("value_loss", "approx_kl", "clip_fraction"):
        assert logged[name] == [pytest.approx(np.mean([term[name] for term in terms]))]
    assert logged["loss"] == [terms[-1]["loss"]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seq_len": 0}, "seq_len: 0 given"),
        ({"n_steps": 0}, "n_steps: 0 given"),
        ({"batch_size": 1}, "batch_size: 1 given"),
        ({"n_epochs": 0}, "n_epochs: 0 given"),
        ({"policy": ActorCriticPolicy}, "ActorCriticPolicy given"),
        ({"policy": "MlpPolicy"}, "MlpPolicy unknown"),
        ({"core": "lstn"}, "did you mean 'lstm'"),
        ({"policy_kwargs": {"core_kwargs": {"hidden": 3}}}, "no option 'hidden'"),
        ({"policy_kwargs": {"share_features_extractor": False}}, "share_core=False"),
        ({"rollout_buffer_kwargs": {}}, "rollout_buffer"),
        ({"rollout_buffer_class": object}, "rollout_buffer"),
    ],
)
def test_wrong_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(**wrong)
    assert "\n" not in str(caught.value)


def test_evaluating_actions_without_memory_is_refused():
    model = make(policy_kwargs={"core_kwargs": {"hidden_size": 3}})  # as wide as the observation, so it would run
    assert isinstance(model.policy, MlpMemoryPolicy)
    with pytest.raises(NotImplementedError, match="evaluate_sequences"):
        model.policy.evaluate_actions(torch.zeros(2, 3), torch.zeros(2))
