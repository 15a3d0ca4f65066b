"""Algorithmic tasks: sequences read back by loops of their own, the best estimator, costs in bits, fixed sets."""

import itertools
import math

import pytest
import torch
from scipy.special import beta

from memrl import make_core
from memrl.heads import IGNORED
from memrl.tasks import generated, list_tasks, make_task
from memrl.tasks.binary import BinaryTask, bit_scores
from memrl.tasks.ngrams import optimal_cost

TASKS = [name for name in list_tasks() if isinstance(make_task(name), BinaryTask)]


def drawn(name, seed=0, rows=3, split="train", **options):
    task = make_task(name, **options)
    inputs, targets = task.draw(torch.Generator().manual_seed(seed), rows, split)
    assert inputs.shape == (len(targets), rows, task.input_size)
    assert targets.shape[2] == task.num_bits
    return task, inputs, targets


def vectors(part):
    """Rows of bits as tuples, for looking up."""
    return [tuple(row) for row in part.int().tolist()]


@pytest.mark.parametrize("seed", range(5))
def test_copy_asks_for_what_was_shown(seed):
    _, inputs, targets = drawn("copy", seed, max_length=7)
    for row in range(3):
        (delimiter,) = inputs[:, row, 8].nonzero().flatten().tolist()
        assert len(inputs) == 2 * delimiter + 1
        assert vectors(targets[delimiter + 1 :, row]) == vectors(inputs[:delimiter, row, :8])
        assert (targets[: delimiter + 1, row] == IGNORED).all()
        assert not inputs[delimiter + 1 :, row].any()


@pytest.mark.parametrize("seed", range(5))
def test_repeat_copy_asks_for_so_many_copies_and_an_end(seed):
    _, inputs, targets = drawn("repeat_copy", seed, max_length=4, max_repeats=5)
    for row in range(3):
        (delimiter,) = inputs[:, row, 8].nonzero().flatten().tolist()
        repeats = inputs[delimiter, row, 9].item() * math.sqrt(2) + 3  # uniform on 1..5: mean 3, variance 2
        assert repeats == pytest.approx(round(repeats), abs=1e-5)
        shown, asked = vectors(inputs[:delimiter, row, :8]), vectors(targets[delimiter + 1 :, row])
        assert asked == [(*vector, 0) for vector in shown * round(repeats)] + [(0,) * 8 + (1,)]


@pytest.mark.parametrize("seed", range(5))
def test_associative_recall_asks_for_the_item_after(seed):
    _, inputs, targets = drawn("associative_recall", seed)
    for row in range(3):
        starts = inputs[:, row, 6].nonzero().flatten().tolist()
        first, second = inputs[:, row, 7].nonzero().flatten().tolist()
        items = [vectors(inputs[start + 1 : start + 4, row, :6]) for start in starts]
        query, answer = vectors(inputs[first + 1 : second, row, :6]), vectors(targets[second + 1 :, row])
        assert 2 <= len(items) <= 6
        assert len(query) == len(answer) == 3
        assert any(query == item and answer == after for item, after in itertools.pairwise(items))
        assert (targets[: second + 1, row] == IGNORED).all()


def test_associative_recall_asks_with_every_item_but_the_last_equally_often():
    # Within one batch: every row has a query of its own. 300 rows, so a share of 1/3 deviates by 0.03.
    _, inputs, _ = drawn("associative_recall", rows=300, min_items=4, max_items=4)
    asked = []
    for row in range(300):
        items = [vectors(inputs[start + 1 : start + 4, row, :6]) for start in range(0, 16, 4)]
        asked.append(items.index(vectors(inputs[17:20, row, :6])))
    assert [asked.count(item) / 300 for item in range(4)] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_priority_sort_asks_for_the_highest_first(seed):
    _, inputs, targets = drawn("priority_sort", seed)
    for row in range(3):
        shown = sorted(zip(inputs[:20, row, 8].tolist(), vectors(inputs[:20, row, :8]), strict=True), reverse=True)
        assert vectors(targets[21:, row]) == [vector for _, vector in shown[:16]]
        assert -1 <= shown[-1][0] < shown[0][0] <= 1


@pytest.mark.parametrize("seed", range(5))
def test_key_value_asks_for_the_other_half_of_every_pair(seed):
    _, inputs, targets = drawn("key_value", seed, max_pairs=6, half_bits=4)
    count = len(inputs) // 2
    for row in range(3):
        pairs = [(pair[:4], pair[4:8]) for pair in vectors(inputs[:count, row, :8])]
        assert len({key for key, _ in pairs}) == len({value for _, value in pairs}) == count
        asked = []
        for x, wanted in zip(vectors(inputs[count:, row]), vectors(targets[count:, row]), strict=True):
            by_key, by_value = x[8:]
            assert by_key + by_value == 1
            pair = (x[:4], wanted) if by_key else (wanted, x[4:8])
            assert not any(x[4:8] if by_key else x[:4])
            asked.append(pair)
        assert sorted(asked) == sorted(pairs)


