"""The tasks and what every method gets on them."""

from dataclasses import dataclass, field
from typing import Any

OPTIONS: dict[str, dict[str, Any]] = {"gru": {}, "dnc": {"num_slots": 8, "num_reads": 1}}  # of the cores
HEAD = (
    64  # units of the one layer behind a memory, for actor and critic each; without one, a layer of its width is below
)

# SB3's defaults but for these, which `memrl train` uses too.
PPO_SETTINGS = {"n_epochs": 4, "ent_coef": 0.01, "target_kl": 0.03}


@dataclass(frozen=True)
class Task:
    """An environment and what is spent on it."""

    env: str
    title: str
    steps: int  # environment steps of a training, the same for all methods
    window: int  # observations that the window route sees
    threshold: float  # mean return of the last training episodes
    methods: tuple[str, ...]
    n_envs: int = 32
    n_steps: int = 64
    learning_rate: float = 1e-3  # falls to 0
    algorithm: str = "PPO"
    settings: dict[str, Any] = field(default_factory=dict)
    keywords: dict[str, Any] = field(default_factory=dict)
    hidden_size: int = 128  # of every memory
    last: int = 100  # training episodes whose mean return counts
    stack: int = 4  # observations that SB3's VecFrameStack shows


ON_POLICY = (
    "mlp",
    "stack",
    "memory_ppo_gru",
    "window_gru",
    "recurrent_ppo",
    "recurrent_ppo_gru",
    "window_dnc",
    "memory_ppo_dnc",
)
OFF_POLICY = ("mlp", "stack", "window_gru")

TASKS = {
    "tmaze_10": Task(
        "memrl/TMaze-v0",
        "T-Maze, 10 steps to remember",
        steps=120_000,
        window=11,
        threshold=0.95,
        methods=ON_POLICY,
        settings=PPO_SETTINGS | {"batch_size": 512},
    ),
    "position_only_cartpole": Task(
        "memrl/PositionOnlyCartPole-v0",
        "CartPole without velocities",
        steps=120_000,
        window=8,
        threshold=0.9,
        methods=ON_POLICY,
        settings=PPO_SETTINGS | {"batch_size": 512},
    ),
    "repeat_previous_easy": Task(
        "memrl/RepeatPrevious-v0",
        "RepeatPreviousEasy, 3 steps to remember",
        steps=100_000,
        window=8,
        threshold=0.9,
        methods=ON_POLICY,
        n_envs=16,
        # An answer is paid at once and changes nothing that comes: a discount of 0.99 only adds noise, and learning
        # takes longer.
        settings=PPO_SETTINGS | {"batch_size": 256, "gamma": 0.5, "gae_lambda": 0.9},
    ),
    "tmaze_5_dqn": Task(
        "memrl/TMaze-v0",
        "DQN: T-Maze, 5 steps to remember",
        steps=30_000,
        window=6,
        threshold=0.9,
        methods=OFF_POLICY,
        n_envs=8,
        algorithm="DQN",
        hidden_size=64,
        keywords={"length": 5},
        settings={
            "buffer_size": 30_000,
            "batch_size": 64,
            "learning_starts": 1_000,
            "train_freq": 4,  # of all copies together 32 steps
            "gradient_steps": 8,
            "target_update_interval": 500,
            "exploration_fraction": 0.5,
            "exploration_final_eps": 0.01,
        },
    ),
    "position_only_pendulum_sac": Task(
        "memrl/PositionOnlyPendulum-v0",
        "SAC: Pendulum without velocity",
        steps=10_000,
        window=3,
        threshold=0.8,
        methods=OFF_POLICY,
        n_envs=4,
        algorithm="SAC",
        hidden_size=64,
        last=10,
        # POPGym scales rewards down to 1/200 for a step: against SB3's first ent_coef of 1 they would be nothing.
        settings={
            "buffer_size": 10_000,
            "learning_starts": 500,
            "gradient_steps": 4,
            "batch_size": 128,
            "ent_coef": "auto_0.001",
        },
    ),
}
