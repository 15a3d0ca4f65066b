"""Heads over every core: shapes, gradients, padding, resets, and cores that move between heads and agents."""

import pytest
import torch
from torch.nn import functional as F

import memrl
from memrl import tree
from memrl.heads import Batch, Classifier, NextToken, Tagger

from .toys import BOTH_WAYS, HEADS, LENGTHS, ROWS, SIZES, STEPS, WORDS, embedding, of_row, small_core, tokens


@pytest.mark.parametrize("name", memrl.list_cores())
@pytest.mark.parametrize("kind", HEADS)
def test_every_core_learns_under_every_head(name, kind):
    make, shape, targets = HEADS[kind]
    head = make(small_core(name))
    logits, state = head(tokens(), lengths=LENGTHS)
    assert logits.shape == shape
    assert tree.batch_size(state) == ROWS
    loss = head.loss(logits, targets)
    assert loss.shape == ()
    assert loss > 0
    loss.backward()
    gradients = {part: parameter.grad for part, parameter in head.named_parameters() if parameter.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    for part in ("encoder", "core", "output"):
        assert any(gradient.abs().max() > 0 for name, gradient in gradients.items() if name.startswith(part)), part
    before = loss.item()
    optimizer = torch.optim.SGD(head.parameters(), 1e-3)
    optimizer.step()
    assert head.loss(head(tokens(), lengths=LENGTHS)[0], targets).item() < before


@pytest.mark.parametrize("name", memrl.list_cores())
def test_padding_changes_nothing(name):
    tagger = Tagger(small_core(name), 3, embedding()).eval()
    words = tokens()
    with torch.no_grad():
        logits, state = tagger(words, lengths=LENGTHS)
        other = words.clone()
        other[2:, 1], other[3:, 2] = 6 - words[2:, 1], 6 - words[3:, 2]
        again, again_state = tagger(other, lengths=LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            alone, alone_state = tagger(words[:length, row : row + 1])
            torch.testing.assert_close(logits[:length, row], alone[:, 0])
            torch.testing.assert_close(again[:length, row], alone[:, 0])
            for states in (state, again_state):
                mine = tree.pack(tree.index(states, slice(row, row + 1)))
                torch.testing.assert_close(mine, tree.pack(alone_state))


def test_classifier_reads_the_last_step_of_each_row():
    head = Classifier(small_core("gru"), 3, embedding())
    logits, _ = head(tokens(), lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(logits[row], head(tokens()[:length, row : row + 1])[0][0])


@pytest.mark.parametrize("name", BOTH_WAYS)
@pytest.mark.parametrize("kind", HEADS)
def test_what_stands_before_a_reset_is_forgotten(kind, name):
    head = HEADS[kind][0](small_core(name))
    words, reset = tokens(), torch.zeros(STEPS, ROWS, dtype=torch.bool)
    reset[0] = reset[2, 1] = True
    with torch.no_grad():
        mixed, state = head(words, reset=reset)
        whole, whole_state = head(words)
        alone, alone_state = head(words[2:, 1:2])
    for row in range(ROWS):
        right, right_state, at = (alone, alone_state, 0) if row == 1 else (whole, whole_state, row)
        end = slice(-3, None)  # after the reset
        torch.testing.assert_close(of_row(kind, mixed, row)[end], of_row(kind, right, at)[end])
        torch.testing.assert_close(tree.pack(state)[row], tree.pack(right_state)[at])
    assert not torch.allclose(of_row(kind, whole, 1), of_row(kind, mixed, 1))  # else nothing was there to forget


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
@pytest.mark.parametrize("name", BOTH_WAYS)
@pytest.mark.parametrize("kind", HEADS)
def test_a_reset_at_the_first_step_forgets_a_carried_state(kind, name, lengths):
    head = HEADS[kind][0](small_core(name))
    words, reset = tokens(), torch.zeros(STEPS, ROWS, dtype=torch.bool)
    reset[0, 1] = True
    with torch.no_grad():
        _, before = head(words.flip(0))
        mixed, state = head(words, before, reset, lengths)
        fresh, fresh_state = head(words, lengths=lengths)
        carried, carried_state = head(words, before, lengths=lengths)
    for row, steps in enumerate(LENGTHS.tolist() if lengths is not None else [STEPS] * ROWS):
        right, right_state = (fresh, fresh_state) if row == 1 else (carried, carried_state)
        asked = slice(steps)
        torch.testing.assert_close(of_row(kind, mixed, row)[asked], of_row(kind, right, row)[asked])
        torch.testing.assert_close(tree.pack(state)[row], tree.pack(right_state)[row])
    assert not torch.allclose(of_row(kind, carried, 1), of_row(kind, fresh, 1))


def test_a_state_goes_from_chunk_to_chunk_and_reset_opens_a_new_text():
    model = NextToken(small_core("lstm"), WORDS)
    words = torch.randint(WORDS, (8, 2))
    whole, _ = model(words)
    first, state = model(words[:3])
    second, _ = model(words[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    reset = torch.zeros(5, 2, dtype=torch.bool)
    reset[0, 1] = True
    mixed, _ = model(words[3:], state, reset)
    torch.testing.assert_close(mixed[:, 0], second[:, 0])
    torch.testing.assert_close(mixed[:, 1], model(words[3:, 1:])[0][:, 0])


def test_several_sequences_in_a_row_are_several_sequences():
    tagger = Tagger(small_core("dnc"), 3, embedding())
    words = torch.randint(WORDS, (7, 1))
    reset = torch.tensor([True, False, False, True, False, False, False]).unsqueeze(1)
    packed, _ = tagger(words, reset=reset)
    torch.testing.assert_close(packed, torch.cat([tagger(words[:3])[0], tagger(words[3:])[0]]))


def test_answer_carries_on_only_where_nothing_opens():
    model = NextToken(small_core("gru"), WORDS)
    words, reset = torch.randint(WORDS, (6, 2)), torch.zeros(3, 2, dtype=torch.bool)
    lengths = torch.tensor([3, 3])
    _, state = model(words[:3])
    carried, _ = model.answer(Batch(words[3:], reset, words[3:], lengths), state)
    torch.testing.assert_close(carried, model(words)[0][3:])
    reset = reset.clone()
    reset[0] = True
    one = Batch(words[3:, :1], reset[:, :1], words[3:, :1], lengths[:1])  # another batch size than the state has
    torch.testing.assert_close(model.answer(one, state)[0], model(words[3:, :1])[0])


def test_generated_text_follows_the_distribution():
    model = NextToken(small_core("none"), 3)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([0.7, 0.2, 0.1]).log())
    text = model.generate(torch.zeros(1, 500, dtype=torch.long), 4, generator=torch.Generator().manual_seed(0))
    assert text.shape == (4, 500)
    shares = torch.bincount(text.flatten(), minlength=3) / text.numel()
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.2, 0.1]), atol=0.03, rtol=0)
    cold = model.generate(torch.zeros(1, 500, dtype=torch.long), 1, temperature=0.05)
    assert (cold == 0).all()


@pytest.mark.parametrize("name", memrl.list_cores())
def test_a_core_moves_from_a_head_to_an_agent_and_back(name):
    from memrl.agents import MemoryPPO
    from memrl.envs import make_vec_env

    env = make_vec_env("memrl/TMaze-v0", 2, length=3)
    options = SIZES[name]
    policy_kwargs = {"core": name, "core_kwargs": options}
    model = MemoryPPO("MlpMemoryPolicy", env, n_steps=8, seq_len=8, batch_size=16, seed=0, policy_kwargs=policy_kwargs)
    width = model.policy.core.input_size
    core = memrl.make_core(name, width, **options)
    head = Tagger(core, 2)
    x = torch.randn(4, 2, width)
    optimizer = torch.optim.Adam(head.parameters(), 0.01)
    F.cross_entropy(head(x)[0].flatten(0, 1), torch.ones(8, dtype=torch.long)).backward()
    optimizer.step()

    model.policy.core.load_state_dict(head.core.state_dict())
    reset = torch.zeros(4, 2, dtype=torch.bool)

    def agents() -> torch.Tensor:
        return model.policy.core(x, model.policy.core.initial_state(2), reset)[0]

    torch.testing.assert_close(agents(), head.remember(x, None, None, None)[0])
    model.learn(16)
    back = Tagger(memrl.make_core(name, width, **options), 2)
    back.core.load_state_dict(model.policy.core.state_dict())
    moved = max((new - old).abs().max() for new, old in zip(back.core.parameters(), core.parameters(), strict=True))
    assert moved > 0  # the agent trained it
    torch.testing.assert_close(back.remember(x, None, None, None)[0], agents())