def test_key_value_asks_in_any_order_and_by_either_half():
    # Within one batch: every row has an order of its own. 300 rows, so a share of 1/4 deviates by 0.025.
    _, inputs, targets = drawn("key_value", rows=300, min_pairs=4, max_pairs=4, half_bits=4)
    orders, by_key = [], inputs[4:, :, 8].mean().item()
    for row in range(300):
        pairs = vectors(inputs[:4, row, :8])
        halves = zip(vectors(inputs[4:, row]), vectors(targets[4:, row]), strict=True)
        orders.append([pairs.index(x[:4] + answer if x[8] else answer + x[4:8]) for x, answer in halves])
    for question in range(4):
        places = [order[question] for order in orders]
        assert [places.count(place) / 300 for place in range(4)] == pytest.approx([0.25] * 4, abs=0.1)
    assert len({tuple(order) for order in orders}) == 24, "every order of four"
    assert by_key == pytest.approx(0.5, abs=0.1)


def test_ngrams_show_the_bit_before():
    _, inputs, targets = drawn("ngrams")
    assert not inputs[0].any()
    torch.testing.assert_close(inputs[1:], targets[:-1])


def test_ngrams_follow_a_table():
    # One context bit: in a long sequence the share of 1s after a 0 and after a 1 is Beta(1/2, 1/2), so often extreme.
    _, _, bits = drawn("ngrams", rows=300, length=200, context=1)
    after_one = [row[1:][row[:-1] == 1].mean().item() for row in bits[..., 0].T if (row[:-1] == 1).sum() > 20]
    extreme = sum(share < 0.1 or share > 0.9 for share in after_one) / len(after_one)
    assert extreme > 0.3  # 0.41 for Beta(1/2, 1/2); 0.2 if drawn uniformly


def test_ngrams_draw_a_table_for_every_sequence():
    # By how often a 1 follows a 1: for two tables of their own those shares differ by 0.4 in the mean, by 4 / pi**2.
    task, generator = make_task("ngrams", length=300, context=1), torch.Generator().manual_seed(0)

    def shares():
        bits = task.draw(generator, 100)[1][..., 0]
        return (bits[:-1] * bits[1:]).sum(0) / bits[:-1].sum(0)

    one, other = shares(), shares()
    for first, second in ((one, other), (one, one.roll(1))):  # of two batches, and of one
        difference = (first - second).abs()
        assert difference[difference.isfinite()].mean() == pytest.approx(0.4, abs=0.1)


def test_optimal_cost_is_the_marginal_likelihood():
    # Predicting with (N1 + 1/2) / (N + 1) is integrating the bit's probability over Beta(1/2, 1/2) in each context.
    bits = torch.randint(2, (40, 4), generator=torch.Generator().manual_seed(0)).float()
    for row, cost in zip(bits.T.int().tolist(), optimal_cost(bits, 2).tolist(), strict=True):
        counts = {context: [0, 0] for context in itertools.product((0, 1), repeat=2)}
        for t in range(2, 40):
            counts[tuple(row[t - 2 : t])][row[t]] += 1
        likelihood = 0.25  # the first two bits
        for zeros, ones in counts.values():
            likelihood *= beta(ones + 0.5, zeros + 0.5) / beta(0.5, 0.5)
        assert cost == pytest.approx(-math.log2(likelihood))


def test_optimal_cost_of_six_grams_is_near_the_published_one():
    _, _, bits = drawn("ngrams", rows=500)
    assert 131 < optimal_cost(bits[..., 0], 5).mean() < 135  # Graves et al. 2014: 131 to 132


def test_bits_per_sequence_by_hand():
    task = make_task("copy", min_length=3, max_length=3)
    head = task.head(make_core("none", task.input_size, hidden_size=4))
    with torch.no_grad():
        head.output.weight.zero_()
        head.output.bias.fill_(math.log(3))  # a 1 with probability 3/4
    batches = [next(task.train(5, seed)) for seed in range(2)]
    ones = sum(float((batch.targets == 1).sum()) for batch in batches)
    zeros = 2 * 5 * 3 * 8 - ones
    scores = bit_scores(head, batches)
    assert scores["bits_per_sequence"] == pytest.approx((ones * math.log2(4 / 3) + zeros * 2) / 10)
    assert scores["bit_error"] == pytest.approx(zeros / 240)


@pytest.mark.parametrize("size", [1, 3, 128])
def test_bits_do_not_depend_on_how_sequences_are_batched(size):
    task = make_task("copy")
    head = task.head(make_core("none", task.input_size, hidden_size=4))
    with torch.no_grad():
        head.output.weight.zero_()
        head.output.bias.fill_(math.log(3))  # a 1 with probability 3/4
    (whole,) = task.evaluation("valid", 128)
    ones, zeros = (int((whole.targets == bit).sum()) for bit in (1, 0))
    scores = bit_scores(head, task.evaluation("valid", size))
    assert scores["bits_per_sequence"] == pytest.approx((ones * math.log2(4 / 3) + zeros * 2) / 128, rel=1e-5)
    assert scores["bit_error"] == pytest.approx(zeros / (ones + zeros))


