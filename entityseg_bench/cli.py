"""The command ``entityseg``: one verb a module of `entityseg_bench.commands`."""

import argparse
import atexit
import contextlib
import gc
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from entityseg_bench.io import InputError, collector_paused, printable
from entityseg_bench.names import outside_allowed
from entityseg_bench.parser import Parser, did_you_mean
from entityseg_bench.stopping import exit_code, stoppable

__all__ = ["main"]

BLAS_THREADS = "OPENBLAS_NUM_THREADS"

COMMANDS = Path(__file__).parent / "commands"

# Control characters that lay out what a command prints itself.
LAYOUT = "\n\t\r"
LAYOUT_OR_NOT = re.compile(r"[\n\t\r]|[^\n\t\r]+")


def verbs() -> dict[str, str]:
    """Return every verb with its help line, read without importing its module."""
    import ast

    found = {}
    for path in sorted(COMMANDS.glob("[a-z]*.py")):
        doc = ast.get_docstring(ast.parse(path.read_bytes())) or ""
        found[path.stem.replace("_", "-")] = doc.partition("\n")[0]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    Returns:
        0, done; 1, problems found; 2, it could not be done; 130, 143 and 129, stopped by Ctrl-C, by
        SIGTERM or with its terminal (SIGHUP), with what is done kept.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by who started this: what is printed goes nowhere, what is written is written.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8", newline="\n"))  # noqa: SIM115
    if argv is None:
        # The process ends with this: its records need not be walked once more for cycles.
        atexit.register(gc.freeze)
    try:
        with stoppable():
            return begin(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt as error:
        print("entityseg: stopped", file=sys.stderr)
        return exit_code(error)


def begin(argv: list[str]) -> int:
    """Run the verb that the arguments name, or answer without one."""
    module = argv[0].replace("-", "_") if argv else ""
    # In small letters: the disks of macOS and Windows also find files by other ones.
    is_name = module.isidentifier() and module.islower() and module[0] != "_"
    if is_name and (COMMANDS / f"{module}.py").is_file():
        return run_verb(argv[0], argv[1:])
    parser = Parser(
        prog="entityseg",
        description="Score, load, convert and reproduce the EntitySeg benchmark.",
        epilog="verbs:\n" + "\n".join(f"  {name:12} {text}" for name, text in verbs().items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.add_argument("verb", nargs="?", help="one of the verbs below; VERB --help tells more")
    parser.add_argument(
        "--completion",
        choices=("bash", "zsh", "fish"),
        help="print the completion of verbs and options for a shell, and stop: "
        'eval "$(entityseg --completion bash)"',
    )
    args = parser.parse_args(argv)
    if args.version:
        from entityseg_bench import __version__

        print(__version__)
        return 0
    if args.completion:
        from entityseg_bench.completion import completion

        print(completion(args.completion, verbs()), end="")
        return 0
    if args.verb:
        names = ", ".join(verbs())
        guess = did_you_mean(args.verb, verbs())
        parser.error(f"there is no verb {args.verb!r}; the verbs are {names}{guess}")
    parser.print_help()
    return 2


def run_verb(name: str, argv: Sequence[str]) -> int:
    """Import one verb's module, parse its arguments, run it; what ends it becomes one line."""
    # Only the models multiply large matrices. Where anything else imports numpy, idle BLAS threads
    # would cost time at the start.
    blas_is_ours = BLAS_THREADS not in os.environ
    os.environ.setdefault(BLAS_THREADS, "1")
    with collector_paused():
        module = importlib.import_module(f"entityseg_bench.commands.{name.replace('-', '_')}")
    if hasattr(module, "main"):
        # Its arguments are another program's, which is imported only now: that of the models.
        if blas_is_ours:
            os.environ.pop(BLAS_THREADS, None)
        try:
            return int(module.main(argv, f"entityseg {name}"))
        except ModuleNotFoundError as error:
            print(f"entityseg {name}: {_missing(error)}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as error:
            print(f"entityseg {name}: stopped", file=sys.stderr)
            return exit_code(error)
    parser = Parser(
        prog=f"entityseg {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parsed(parser, argv)
    with (
        contextlib.redirect_stdout(Shown(sys.stdout)),
        contextlib.redirect_stderr(Shown(sys.stderr)),
    ):
        code, reason = outcome(module, args)
        if reason:
            print(f"entityseg {name}: {reason}", file=sys.stderr)
    return code


def outcome(module: ModuleType, args: argparse.Namespace) -> tuple[int, str]:
    """Run a verb; return its exit code and, in one line, why it could not be done."""
    try:
        with outside_allowed(getattr(args, "allow_outside", False)):
            return int(module.run(args)), ""
    except InputError as error:
        return 2, str(error)
    except ModuleNotFoundError as error:
        return 2, _missing(error)
    except BrokenPipeError:
        # The reader (head, less) has gone: nobody is left to tell, and exit must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1, ""
    except OSError as error:
        what = printable(error.strerror or str(error) or "it cannot be used")
        return 2, f"{printable(str(error.filename))}: {what}." if error.filename else f"{what}."
    except MemoryError:
        return 2, "it needs more memory than there is."
    except KeyboardInterrupt as error:
        return exit_code(error), "stopped"


class Shown:
    """A text stream that shows names from files and lets none of them steer the terminal.

    What the stream's encoding does not have is escaped, too, instead of ending the command.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; its lines and columns, and the return of a progress bar, stay."""
        shown = "".join(
            part if part in LAYOUT else printable(part) for part in LAYOUT_OR_NOT.findall(text)
        )
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of a verb; options may stand between its paths."""
    try:
        return parser.parse_intermixed_args(argv)
    except TypeError:
        # Verbs that have verbs of their own are not parsed so.
        return parser.parse_args(argv)


# Import name of each optional library -> the extra that brings it.
EXTRAS = {
    "matplotlib": "plot", "skimage": "demo", "scipy": "demo",
    "datasets": "hf", "pyarrow": "parquet", "pandas": "notebooks", "torch": "baselines",
    "safetensors": "baselines", "yaml": "baselines", "huggingface_hub": "hub", "ray": "ray",
    "fsspec": "ray",
}  # fmt: skip


def _missing(error: ModuleNotFoundError) -> str:
    name = (error.name or "").partition(".")[0]
    if name not in EXTRAS:
        raise error
    return f"this needs {name}; run: pip install 'entityseg-bench[{EXTRAS[name]}]'"


if __name__ == "__main__":
    sys.exit(main())
