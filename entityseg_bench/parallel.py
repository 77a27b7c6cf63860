"""Work on image after image: in all processes, in order, with a journal to resume from."""

import collections
import contextlib
import errno
import json
import multiprocessing
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import msgspec

from entityseg_bench.io import InputError, locked
from entityseg_bench.stopping import ENDING

__all__ = ["Journal", "Line", "in_order", "lines_of"]

Work = Callable[[int], Any]

# Images asked for ahead of the one that is written: enough to keep the processes busy.
AHEAD = 8

# Windows waits for no more than 64 processes, and Python's own pool for 61.
MOST_ON_WINDOWS = 61

# Checks that a line is JSON without making anything of it.
RAW = msgspec.json.Decoder(msgspec.Raw)

_work: Work | None = None


def in_order(work: Work, indices: range, jobs: int = 1) -> Generator[Any, None, None]:
    """Yield ``work(idx)`` for each index in turn, computed in ``jobs`` processes.

    The processes end with this generator, and with the process that it runs in, however that one
    ends: each holds the end of a pipe whose other end is here.

    Args:
        work: A picklable callable; what it carries is sent to each process once.
        indices: What it is called with.
        jobs: Processes; 1 works in this one.

    Raises:
        InputError: The first one that the work raises, or a process was killed.
    """
    if jobs <= 1 or len(indices) <= 1:
        yield from map(work, indices)
        return
    # Spawned, not forked: the caller may run threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    n_processes = min(jobs, len(indices), MOST_ON_WINDOWS if sys.platform == "win32" else jobs)
    with _signals_held():
        pool = ProcessPoolExecutor(n_processes, context, _start, (work, theirs))
    waiting: collections.deque[Future[Any]] = collections.deque()
    try:
        for idx in indices:
            with _signals_held():
                waiting.append(pool.submit(_call, idx))
            if len(waiting) > AHEAD * jobs:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    except BrokenProcessPool:
        what = "one of the processes was killed, perhaps for want of memory."
        raise InputError("processes", "", what, "Try fewer with --jobs.") from None
    except BaseException:
        # Not to wait for work that nobody wants any more.
        ours.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ours.close()
        theirs.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Keep Ctrl-C and the other signals that end a command waiting while processes are started.

    A process whose start is broken off prints a traceback. What a terminal sends to all processes
    stays kept from those that are started: it is this one's to stop them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDING})
    try:
        # Another thread may be given the signal, and Python handles it in the main one.
        with _handlers_held():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _handlers_held() -> Iterator[None]:
    """Let the handlers of these signals run when the block has ended, not within it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    held = {}
    for number in (signal.SIGINT, *ENDING):
        # Only handlers of Python run within the block.
        if callable(handler := signal.getsignal(number)):
            held[int(number)] = handler
            signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for own, handler in held.items():
            signal.signal(own, handler)
        for own, frame in came[:1]:
            held[own](own, frame)


def _start(work: Work, pipe: Connection) -> None:
    global _work
    _work = work
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()


def _end_with(pipe: Connection) -> None:
    """End this process when the other end of a pipe is closed."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv_bytes()
    os._exit(1)


def _call(idx: int) -> tuple[Any, tuple[str, str, str, str] | None]:
    assert _work is not None
    try:
        return _work(idx), None
    except InputError as error:
        return None, (error.file, error.where, error.what, error.hint)


def _result(future: Future[Any]) -> Any:
    result, error = future.result()
    if error:
        raise InputError(*error)
    return result


class Line(NamedTuple):
    """Hold one result as it was written, JSON with its line end, and the byte it begins at."""

    offset: int
    text: bytes


