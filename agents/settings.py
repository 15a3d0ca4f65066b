"""What the command line asks for, as frozen dataclasses; the texts under the fields are the `--help`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from .errors import UsageError
from .options import parse_pairs, show_pairs

KeyValues = Annotated[
    Mapping[str, Any],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE",
        instance_from_str=parse_pairs,
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=show_pairs,
    ),
]


@dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """What `train` and `compare` have in common."""

    env: str
    """Environment id, e.g. memrl/TMaze-v0 or MiniGrid-MemoryS7-v0; `memrl envs` lists them."""
    steps: int = 100_000
    """Environment steps to train for, of all copies together; rounded up to whole rollouts."""
    seed: int = 0
    """Seed of weights, actions and episodes, 0 to 2147483647; `compare` counts up from it."""
    algo: Literal["ppo", "a2c"] = "ppo"
    """Agent: ppo is MemoryPPO, a2c is MemoryA2C."""
    n_envs: int = 16
    """Copies of the environment that are stepped together."""
    set: KeyValues = field(default_factory=dict)
    """Options of core, agent or (policy. in front) policy: num_slots=32, learning_rate=lin_3e-4 (to 0)."""
    env_set: KeyValues = field(default_factory=dict)
    """Keywords of the environment, e.g. length=50, or view_size=3 actions=left,right,forward (MiniGrid)."""
    previous_action: bool = False
    """Feed the previous action to the core."""
    previous_reward: bool = False
    """Feed the previous reward to the core."""
    eval_episodes: int = 200
    """Episodes of the final evaluation, on separate environments, with the deterministic policy."""
    eval_freq: int = 0
    """Environment steps between evaluations during training; 0 evaluates at the end only."""
    stop_at: float | None = None
    """Stop when the last 100 training episodes reach this success rate (mean return if there is none)."""
    checkpoint_freq: int = 100_000
    """Environment steps between saved models; 0 saves at the end only."""
    run_dir: str = "runs"
    """Folder of all runs; a run gets its own new folder in it and never overwrites another."""
    device: str = "cpu"
    """Torch device, e.g. cpu or cuda; cpu is faster for small networks."""
    threads: int = 1
    """Torch threads of one training."""
    vec: Literal["auto", "twin", "dummy", "subproc"] = "auto"
    """How the copies run: as one array program (twin), one by one (dummy), or each in a process of its own (subproc,
    for slow environments); auto takes the twin where there is one, else dummy."""
    from_preset: Annotated[str | None, tyro.conf.Suppress] = None
    """The preset that values came from: a record, which changes nothing."""

    def check(self) -> None:
        """Refuse numbers out of range.

        Raises:
            UsageError: the first field that is out of range.
        """
        for name in ("steps", "n_envs", "eval_episodes", "threads"):
            _at_least(1, name, getattr(self, name))
        for name in ("eval_freq", "checkpoint_freq"):
            _at_least(0, name, getattr(self, name))
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"--seed: {self.seed} given, 0 to {2**31 - 1} needed")


@dataclass(frozen=True, kw_only=True)
class _OneCore:
    core: str
    """Memory core, e.g. none, lstm or dnc; `memrl cores` lists them."""


@dataclass(frozen=True, kw_only=True)
class _ManyCores:
    cores: str
    """Memory cores, separated by commas: none,lstm,dnc. `memrl cores` lists them."""
    seeds: int = 3
    """Trainings per core, with the seeds --seed, --seed + 1 and so on."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(SharedSettings, _OneCore):  # the last base's fields come first, in help texts and files
    """What `train` needs to know."""


@dataclass(frozen=True, kw_only=True)
class CompareSettings(SharedSettings, _ManyCores):
    """What `compare` needs to know."""

    jobs: int | None = None
    """Trainings that run at the same time, one process each; the number of CPU cores unless given."""
    threshold: float | None = None
    """Count steps until 100 training episodes reach this success rate or return; default: --stop-at."""

    def check(self) -> None:
        """Refuse numbers out of range.

        Raises:
            UsageError: the first field that is out of range.
        """
        super().check()
        _at_least(1, "seeds", self.seeds)
        if self.jobs is not None:
            _at_least(1, "jobs", self.jobs)
        if self.seed + self.seeds > 2**31:
            raise UsageError(f"--seed: {self.seed} with --seeds {self.seeds} goes past {2**31 - 1}")


