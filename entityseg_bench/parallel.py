"""Work on image after image: in all processes, in order, with a journal to resume from."""

import collections
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from entityseg_bench.io import InputError

__all__ = ["Journal", "in_order"]

Work = Callable[[int], Any]

# Images asked for ahead of the one that is written: enough to keep the processes busy.
AHEAD = 8

_work: Work | None = None


def in_order(work: Work, indices: range, jobs: int = 1) -> Iterator[Any]:
    """Yield ``work(idx)`` for each index in turn, computed in ``jobs`` processes.

    Args:
        work: A picklable callable; what it carries is sent to each process once.
        indices: What it is called with.
        jobs: Processes; 1 works in this one.

    Raises:
        InputError: The first one that the work raises.
    """
    if jobs <= 1 or len(indices) <= 1:
        yield from map(work, indices)
        return
    # Spawned, not forked: the caller may run threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(indices)), context, _start, (work,))
    waiting: collections.deque[Future[Any]] = collections.deque()
    try:
        for idx in indices:
            waiting.append(pool.submit(_call, idx))
            if len(waiting) > AHEAD * jobs:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(work: Work) -> None:
    global _work
    _work = work


def _call(idx: int) -> tuple[Any, tuple[str, str, str, str] | None]:
    assert _work is not None
    try:
        return _work(idx), None
    except InputError as error:
        return None, (error.file, error.where, error.what, error.mend)


def _result(future: Future[Any]) -> Any:
    result, error = future.result()
    if error:
        raise InputError(*error)
    return result


class Journal:
    """Keep the result of each image on disk as it is made, so that a broken run can go on.

    Args:
        path: The journal; it is removed by `finish`.
        identity: What makes two runs the same: sources and options.

    Raises:
        InputError: The journal there is of a run with another identity.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        # Escaped to ASCII: a path may hold bytes that the locale's encoding does not know.
        self._head = json.dumps({"identity": identity}).encode() + b"\n"
        self.n_done = 0
        if path.is_file():
            self._take_up()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._head)

    def _take_up(self) -> None:
        """Count the whole lines of an earlier run and cut off a torn last one."""
        with self.path.open("r+b") as file:
            if file.readline() != self._head:
                raise InputError(
                    self.path,
                    "",
                    "an unfinished conversion of something else is here.",
                    "Finish it as it was begun, or delete this file to start anew.",
                )
            end = file.tell()
            while line := file.readline():
                if not line.endswith(b"\n"):
                    break
                end = file.tell()
                self.n_done += 1
            file.truncate(end)

    def run(self, work: Work, total: int, jobs: int, label: str | None = None) -> None:
        """Do what is left of ``total`` images; ``label`` shows a bar on a terminal."""
        from tqdm import tqdm

        silent = label is None or not sys.stderr.isatty()
        left = range(self.n_done, total)
        bar = tqdm(total=total, initial=self.n_done, desc=label, unit="image", disable=silent)
        with bar, self.path.open("ab") as file:
            for result in in_order(work, left, jobs):
                file.write(msgspec.json.encode(result) + b"\n")
                file.flush()
                self.n_done += 1
                bar.update()

    def lines(self) -> Iterator[bytes]:
        """Yield the result of each image in order, as JSON."""
        with self.path.open("rb") as file:
            file.readline()
            yield from file

    def results(self) -> Iterator[Any]:
        """Yield the result of each image in order."""
        return map(msgspec.json.decode, self.lines())

    def finish(self) -> None:
        """Remove the journal: everything made from it is written."""
        self.path.unlink()
