"""Environments in processes of their own, where one that fails or hangs says so."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import (
    CloudpickleWrapper,
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from .worker_process import Failure, serve

START = 60.0  # seconds that a process may take to start after the one before it has
GRACE = 10.0  # seconds that all processes together have for closing their environments before they are ended


class WorkerError(RuntimeError):
    """An environment failed in its process.

    Attributes:
        index: which of the environments.
        what: what happened, in one line.
        where: the traceback in its process; empty if there is none.
    """

    def __init__(self, index: int, what: str, where: str = "") -> None:
        super().__init__(index, what, where)
        self.index, self.what, self.where = index, what, where

    def __str__(self) -> str:
        return f"environment {self.index}: {self.what}" + (f"\n\nIn its process:\n{self.where}" if self.where else "")


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection
    stack: Connection  # where a process that hangs writes its stack


class WorkerVecEnv(VecEnv):
    """As Stable-Baselines3's `SubprocVecEnv`, but an environment that fails ends in a `WorkerError` that names it.

    It is raised for an exception in an environment, for a process that was killed, and for one that does not answer in
    time. After one in making, resetting or stepping an environment, all processes are ended. `close` waits a few
    seconds for the environments to close, then ends their processes. Rewards are float32.

    Args:
        env_fns: functions that make one environment each; as in Stable-Baselines3, lambdas too.
        timeout: seconds in which every process must have answered; None: no limit. Starting does not count.

    Raises:
        ValueError: no environment, or a timeout that is not positive.
        WorkerError: one cannot be made.
    """

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env[Any, Any]]], timeout: float | None = 300.0) -> None:
        if not env_fns:
            raise ValueError("env_fns: none given, at least one needed")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout: {timeout} given, seconds above 0 or None needed")
        self.timeout = timeout
        self._workers: list[_Worker] = []
        # Also when nobody closes: at the end of the program, or when this object is no longer used.
        self._end = weakref.finalize(self, _end_all, self._workers)
        try:
            with _ctrl_c_ignored():
                for _ in env_fns:
                    self._workers.append(_start())
            for index, make in enumerate(env_fns):
                self._receive(index, START, "start")
                self._send(index, "make", CloudpickleWrapper(make))
            (observations, actions), *_ = self._answers(range(len(env_fns)), "make", fatal=True)
            super().__init__(len(env_fns), observations, actions)
        except BaseException:
            self.close()
            raise

    def reset(self) -> VecEnvObs:
        """Start an episode in every environment; seeds and options count once."""
        self._send_all("reset", enumerate(zip(self._seeds, self._options, strict=True)))
        obs, infos = zip(*self._answers(range(self.num_envs), "reset", fatal=True), strict=True)
        self.reset_infos = list(infos)
        self._reset_seeds()
        self._reset_options()
        return _stack(obs, self.observation_space)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Send the actions."""
        self._send_all("step", ((index, (action,)) for index, action in enumerate(actions)))

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for all answers."""
        answers = self._answers(range(self.num_envs), "step", fatal=True)
        obs, rewards, dones, infos, reset_infos = zip(*answers, strict=True)
        for index in np.flatnonzero(dones):
            self.reset_infos[index] = reset_infos[index]
        return _stack(obs, self.observation_space), np.array(rewards, np.float32), np.array(dones, bool), list(infos)

    def close(self) -> None:
        """Close the environments and end their processes; those that do not answer are killed."""
        self._end()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture of each environment."""
        if self.render_mode != "rgb_array":
            warnings.warn(
                f"render_mode is {self.render_mode!r}; there are pictures with 'rgb_array' only", stacklevel=2
            )
            return [None] * self.num_envs
        return self.env_method("render")

    def has_attr(self, attr_name: str) -> bool:
        """Whether every environment has an attribute."""
        return all(self._ask(None, "has_attr", attr_name))

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the environments, wrappers included.

        Raises:
            AttributeError: there is none of that name.
        """
        return self._ask(indices, "get_attr", attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Give an attribute of the environments a value."""
        self._ask(indices, "set_attr", attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call a method of the environments."""
        return self._ask(indices, "env_method", method_name, args, kwargs)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Whether the environments are wrapped in a class."""
        return self._ask(indices, "is_wrapped", wrapper_class)

    def _ask(self, indices: VecEnvIndices, command: str, *arguments: Any) -> list[Any]:
        chosen = list(range(len(self._workers)) if indices is None else self._get_indices(indices))
        if not self._end.alive:
            raise WorkerError(chosen[0] if chosen else 0, "its process was ended; make new environments")
        self._send_all(command, ((index, arguments) for index in chosen))
        return self._answers(chosen, command, fatal=False)

    def _send_all(self, command: str, messages: Iterable[tuple[int, tuple[Any, ...]]]) -> None:
        """Send each its own. If one cannot be sent all are ended, lest later commands get the answers to this one."""
        try:
            for index, arguments in messages:
                self._send(index, command, *arguments)
        except BaseException:
            self.close()
            raise

    def _send(self, index: int, command: str, *arguments: Any) -> None:
        if not self._end.alive:
            raise WorkerError(index, "its process was ended; make new environments")
        try:
            self._workers[index].connection.send((command, arguments))
        except OSError:
            self._lost(index, command)

    def _answers(self, chosen: Sequence[int], command: str, fatal: bool) -> list[Any]:
        """An answer of each, in their order; the first failure is raised, and ends all processes if it is fatal."""
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        answers = []
        try:
            for index in chosen:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                answers.append(self._receive(index, left, command))
                if fatal and isinstance(answers[-1], Failure):
                    break
        except BaseException:  # Ctrl-C too: a later command would get the answers to this one
            self.close()
            raise
        for index, answer in zip(chosen, answers, strict=False):
            if isinstance(answer, Failure):
                if fatal:
                    self.close()
                elif answer.kind == "AttributeError":
                    raise AttributeError(answer.message)
                raise WorkerError(index, f"{answer.kind} in {command}: {answer.message}", answer.where)
        return answers

    def _receive(self, index: int, seconds: float | None, command: str) -> Any:
        connection = self._workers[index].connection
        try:
            if connection.poll(seconds):
                return connection.recv()
        except (EOFError, OSError):
            self._lost(index, command)
        where = _stack_of(self._workers[index])
        self.close()
        limit = START if command == "start" else self.timeout
        raise WorkerError(index, f"no answer to {command} within {limit:g} s", where)

    def _lost(self, index: int, command: str) -> None:
        """The process has ended."""
        process = self._workers[index].process
        process.join(GRACE)
        code = process.exitcode
        self.close()
        what = f"its process ended in {command}, with exit code {code}"
        if command == "start":
            what += "; a script that makes environments needs `if __name__ == '__main__':`"
        if code is not None and code < 0:
            what = f"its process was killed in {command}, by {signal.Signals(-code).name}"
            what += " (out of memory?)" if -code == 9 else ""
        raise WorkerError(index, what) from None


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, which a terminal sends to all: their parent decides."""
    if threading.current_thread() is not threading.main_thread():  # has no handlers to change
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _start() -> _Worker:
    context: Any = multiprocessing.get_context("spawn")
    if "forkserver" in multiprocessing.get_all_start_methods():
        # One process imports this file and what it needs, the others are copies of it: quicker, and less memory.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
    here, there = context.Pipe()
    stack_here, stack_there = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(there, stack_there), daemon=True)
    process.start()
    there.close()  # so that the end of the process is seen here
    stack_there.close()
    return _Worker(process, here, stack_here)


def _end_all(workers: list[_Worker]) -> None:
    """End the processes: the end of its connection asks each to close its environment."""
    for worker in workers:
        worker.connection.close()
    deadline = time.monotonic() + GRACE
    for end in (None, BaseProcess.terminate, BaseProcess.kill):
        for worker in workers:
            if end is not None and worker.process.is_alive():
                end(worker.process)
        for worker in workers:
            # A killed process ends for certain.
            worker.process.join(None if end is BaseProcess.kill else max(0.0, deadline - time.monotonic()))
        deadline = time.monotonic() + 1.0
    for worker in workers:
        worker.stack.close()
    workers.clear()


def _stack_of(worker: _Worker) -> str:
    """Where in its code a process hangs, as its fault handler tells; empty where there is none."""
    if sys.platform == "win32" or worker.process.pid is None:
        return ""
    os.kill(worker.process.pid, signal.SIGUSR1)
    if not worker.stack.poll(1.0):
        return ""
    time.sleep(0.1)  # it is written in pieces
    return os.read(worker.stack.fileno(), 2**16).decode(errors="replace")


def _stack(parts: Sequence[Any], space: spaces.Space[Any]) -> VecEnvObs:
    """Observations of the environments in one array, or in a dict of arrays."""
    if isinstance(space, spaces.Dict):
        return {key: _stack([part[key] for part in parts], inner) for key, inner in space.items()}  # type: ignore[misc]
    return np.stack(parts).astype(space.dtype, copy=False)
