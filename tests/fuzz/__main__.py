"""Fuzz the readers for long: ``python tests/fuzz [TARGET ...] --runs N --seed K``.

Findings are kept in a folder, each with the bytes that made it; a fixed one moves into ``corpus``.
What is running is always the damaged file of the target, so that a crash leaves its cause.
"""

import argparse
import faulthandler
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_codes
from fuzz_targets import Target, targets

# A run that computes longer, or waits longer, is a finding, seconds; a busy machine is none. And
# memory that a run may take, bytes.
LONGEST, LONGEST_WAIT = 60, 600
MOST_MEMORY = 8 << 30
# Runs of codes between two lines of progress.
BATCH = 100_000


def main() -> int:
    """Run, say how far it is, and return 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["codes", *targets()]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names))
    parser.add_argument("--runs", type=int, default=100_000, help="of each (default: 100000)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="most, of each")
    parser.add_argument("--seed", type=int, default=0, help="number of the first run (default: 0)")
    parser.add_argument("--findings", type=Path, default=Path("findings"), metavar="DIR")
    args = parser.parse_args()
    unknown = set(args.targets) - set(names)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    # What the signal does by itself is to end the process.
    faulthandler.register(signal.SIGPROF, chain=True)
    found = 0
    for name in args.targets or names:
        found += run_codes(args) if name == "codes" else run_files(targets()[name], args)
    return int(found > 0)


def run_codes(args: argparse.Namespace) -> int:
    """Run the target of single codes; it stops at the first finding."""
    done, right, start = 0, 0, time.monotonic()
    while done < args.runs and time.monotonic() - start < args.seconds:
        right += fuzz_codes.run(args.seed + done, min(BATCH, args.runs - done))[0]
        done += min(BATCH, args.runs - done)
        say("codes", done, right, 0)
    return 0


def run_files(target: Target, args: argparse.Namespace) -> int:
    """Run a target of files."""
    found: dict[str, int] = {}
    right, start = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        target.begin(Path(folder))
        seed = args.seed
        while seed - args.seed < args.runs and time.monotonic() - start < args.seconds:
            data = target.one(seed)
            signal.setitimer(signal.ITIMER_PROF, LONGEST)
            faulthandler.dump_traceback_later(LONGEST_WAIT, exit=True)
            try:
                right += target.run(data)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                place = traceback.extract_tb(error.__traceback__)[-1]
                kind = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
                found[kind] = found.get(kind, 0) + 1
                if found[kind] == 1:
                    keep(args.findings / target.name, kind, data)
            seed += 1
            if (seed - args.seed) % 5000 == 0:
                say(target.name, seed - args.seed, right, len(found))
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        say(target.name, seed - args.seed, right, len(found))
    return len(found)


def keep(folder: Path, kind: str, data: bytes) -> None:
    """Write down a finding of a new kind."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / str(len(list(folder.iterdir())))
    path.write_bytes(data)
    print(f"{kind}, kept as {path}")
    traceback.print_exc(limit=-3)


def say(name: str, runs: int, right: int, kinds: int) -> None:
    """Print one line of progress."""
    print(f"{name}: {runs:,} runs, {right:,} taken, {kinds} kinds of findings", flush=True)


if __name__ == "__main__":
    sys.exit(main())
