"""Memory cores inside unmodified sb3-contrib RecurrentPPO."""

import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.evaluation import evaluate_policy

from memrl.agents import RecurrentMemoryPolicy

from .toys import CORES, SMALL, scripted

STEPS = 12


def recurrent_ppo(core, share_core=False, **kwargs):
    policy_kwargs = {"core": core, "core_kwargs": SMALL.get(core, {}), "share_core": share_core, "net_arch": [6]}
    kwargs = {"n_steps": STEPS, "batch_size": 3 * STEPS, "n_epochs": 2, "seed": 1, "device": "cpu"} | kwargs
    return RecurrentPPO(RecurrentMemoryPolicy, scripted(), policy_kwargs=policy_kwargs, **kwargs)


def their_name(name):
    return name.replace(".core.rnn", "")


def test_with_an_lstm_it_trains_as_the_policy_it_replaces():
    ours = recurrent_ppo("lstm")
    policy_kwargs = {"net_arch": [6], "lstm_hidden_size": 8}
    theirs = RecurrentPPO(
        "MlpLstmPolicy",
        scripted(),
        policy_kwargs=policy_kwargs,
        n_steps=STEPS,
        batch_size=3 * STEPS,
        n_epochs=2,
        seed=1,
        device="cpu",
    )
    start = {name: weight.clone() for name, weight in ours.policy.state_dict().items()}
    theirs.policy.load_state_dict({their_name(name): weight for name, weight in start.items()})
    for model in (ours, theirs):
        torch.manual_seed(0)  # the same actions
        np.random.seed(0)
        model.learn(3 * STEPS * 3)
    trained = theirs.policy.state_dict()
    for name, weight in ours.policy.state_dict().items():
        assert (weight - start[name]).abs().max() > 1e-4, name  # everything learns
        torch.testing.assert_close(weight, trained[their_name(name)], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("core", CORES)
def test_replaying_a_rollout_gives_the_probabilities_it_was_acted_with(core):
    model = recurrent_ppo(core)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    model._setup_learn(10**6)
    for _ in range(2):  # from the second on, memories come in from the rollout before
        model._setup_learn(10**6, reset_num_timesteps=False)
        model.policy.set_training_mode(False)
        assert model.collect_rollouts(
            model.env, model._init_callback(None), model.rollout_buffer, n_rollout_steps=STEPS
        )
    assert model.rollout_buffer.episode_starts[1:].sum() >= 6
    for batch in model.rollout_buffer.get(3 * STEPS):
        values, log_prob, _ = model.policy.evaluate_actions(
            batch.observations, batch.actions.long().flatten(), batch.lstm_states, batch.episode_starts
        )
        real = batch.mask > 0.5
        torch.testing.assert_close(log_prob[real], batch.old_log_prob[real], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values.flatten()[real], batch.old_values[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share_core", [False, True])
@pytest.mark.parametrize("core", CORES)
def test_it_trains_saves_loads_and_predicts_the_same(core, share_core, tmp_path):
    model = recurrent_ppo(core, share_core).learn(3 * STEPS)
    model.save(tmp_path / "model.zip")
    loaded = RecurrentPPO.load(tmp_path / "model.zip", device="cpu")
    states, starts = [None, None], np.ones(3, bool)
    rng = np.random.default_rng(0)
    for t in range(6):
        obs = rng.normal(size=(3, 3)).astype(np.float32)
        actions = []
        for i, each in enumerate((model, loaded)):
            action, states[i] = each.predict(obs, states[i], starts, deterministic=True)
            actions.append(action)
        np.testing.assert_array_equal(*actions)
        starts = np.array([False, t == 2, False])
    np.testing.assert_allclose(states[0][0], states[1][0])
    evaluate_policy(loaded, scripted(), n_eval_episodes=3, warn=False)


@pytest.mark.parametrize("core", CORES)
def test_zeros_are_the_initial_state(core):
    """An episode that starts by itself equals one that starts from no state, whatever was remembered before."""
    model = recurrent_ppo(core)
    obs = np.full((1, 3), 0.5, np.float32)
    _, fresh = model.predict(obs, None)
    _, used = model.predict(obs, fresh)
    _, again = model.predict(obs, used, episode_start=np.ones(1, bool))
    np.testing.assert_allclose(again[0], fresh[0], atol=1e-6)


def test_options_of_the_lstm_and_unknown_cores_are_refused():
    with pytest.raises(ValueError, match="lstm_hidden_size: given, but the memory is core='gru'"):
        RecurrentPPO(RecurrentMemoryPolicy, scripted(), policy_kwargs={"core": "gru", "lstm_hidden_size": 3})
    with pytest.raises(ValueError, match="did you mean 'gru'"):
        RecurrentPPO(RecurrentMemoryPolicy, scripted(), policy_kwargs={"core": "grue"})


def test_a_stored_state_does_not_train_what_episodes_start_from():
    """As in `core` itself, where a state comes in from outside; with a reset it does train it."""
    policy = recurrent_ppo("ntm").policy
    packed, x = 0.1 * torch.randn(2, policy.lstm_actor.hidden_size), torch.randn(3, 2, policy.lstm_actor.input_size)
    learned = [w for name, w in policy.lstm_actor.named_parameters() if "initial" in name]
    assert learned
    for reset, expected in ((False, False), (True, True)):
        policy.zero_grad()
        y, _ = policy.lstm_actor(x, packed, torch.full((3, 2), reset))
        y.sum().backward()
        moved = any(w.grad is not None and bool(w.grad.abs().max() > 0) for w in learned)
        assert moved == expected
