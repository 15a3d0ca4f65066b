"""`memrl bench cores`: speed of the cores beside a peer, and what their time and memory grow with."""

import importlib.util
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from memrl.core import MemoryCore
from memrl.registry import core_entry, list_cores, make_core

from .bench_memory import sequence_saved_bytes, stored_states
from .bench_passes import DNC_SIZE, Pass, Shape, core_pass, make_peer, peer_pass
from .bench_tools import (
    Measurements,
    Row,
    check_out,
    conditions,
    in_turns,
    median_ratio,
    report,
    require_at_least,
    seconds_per_call,
    use_threads,
)
from .console import plain_console
from .errors import UsageError

Part = Literal["peers", "growth", "state"]

NTM_SIZE = {"hidden_size": 128, "slot_size": 16, "num_slots": 32}

PEER_NOTES = (
    "steps/s: steps of all sequences per second of forward and backward pass.",
    "low, high: slowest and fastest repetition. ratio: memrl to peer, median of each repetition's ratio.",
    "peer: DNC of PyPI's dnc, one LSTM layer of the same width, same slots, heads and input; none for NTM.",
    "The peer does not feed its read vectors back to the controller within a call; the paper and memrl do.",
    "The peer has as many outputs as inputs, memrl as many as hidden units.",
)
GROWTH_NOTES = (
    "us/step: microseconds of forward and backward pass, per step of one sequence.",
    "kept bytes/step: what autograd keeps for the backward pass besides weights and inputs, likewise.",
)
STATE_NOTES = (
    "state bytes: the state of one environment.",
    "stored bytes/step: states in MemoryPPO's buffer per environment step, if no episode ends in it.",
)


@dataclass(frozen=True)
class Stopwatch:
    """How everything is timed."""

    repetitions: int
    seconds: float  # of one turn, at least one call

    def measure(self, what: str, passes: Mapping[Any, Pass]) -> dict[Any, list[float]]:
        """Seconds per pass of each candidate, turn by turn."""
        measure = {name: partial(seconds_per_call, call, self.seconds) for name, call in passes.items()}
        return in_turns(what, measure, self.repetitions, plain_console())


def bench_cores(
    *,
    parts: tuple[Part, ...] = ("peers", "growth", "state"),
    reference: Literal["dnc", "none"] = "dnc",
    slots: tuple[int, ...] = (32, 128, 512),
    growth_slots: tuple[int, ...] = (16, 32, 64, 128, 256, 512),
    growth_lengths: tuple[int, ...] = (16, 32, 64, 128, 256),
    sequences: int = 16,
    seq_len: int = 64,
    input_size: int = 64,
    repetitions: int = 5,
    seconds: float = 0.3,
    threads: int = 1,
    seed: int = 0,
    out: Path | None = None,
    quick: bool = False,
) -> None:
    """Speed of the cores beside a peer, growth of time and memory with slots and steps, and bytes of state.

    Args:
        parts: What to measure: DNC and NTM beside a peer, growth with slots and steps, bytes of state.
        reference: The peer: PyPI's dnc, or none.
        slots: Slots of the DNC beside the peer.
        growth_slots: Slots of the cores that have some, for time and memory.
        growth_lengths: Steps of the sequences, for time and memory.
        sequences: Sequences in a batch.
        seq_len: Steps of a sequence where nothing else is said.
        input_size: Width of the input.
        repetitions: Turns of each candidate, after a warm-up.
        seconds: Length of a turn, in seconds; at least one forward and backward pass.
        threads: Threads of torch.
        seed: Seed of weights and inputs.
        out: CSV file to write.
        quick: A small version that shows whether it runs, not how fast.

    Raises:
        UsageError: an option is out of its range, or the peer is not installed.
    """
    if quick:
        slots, growth_slots, growth_lengths = (8,), (8, 16), (4, 8)
        sequences, seq_len, repetitions, seconds = 2, 8, 1, 0.0
    require_at_least(3, growth_slots=growth_slots)  # an NTM's head moves by one slot in both directions
    require_at_least(1, slots=slots, growth_lengths=growth_lengths, sequences=sequences, seq_len=seq_len)
    require_at_least(1, input_size=input_size, repetitions=repetitions, threads=threads)
    if "peers" in parts and reference == "dnc" and importlib.util.find_spec("dnc") is None:
        raise UsageError("--reference dnc: not installed; pip install 'memrl[bench]', or --reference none")
    check_out(out)

    shape = Shape(sequences, seq_len, input_size)
    stopwatch = Stopwatch(repetitions, seconds)
    tables: list[Measurements] = []
    torch.manual_seed(seed)
    with use_threads(threads):
        if "peers" in parts:
            tables.append(beside_peers(slots, shape, stopwatch, peer=reference == "dnc"))
        if "growth" in parts:
            tables.append(growth_with_slots(growth_slots, shape, stopwatch))
            tables.append(growth_with_steps(growth_lengths, shape, stopwatch))
        if "state" in parts:
            tables.append(states(seq_len, n_envs=2 if quick else 16))
    report(tables, conditions(threads, repetitions), out)


