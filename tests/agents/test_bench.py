"""The benchmarks measure what they say: equal work on both sides, memory as counted by hand, whole tables."""

import csv
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from memrl import list_cores, make_core
from memrl.agents import bench_cores as cores_module
from memrl.agents import bench_ppo as ppo_module
from memrl.agents.bench import bench_cores, bench_ppo
from memrl.agents.bench_memory import saved_bytes, sequence_saved_bytes, stored_states
from memrl.agents.bench_passes import core_pass, make_peer, peer_pass
from memrl.agents.bench_ppo import OURS, THEIRS, Phases, Work, build_models, lstm_parameters, take_turn
from memrl.agents.bench_tools import in_turns, median_ratio, seconds_per_call, use_threads
from memrl.agents.cli import main
from memrl.agents.errors import UsageError
from memrl.core import MemoryCore

SMALL = Work(
    "memrl/TMaze-v0", {"length": 4}, n_envs=3, n_steps=16, n_epochs=2, batch_size=16, seq_len=16, hidden_size=8, seed=0
)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Layers(nn.Module):
    """Keeps tanh's result and exp's result, 2 x 4 numbers each, and nothing else that is new."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.linear(x))
        twice = y * y  # keeps y, which is kept already
        part = y[:, :2].square().sum()  # keeps a view of y
        return torch.exp(twice) + part


@pytest.mark.parametrize(("dtype", "bytes_each"), [(torch.float32, 4), (torch.float64, 8)])
def test_saved_bytes_by_hand(dtype: torch.dtype, bytes_each: int) -> None:
    assert saved_bytes(Layers().to(dtype), torch.zeros(2, 3, dtype=dtype)) == 2 * (2 * 4) * bytes_each


def test_saved_bytes_are_none_without_gradient() -> None:
    with torch.no_grad():
        assert saved_bytes(Layers(), torch.zeros(2, 3)) == 0


class SumState(NamedTuple):
    total: Tensor


class TanhSum(MemoryCore[SumState]):
    """s = tanh(x + s'): a step keeps its result, B x I numbers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.input_size = self.output_size = size

    def initial_state(self, batch_size: int) -> SumState:
        return SumState(torch.zeros(batch_size, self.input_size))

    def step(self, x: Tensor, state: SumState) -> tuple[Tensor, SumState]:
        total = torch.tanh(x + state.total)
        return total, SumState(total)


def test_saved_bytes_of_a_sequence_by_hand() -> None:
    x = torch.zeros(7, 3, 5, requires_grad=True)
    assert sequence_saved_bytes(TanhSum(5), x) == 7 * 3 * 5 * 4


def test_stored_states_by_hand() -> None:
    # 2 environments, 3 sequences of 4 steps, each from a stored state; one row stands in for fresh episodes.
    # An LSTM of 128 units has 2 x 128 numbers of 4 bytes.
    stored = stored_states("lstm", seq_len=4, n_envs=2, sequences=3)
    assert (stored.state_bytes, stored.env_steps) == (2 * 128 * 4, 2 * 12)
    assert stored.stored_bytes == (2 * 3 + 1) * stored.state_bytes


@pytest.mark.parametrize("shared", [True, False])
def test_both_sides_have_the_same_network(shared: bool) -> None:
    models = build_models(SMALL, shared)
    one_lstm = 4 * 8 * (2 + 8 + 2)  # four gates of 8 units: 2 inputs, 8 recurrent, 2 biases
    for model in models.values():
        assert lstm_parameters(model) == (1 if shared else 2) * one_lstm
    shapes = [sorted(tuple(p.shape) for p in model.policy.parameters()) for model in models.values()]
    assert shapes[0] == shapes[1]


class CountSteps(gym.Wrapper[Any, Any, Any, Any]):
    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        return super().step(action)


def test_both_sides_take_the_same_environment_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[CountSteps] = []
    original = ppo_module.make_env

    def counted(env_id: str, **keywords: Any) -> CountSteps:
        made.append(CountSteps(original(env_id, **keywords)))
        return made[-1]

    monkeypatch.setattr(ppo_module, "make_env", counted)
    models = build_models(SMALL, shared=True)
    assert len(made) == 2 * 3  # each side has its own three
    for model in models.values():
        for _ in range(2):
            assert take_turn(model, iterations=2).env_steps == 2 * 16 * 3
    assert [env.steps for env in made] == [2 * 2 * 16] * 6


def test_both_sides_make_the_same_updates() -> None:
    models = build_models(SMALL, shared=True)
    updates: dict[str, int] = {}
    for name, model in models.items():
        steps: list[None] = []
        model.policy.optimizer.register_step_post_hook(lambda *_, steps=steps: steps.append(None))
        take_turn(model, iterations=1)
        updates[name] = len(steps)
    assert updates == {OURS: 6, THEIRS: 6}  # 48 steps in minibatches of 16, two epochs


def test_phases_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 3.0, 4.0, 8.0, 10.0])
    monkeypatch.setattr(ppo_module.time, "perf_counter", lambda: next(clock))
    phases = Phases()
    phases.on_rollout_start()  # 1
    phases.on_rollout_end()  # 3
    phases.on_rollout_start()  # 4
    phases.on_rollout_end()  # 8
    phases.on_training_end()  # 10
    assert (phases.rollout, phases.update) == (2.0 + 4.0, 1.0 + 2.0)