@dataclass(frozen=True, kw_only=True)
class TrainCommand(TrainSettings):
    """Train one agent with one memory core, evaluate it, and leave a run directory behind."""

    config: str | None = None
    """YAML file with options, e.g. the config.yaml of a run; the command line wins over it."""
    preset: str = "auto"
    """Measured hyperparameters for what is not given: auto finds those for environment and core, none takes the
    agent's own defaults, NAME is one that --show-config has named."""
    zoo: str | None = None
    """Instead of a preset: hyperparameters YAML of RL Baselines3 Zoo, read as data: ppo_lstm.yml, or
    ppo_lstm.yml#CartPoleNoVel-v1 where the entry is not --env."""
    show_config: bool = False
    """Print the complete settings, where they come from and what justifies them, and train nothing."""


@dataclass(frozen=True, kw_only=True)
class CompareCommand(CompareSettings):
    """Train several cores with several seeds in parallel, and compare them in a table and a plot.

    A pair of core and seed that was already trained to the end with the same settings is not trained again.
    An option in --set goes to every core that has it; with NAME. in front, as in dnc.num_slots=32, to one.
    """

    config: str | None = None
    """YAML file with options, e.g. the config.yaml of a comparison; the command line wins over it."""
    preset: str = "auto"
    """Measured hyperparameters for what is not given: auto finds a preset that is for all of --cores (none, the
    control, goes along), so that every core gets the same; none takes the agent's own defaults."""


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """Evaluate the model of a run again, with the deterministic policy, and add the result to eval.json."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, as `memrl train` printed it, or one saved model in its checkpoints folder."""
    episodes: int = 200
    """Episodes to play."""
    seed: int | None = None
    """Seed of the episodes, 0 to 2147483647; default: the run's own, which repeats its final evaluation."""
    device: str = "cpu"
    """Torch device, e.g. cpu or cuda."""

    def check(self) -> None:
        """Refuse numbers out of range.

        Raises:
            UsageError: the first field that is out of range.
        """
        _at_least(1, "episodes", self.episodes)
        if self.seed is not None and not 0 <= self.seed < 2**31:
            raise UsageError(f"--seed: {self.seed} given, 0 to {2**31 - 1} needed")


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Write one step of a run's policy to a file that runs without memrl, and check it against the policy."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, as `memrl train` printed it, or one saved model in its checkpoints folder."""
    format: Literal["onnx", "torch"] = "onnx"
    """onnx runs in onnxruntime (needs memrl[export]); torch is for torch.export.load."""
    out: str | None = None
    """File to write; a new one. Default: policy.onnx or policy.pt2 in the run directory."""


@dataclass(frozen=True, kw_only=True)
class CoresSettings:
    """List the memory cores with paper, options, parameters and bytes of state."""

    core: str | None = None
    """Show this core only, with what each option means."""
    input_size: int = 64
    """Width of the core's input, for counting parameters."""


@dataclass(frozen=True, kw_only=True)
class EnvsSettings:
    """List the environments with horizon, what to remember, and the best returns with and without memory."""

    filter: str | None = None
    """List every id that contains this text, MiniGrid and POPGym included; capitals do not matter."""
    render: str | None = None
    """Id of an environment: write a picture of one episode of its oracle, or of random actions."""
    out: Path | None = None
    """PNG file for the picture, which must not exist yet; default: a new name in this folder."""
    seed: int = 0
    """Seed of the episode to draw, 0 to 2147483647."""
    env_set: KeyValues = field(default_factory=dict)
    """Keywords of the environment to draw, e.g. length=5."""

    def check(self) -> None:
        """Refuse options that do not go together, and a seed out of range.

        Raises:
            UsageError: the first of them.
        """
        if self.render is not None and self.filter is not None:
            raise UsageError("--filter: lists ids, --render draws one; not both at the same time")
        for name, given in (("out", self.out is not None), ("seed", self.seed != 0), ("env-set", bool(self.env_set))):
            if given and self.render is None:
                raise UsageError(f"--{name}: goes with --render ID only")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"--seed: {self.seed} given, 0 to {2**31 - 1} needed")


def _at_least(minimum: int, name: str, value: int) -> None:
    if value < minimum:
        raise UsageError(f"--{name.replace('_', '-')}: {value} given, at least {minimum} needed")
