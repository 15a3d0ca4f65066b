"""The rollout buffer: where sequences begin, which states are kept, and what minibatches hold."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from memrl.agents import PolicyState
from memrl.agents.buffer import SequenceBuffer

from .toys import BOX, CORES, batch_of, collect, evaluate, gradients, leaves, make, scripted


def fill(episode_starts, seq_len):
    """A buffer after a rollout with the given episode starts (T, B).

    The observation of step t of environment b is [t, b, 0], the state before it 100 t + b.
    """
    steps, envs = episode_starts.shape
    buffer = SequenceBuffer(steps, BOX, spaces.Discrete(2), seq_len=seq_len, n_envs=envs, device="cpu")
    zeros = torch.zeros(envs)
    for t in range(steps):
        state = PolicyState((100.0 * t + torch.arange(envs, dtype=torch.float32).unsqueeze(1),))
        buffer.begin(state, episode_starts[t])
        obs = np.stack([np.full(envs, t), np.arange(envs), np.zeros(envs)], axis=1)
        buffer.add(obs, np.zeros(envs), np.zeros(envs), episode_starts[t], zeros, zeros)
    buffer.compute_returns_and_advantage(zeros, np.zeros(envs))
    buffer.finish()
    return buffer


def stored(sequences):
    return sequences.state.actor[0][:, 0]


def test_cuts_by_hand():
    starts = np.zeros((8, 2), dtype=bool)
    starts[[2, 7], 0] = True
    starts[[0, 6], 1] = True
    buffer = fill(starts, seq_len=3)
    assert list(zip(buffer.envs, buffer.starts, buffer.lengths, strict=True)) == [
        (0, 0, 2),  # goes on from the rollout before
        (0, 2, 3),  # an episode begins
        (0, 5, 2),  # three steps later; it ends after two
        (0, 7, 1),  # the next episode; the rollout ends
        (1, 0, 3),  # an episode begins with the rollout
        (1, 3, 3),  # three steps later
        (1, 6, 2),  # an episode begins just where a cut falls
    ]
    batch = buffer.batch(np.arange(7))
    assert batch.sequences.fresh.tolist() == [False, True, False, True, True, False, True]
    # States of steps (0, 0), (5, 0) and (3, 1), each as it was before its step.
    assert stored(batch.sequences)[~batch.sequences.fresh].tolist() == [0.0, 500.0, 301.0]
    assert batch.sequences.longest == 3


def test_rows_and_bytes_of_stored_states_by_hand():
    starts = np.zeros((8, 2), dtype=bool)
    starts[[2, 7], 0] = True
    starts[[0, 6], 1] = True
    buffer = fill(starts, seq_len=3)
    # Three states that are gone on from, and one row that stands in for all fresh starts; 16 steps in all.
    assert buffer.num_stored == 4
    assert buffer.stored.actor[0].nbytes == 4 * 4
    assert fill(starts, seq_len=100).num_stored == 2  # the state that environment 0 brings along, and the stand-in


@pytest.mark.parametrize("core", CORES)
def test_bytes_kept_per_rollout_are_those_of_sequence_starts(core):
    model = make(core=core, env=scripted([[50], [50]]), n_steps=12, seq_len=4)
    collect(model, rollouts=2)
    per_env = sum(leaf.nbytes for leaf in leaves(model.policy.initial_state(1)))
    kept = sum(leaf.nbytes for leaf in leaves(model.rollout_buffer.stored))
    assert kept == (2 * 12 / 4 + 1) * per_env  # 2 environments x 12 steps / 4, and the stand-in


@st.composite
def rollouts(draw):
    steps, envs = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    starts = draw(st.lists(st.booleans(), min_size=steps * envs, max_size=steps * envs))
    return np.array(starts).reshape(steps, envs), draw(st.integers(1, 9)), draw(st.integers(1, 60))


@settings(max_examples=150, deadline=None)
@given(rollouts())
def test_any_rollout_is_cut_and_batched_as_a_plain_loop_would(rollout):
    starts, seq_len, batch_size = rollout
    steps, envs = starts.shape
    expected = {}  # (env, start): length, and the state before it unless an episode opens there
    for env in range(envs):
        first = 0
        for t in range(steps):
            if t == 0 or starts[t, env] or expected[env, first][0] == seq_len:
                first = t
                expected[env, first] = [0, None if starts[t, env] else 100.0 * t + env]
            expected[env, first][0] += 1

    buffer = fill(starts, seq_len)
    batches = list(buffer.get(batch_size))
    found = {}
    for batch in batches:
        sequences = batch.sequences
        for row in range(len(sequences.fresh)):
            mine = sequences.row == row
            time, env, _ = batch.observations[mine].T.tolist()
            assert sequences.step[mine].tolist() == list(range(len(time)))
            assert time == list(np.arange(len(time)) + time[0])  # whole, in order, nothing between
            assert set(env) == {env[0]}  # of one environment
            assert (env[0], time[0]) not in found  # exactly once
            before = None if sequences.fresh[row] else stored(sequences)[row].item()
            found[env[0], time[0]] = [len(time), before]
        assert sequences.longest == max(torch.bincount(sequences.row))
    assert found == expected
    assert buffer.num_stored == 1 + sum(before is not None for _, before in expected.values())

    # A minibatch has an even share of the steps, give or take a sequence.
    wanted = max(1, round(steps * envs / batch_size))
    longest = max(length for length, _ in expected.values())
    assert len(batches) <= wanted
    if len(batches) == wanted:
        assert all(abs(len(b.actions) - steps * envs / wanted) <= longest for b in batches)


@pytest.mark.parametrize(("steps", "lengths"), [(10, [10]), (64, [10] * 6 + [4]), (100, [10] * 10), (7, [7])])
def test_seq_len_depends_neither_on_batch_size_nor_on_n_steps(steps, lengths):
    buffer = fill(np.zeros((steps, 3), dtype=bool), seq_len=10)
    for batch_size in (2, 9, 10, 33, 1000):
        seen = torch.cat([torch.bincount(batch.sequences.row) for batch in buffer.get(batch_size)])
        assert sorted(seen.tolist()) == sorted(3 * lengths)


def test_minibatches_are_drawn_anew_each_epoch_and_mix_environments():
    buffer = fill(np.zeros((40, 4), dtype=bool), seq_len=5)
    np.random.seed(0)
    epochs = [[tuple(map(tuple, b.observations.tolist())) for b in buffer.get(40)] for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert all(len(batch) == 40 for epoch in epochs for batch in epoch)
    assert any(len({env for _, env, _ in batch}) > 1 for batch in epochs[0])
    np.random.seed(0)
    assert [tuple(map(tuple, b.observations.tolist())) for b in buffer.get(40)] == epochs[0]


def test_without_a_batch_size_all_is_one_minibatch():
    buffer = fill(np.zeros((6, 2), dtype=bool), seq_len=4)
    assert [len(batch.actions) for batch in buffer.get()] == [12]


@pytest.mark.parametrize("seq_len", [0, -3])
def test_seq_len_below_one_is_refused(seq_len):
    with pytest.raises(ValueError, match=f"seq_len: {seq_len} given"):
        fill(np.zeros((2, 1), dtype=bool), seq_len)


@pytest.mark.parametrize(
    ("core", "learned"),
    [
        ("ntm", ("initial_read_weights", "initial_write_weights", "initial_read_vectors")),
        ("memformer", ("bias",)),
    ],
)
def test_learned_initial_states_learn(core, learned):
    # Episodes of one step: whatever gradient there is has come through the initial state.
    kwargs = (
        {"core_kwargs": {"slot_size": 8, "num_slots": 3, "num_heads": 2, "segment": 1}} if core == "memformer" else {}
    )
    model = make(core=core, env=scripted([[1], [1]]), n_steps=4, policy_kwargs=kwargs)
    collect(model)
    thoughts = evaluate(model, batch_of(model))
    found = gradients(model, thoughts.values.sum() + thoughts.log_probs.sum())
    for name in learned:
        assert found[f"core.{name}"].abs().max() > 1e-6, name


@pytest.mark.parametrize("core", ["ntm", "memformer"])
def test_a_fresh_sequence_starts_from_the_initial_state_of_now(core):
    model = make(core=core, env=scripted([[3], [3]]), n_steps=6)
    collect(model)
    with torch.no_grad():
        for name, parameter in model.policy.core.named_parameters():
            if name.startswith("initial") or name == "bias":
                parameter.add_(torch.randn_like(parameter))
        first = model.policy.initial_state(4)
        obs = batch_of(model).observations[::3]
        values = model.policy.predict_values(obs, first, torch.zeros(4, dtype=torch.bool)).flatten()
        assert not torch.allclose(values, batch_of(model).old_values[::3], atol=1e-4)  # the weights do matter
        torch.testing.assert_close(evaluate(model, batch_of(model)).values[::3], values)
