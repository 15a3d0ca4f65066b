"""MemoryAgent carries the state that predict hands out, and predict says when nobody does."""

import warnings

import numpy as np
import pytest

from memrl.agents import MemoryAgent

from .toys import BOX, loosen, make


@pytest.fixture(scope="module")
def model():
    return loosen(make(core="gru"))


def observations(steps=12, envs=3):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (steps, envs, *BOX.shape)).astype(np.float32)


def test_it_acts_as_predict_does_with_its_state_handed_on(model):
    agent, state = MemoryAgent(model), None
    ends = {4: [True, False, False], 8: [False, True, True]}
    for t, obs in enumerate(observations()):
        starts = np.array(ends.get(t, [False] * 3)) if t else np.ones(3, bool)
        if t in ends:
            agent.reset(ends[t])
        action, state = model.predict(obs, state, starts, deterministic=True)
        np.testing.assert_array_equal(agent.act(obs), action)
    np.testing.assert_array_equal(agent.state.actor.hidden, state.actor.hidden)


def test_a_single_environment_and_a_reset(model):
    agent = MemoryAgent(model)
    first = [agent.act(obs) for obs in observations()[:, 0]]
    kept = agent.state
    agent.reset()
    assert [agent.act(obs) for obs in observations()[:, 0]] == first
    np.testing.assert_array_equal(agent.state.actor.hidden, kept.actor.hidden)
    with pytest.raises(ValueError, match="state: of 1 environments given"):
        agent.act(observations()[0])


def test_two_agents_with_one_model_do_not_mix(model):
    one, other = MemoryAgent(model), MemoryAgent(model)
    alone = MemoryAgent(model)
    for obs in observations()[:, 0]:
        expected = alone.act(obs)
        assert one.act(obs) == expected
        other.act(-obs)


def test_losing_the_state_is_told_once():
    model = make(core="gru")
    obs = observations()[0]
    model.predict(obs)
    with pytest.warns(UserWarning, match="hand in what the last call returned"):
        model.predict(obs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(obs)


@pytest.mark.parametrize("core", ["gru", "none"])
def test_right_uses_are_not_warned_of(core):
    model = make(core=core)
    obs = observations()
    for episode in range(2):  # a new episode may begin without a state
        state = None
        for t in range(3):
            _, state = model.predict(obs[episode * 3 + t], state)
    for _ in range(3):  # or with the flag, as often as one likes
        model.predict(obs[0], None, np.ones(3, bool))
    if core == "none":  # there is nothing to lose
        model.predict(obs[0])
        model.predict(obs[0])


def test_what_does_not_fit_the_environments_is_refused(model):
    agent, obs = MemoryAgent(model), observations()[0]
    agent.act(obs)
    for which in ([True], [0, 2], [True, False]):
        with pytest.raises(ValueError, match="True or False for each of 3"):
            agent.reset(which)
    with pytest.raises(ValueError, match="episode_start: of 2 environments given, 3"):
        model.predict(obs, None, np.ones(2, bool))
    with pytest.raises(ValueError, match="action_masks: of 2 environments given, 3"):
        model.predict(obs, None, np.ones(3, bool), action_masks=np.ones((2, 3), bool))
