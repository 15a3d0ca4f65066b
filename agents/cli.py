"""The command `memrl`: finds the subcommand, reads its options, and ends bad input in one line.

Settings come from tyro over the dataclasses of `settings.py`. What a command needs is imported when it runs.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence

from .errors import Interrupted, UsageError
from .options import nearest
from .parsing import call, gather, parse, parse_request, parse_with_config
from .settings import (
    CompareCommand,
    CompareSettings,
    CoresSettings,
    EnvsSettings,
    EvalSettings,
    ExportSettings,
    TrainCommand,
    TrainSettings,
)


def train_command(words: Sequence[str]) -> int:
    """Train an agent with one memory core and evaluate it."""
    request = parse_request(TrainSettings, TrainCommand, words, "train")
    if request.zoo is not None and request.zoo.left_out:
        left_out = "; ".join(f"{key}: {why}" for key, why in request.zoo.left_out.items())
        print(f"memrl train: --zoo: not carried over: {left_out}", file=sys.stderr)
    if request.command.show_config:
        from .show_config import show_config

        return show_config(request)
    from .console import train_and_report

    return train_and_report(request.settings)


def compare_command(words: Sequence[str]) -> int:
    """Train several cores with several seeds, and compare them in a table and a plot."""
    settings = parse_with_config(CompareSettings, CompareCommand, words, "compare")
    from .compare import compare_and_report

    return compare_and_report(settings)


def fit_command(words: Sequence[str]) -> int:
    """Train a core under the head of a supervised task, or list the tasks."""
    from .fit_settings import parse_fit

    command = parse_fit(words)
    if command.list:
        from .fit_catalog import show_tasks

        return show_tasks(command.task)
    from .fit import fit_and_report

    return fit_and_report(command.settings())


def eval_command(words: Sequence[str]) -> int:
    """Evaluate the model of a run again."""
    settings = parse(EvalSettings, words, "eval")
    from .console import evaluate_and_report

    return evaluate_and_report(settings)


def export_command(words: Sequence[str]) -> int:
    """Write a run's policy as an ONNX or torch.export file."""
    settings = parse(ExportSettings, words, "export")
    from .console import export_and_report

    return export_and_report(settings)


def bench_command(words: Sequence[str]) -> int:
    """Measure speed and memory beside other libraries."""
    benchmarks = {
        "ppo": "environment steps per second of MemoryPPO and of sb3-contrib's RecurrentPPO",
        "cores": "steps per second and memory of the cores and of their peers",
        "envs": "steps per second of the environments and of POPGym's and MiniGrid's",
    }
    if words and words[0] in ("-h", "--help"):
        lines = "\n".join(f"  {name:<6} {what}" for name, what in benchmarks.items())
        print(f"usage: memrl bench {{{','.join(benchmarks)}}} [OPTIONS]\n\n{bench_command.__doc__}\n\n{lines}")
        return 0
    if not words:
        raise UsageError(f"which benchmark? known: {', '.join(benchmarks)}")
    if words[0] not in benchmarks:
        raise UsageError(f"unknown benchmark {words[0]!r}{nearest(words[0], benchmarks)}")
    from . import bench

    call(getattr(bench, f"bench_{words[0]}"), words[1:], f"bench {words[0]}")
    return 0


def cores_command(words: Sequence[str]) -> int:
    """List the memory cores with paper, options, parameters and bytes of state."""
    settings = parse(CoresSettings, words, "cores")
    from .catalog import show_cores

    return show_cores(settings)


def envs_command(words: Sequence[str]) -> int:
    """List the environments and what must be remembered in them."""
    settings = parse(EnvsSettings, gather(words), "envs")
    from .catalog import show_envs

    return show_envs(settings)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train_command,
    "compare": compare_command,
    "fit": fit_command,
    "eval": eval_command,
    "export": export_command,
    "bench": bench_command,
    "cores": cores_command,
    "envs": envs_command,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `memrl`; those of the process unless given.

    Returns:
        Exit code: 0 done, 1 part of the work failed, 2 bad input, 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    name, rest = words[0], words[1:]
    try:
        if name not in COMMANDS:
            raise UsageError(f"unknown command {name!r}{nearest(name, COMMANDS)}")
        return COMMANDS[name](rest)
    except UsageError as error:
        # Messages of commands are about their options, so the command goes in front of them.
        where = f"memrl {name}" if name in COMMANDS else "memrl"
        print(f"{where}: {error} (see {where} --help)", file=sys.stderr)
        return 2
    except Interrupted as stop:
        return 128 + stop.signum
    except KeyboardInterrupt:
        print(f"memrl {name}: stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # `memrl cores | head`: nobody reads on. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _overview() -> str:
    lines = [f"  {name:<8} {(command.__doc__ or '').strip()}" for name, command in COMMANDS.items()]
    head = "usage: memrl COMMAND [OPTIONS]\n\nAny memory plugs into any policy-gradient agent.\n\ncommands:\n"
    return head + "\n".join(lines) + "\n\n`memrl COMMAND --help` lists the options of a command with their defaults."


if __name__ == "__main__":
    sys.exit(main())
