"""MemN2N against a loop over stories, hops and memories written from the papers; each equation by hand."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from memrl import make_core, tree

INPUT, WIDTH, SLOTS, HOPS = 4, 5, 3, 3
STEPS, BATCH = 9, 2


def softmax(a):
    e = np.exp(np.array(a) - max(a))
    return e / e.sum()


def embed(matrix, x, level):
    """A x, or A f + (k/d) ∘ A g of a sentence in two bags of words."""
    if level is None:
        return matrix.T @ x
    f, g = np.split(x, 2)
    return matrix.T @ f + level * (matrix.T @ g)


def answer(p, story, question, *, tying, temporal, linear=False, positions=False, empty=False, slots=SLOTS):
    """Sukhbaatar et al. 2015, section 2: the question's u after K hops over the last sentences of a story.

    A story is a list of sentences; None is an empty memory, which takes a place in time and nothing else. With `empty`
    there are as many memories as slots, and those without a sentence are zeros.
    """
    level = np.arange(1, WIDTH + 1) / WIDTH if positions else None
    story = story[-slots:]
    if empty:
        story = [None] * (slots - len(story)) + story
    matrices = {"adjacent": [0, 1, 2, 3], "layerwise": [0, 1], "key-value": [0, 0]}[tying]
    query = p["embeddings.2"] if tying == "layerwise" else p["embeddings.0"]

    def part(x, half):  # the half of an input that is its key, or its value
        return np.split(x, 2)[half] if tying == "key-value" else x

    u = embed(query, part(question, 0), level)
    for k in range(HOPS):
        key, value = matrices[k : k + 2] if tying == "adjacent" else matrices
        scores, values = [], []
        for i, x in enumerate(story):
            if x is None:
                if empty:
                    scores.append(0.0)
                    values.append(np.zeros(WIDTH))
                continue
            age = len(story) - i  # 1 is the newest, which the last row of a table is for
            m, c = embed(p[f"embeddings.{key}"], part(x, 0), level), embed(p[f"embeddings.{value}"], part(x, 1), level)
            if temporal:
                m, c = m + p[f"times.{key}"][-age], c + p[f"times.{value}"][-age]
            scores.append(u @ m)
            values.append(c)
        weights = scores if linear or not scores else softmax(scores)
        o = sum((w * c for w, c in zip(weights, values, strict=True)), np.zeros(WIDTH))
        if tying == "adjacent":
            u = u + o
        elif tying == "layerwise":
            u = p["updates.0"] @ u + o
        else:
            u = p[f"updates.{k}"] @ (u + o)
    return u


def case(seed, **options):
    """A core with random parameters, and inputs (T, B, I)."""
    generator = torch.Generator().manual_seed(seed)
    options = {"hidden_size": WIDTH, "num_slots": SLOTS, "num_hops": HOPS} | options
    core = make_core("memn2n", INPUT, **options).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return core, torch.randn(STEPS, BATCH, INPUT, generator=generator, dtype=torch.float64)


def parameters(core):
    return {name: value.detach().numpy() for name, value in core.named_parameters()}


def no_resets(x):
    return torch.zeros(x.shape[:2], dtype=torch.bool)


OPTIONS = {
    "adjacent": {},
    "layerwise": {"tying": "layerwise"},
    "key-value": {"tying": "key-value"},
    "no time": {"temporal": False},
    "linear": {"linear": True},
    "positions": {"position_encoding": True},
    "empty memories": {"read_empty": True},
    "empty memories, layerwise": {"read_empty": True, "tying": "layerwise"},
    "empty keys and values": {"read_empty": True, "tying": "key-value", "position_encoding": True},
    "keys and values with positions": {"tying": "key-value", "position_encoding": True, "temporal": False},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_input_is_answered_from_the_story_before_it(name):
    options = OPTIONS[name]
    core, x = case(seed=len(name), **options)
    y, final = core(x, core.initial_state(BATCH), no_resets(x))
    paper = {
        "tying": options.get("tying", "adjacent"),
        "temporal": options.get("temporal", True),
        "linear": options.get("linear", False),
        "positions": options.get("position_encoding", False),
        "empty": options.get("read_empty", False),
    }
    for b in range(BATCH):
        story = list(x[:, b].numpy())
        for t in range(STEPS):
            expected = answer(parameters(core), story[:t], story[t], **paper)
            np.testing.assert_allclose(y[t, b].detach(), expected, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(final.memory[b], story[-SLOTS:])
    assert final.filled.all()
    assert (y[4:] - core(x[4:], core.initial_state(BATCH), no_resets(x[4:]))[0]).abs().max() > 0.1  # the story counts


@pytest.mark.parametrize("slots", [1, 3, 40])
def test_long_sequences_equal_steps(slots):
    """Over several blocks of questions, with rows of different lengths."""
    core, _ = case(seed=3, num_slots=slots)
    x = torch.randn(101, 2, INPUT, dtype=torch.float64)
    reset = no_resets(x)
    reset[30, 1] = True
    y, final = core(x, core.initial_state(2), reset)
    state = core.initial_state(2)
    for t in range(len(x)):
        state = tree.where(reset[t], core.initial_state(2), state)
        y_t, state = core.step(x[t], state)
        torch.testing.assert_close(y_t, y[t], rtol=0, atol=1e-11)
    for leaf, leaf_step in zip(final, state, strict=True):
        torch.testing.assert_close(leaf, leaf_step, rtol=0, atol=0)


def test_what_is_kept_without_reading_is_the_same():
    core, x = case(seed=4)
    lengths = torch.tensor([2, 7])
    kept = core.keep(x, core.initial_state(2), lengths)
    for b, length in enumerate(lengths.tolist()):
        alone = x[:length, b : b + 1]
        _, state = core(alone, core.initial_state(1), no_resets(alone))
        for leaf, expected in zip(kept, state, strict=True):
            torch.testing.assert_close(leaf[b], expected[0], rtol=0, atol=0)
    nothing = core.keep(x, core.initial_state(2), torch.tensor([0, 0]))
    assert not nothing.filled.any()


def test_position_encoding_of_a_sentence():
    """The two bags of words of a sentence give Σ_j l_j ∘ A x_j with l_kj = (1 - j/J) - (k/d)(1 - 2j/J)."""
    core, _ = case(seed=5, position_encoding=True, temporal=False)
    words = [1, 0, 0, 1]  # of a vocabulary of 2
    count = len(words)
    x = np.zeros(4)
    for j, word in enumerate(words, start=1):
        x[word] += 1 - j / count
        x[2 + word] -= 1 - 2 * j / count
    embedding = parameters(core)["embeddings.0"]
    expected = np.zeros(WIDTH)
    for j, word in enumerate(words, start=1):
        for k in range(1, WIDTH + 1):
            level = (1 - j / count) - (k / WIDTH) * (1 - 2 * j / count)
            expected[k - 1] += level * embedding[word, k - 1]
    u, _ = core.step(torch.tensor(x).unsqueeze(0), core.initial_state(1))  # nothing to read: u = B q
    np.testing.assert_allclose(u[0].detach(), expected, rtol=0, atol=1e-12)


# By hand: width 2, identity embeddings.


def plain(num_hops=1, **options):
    core = make_core("memn2n", 2, **({"hidden_size": 2, "num_slots": 2, "num_hops": num_hops} | options)).double()
    with torch.no_grad():
        for embedding in core.embeddings:
            embedding.copy_(torch.eye(len(embedding), 2))
        for time in core.times:
            time.zero_()
        for update in core.updates:
            update.copy_(2 * torch.eye(2))
    return core


def told(core, *inputs):
    x = torch.tensor(inputs, dtype=torch.float64).unsqueeze(1)
    return core.keep(x, core.initial_state(1))


def row(*numbers):
    return torch.tensor([numbers], dtype=torch.float64)


def test_attention_and_response_by_hand():
    # Eq. 1 with u = (ln 3, 0), memories (1, 0) and (0, 4): scores ln 3 and 0, p = 3/4 and 1/4.
    # Eq. 2: o = (3/4, 1). Eq. 4: u = (ln 3 + 3/4, 1).
    core = plain()
    u, weights = core.read(row(math.log(3), 0.0), told(core, (1.0, 0.0), (0.0, 4.0)))
    torch.testing.assert_close(weights[0], row(0.75, 0.25))
    torch.testing.assert_close(u, row(math.log(3) + 0.75, 1.0))


def test_empty_slots_are_not_read():
    core = plain()
    u, weights = core.read(row(math.log(3), 0.0), told(core, (1.0, 1.0)))
    torch.testing.assert_close(weights[0], row(0.0, 1.0))  # 1 of 2 slots is filled: no softmax over the other
    torch.testing.assert_close(u, row(math.log(3) + 1.0, 1.0))
    u, weights = core.read(row(5.0, 6.0), core.initial_state(1))
    assert weights.tolist() == [[[0.0, 0.0]]]
    assert u.tolist() == [[5.0, 6.0]]


def test_linear_start_by_hand():
    # Without softmax p = (2, 12), o = 2 (1, 0) + 12 (0, 4), and nothing sums to 1.
    core = plain(linear=True)
    u, weights = core.read(row(2.0, 3.0), told(core, (1.0, 0.0), (0.0, 4.0)))
    torch.testing.assert_close(weights[0], row(2.0, 12.0))
    torch.testing.assert_close(u, row(4.0, 51.0))


def test_linear_start_goes_on_with_softmax():
    """The same weights: the trainer loads them into a core with softmax, or changes the option in place."""
    start, x = case(seed=6, linear=True)
    on = make_core("memn2n", INPUT, hidden_size=WIDTH, num_slots=SLOTS, num_hops=HOPS).double()
    on.load_state_dict(start.state_dict())
    y, _ = on(x, on.initial_state(BATCH), no_resets(x))
    start.config = replace(start.config, linear=False)
    torch.testing.assert_close(start(x, start.initial_state(BATCH), no_resets(x))[0], y, rtol=0, atol=0)


def test_time_counts_from_the_newest_input():
    # Only the oldest of two places has a time vector. It moves with the story: the first memory gets it once there are
    # two, and the second once there are three.
    core = plain()
    with torch.no_grad():
        core.times[0].copy_(torch.tensor([[math.log(9), 0.0], [0.0, 0.0]]))
        core.times[1].copy_(torch.tensor([[0.0, 10.0], [0.0, 0.0]]))
    question = row(1.0, 0.0)
    u, weights = core.read(question, told(core, (0.0, 0.0)))
    assert (u.tolist(), weights.tolist()) == ([[1.0, 0.0]], [[[0.0, 1.0]]])
    for story in ([(0.0, 0.0), (0.0, 0.0)], [(7.0, 7.0), (0.0, 0.0), (0.0, 0.0)]):
        u, weights = core.read(question, told(core, *story))
        torch.testing.assert_close(weights[0], row(0.9, 0.1))
        torch.testing.assert_close(u, row(1.0, 9.0))


def test_hops_by_hand():
    # One memory, so p = 1 in each hop and u grows by C x: adjacent adds (1, 2) three times.
    state = told(plain(), (1.0, 2.0))
    torch.testing.assert_close(plain(3).read(row(0.0, 1.0), state)[0], row(3.0, 7.0))
    # Layer-wise with H = 2: 2 (2 (2 u + x) + x) + x.
    torch.testing.assert_close(plain(3, tying="layerwise").read(row(0.0, 1.0), state)[0], row(7.0, 22.0))


def test_key_value_by_hand():
    # Width 2: keys and values are one number each, A = (1, 0). q = 1, keys 0 and ln 3, values 8 and 4: p = 1/4, 3/4,
    # o = 5, and R_1 = 2 gives (12, 0).
    core = plain(tying="key-value")
    u, weights = core.read(row(1.0, 99.0), told(core, (0.0, 8.0), (math.log(3), 4.0)))
    torch.testing.assert_close(weights[0], row(0.25, 0.75))
    torch.testing.assert_close(u, row(12.0, 0.0))


def test_adjacent_tying_shares_the_answer_matrix():
    # Wᵀ = Cᴷ: the word that a memory holds gets the highest score, from the matrix that embeds it.
    core = plain(3)
    head = torch.nn.Linear(2, 2, bias=False).double()
    head.weight = core.answer_weight
    u, _ = core.read(row(0.0, 0.0), told(core, (0.0, 1.0)))
    assert head(u).argmax() == 1
    F.cross_entropy(head(u), torch.tensor([0])).backward()
    assert core.embeddings[-1].grad[0].any()  # word 0 is in no memory: this is W's gradient


# Random noise.


@pytest.mark.parametrize("empty", [False, True])
def test_noise_puts_an_empty_memory_behind_inputs(empty):
    """With a chance of (almost) 1 there is one behind each input: every memory looks twice as old."""
    core, x = case(seed=7, noise=1 - 1e-12, num_slots=5, read_empty=empty)
    core.train()
    for b in range(BATCH):
        story = []
        for x_t in x[:, b].numpy():
            story += [x_t, None]
        for run in ("sequence", "steps"):
            state = core.initial_state(BATCH)
            if run == "sequence":
                y, state = core(x, state, no_resets(x))
            else:
                outputs = []
                for x_t in x:
                    y_t, state = core.step(x_t, state)
                    outputs.append(y_t)
                y = torch.stack(outputs)
            for t in range(STEPS):
                p = parameters(core)
                told, asked = story[: 2 * t], story[2 * t]
                expected = answer(p, told, asked, tying="adjacent", temporal=True, empty=empty, slots=5)
                np.testing.assert_allclose(y[t, b].detach(), expected, rtol=0, atol=1e-9)
            assert state.filled[b].tolist() == [0, 1, 0, 1, 0]


def test_noise_is_drawn_per_input_and_only_while_training():
    torch.manual_seed(0)
    core = make_core("memn2n", 1, num_slots=100, noise=0.1)
    x = torch.arange(1.0, 51.0).view(50, 1, 1).expand(50, 400, 1)
    lengths = torch.full((400,), 40)
    kept = core.train().keep(x, core.initial_state(400), lengths)
    assert (kept.filled.sum(1) == 40).all()  # inputs are moved, never lost, while there is room
    for values, filled in zip(kept.memory[:50, :, 0], kept.filled[:50], strict=True):
        assert values[filled > 0].tolist() == list(range(1, 41))
    first = kept.filled.argmax(1)  # where the oldest input stands: 40 slots from the end, and the empty ones
    empties = 60.0 - first
    assert 3.5 < empties.mean() < 4.5  # 4 of 40; the mean of 400 rows has a deviation of 0.1
    assert empties.unique().numel() > 5
    assert (core.eval().keep(x, core.initial_state(400), lengths).filled[:, 60:] == 1).all()


def test_training_without_noise_is_evaluation():
    core, x = case(seed=8)
    y = [mode(x, core.initial_state(BATCH), no_resets(x))[0] for mode in (core.eval(), copy.deepcopy(core).train())]
    torch.testing.assert_close(*y, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": 1.0}, r"noise: 1.0 given, \[0, 1\) allowed"),
        ({"position_encoding": True}, "input_size: 3 given, a multiple of 2 needed"),
        ({"tying": "key-value"}, "input_size: 3 given, a multiple of 2 needed"),
        ({"tying": "key-value", "position_encoding": True}, "input_size: 3 given, a multiple of 4 needed"),
        ({"tying": "rnn"}, "tying: 'rnn' given, one of 'adjacent', 'layerwise', 'key-value' needed"),
        ({"num_hops": 0}, "num_hops: 0 given, a whole number of at least 1 needed"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_core("memn2n", 3, **options)


def test_a_detached_memory_still_trains_the_embeddings():
    """What is kept is not embedded: agents cut the graph between sequences, and reading goes on learning from it."""
    core, x = case(seed=9)
    state = tree.detach(core.keep(x, core.initial_state(BATCH)))
    core.read(x[0], state)[0].square().sum().backward()
    assert all(parameter.grad.any() for parameter in core.parameters())
