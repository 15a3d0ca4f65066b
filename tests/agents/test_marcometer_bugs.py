"""Three bugs that cost the author of a recurrent PPO months, as told in its README.

MarcoMeter/recurrent-ppo-truncated-bptt: a hidden state that was None, sequences cut out of a wrongly reshaped
rollout, and a hidden state that was not reset. None of them crashes. Each test says what holds here, and
that it does not hold for a mutant of the buffer that has the bug.
"""

import numpy as np
import pytest
import torch

from memrl import tree
from memrl.agents import PolicyState
from memrl.agents.buffer import SequenceBuffer

from .toys import CORES, batch_of, collect, evaluate, loosen, make, numpy_state, places, ratios

# Single calls of predict are what is tested; tests/agents/test_carry.py has what the warning is for.
pytestmark = pytest.mark.filterwarnings("ignore:predict. no state given")

REMEMBERING = [core for core in CORES if core != "none"]


def with_buffer(core, mutant, **kwargs):
    """An agent after two rollouts into a buffer of the given class."""
    model = make(core=core, **kwargs)
    model.rollout_buffer.__class__ = mutant
    loosen(model)
    collect(model)
    return model


def surprise(model):
    """How far probabilities in training are from those of acting; nothing was learned in between."""
    return float((ratios(model) - 1).abs().max())


class ForgetsStoredStates(SequenceBuffer):
    """Every sequence starts from nothing, as with None for a hidden state."""

    def batch(self, chosen):
        batch = super().batch(chosen)
        return batch._replace(sequences=batch.sequences._replace(fresh=torch.ones_like(batch.sequences.fresh)))


class MixesEnvironments(SequenceBuffer):
    """Reads a rollout of shape (T, B) as if it were (B, T)."""

    def finish(self):
        for name in ("values", "log_probs", "actions"):
            setattr(self, name, wrongly_turned(getattr(self, name)))
        self.observation_parts = {key: wrongly_turned(part) for key, part in self.observation_parts.items()}
        super().finish()


def wrongly_turned(array):
    steps, envs, *rest = array.shape
    return array.reshape(envs, steps, *rest).swapaxes(0, 1).copy()


class NeverResets(SequenceBuffer):
    """Sequences that open an episode go on from the state of the episode before."""

    def begin(self, state, episode_starts):
        super().begin(state, np.zeros_like(episode_starts))

    def batch(self, chosen):
        batch = super().batch(chosen)
        return batch._replace(sequences=batch.sequences._replace(fresh=torch.zeros_like(batch.sequences.fresh)))


class MixesUpStates(SequenceBuffer):
    """Hands stored states to sequences in another order than the one they were stored in."""

    def finish(self):
        super().finish()
        self.rows[self.rows >= 0] = np.roll(self.rows[self.rows >= 0], 1)


@pytest.mark.parametrize("core", REMEMBERING)
def test_bug_1_hidden_state_is_never_none(core):
    assert surprise(with_buffer(core, SequenceBuffer)) < 3e-6
    assert surprise(with_buffer(core, ForgetsStoredStates)) > 1e-3


@pytest.mark.parametrize("core", REMEMBERING)
def test_bug_1_values_do_not_drift_apart_from_those_of_acting(core):
    """In the README the value estimates exploded."""
    for mutant, wrong in ((SequenceBuffer, False), (ForgetsStoredStates, True)):
        model = with_buffer(core, mutant)
        with torch.no_grad():
            batch = batch_of(model)
            error = float((evaluate(model, batch).values - batch.old_values).abs().max())
        assert (error > 1e-2) if wrong else (error < 1e-5)


@pytest.mark.parametrize("core", CORES)
def test_bug_1_no_state_in_predict_is_the_initial_state(core):
    model = loosen(make(core=core))
    obs = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
    first = numpy_state(model.policy.initial_state(5))
    for start in (None, np.zeros(5, dtype=bool), np.ones(5, dtype=bool)):
        without = model.predict(obs, deterministic=True, episode_start=start)
        given = model.predict(obs, state=first, deterministic=True, episode_start=start)
        np.testing.assert_equal(without, given)
        assert all(leaf is not None for leaf in without[1].actor)


@pytest.mark.parametrize("core", REMEMBERING)
def test_bug_2_sequences_hold_steps_of_one_environment_in_order(core):
    assert surprise(with_buffer(core, SequenceBuffer)) < 3e-6
    assert surprise(with_buffer(core, MixesEnvironments)) > 1e-3


@pytest.mark.parametrize("mutant", [SequenceBuffer, MixesEnvironments])
def test_bug_2_every_step_keeps_its_observation_and_its_number(mutant):
    model = make()
    model.rollout_buffer.__class__ = mutant
    buffer = model.rollout_buffer
    buffer.reset()
    state = PolicyState(model.policy.initial_state(3).actor)
    for t in range(12):  # the step's number in every place of its row
        mark = torch.tensor([[100.0 * t + env] for env in range(3)])
        buffer.begin(state, np.full(3, t % 5 == 0))
        buffer.add(
            mark.expand(3, 3).numpy(),
            np.zeros(3),
            mark[:, 0].numpy(),
            np.full(3, t % 5 == 0),
            mark,
            mark[:, 0],
        )
    buffer.compute_returns_and_advantage(torch.zeros(3), np.zeros(3))
    buffer.finish()
    batch, (time, env) = batch_of(model), places(model)
    expected = torch.as_tensor(100.0 * time + env, dtype=torch.float32)
    good = [
        torch.equal(column, expected) for column in (batch.observations[:, 0], batch.old_values, batch.old_log_prob)
    ]
    assert all(good) if mutant is SequenceBuffer else not any(good)


@pytest.mark.parametrize("core", REMEMBERING)
def test_bug_3_memory_is_reset_where_an_episode_begins(core):
    assert surprise(with_buffer(core, SequenceBuffer)) < 3e-6
    assert surprise(with_buffer(core, NeverResets)) > 1e-3


@pytest.mark.parametrize("core", REMEMBERING)
def test_bug_3_every_sequence_gets_its_own_stored_state(core):
    assert surprise(with_buffer(core, MixesUpStates)) > 1e-3


@pytest.mark.parametrize("core", REMEMBERING)
def test_bug_3_nothing_of_an_episode_is_left_in_the_next(core):
    """Acting: after a start, the past makes no difference; without one it does."""
    model = loosen(make(core=core))
    obs = np.random.default_rng(0).uniform(-1, 1, (3, 4, 3)).astype(np.float32)
    _, some = model.predict(obs[0])
    _, other = model.predict(obs[1])
    # Two environments begin an episode, two go on.
    starts = np.array([True, False, True, False])
    after = [model.predict(obs[2], state=state, episode_start=starts)[1] for state in (some, other)]
    differs = [not np.array_equal(*(tree.pack(tree.map(torch.as_tensor, s))[i] for s in after)) for i in range(4)]
    assert differs == [False, True, False, True]


@pytest.mark.parametrize("core", REMEMBERING)
def test_bug_3_a_poisoned_memory_does_not_outlive_its_episode(core):
    """A reset by multiplication would keep NaN for ever."""
    model = loosen(make(core=core))
    obs = np.zeros((2, 3), dtype=np.float32)
    state = tree.map(lambda leaf: leaf + np.float32(np.nan), numpy_state(model.policy.initial_state(2)))
    _, clean = model.predict(obs)
    _, state = model.predict(obs, state=state, episode_start=np.array([True, True]))
    np.testing.assert_equal(state, clean)
