"""How the command line says no: one line, before any work."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UsageError(ValueError):
    """What was asked for cannot be done; the message is one line that says what to do instead."""


class Interrupted(KeyboardInterrupt):
    """Training stopped by Ctrl-C (SIGINT) or SIGTERM, after saving what was learned.

    Attributes:
        signum: the signal that stopped it.
        run: the run directory.
        checkpoint: the saved model, or None if there was nothing to save yet.
        env_steps: environment steps trained.
    """

    def __init__(self, signum: int, run: Path, checkpoint: Path | None, env_steps: int) -> None:
        super().__init__(f"{signal.Signals(signum).name} after {env_steps} steps")
        self.signum = signum
        self.run = run
        self.checkpoint = checkpoint
        self.env_steps = env_steps


class Diverged(FloatingPointError):
    """A training whose loss became infinite or no number.

    Attributes:
        checkpoint: the best weights until then, or None if validation data was never looked at.
    """

    def __init__(self, error: FloatingPointError, checkpoint: Path | None) -> None:
        super().__init__(str(error))
        self.checkpoint = checkpoint


def one_line(error: BaseException) -> str:
    r"""The message of an error with its line breaks folded; its type where there is no message.

    >>> one_line(ValueError("first\n  second"))
    'first second'
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


@contextmanager
def usage_errors(*kinds: type[Exception], about: str = "") -> Iterator[None]:
    """Turn errors of these kinds into a `UsageError` while building what the user named.

    Meant for the few lines that hand the user's own words to a library, and never for the work itself: there,
    an error is a bug and its traceback is wanted.

    Args:
        kinds: errors that mean "the user's words were wrong" in this place.
        about: put in front of the message.
    """
    try:
        yield
    except UsageError:
        raise
    except kinds as error:
        raise UsageError(f"{about}{one_line(error)}") from error
