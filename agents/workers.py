"""Several trainings at the same time, one process each, so that one that dies takes no other with it."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from .errors import Interrupted
from .settings import TrainSettings
from .stopping import StopSignals, ctrl_c_ignored
from .train import train
from .watch import Progress

GRACE = 60.0  # seconds that a stopped training has to save what it learned


@dataclass(frozen=True)
class Outcome:
    """How one training ended."""

    settings: TrainSettings
    run: Path | None  # of a training that was finished
    error: str | None = None  # one line about one that failed
    stopped: bool = False  # by a signal


@dataclass
class _Worker:
    settings: TrainSettings
    process: SpawnProcess
    connection: Connection
    log: Path
    run: Path | None = None


def train_all(
    trainings: Sequence[TrainSettings],
    *,
    jobs: int,
    logs: Path,
    signals: StopSignals,
    on_progress: Callable[[TrainSettings, Progress | None], None],
    on_end: Callable[[Outcome], None],
) -> list[Outcome]:
    """Train in up to `jobs` processes until all are done, or until a signal comes.

    Args:
        trainings: what to train, started in this order.
        jobs: processes at the same time, at least 1.
        logs: folder for what the processes print; an empty log of a finished training is removed.
        signals: a signal stops all; each saves what it has learned, finished runs stay.
        on_progress: called with how far a training is; None when it starts.
        on_end: called when one has ended.
    """
    waiting, running, outcomes = list(trainings), list[_Worker](), list[Outcome]()
    deadline = None
    try:
        while running or (waiting and signals.received is None):
            while waiting and len(running) < jobs and signals.received is None:
                running.append(_start(waiting.pop(0), logs))
                on_progress(running[-1].settings, None)
            if signals.received is not None and deadline is None:
                deadline = time.monotonic() + GRACE
                for worker in running:
                    worker.process.terminate()
            if deadline is not None and time.monotonic() > deadline:
                break
            for ready in wait([worker.connection for worker in running], timeout=0.2):
                worker = next(worker for worker in running if worker.connection is ready)
                try:
                    message = worker.connection.recv()
                except EOFError:
                    running.remove(worker)
                    outcomes.append(_end(worker, signals.received is not None))
                    on_end(outcomes[-1])
                    continue
                if isinstance(message, Progress):
                    on_progress(worker.settings, message)
                else:
                    worker.run = message
    finally:
        for worker in running:
            worker.process.kill()
            worker.process.join()
    outcomes += [Outcome(worker.settings, None, stopped=True) for worker in running]
    return outcomes + [Outcome(settings, None, stopped=True) for settings in waiting]


def _start(settings: TrainSettings, logs: Path) -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    log = logs / f"{settings.core}-seed{settings.seed}.log"
    process = context.Process(target=_work, args=(settings, log, there), name=log.stem)
    with ctrl_c_ignored():  # a terminal sends Ctrl-C to the workers too; this process tells them what to do
        process.start()
    there.close()  # so that its end is seen here when the worker dies
    return _Worker(settings, process, here, log)


def _work(settings: TrainSettings, log: Path, connection: Connection) -> None:
    """One training in a process of its own. An error ends it with a traceback in the log."""
    with _output_to(log):
        try:
            connection.send(train(settings, connection.send).run)
        except Interrupted:
            sys.exit(128 + signal.SIGTERM)


def _end(worker: _Worker, stopping: bool) -> Outcome:
    worker.process.join()
    worker.connection.close()
    if worker.run is not None and worker.process.exitcode == 0:
        if worker.log.is_file() and not worker.log.stat().st_size:
            worker.log.unlink()
        return Outcome(worker.settings, worker.run)
    if stopping:
        return Outcome(worker.settings, None, stopped=True)
    code = worker.process.exitcode or 0
    signum = -code if code < 0 else code - 128
    if signum in set(signal.Signals):
        error = f"ended by {signal.Signals(signum).name}"
    else:
        lines = worker.log.read_text(encoding="utf-8", errors="replace").split("\n") if worker.log.is_file() else []
        error = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
    return Outcome(worker.settings, None, error=f"{error} (see {worker.log})")


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Send what this process prints, libraries in C included, to a file and not into the progress bars."""
    with log.open("w", encoding="utf-8", buffering=1) as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
        yield
