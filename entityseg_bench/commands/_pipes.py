"""``-`` for a path: predictions from standard input, results to standard output."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["piped"]

# A gzip file begins so.
GZIP = b"\x1f\x8b"


@contextlib.contextmanager
def piped(args: argparse.Namespace) -> Iterator[None]:
    """Let ``args.pred`` and ``args.json`` be ``-`` while a verb runs.

    Predictions are JSON, plain or compressed. Where the result goes to standard output, everything
    else that the verb prints goes to standard error, and nothing is written unless it succeeds.
    """
    if "-" not in (args.pred, args.json):
        yield
        return
    import tempfile  # brings much along

    with tempfile.TemporaryDirectory() as folder:
        if args.pred == "-":
            args.pred = str(_spooled(Path(folder)))
        if args.json != "-":
            yield
            return
        result = Path(folder) / "result.json"
        args.json, out = str(result), sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield
        out.write(result.read_text(encoding="utf-8"))


def _spooled(folder: Path) -> Path:
    """Copy standard input to a file that bears its name."""
    import shutil  # brings archives along

    source = sys.stdin.buffer
    head = source.read(len(GZIP))
    path = folder / ("stdin.json.gz" if head == GZIP else "stdin.json")
    with path.open("wb") as target:
        target.write(head)
        shutil.copyfileobj(source, target)
    return path