class Journal:
    """Keep each result of a run on disk as it is made.

    The first line of the file says what the run is, each further one holds a result. A killed
    process leaves whole lines and at most one that is torn, and a full disk perhaps no line at all:
    the next run goes on after what is whole, or begins anew where there is no result yet. Nobody
    else can use the journal while it is open.

    Args:
        path: The journal; it is removed by `finish`.
        identity: What makes two runs the same, as plain values: sources, options, version. See
            `formats.identity`.
        kind: Type of each result; a line that holds no such is torn.

    Attributes:
        head: The first line.
        n_done: How many results it holds.

    Raises:
        InputError: The journal there holds results of a run with another identity, or another
            process is writing it.
    """

    def __init__(self, path: Path, identity: dict[str, Any], kind: Any = Any) -> None:
        self._held = contextlib.ExitStack()
        self.path = path
        # Escaped to ASCII: a path may hold bytes that the locale's encoding does not know.
        self.head = json.dumps({"identity": identity}, sort_keys=True).encode() + b"\n"
        self.n_done = 0
        self._decoder = msgspec.json.Decoder(kind)
        self._held.enter_context(locked(path))
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Of a run that failed after its results were made, in a process that goes on.
        self.close()

    def close(self) -> None:
        """Let others use the journal; what is in it stays."""
        self._held.close()

    def _take_up(self) -> None:
        """Count the whole lines of an earlier run and cut off the rest, or begin anew."""
        flags = os.O_RDWR | os.O_CREAT
        for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"):
            flags |= getattr(os, name, 0)
        try:
            descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            what = "it is a link, and no journal: what it leads to is left as it is."
            raise InputError(self.path, "", what, "Delete it.") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(self.path, "", "it is no journal.", "Delete it.")
        with open(descriptor, "r+b") as file:  # noqa: PTH123 - of what was opened
            head = file.readline()
            if head != self.head:
                if any(True for _ in lines_of(self.path)):
                    self._check_torn(head)
                file.seek(0)
                file.truncate()
                file.write(self.head)
                return
        end = len(self.head)
        for line in lines_of(self.path, self.head, self._decoder):
            end = line.offset + len(line.text)
            self.n_done += 1
        os.truncate(self.path, end)

    def _check_torn(self, head: bytes) -> None:
        """See that a first line is nobody's, since it was not written whole."""
        try:
            before = msgspec.json.decode(head)["identity"] if head.endswith(b"\n") else None
        except (msgspec.DecodeError, RecursionError, KeyError, TypeError):
            before = None
        if not isinstance(before, dict):
            return
        now = msgspec.json.decode(self.head)["identity"]
        changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        raise InputError(
            self.path,
            "",
            f"an unfinished run of something else is here, with another {', '.join(changed)}.",
            "Repeat its command to finish it, or delete this file to begin anew.",
        )

    def append(self, result: Any) -> None:
        """Add one result, at once and whole.

        Raises:
            OSError: It cannot be written; what was there before stays.
        """
        with self.path.open("ab") as file:
            self._append(file, result)

    def _append(self, file: Any, result: Any) -> None:
        try:
            file.write(msgspec.json.encode(result) + b"\n")
            file.flush()
        except OSError as error:
            # A full disk does not say which file it could not hold.
            error.filename = error.filename or str(self.path)
            raise
        self.n_done += 1

    def run(self, work: Work, total: int, jobs: int, label: str | None = None) -> None:
        """Do what is left of ``total`` images; ``label`` shows a bar on a terminal.

        A run that fails lets the journal go, so that the same process may try again.
        """
        from tqdm import tqdm

        silent = label is None or not sys.stderr.isatty()
        left = range(self.n_done, total)
        bar = tqdm(total=total, initial=self.n_done, desc=label, unit="image", disable=silent)
        try:
            with (
                bar,
                contextlib.closing(in_order(work, left, jobs)) as results,
                self.path.open("ab") as file,
            ):
                for result in results:
                    self._append(file, result)
                    bar.update()
        except BaseException:
            self.close()
            raise

    def lines(self) -> Iterator[bytes]:
        """Yield each result in the order in which they were added, as JSON."""
        return (line.text for line in lines_of(self.path, self.head))

    def results(self) -> Iterator[Any]:
        """Yield each result in the order in which they were added."""
        return map(self._decoder.decode, self.lines())

    def finish(self) -> None:
        """Remove the journal: everything made from it is written."""
        self.path.unlink()
        self.close()


def lines_of(
    path: Path, head: bytes | None = None, decoder: msgspec.json.Decoder[Any] = RAW
) -> Iterator[Line]:
    """Yield the whole results of a journal, up to the first that is torn.

    Args:
        path: The journal.
        head: Its first line; a journal with another one has no results. None takes any.
        decoder: Reads a result.
    """
    with path.open("rb") as file:
        offset = len(first := file.readline())
        if head not in (None, first):
            return
        for text in file:
            try:
                decoder.decode(text)
            except (msgspec.MsgspecError, RecursionError):
                # A computer that lost power may leave zeros where a line was.
                return
            if not text.endswith(b"\n"):
                return
            yield Line(offset, text)
            offset += len(text)
