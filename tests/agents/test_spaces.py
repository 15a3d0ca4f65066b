"""Every kind of action and observation, from the environment through the buffer into the loss and back."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from memrl.agents import MemoryA2C, MemoryPPO
from memrl.encoders import DictExtractor, ImageExtractor, MiniGridExtractor

from .toys import Scripted, collect, leaves, loosen, make, places, ratios, scripted

# Single calls of predict are what is tested; tests/agents/test_carry.py has what the warning is for.
pytestmark = pytest.mark.filterwarnings("ignore:predict. no state given")

ACTIONS = {
    "discrete": spaces.Discrete(3),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(3),
    "box": spaces.Box(-1, 1, (2,), np.float32),
    "box of unequal bounds": spaces.Box(np.array([-1, 0], np.float32), np.array([2, 0.1], np.float32)),
    "box of two axes": spaces.Box(-1, 1, (2, 3), np.float32),
    "box of doubles": spaces.Box(-1, 1, (2,), np.float64),
    "box of integers": spaces.Box(-5, 5, (2,), np.int64),
}
MISSION = spaces.Box(0, 20, (5,), np.int64)
OBSERVATIONS = {
    "box": spaces.Box(-1, 1, (3,), np.float32),
    "box of two axes": spaces.Box(-1, 1, (2, 3), np.float64),
    "box of integers": spaces.Box(0, 500, (3,), np.int16),
    "discrete": spaces.Discrete(4),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(4),
    "image, channels last": spaces.Box(0, 255, (12, 14, 3), np.uint8),
    "image, channels first": spaces.Box(0, 255, (3, 12, 14), np.uint8),
    "dict": spaces.Dict(
        number=spaces.Discrete(3),
        numbers=spaces.MultiDiscrete([2, 2]),
        vector=spaces.Box(-1, 1, (2, 2), np.float32),
        picture=spaces.Box(0, 255, (12, 14, 1), np.uint8),
    ),
    "minigrid": spaces.Dict(
        image=spaces.Box(0, 10, (3, 3, 3), np.uint8), direction=spaces.Discrete(4), mission=MISSION
    ),
}


def check_training_and_predicting(model):
    """Ratios are 1, an update moves every weight, actions have the shape, dtype and bounds of the space."""
    loosen(model, 0.1)
    collect(model)
    assert np.ptp(model.rollout_buffer.log_probs) > 1e-3
    assert (ratios(model) - 1).abs().max() <= 1e-5
    start = {name: parameter.clone() for name, parameter in model.policy.named_parameters()}
    model.train()
    for name, parameter in model.policy.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert not torch.equal(start[name], parameter), name
    model.learn(model.n_steps * model.n_envs)

    space, obs = model.action_space, model.get_env().reset()
    for deterministic in (True, False):
        actions, state = model.predict(obs, deterministic=deterministic)
        assert actions.shape == (3, *space.shape)
        assert all(space.contains(np.asarray(action, dtype=space.dtype)) for action in actions)
        again, _ = model.predict(obs, state=state, deterministic=deterministic)
        assert again.shape == actions.shape
        single = {key: part[0] for key, part in obs.items()} if isinstance(obs, dict) else obs[0]
        action, state = model.predict(single, deterministic=deterministic)
        assert action.shape == space.shape
        assert all(len(leaf) == 1 for leaf in leaves(state))
        if deterministic:
            np.testing.assert_allclose(action, actions[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("agent", [MemoryPPO, MemoryA2C])
@pytest.mark.parametrize("name", ACTIONS)
def test_actions(name, agent):
    model = make(agent, env=scripted(action_space=ACTIONS[name]))
    check_training_and_predicting(model)
    if name != "box of integers":  # whose actions are rounded by the environment, as with SB3
        action, _ = model.predict(np.zeros(3, np.float32))
        assert ACTIONS[name].contains(action)


@pytest.mark.parametrize("previous", [False, True])
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations(name, previous):
    policy = "MultiInputMemoryPolicy" if name in ("dict", "minigrid") else "MlpMemoryPolicy"
    env = scripted(observation_space=OBSERVATIONS[name])
    model = make(env=env, policy=policy, previous_action=previous, previous_reward=previous)
    expected = {"minigrid": MiniGridExtractor, "dict": DictExtractor}.get(name)
    if expected is None and previous:
        expected = DictExtractor
    if expected is None and name.startswith("image"):
        expected = ImageExtractor
    assert expected is None or type(model.policy.features_extractor) is expected
    check_training_and_predicting(model)


@pytest.mark.parametrize("previous", [False, True])
def test_cnn_policy_takes_images_and_what_comes_with_them(previous):
    env = scripted(observation_space=OBSERVATIONS["image, channels last"])
    model = make(env=env, policy="CnnMemoryPolicy", previous_action=previous, previous_reward=previous)
    found = {type(module) for module in model.policy.features_extractor.modules()}
    assert ImageExtractor in found
    check_training_and_predicting(model)


def test_images_are_stored_channels_first_and_as_bytes():
    env = scripted(observation_space=OBSERVATIONS["image, channels last"])
    raw = []
    step_wait = env.step_wait
    env.step_wait = lambda: raw.append(step_wait()) or raw[-1]
    model = make(env=env)
    collect(model, rollouts=1)
    part = model.rollout_buffer.observation_parts[""]
    assert part.shape == (12, 3, 3, 12, 14)
    assert part.dtype == np.uint8
    for t in range(11):
        np.testing.assert_array_equal(part[t + 1], raw[t][0].transpose(0, 3, 1, 2))
    batch = model.rollout_buffer.batch(np.arange(len(model.rollout_buffer.starts)))
    time, where = places(model)
    np.testing.assert_array_equal(batch.observations.numpy(), part[time, where])


def test_predict_takes_images_as_the_environment_gives_them_or_as_the_policy_sees_them():
    env = scripted(observation_space=OBSERVATIONS["image, channels last"])
    model = loosen(make(env=env))
    obs = env.reset()
    last, first = (model.predict(o, deterministic=True)[1] for o in (obs, obs.transpose(0, 3, 1, 2)))
    np.testing.assert_equal(last, first)


def test_stored_actions_are_those_the_policy_drew_not_those_that_were_clipped():
    """Clipping or rounding in the buffer would change their probability."""
    for name in ("box", "box of integers"):
        model = make(env=scripted(action_space=ACTIONS[name]))
        with torch.no_grad():
            model.policy.log_std.fill_(2.0)
        collect(model)
        actions = model.rollout_buffer.actions
        assert np.abs(actions).max() > 5
        assert (actions != actions.round()).mean() > 0.9
        assert (ratios(model) - 1).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["multi-discrete", "multi-binary"])
def test_log_probabilities_of_several_actions_at_once_are_sums(name):
    model = loosen(make(env=scripted(action_space=ACTIONS[name])))
    collect(model)
    buffer = model.rollout_buffer
    state = model.policy.initial_state(3)
    obs, starts = torch.as_tensor(buffer.observation_parts[""][0]), torch.ones(3, dtype=torch.bool)
    with torch.no_grad():
        parts = model.policy.get_distribution(obs, state, starts)[0].distribution
    taken = buffer.actions[0].astype(int)
    if name == "multi-discrete":
        chances = np.stack([part.probs.numpy()[np.arange(3), taken[:, i]] for i, part in enumerate(parts)], 1)
    else:
        chances = np.where(taken, parts.probs.numpy(), 1 - parts.probs.numpy())
    assert chances.shape == (3, ACTIONS[name].shape[0])
    drawn = model.policy.get_distribution(obs, state, starts)[0].log_prob(torch.as_tensor(buffer.actions[0]))
    np.testing.assert_allclose(drawn.detach().numpy(), np.log(chances).sum(1), rtol=1e-5)


def test_unsupported_spaces_are_refused():
    with pytest.raises((AssertionError, ValueError), match="action space"):
        make(env=Scripted([3], action_space=spaces.Dict(a=spaces.Discrete(2))))