def test_turns_alternate_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []

    def candidate(name: str) -> int:
        calls.append(name)
        return len(calls)

    results = in_turns("test", {name: partial(candidate, name) for name in ("a", "b")}, 2, Console(quiet=True))
    assert calls == ["a", "b"] * 3
    assert results == {"a": [3, 5], "b": [4, 6]}


def test_median_ratio_compares_within_a_repetition() -> None:
    # The machine was three times slower in the second repetition; the ratio is 2 all the same.
    assert median_ratio([2.0, 6.0, 2.2], [1.0, 3.0, 1.0]) == 2.0


def test_seconds_per_call_repeats_until_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.4, 0.8, 1.2])
    monkeypatch.setattr("memrl.agents.bench_tools.time.perf_counter", lambda: next(clock))
    assert seconds_per_call(lambda: None, at_least=1.0) == pytest.approx(0.4)


def test_threads_are_put_back_after_an_error() -> None:
    before = torch.get_num_threads()
    seen = []

    def fail() -> None:
        with use_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_core_and_peer_do_the_same_steps() -> None:
    x = torch.randn(6, 3, 5, requires_grad=True)  # 6 steps of 3 sequences
    peer, core = make_peer(5, slots=8), make_core("dnc", input_size=5, num_slots=8)
    seen: list[tuple[int, ...]] = []
    peer.rnns[0].register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))  # type: ignore[union-attr,index]
    core.norm.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    reads = 4 * 16  # as many numbers from the memory on both sides
    peer_pass(peer, x)()
    assert seen == [(3, 1, 5 + reads)] * 6
    seen.clear()
    core_pass(core, x)()
    assert seen == [(3, core.interface.out_features)] * 6  # what its controller tells the memory, at every step
    assert x.grad is not None
    assert x.grad.abs().amin(dim=(1, 2)).min() > 0  # every step was gone back through
    for module in (peer, core):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    _, (_, memory, _) = peer(x.transpose(0, 1))
    assert memory["memory"].shape == core.initial_state(3).memory.shape
    assert memory["read_weights"].shape == core.initial_state(3).read_weights.shape


def test_bench_ppo_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_ppo(quick=True, out=tmp_path / "new" / "ppo.csv")
    rows = read(tmp_path / "new" / "ppo.csv")
    assert [(row["network"], row["library"]) for row in rows] == [
        (network, library) for network in ("one LSTM", "two LSTMs") for library in (OURS, THEIRS)
    ]
    for ours, theirs in (rows[:2], rows[2:]):
        assert ours["env_steps"] == theirs["env_steps"] == "32"
        assert ours["lstm_parameters"] == theirs["lstm_parameters"]
        assert ours["parameters"] == theirs["parameters"]
        assert float(ours["ratio"]) == pytest.approx(float(ours["steps_per_s"]) / float(theirs["steps_per_s"]))
    for row in rows:
        speed = 32 / (float(row["rollout_s"]) + float(row["update_s"]))
        assert float(row["steps_per_s"]) == pytest.approx(speed)  # one iteration, one repetition
    printed = capsys.readouterr().out
    for word in ("cpu cores", "threads 1", f"torch {torch.__version__}", "repetitions 1", OURS, THEIRS):
        assert word in printed


