"""How a head is trained: optimiser, schedule, clipping, and when to stop."""

import math
from dataclasses import asdict, dataclass, field
from typing import Literal

from memrl.registry import check_options


@dataclass(frozen=True)
class Recipe:
    """Options of a training; tasks bring their own, the command line changes them with --set."""

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "graves_rmsprop"] = "adam"  # graves_rmsprop: Graves 2013
    learning_rate: float = 1e-3  # at the start
    momentum: float = 0.9  # of sgd, rmsprop and graves_rmsprop
    weight_decay: float = 0.0  # L2 penalty; decoupled with adamw
    schedule: Literal["constant", "linear", "cosine", "halve"] = "constant"  # linear and cosine fall to 0 at the end
    halve_every: int = field(default=0, metadata={"least": 0})  # batches between two halvings of schedule=halve
    clip_norm: float = 10.0  # largest norm of all gradients together; 0 does not clip
    clip_value: float = 0.0  # largest size of each component of a gradient, before clip_norm; 0 does not clip
    batch_size: int = 32  # sequences that are learned from together
    steps: int = 10_000  # batches to learn from, at most
    eval_every: int = 500  # batches between two looks at the validation data
    patience: int = field(default=0, metadata={"least": 0})  # looks without a better score before stopping; 0 never
    stop_at: float | None = None  # validation score at which training stops; null never

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate: {self.learning_rate} given, a number above 0 needed")
        check_options("recipe", Recipe, asdict(self))
        if self.schedule == "halve" and not self.halve_every:
            raise ValueError("halve_every: 0 given, but schedule=halve needs the batches between two halvings")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum: {self.momentum} given, [0, 1) allowed")
        if self.stop_at is not None and not math.isfinite(self.stop_at):
            raise ValueError(f"stop_at: {self.stop_at} given, a finite number or None needed")
