"""What runs in a process of its own that holds one environment: it answers commands until its connection ends."""

import faulthandler
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np


class Failure(NamedTuple):
    """What a process tells of an exception."""

    kind: str
    message: str
    where: str


def serve(connection: Connection, stack: Connection) -> None:
    """Answer (command, arguments) with a result or a `Failure`, until the connection ends.

    Args:
        connection: to whoever asks. The first answer, None, comes without a question: the process runs.
        stack: gets the stack of this process when SIGUSR1 comes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it
    np.random.seed()  # for environments that use it: not the state that the copied process had
    if sys.platform != "win32":
        faulthandler.register(signal.SIGUSR1, file=stack.fileno(), all_threads=False)
    env: Any = None
    try:
        connection.send(None)
        while True:
            try:
                command, arguments = connection.recv()
            except (EOFError, OSError):
                break
            except Exception as error:  # what should make the environment cannot be read here
                connection.send(_failure(error))
                continue
            answer: Any
            try:
                if command == "make":
                    env = arguments[0].var()
                    answer = env.observation_space, env.action_space
                else:
                    answer = _COMMANDS[command](env, *arguments)
            except Exception as error:
                answer = _failure(error)
            try:
                connection.send(answer)
            except OSError:
                raise
            except Exception as error:  # no pickle holds it
                connection.send(_failure(TypeError(f"cannot be sent: {error}")))
    except OSError:  # nobody wants the answer any more
        pass
    finally:
        if env is not None:
            env.close()


def _failure(error: Exception) -> Failure:
    return Failure(type(error).__name__, str(error), traceback.format_exc())


def _reset(env: Any, seed: int | None, options: dict[str, Any]) -> Any:
    return env.reset(seed=seed, options=options) if options else env.reset(seed=seed)


def _step(env: Any, action: Any) -> Any:
    obs, reward, terminated, truncated, info = env.step(action)
    info["TimeLimit.truncated"] = truncated and not terminated
    reset_info = None
    if terminated or truncated:
        info["terminal_observation"] = obs
        obs, reset_info = env.reset()
    return obs, reward, terminated or truncated, info, reset_info


def _is_wrapped(env: Any, wrapper_class: type[Any]) -> bool:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, wrapper_class):
            return True
        env = env.env
    return False


_COMMANDS: dict[str, Callable[..., Any]] = {
    "reset": _reset,
    "step": _step,
    "get_attr": lambda env, name: env.get_wrapper_attr(name),
    "has_attr": lambda env, name: env.has_wrapper_attr(name),
    "set_attr": setattr,
    "env_method": lambda env, name, args, kwargs: env.get_wrapper_attr(name)(*args, **kwargs),
    "is_wrapped": _is_wrapped,
}