def beside_peers(slots: tuple[int, ...], shape: Shape, stopwatch: Stopwatch, *, peer: bool) -> Measurements:
    """DNC at several sizes beside PyPI's, and the NTM by itself."""
    modules: dict[tuple[str, str, int], nn.Module] = {}
    for number in slots:
        modules["dnc", "memrl", number] = make_core("dnc", shape.input_size, num_slots=number, **DNC_SIZE)
        if peer:
            modules["dnc", "peer", number] = make_peer(shape.input_size, number)
    modules["ntm", "memrl", NTM_SIZE["num_slots"]] = make_core("ntm", shape.input_size, **NTM_SIZE)
    x = shape.inputs()
    passes = {
        key: core_pass(module, x) if isinstance(module, MemoryCore) else peer_pass(module, x)
        for key, module in modules.items()
    }
    seconds = stopwatch.measure("beside peers", passes)
    speeds = {key: [shape.steps * shape.sequences / turn for turn in turns] for key, turns in seconds.items()}
    rows: list[Row] = []
    for (core, library, number), speed in speeds.items():
        other = speeds.get((core, "peer", number)) if library == "memrl" else None
        rows.append(
            {
                "core": core,
                "library": library,
                "slots": number,
                "steps_per_s": statistics.median(speed),
                "low": min(speed),
                "high": max(speed),
                "ratio": None if other is None else median_ratio(speed, other),
                "parameters": _parameters(modules[core, library, number]),
                **_sizes(shape),
            }
        )
    title = f"Cores beside a peer: {shape.sequences} sequences x {shape.steps} steps, input {shape.input_size}"
    shown = ("core", "library", "slots", "steps_per_s", "low", "high", "ratio", "parameters")
    return Measurements("peers", title, rows, shown, PEER_NOTES)


def growth_with_slots(slots: tuple[int, ...], shape: Shape, stopwatch: Stopwatch) -> Measurements:
    """Time and memory of a step against the number of slots, for every core that has slots."""
    candidates = {
        (name, number): (make_core(name, shape.input_size, num_slots=number), shape)
        for name in list_cores()
        if _default_slots(name) is not None
        for number in slots
    }
    title = f"Growth with slots: {shape.sequences} sequences x {shape.steps} steps, input {shape.input_size}"
    return _growth("slots", title, candidates, stopwatch)


def growth_with_steps(lengths: tuple[int, ...], shape: Shape, stopwatch: Stopwatch) -> Measurements:
    """Time and memory of a step against the length of the sequence, for every core at its default size."""
    candidates = {}
    for name in list_cores():
        core = make_core(name, shape.input_size)
        for length in lengths:
            candidates[name, length] = (core, Shape(shape.sequences, length, shape.input_size))
    title = f"Growth with steps: {shape.sequences} sequences, input {shape.input_size}, cores at default size"
    return _growth("lengths", title, candidates, stopwatch)


def states(seq_len: int, n_envs: int) -> Measurements:
    """Bytes of state of every core, and what of it a rollout stores."""
    rows: list[Row] = []
    for name in list_cores():
        stored = stored_states(name, seq_len=seq_len, n_envs=n_envs)
        row: Row = {"core": name, "slots": _default_slots(name), "state_bytes": stored.state_bytes}
        row["stored_bytes_per_step"] = stored.stored_bytes / stored.env_steps
        rows.append(row | {"seq_len": seq_len, "n_envs": n_envs, "env_steps": stored.env_steps})
    shown = ("core", "slots", "state_bytes", "stored_bytes_per_step")
    return Measurements(
        "state",
        f"State: cores at default size, seq_len {seq_len}, {n_envs} environments",
        rows,
        shown,
        STATE_NOTES,
    )


def _growth(
    name: str,
    title: str,
    candidates: Mapping[tuple[str, int], tuple[MemoryCore[Any], Shape]],
    stopwatch: Stopwatch,
) -> Measurements:
    inputs = {key: shape.inputs() for key, (_, shape) in candidates.items()}
    passes = {key: core_pass(core, inputs[key]) for key, (core, _) in candidates.items()}
    seconds = stopwatch.measure(f"growth, {name}", passes)
    rows: list[Row] = []
    for key, (core, shape) in candidates.items():
        total = shape.steps * shape.sequences
        rows.append(
            {
                "core": key[0],
                "slots": key[1] if name == "slots" else _default_slots(key[0]),
                "us_per_step": 1e6 * statistics.median(seconds[key]) / total,
                "kept_bytes_per_step": sequence_saved_bytes(core, inputs[key]) / total,
                "parameters": _parameters(core),
                **_sizes(shape),
            }
        )
    shown = ("core", "slots", "steps", "us_per_step", "kept_bytes_per_step", "parameters")
    return Measurements(name, title, rows, shown, GROWTH_NOTES)


def _sizes(shape: Shape) -> Row:
    return {"sequences": shape.sequences, "steps": shape.steps, "input_size": shape.input_size}


def _default_slots(core: str) -> int | None:
    return getattr(core_entry(core).config(), "num_slots", None)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