def test_bench_cores_writes_every_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_cores(quick=True, out=tmp_path / "cores.csv")
    tables: dict[str, list[dict[str, str]]] = {}
    for row in read(tmp_path / "cores.csv"):
        tables.setdefault(row["table"], []).append(row)
        assert (row["threads"], row["torch"], row["repetitions"]) == ("1", torch.__version__, "1")
        assert int(row["cpu_cores"]) >= 1
    assert list(tables) == ["peers", "slots", "lengths", "state"]
    assert [(row["core"], row["library"]) for row in tables["peers"]] == [
        ("dnc", "memrl"),
        ("dnc", "peer"),
        ("ntm", "memrl"),
    ]
    assert {("dnc", "8"), ("dnc", "16"), ("ntm", "16")} <= {(row["core"], row["slots"]) for row in tables["slots"]}
    assert {(row["core"], row["steps"]) for row in tables["lengths"]} == {
        (core, steps) for core in list_cores() for steps in ("4", "8")
    }
    assert all(float(row["us_per_step"]) > 0 for row in tables["slots"] + tables["lengths"])
    state = {row["core"]: row for row in tables["state"]}
    assert set(state) == set(list_cores())
    # 2 environments, 2 sequences of 8 steps, one more row, in 32 environment steps.
    assert float(state["lstm"]["stored_bytes_per_step"]) == (2 * 2 + 1) * (2 * 128 * 4) / 32
    assert capsys.readouterr().out.count("repetitions 1\n") == 4


def test_a_dnc_keeps_one_link_matrix_for_each_step() -> None:
    kept = {}
    for slots in (16, 32, 64):
        core = make_core("dnc", input_size=4, num_slots=slots)
        kept[slots] = sequence_saved_bytes(core, torch.zeros(3, 1, 4, requires_grad=True))
    # a N² + b N + c through three points: N² comes from the matrices before, between and after three steps.
    quadratic = (kept[64] - kept[32] - 2 * (kept[32] - kept[16])) / (6 * 16**2)
    assert quadratic == (3 + 1) * 4


def test_a_missing_peer_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dnc" else found(name))
    with pytest.raises(UsageError, match=r"memrl\[bench\].*--reference none"):
        bench_cores(quick=True)


def test_without_reference_there_is_no_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores_module, "make_peer", None)
    bench_cores(quick=True, parts=("peers",), reference="none", out=tmp_path / "cores.csv")
    rows = read(tmp_path / "cores.csv")
    assert [(row["core"], row["library"], row["ratio"]) for row in rows] == [
        ("dnc", "memrl", ""),
        ("ntm", "memrl", ""),
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(bench_ppo, repetitions=0), "--repetitions: 0 given"),
        (partial(bench_ppo, batch_size=1), "--batch-size: 1 given"),
        (partial(bench_ppo, seq_len=0), "--seq-len: 0 given"),
        (partial(bench_ppo, env="memrl/TMaz-v0"), "--env: .*TMaze-v0"),
        (partial(bench_ppo, env_set={"lenght": 4}), "--env: .*'length'"),
        (partial(bench_cores, slots=(32, 0)), "--slots: 0 given"),
        (partial(bench_cores, slots=()), "--slots: nothing given"),
        (partial(bench_cores, growth_slots=(2,)), "--growth-slots: 2 given"),
    ],
)
def test_bad_options_are_refused(call: Callable[[], None], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", [bench_ppo, bench_cores])
def test_a_folder_is_no_csv_file(command: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--out .*a folder given"):
        command(out=tmp_path)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cores.csv"
    assert main(["bench", "cores", "--quick", "--parts", "state", "--out", str(out)]) == 0
    assert [row["core"] for row in read(out)] == list(list_cores())
    capsys.readouterr()
    assert main(["bench", "ppo", "--threads", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