def first_sequences(name):
    """The first 20 sequences of a set of that name, as `fixed` draws them; copy knows none of these names."""
    return [batch.inputs.tolist() for batch in itertools.islice(generated.fixed(make_task("copy").draw, name, 1), 20)]


def test_sets_differ_whose_names_do_in_their_first_six_letters():
    names = ("valid", "value", "test", "tests", "times", "t", "validx")
    assert len({str(first_sequences(name)) for name in names}) == len(names)
    assert first_sequences("validxx") == first_sequences("validxy"), "the seventh does not count, as the docstring says"


@pytest.mark.parametrize("name", TASKS)
def test_no_seed_of_training_is_that_of_an_evaluation(monkeypatch, name):
    used = []

    class Recorded(torch.Generator):
        def manual_seed(self, seed):
            used.append(seed)
            return super().manual_seed(seed)

    monkeypatch.setattr(generated, "Generator", Recorded)
    task = make_task(name, **({"length": 6} if name == "ngrams" else {}))
    for split in ("valid", *task.tests):
        next(iter(task.evaluation(split, 1)))
    examined = set(used)
    # Seeds of users are small, but any may be given: those that any scaling by 1 or 2 would lead to an examined one.
    near = {seed + away for examinee in examined for seed in (examinee, examinee // 2) for away in (-1, 0, 1)}
    seeds = sorted({*range(50), *near})
    used.clear()
    for seed in seeds:
        next(task.train(1, seed))
    assert len(set(used)) == len(seeds), "every seed has sequences of its own"
    assert not examined & set(used)


@pytest.mark.parametrize("name", TASKS)
def test_sets_are_always_the_same_and_training_is_not(name):
    task = make_task(name, **({"length": 30} if name == "ngrams" else {}))
    head = task.head(make_core("gru", task.input_size, hidden_size=4)).eval()
    with torch.no_grad():
        one, other = (task.scores(head, task.evaluation("valid", size)) for size in (128, 50))
    assert one == pytest.approx(other, rel=1e-4)
    first, again = (next(iter(task.evaluation(split, 128))) for split in ("valid", "valid"))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    valid, test = (next(iter(task.evaluation(split, 128))).inputs for split in ("valid", "test"))
    assert valid.shape != test.shape or not torch.equal(valid, test)
    stream, twin, another = task.train(2, 1), task.train(2, 1), task.train(2, 2)
    for _ in range(3):
        batch = next(stream)
        assert torch.equal(batch.inputs, next(twin).inputs)
        different = next(another).inputs
        assert batch.inputs.shape != different.shape or not torch.equal(batch.inputs, different)
        assert (batch.lengths == len(batch.inputs)).all()


@pytest.mark.parametrize(
    ("name", "split", "asked"),
    [
        ("copy", "length_50", 50),
        ("repeat_copy", "length_20", 20 * 10 + 1),
        ("repeat_copy", "repeats_20", 10 * 20 + 1),
        ("associative_recall", "items_12", 3),
    ],
)
def test_test_sets_are_as_long_as_they_are_called(name, split, asked):
    task = make_task(name)
    batch = next(iter(task.evaluation(split, 4)))
    assert split in task.tests
    assert ((batch.targets != IGNORED).any(-1).sum(0) == asked).all()
    if name == "associative_recall":
        assert (batch.inputs[:, :, 6].sum(0) == 12).all()


def test_training_lengths_are_uniform():
    task = make_task("copy", max_length=4)
    lengths = [(len(batch.inputs) - 1) // 2 for batch in itertools.islice(task.train(1, 0), 400)]
    assert [lengths.count(length) / 400 for length in (1, 2, 3, 4)] == pytest.approx([0.25] * 4, abs=0.08)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("copy", {"min_length": 21}, "min_length: 21 given, at most max_length"),
        ("copy", {"max_lenght": 5}, "did you mean 'max_length'"),
        ("copy", {"max_length": 0}, "max_length: 0 given, a whole number of at least 1"),
        ("repeat_copy", {"min_repeats": 11}, "min_repeats"),
        ("associative_recall", {"min_items": 1}, "min_items: 1 given, at least 2"),
        ("ngrams", {"context": 17}, "context: 17 given"),
        ("ngrams", {"length": 5}, "length: 5 given"),
        ("priority_sort", {"asked": 21}, "asked: 21 given"),
        ("key_value", {"half_bits": 3, "max_pairs": 9}, "max_pairs: 9 given"),
        ("coppy", {}, "unknown task 'coppy'; did you mean 'copy'"),
    ],
    ids=lambda value: str(value) if isinstance(value, str | dict) else None,
)
def test_options_that_do_not_fit_are_refused(name, options, says):
    with pytest.raises(ValueError, match=says):
        make_task(name, **options)
