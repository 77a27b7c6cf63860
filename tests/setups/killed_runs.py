"""Runs a command again and again, killed at random moments: ``killed_runs.py ROUNDS OUT ARGS...``.

In a process of its own, for it forks: the imports are made once, and a round takes as long as the
command's own work. Prints how many rounds were killed before they were done.
"""

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy.lib.npyio  # noqa: F401 - what the command loads while it works
import PIL.PngImagePlugin  # noqa: F401

from entityseg_bench.cli import main


def content(folder):
    """Return every file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def begin(arguments, limit=None):
    """Run the command in a fork; return its process id."""
    child = os.fork()
    if child:
        return child
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        if limit is not None:
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            sys.stderr = nowhere
        code = main(arguments)
    os._exit(code)


def end(child):
    """Wait for a process and return its exit code; that of a killed one is negative."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(whole, out):
    """Run to the end and compare with the undisturbed run."""
    assert end(begin([*arguments, str(out)])) == 0
    found = content(out)
    assert found.keys() == whole.keys(), sorted(found.keys() ^ whole.keys())
    assert found == whole
    shutil.rmtree(out)


if __name__ == "__main__":
    rounds, folder, arguments = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    out = folder / "out"
    start = time.monotonic()
    assert end(begin([*arguments, str(out)])) == 0
    duration = time.monotonic() - start
    whole = content(out)
    shutil.rmtree(out)
    rng = random.Random(rounds)
    n_killed = 0
    for _ in range(rounds):
        # Up to three kills on the way: a run that goes on is killed as well.
        for _ in range(rng.randint(1, 3)):
            child = begin([*arguments, str(out)])
            time.sleep(rng.uniform(0, duration))
            os.kill(child, signal.SIGKILL)
            n_killed += end(child) == -signal.SIGKILL
        check(whole, out)
    # A full disk: no file may be longer than so many bytes.
    longest = max(map(len, whole.values()))
    for limit in (0, 10, *rng.sample(range(11, longest), 6)):
        assert end(begin([*arguments, str(out)], limit)) == 2
        check(whole, out)
    print(n_killed)
