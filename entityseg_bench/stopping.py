"""Signals that end a command: it stops at once, says one line, and keeps what is done."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

__all__ = ["ENDING", "Stopped", "exit_code", "run_child", "stoppable"]

# How long a command that was started may take to end when it is told to, seconds.
PATIENCE = 4.0
# What asks a command to end, beside Ctrl-C: `kill`, and a terminal that is closed.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """Say that a signal other than Ctrl-C asked the command to end; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn the signals of `ENDING` into `Stopped` while the block runs, as Ctrl-C unwinds it.

    One that is ignored, as SIGHUP is under ``nohup``, stays so. In other threads than the main one,
    where Python allows no handlers, nothing is changed.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, stop)
        for number in ENDING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            # A handler that was not set from Python cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def exit_code(error: KeyboardInterrupt) -> int:
    """Return the exit code by which shells tell a command that was stopped: 130, 143 or 129."""
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)


def run_child(command: Sequence[str]) -> int:
    """Run another command to its end and return its exit code; what stops this one stops it.

    Raises:
        KeyboardInterrupt: This process was told to end; the other one has ended.
    """
    import subprocess  # other commands start sooner without it

    with stoppable(), subprocess.Popen(command) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.terminate()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
