"""The trainer: Graves' RMSProp, schedules, clipping, the best weights, early stopping, lessons, carried states."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from memrl import make_core
from memrl.fit import evaluate, fit
from memrl.heads import Batch, Classifier, NextToken
from memrl.optimizers import GravesRMSProp, make_optimizer, make_schedule
from memrl.recipe import Recipe
from memrl.tasks import Task, make_task


def test_graves_rmsprop_equals_its_equations():
    rng = np.random.default_rng(0)
    w, n, g, delta = rng.normal(size=4), np.zeros(4), np.zeros(4), np.zeros(4)
    weight = nn.Parameter(torch.tensor(w))
    optimizer = GravesRMSProp([weight], learning_rate=1e-2, decay=0.9, momentum=0.8, damping=1e-4)
    for _ in range(10):
        gradient = rng.normal(size=4)
        n = 0.9 * n + 0.1 * gradient**2
        g = 0.9 * g + 0.1 * gradient
        delta = 0.8 * delta - 1e-2 * gradient / np.sqrt(n - g**2 + 1e-4)
        w = w + delta
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(weight.detach(), w, rtol=1e-12)


def test_graves_rmsprop_is_not_torchs():
    # With the damping outside of the root, a first step from a gradient of 1e-3 would be about 20 times as long.
    lengths = []
    for make in (GravesRMSProp, torch.optim.RMSprop):
        weight = nn.Parameter(torch.zeros(1))
        weight.grad = torch.tensor([1e-3])
        options = (
            {"learning_rate": 1e-4}
            if make is GravesRMSProp
            else {"lr": 1e-4, "alpha": 0.95, "momentum": 0.9, "centered": True, "eps": 1e-4}
        )
        make([weight], **options).step()
        lengths.append(abs(weight.item()))
    assert lengths[1] > 10 * lengths[0]


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, [1.0, 1.0, 1.0, 1.0]),
        ({"schedule": "linear"}, [1.0, 0.75, 0.5, 0.25]),
        ({"schedule": "cosine"}, [1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]),
        ({"schedule": "halve", "halve_every": 2}, [1.0, 1.0, 0.5, 0.5]),
    ],
    ids=["constant", "linear", "cosine", "halve"],
)
def test_schedules(options, rates):
    recipe = Recipe(optimizer="sgd", learning_rate=1.0, momentum=0.0, steps=4, **options)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer([weight], recipe)
    schedule = make_schedule(optimizer, recipe)
    moved = []
    for _ in range(4):
        before = weight.item()
        weight.grad = torch.ones(1)
        optimizer.step()
        schedule.step()
        moved.append(before - weight.item())
    assert moved == pytest.approx(rates, abs=1e-6)


def adam(w, gradients, rate, penalty=0.0, shrink=0.0):
    m = v = np.zeros_like(w)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient + penalty * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w * (1 - rate * shrink) - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


def sgd(w, gradients, rate, penalty):
    delta = np.zeros_like(w)
    for gradient in gradients:
        delta = 0.7 * delta + gradient + penalty * w
        w = w - rate * delta
    return w


def rmsprop(w, gradients, rate, penalty):
    n = delta = np.zeros_like(w)
    for gradient in gradients:
        g = gradient + penalty * w
        n = 0.99 * n + 0.01 * g**2
        delta = 0.7 * delta + g / (np.sqrt(n) + 1e-10)
        w = w - rate * delta
    return w


def graves_rmsprop(w, gradients, rate, penalty):
    n = g = delta = np.zeros_like(w)
    for gradient in gradients:
        e = gradient + penalty * w
        n, g = 0.95 * n + 0.05 * e**2, 0.95 * g + 0.05 * e
        delta = 0.7 * delta - rate * e / np.sqrt(n - g**2 + 1e-4)
        w = w + delta
    return w


@pytest.mark.parametrize(
    ("optimizer", "loop"),
    [
        ("adam", adam),
        ("adamw", lambda w, gradients, rate, decay: adam(w, gradients, rate, shrink=decay)),
        ("sgd", sgd),
        ("rmsprop", rmsprop),
        ("graves_rmsprop", graves_rmsprop),
    ],
    ids=["adam", "adamw", "sgd", "rmsprop", "graves_rmsprop"],
)
def test_optimizers_of_recipes_equal_their_equations(optimizer, loop):
    rng = np.random.default_rng(0)
    w, gradients = rng.normal(size=4), 1e-3 * rng.normal(size=(5, 4))  # small, so that damping shows
    weight = nn.Parameter(torch.tensor(w))
    made = make_optimizer([weight], Recipe(optimizer=optimizer, learning_rate=0.01, momentum=0.7, weight_decay=0.05))
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        made.step()
    np.testing.assert_allclose(weight.detach(), loop(w, gradients, 0.01, 0.05), rtol=1e-9)


def one_batch(label, rows=2):
    reset = torch.zeros(1, rows, dtype=torch.bool)
    reset[0] = True
    return Batch(torch.ones(1, rows, 2), reset, torch.full((rows,), label), torch.ones(rows, dtype=torch.long))


@dataclass(frozen=True)
class Toy(Task):
    """Always the same label; what is scored is scripted."""

    scripted: tuple[float, ...] = ()
    metric: ClassVar[str] = "score"
    tests: ClassVar[tuple[str, ...]] = ("test", "harder")

    @property
    def input_size(self):
        return 2

    def head(self, core):
        return Classifier(core, 2)

    def train(self, batch_size, seed):
        return (one_batch(1, batch_size) for _ in itertools.count())

    def evaluation(self, split, batch_size):
        return [one_batch(1)]

    def scores(self, head, batches):
        assert not head.training
        assert not torch.is_grad_enabled()
        return {"score": float(head.looks.pop(0)) if head.looks else 0.0, "seen": float(len(list(batches)))}


def toy_head(task, looks=()):
    torch.manual_seed(0)
    head = task.head(make_core("gru", 2, hidden_size=3))
    head.looks = list(looks)
    return head


SGD = Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.0, batch_size=2, steps=4, eval_every=1)


def test_the_best_weights_are_kept():
    head, seen = toy_head(Toy(), [0.2, 0.9, 0.5, 0.1]), []
    result = fit(Toy(), head, SGD, report=lambda progress: seen.append(head.output.bias.clone()))
    assert result.best_step == 2
    torch.testing.assert_close(head.output.bias, seen[1])
    assert not torch.equal(seen[1], seen[3])
    assert [look.valid["score"] for look in result.history] == [0.2, 0.9, 0.5, 0.1]
    assert list(result.scores) == ["valid", "test", "harder"]
    assert head.training


def test_lower_is_better_keeps_the_lowest():
    class Cost(Toy):
        lower_is_better = True

    head = toy_head(Toy(), [0.9, 0.2, 0.5, math.nan])
    assert fit(Cost(), head, SGD).best_step == 2


def test_patience_and_goal_end_early():
    head = toy_head(Toy(), [0.5, 0.4, 0.5, 0.9])
    result = fit(Toy(), head, dataclasses.replace(SGD, patience=2))
    assert (result.steps, result.patience_ended, result.reached) == (3, True, False)
    result = fit(Toy(), toy_head(Toy(), [0.5, 0.8, 0.9]), dataclasses.replace(SGD, stop_at=0.75))
    assert (result.steps, result.patience_ended, result.reached) == (2, False, True)


def test_a_better_score_gives_new_patience():
    head = toy_head(Toy(), [0.5, 0.4, 0.6, 0.5, 0.5, 0.9])
    assert fit(Toy(), head, dataclasses.replace(SGD, patience=2, steps=6)).steps == 5


def test_the_goal_of_a_cost_is_reached_from_above():
    class Cost(Toy):
        lower_is_better = True

    result = fit(Cost(), toy_head(Toy(), [0.5, 0.2, 0.1]), dataclasses.replace(SGD, stop_at=0.3))
    assert (result.steps, result.reached) == (2, True)


def test_stop_keeps_the_best_weights_and_scores_nothing():
    head = toy_head(Toy(), [0.9, 0.1])
    calls = iter([False, False, True])
    biases = []
    result = fit(Toy(), head, SGD, stop=lambda: next(calls), report=lambda _: biases.append(head.output.bias.clone()))
    assert result.stopped
    assert result.steps == 2
    assert result.scores == {}
    assert not torch.equal(biases[0], biases[1])
    torch.testing.assert_close(head.output.bias, biases[0])


def test_stop_before_any_look_leaves_weights_as_they_are():
    head, biases, calls = toy_head(Toy()), [], iter([False, False, True])
    recipe = dataclasses.replace(SGD, eval_every=3)
    fit(Toy(), head, recipe, stop=lambda: next(calls), report=lambda _: biases.append(head.output.bias.clone()))
    torch.testing.assert_close(head.output.bias, biases[-1])


@pytest.mark.parametrize("clip", [{"clip_norm": 0.01}, {"clip_norm": 0.0, "clip_value": 1e-3}], ids=["norm", "value"])
def test_clipping(clip):
    task, head = Toy(), toy_head(Toy())
    before = [parameter.clone() for parameter in head.parameters()]
    norms = []
    recipe = dataclasses.replace(SGD, learning_rate=1.0, steps=1, **clip)
    fit(task, head, recipe, report=lambda progress: norms.append(progress.gradient_norm))
    steps = torch.cat([(new - old).flatten() for new, old in zip(head.parameters(), before, strict=True)])
    if "clip_value" in clip:
        assert steps.abs().max().item() == pytest.approx(1e-3, rel=1e-2)
    else:
        assert steps.norm().item() == pytest.approx(0.01, rel=1e-3)
        assert norms[0] > 0.01  # the norm that is reported is from before


def test_gradients_are_clipped_by_value_before_they_are_by_norm():
    def step(**clip):
        head = toy_head(Toy())
        before = torch.cat([parameter.detach().flatten() for parameter in head.parameters()])
        fit(Toy(), head, dataclasses.replace(SGD, learning_rate=1.0, steps=1, **clip))
        after = torch.cat([parameter.detach().flatten() for parameter in head.parameters()])
        return (before - after).double()

    gradient = step(clip_norm=0.0)
    value = float(gradient.abs().median())
    clipped = gradient.clamp(-value, value)
    norm = float(clipped.norm()) / 2
    expected = clipped * (norm / clipped.norm())
    torch.testing.assert_close(step(clip_norm=norm, clip_value=value), expected, rtol=1e-3, atol=1e-7)


def test_a_loss_that_is_no_number_leaves_the_best_weights():
    class Spoilt(Toy):
        def train(self, batch_size, seed):
            yield one_batch(1)
            yield one_batch(1)
            yield one_batch(1)._replace(inputs=torch.full((1, 2, 2), math.nan))

    head, biases = toy_head(Spoilt(), [0.9, 0.1]), []
    with pytest.raises(FloatingPointError, match="after 2 batches"):
        fit(Spoilt(), head, SGD, report=lambda _: biases.append(head.output.bias.clone()))
    torch.testing.assert_close(head.output.bias, biases[0])


def test_a_loss_that_is_no_number_is_said():
    head = toy_head(Toy())
    with torch.no_grad():
        head.output.bias.fill_(math.inf)
    with pytest.raises(FloatingPointError, match="after 0 batches"):
        fit(Toy(), head, SGD)


@dataclass(frozen=True)
class School(Toy):
    """Three lessons of one sequence a batch; a score above 0.5 passes."""

    number: int = 2
    taught: ClassVar[list[int]] = []

    @property
    def lessons(self):
        return 3

    def lesson(self, number):
        return dataclasses.replace(self, number=number)

    def train(self, batch_size, seed):
        for _ in itertools.count():
            self.taught.append(self.number)
            yield one_batch(1)

    def passed(self, scores):
        return scores["score"] > 0.5


def test_lessons_come_one_after_the_other():
    # The best weights are those of the last lesson, however good the scores of the easier ones were.
    School.taught.clear()
    head = toy_head(School(), [0.1, 0.9, 0.9, 0.3, 0.4, 0.2])
    result = fit(School(), head, dataclasses.replace(SGD, steps=6))
    assert School.taught == [0, 0, 1, 2, 2, 2]
    assert [look.lesson for look in result.history] == School.taught
    assert result.best_step == 5


def test_goal_and_patience_are_of_the_last_lesson():
    recipe = dataclasses.replace(SGD, steps=9, stop_at=0.55, patience=2)
    # Two looks without a better score in the first lesson, and good ones in the first two, end nothing.
    result = fit(School(), toy_head(School(), [0.3, 0.2, 0.1, 0.9, 0.9, 0.4, 0.3, 0.6]), recipe)
    assert (result.steps, result.reached, result.patience_ended) == (8, True, False)


def test_no_state_goes_from_one_lesson_to_the_next():
    head, states = toy_head(School(), [0.1, 0.9, 0.9, 0.1]), []
    answer = head.answer
    head.answer = lambda batch, state=None: states.append(state is None) or answer(batch, state)
    fit(School(), head, SGD)
    assert states == [True, False, True, True]


def test_the_state_goes_on_where_reset_says_so():
    """A language model that needs the batch before: each text is one token, then its copy in the next batch."""

    @dataclass(frozen=True)
    class Echo(Task):
        carried: bool = True
        metric: ClassVar[str] = "loss"
        lower_is_better: ClassVar[bool] = True

        @property
        def input_size(self):
            return 4

        def head(self, core):
            return NextToken(core, 3)

        def train(self, batch_size, seed):
            generator = torch.Generator().manual_seed(seed)
            while True:
                first = torch.randint(2, (1, batch_size), generator=generator)
                opens = torch.ones(1, batch_size, dtype=torch.bool)
                blank = torch.full((1, batch_size), 2)
                lengths = torch.ones(batch_size, dtype=torch.long)
                yield Batch(first, opens, blank, lengths)
                yield Batch(blank, ~opens if self.carried else opens, first, lengths)

        def evaluation(self, split, batch_size):
            return itertools.islice(self.train(16, 99), 8)

        def scores(self, head, batches):
            state, losses = None, []
            for batch in batches:
                logits, state = head.answer(batch, state)
                losses.append(head.loss(logits, batch.targets).item())
            return {"loss": sum(losses) / len(losses)}

    recipe = Recipe(learning_rate=0.05, batch_size=16, steps=120, eval_every=60)
    costs = []
    for carried in (True, False):
        torch.manual_seed(0)
        # The gradient ends between the batches: what a random core happens to keep has to do.
        head = Echo(carried).head(make_core("gru", 4, hidden_size=8))
        costs.append(fit(Echo(carried), head, recipe).scores["test"]["loss"])
    assert costs[0] < 0.1
    assert costs[1] > 0.3  # half of log 2: the second token is anybody's guess


def test_fit_is_the_same_with_the_same_seed():
    task, results = make_task("priority_sort", vectors=3, asked=2, vector_bits=2), []
    for seed in (1, 1, 2):
        torch.manual_seed(4)
        head = task.head(make_core("ntm", task.input_size, hidden_size=6, num_slots=4, slot_size=3))
        results.append(fit(task, head, Recipe(steps=3, eval_every=3, batch_size=2), seed=seed).scores)
    assert results[0] == results[1] != results[2]


def test_unknown_sets_are_refused():
    with pytest.raises(ValueError, match="split: 'train' given, one of valid, test, harder needed"):
        evaluate(Toy(), toy_head(Toy()), "train")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"learning_rate": 0.0}, "learning_rate: 0.0 given"),
        ({"schedule": "halve"}, "halve_every: 0 given"),
        ({"momentum": 1.0}, "momentum: 1.0 given"),
        ({"optimizer": "rmsprpo"}, "optimizer: 'rmsprpo' given, one of 'adam'"),
        ({"schedule": "lin"}, "schedule: 'lin' given, one of 'constant'"),
        ({"learning_rate": math.inf}, "learning_rate: inf given, a finite number"),
        ({"clip_norm": -1.0}, "clip_norm: -1.0 given"),
        ({"weight_decay": -1.0}, "weight_decay: -1.0 given"),
        ({"batch_size": 0}, "batch_size: 0 given, a whole number of at least 1 needed"),
        ({"steps": 0}, "steps: 0 given"),
        ({"eval_every": 0}, "eval_every: 0 given"),
        ({"patience": -1}, "patience: -1 given"),
        ({"stop_at": math.nan}, "stop_at: nan given"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_recipes_refuse_what_does_not_fit(options, says):
    with pytest.raises(ValueError, match=says):
        Recipe(**options)
