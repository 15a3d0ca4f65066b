"""The trainer of supervised heads: a plain loop over batches.

task = make_task("copy")
head = task.head(make_core("ntm", task.input_size))
result = fit(task, head, task.recipe("ntm"))
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from memrl import tree
from memrl.heads import Batch, Head
from memrl.optimizers import make_optimizer, make_schedule
from memrl.recipe import Recipe
from memrl.tasks import Task

EVALUATION_BATCH = 32  # sequences at least, that are evaluated together; where training takes more, as many

Scores = dict[str, float]


@dataclass(frozen=True)
class Progress:
    """What happened in one step of a training."""

    step: int  # batches learned from
    sequences: int  # likewise
    loss: float  # of this batch, in nats
    gradient_norm: float  # before clipping
    learning_rate: float
    lesson: int  # of the curriculum, from 0
    seconds: float  # of training, evaluations not counted
    valid: Scores | None = None  # scores on the validation data, if it was looked at after this step


@dataclass
class FitResult:
    """What came out of a training; the head has the weights of its best look at the validation data, if any."""

    history: list[Progress] = field(default_factory=list)  # the steps after which validation data was looked at
    scores: dict[str, Scores] = field(default_factory=dict)  # at the end, of "valid" and every test set
    steps: int = 0  # batches learned from
    best_step: int = 0  # whose weights were kept
    seconds: float = 0.0  # of training, evaluations not counted
    stopped: bool = False  # by `stop`; then there are no scores
    patience_ended: bool = False  # stopped early, since the validation score did not get better
    reached: bool = False  # stopped early, since the validation score is as good as was asked for


def fit(
    task: Task,
    head: Head,
    recipe: Recipe,
    *,
    seed: int = 0,
    report: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    tests: Sequence[str] | None = None,
) -> FitResult:
    """Train a head on a task, keep its best weights, and score them.

    Args:
        task: data and scores.
        head: is trained in place; its parameters say on which device.
        recipe: optimiser, schedule, clipping and when to stop.
        seed: of the training data. Weights and dropout come from torch's own generator: seed it before making the head.
        report: called after every step.
        stop: asked before every step whether to stop at once, without scores at the end.
        tests: test sets to score at the end; None: all of the task's.

    Raises:
        FloatingPointError: the loss is no finite number any more. The head has its best weights by then.
    """
    teach = _Teacher(task, head, recipe, seed)
    result = teach.result
    began = time.perf_counter()
    evaluating = 0.0
    while result.steps < recipe.steps and not (result.patience_ended or result.reached):
        if stop is not None and stop():
            result.stopped = True
            break
        loss, norm, rate = teach.step()
        result.steps += 1
        result.seconds = time.perf_counter() - began - evaluating
        valid = None
        lesson = teach.lesson
        if result.steps % recipe.eval_every == 0 or result.steps == recipe.steps:
            before = time.perf_counter()
            valid = teach.examine()
            evaluating += time.perf_counter() - before
        progress = Progress(
            result.steps, result.steps * recipe.batch_size, loss, norm, rate, lesson, result.seconds, valid
        )
        if valid is not None:
            result.history.append(progress)
        if report is not None:
            report(progress)
    teach.keep_best()
    if result.stopped:
        return result
    batch_size = max(recipe.batch_size, EVALUATION_BATCH)
    splits = ("valid", *(task.tests if tests is None else tests))
    result.scores = {split: evaluate(task, head, split, batch_size) for split in splits}
    return result


def evaluate(task: Task, head: Head, split: str, batch_size: int = EVALUATION_BATCH) -> Scores:
    """Scores of a head on "valid" or one of the task's test sets, in eval mode and without gradients."""
    if split not in ("valid", *task.tests):
        raise ValueError(f"split: {split!r} given, one of {', '.join(('valid', *task.tests))} needed")
    training = head.training
    head.eval()
    with torch.no_grad():
        scores = task.scores(head, on_device(task.evaluation(split, batch_size), head))
    head.train(training)
    return scores


def on_device(batches: Iterable[Batch], head: nn.Module) -> Iterator[Batch]:
    """The batches, where the head's parameters are."""
    device = next(head.parameters()).device
    return (Batch(*(part.to(device) for part in batch)) for batch in batches)


class _Teacher:
    """Lessons, updates and the best weights so far."""

    def __init__(self, task: Task, head: Head, recipe: Recipe, seed: int) -> None:
        self.task, self.head, self.recipe, self.seed = task, head, recipe, seed
        self.parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(self.parameters, recipe)
        self.schedule = make_schedule(self.optimizer, recipe)
        self.result = FitResult()
        self.begin(0)
        head.train()

    def begin(self, lesson: int) -> None:
        """The first lesson, or the next."""
        self.lesson = lesson
        self.taught = self.task.lesson(lesson)
        self.batches = on_device(self.taught.train(self.recipe.batch_size, self.seed), self.head)
        self.state: tuple[object, ...] | None = None
        self.best_score, self.best_weights, self.misses = math.nan, self.head.state_dict(), 0

    def step(self) -> tuple[float, float, float]:
        """Learn from one batch; its loss, the norm of the gradient and the learning rate."""
        batch = next(self.batches)
        logits, state = self.head.answer(batch, self.state)
        self.state = tree.detach(state)  # the next batch may go on from here
        loss = self.head.loss(logits, batch.targets)
        if not math.isfinite(loss.item()):
            self.keep_best()
            raise FloatingPointError(f"the loss is {loss.item()} after {self.result.steps} batches; learn more slowly")
        self.optimizer.zero_grad()
        loss.backward()
        if self.recipe.clip_value:
            nn.utils.clip_grad_value_(self.parameters, self.recipe.clip_value)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm or math.inf)
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.schedule.step()
        return loss.item(), norm.item(), rate

    def examine(self) -> Scores:
        """Look at the validation data: keep the weights if they are the best, and see whether a lesson is over."""
        scores = evaluate(self.taught, self.head, "valid", max(self.recipe.batch_size, EVALUATION_BATCH))
        score = scores[self.task.metric] * (-1.0 if self.task.lower_is_better else 1.0)
        if math.isnan(self.best_score) or score > self.best_score:
            self.best_score, self.misses = score, 0
            self.best_weights = copy.deepcopy(self.head.state_dict())
            self.result.best_step = self.result.steps
        else:
            self.misses += 1
        if self.lesson < self.task.lessons - 1:
            if self.taught.passed(scores):
                self.begin(self.lesson + 1)
        else:
            goal, sign = self.recipe.stop_at, -1.0 if self.task.lower_is_better else 1.0
            self.result.reached = goal is not None and score >= sign * goal
            self.result.patience_ended = bool(self.recipe.patience) and self.misses >= self.recipe.patience
        return scores

    def keep_best(self) -> None:
        """Give the head its best weights of the last lesson back."""
        self.head.load_state_dict(self.best_weights)
