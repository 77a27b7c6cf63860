"""Names that files tell: a name from a file never leads out of its folder."""

import contextlib
import contextvars
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from entityseg_bench.io import InputError

__all__ = [
    "check_name",
    "inside",
    "is_there",
    "leads_out",
    "lies_in",
    "outside_allowed",
    "outside_is_allowed",
    "real_path",
]

# Of one part of a path, in bytes; of most file systems.
LONGEST = 255
HINT = "Name the folder that holds it, or allow it with --allow-outside."

_allowed = contextvars.ContextVar("allow_outside", default=False)


@contextlib.contextmanager
def outside_allowed(allowed: bool = True) -> Iterator[None]:
    """Let files that are opened in the block name others anywhere on this machine.

    It is the option ``--allow-outside`` of every command, and for files that can be trusted.
    """
    before = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(before)


def outside_is_allowed() -> bool:
    """Tell whether `outside_allowed` holds."""
    return _allowed.get()


def inside(
    folder: str | Path, name: str, place: str = "", allow_outside: bool | None = None
) -> Path:
    """Return the path of a file that another file names, below its folder.

    The other file may come from anywhere: it must not make a command read, and copy into its
    output, what lies elsewhere on the machine. A link in the folder counts as the place that it
    leads to. The file itself need not be there.

    Args:
        folder: Where the named file has to be.
        name: As it was read, with ``/`` between its parts.
        place: Where it was read, for the error.
        allow_outside: Take any name that can be one of a file; None asks `outside_allowed`.

    Raises:
        InputError: The name leads out of the folder, by ``..``, as an absolute path of any system
            or over a link; or it cannot be the name of a file.
    """
    allowed = outside_is_allowed() if allow_outside is None else allow_outside
    folder = Path(folder)
    check_name(folder, name, place, allowed)
    if not allowed and not lies_in(folder, name):
        raise leads_out(folder, name, place)
    return folder / name


def check_name(folder: str | Path, name: str, place: str, allow_outside: bool) -> None:
    """Check a name by itself, whatever lies in the folder; see `inside`.

    Raises:
        InputError: It goes up, is absolute, or cannot be the name of a file.
    """
    if not name or "\0" in name:
        raise InputError(folder, place, f"{name!r} is no name of a file.")
    try:
        longest = max(len(os.fsencode(part)) for part in PurePosixPath(name).parts or (".",))
    except UnicodeEncodeError:
        raise InputError(folder, place, f"{name!r} is no name of a file.") from None
    if longest > LONGEST:
        what = f"a part of the name {name[:40]!r}... has {longest} bytes; {LONGEST} is the most."
        raise InputError(folder, place, what)
    windows = PureWindowsPath(name)
    absolute = name.startswith("/") or windows.drive or windows.root
    if not allow_outside and (absolute or ".." in windows.parts):
        raise leads_out(folder, name, place)


def leads_out(folder: str | Path, name: str, place: str) -> InputError:
    """Make the error of a name that leads out of its folder."""
    return InputError(folder, place, f"{name!r} leads out of this folder.", HINT)


def lies_in(folder: Path, name: str) -> bool:
    """Tell whether a checked name is below its folder once every link is followed."""
    path = str(folder)
    for part in name.split("/"):
        path = os.path.join(path, part)  # noqa: PTH118 - a thousand names are asked for
        if os.path.islink(path):  # noqa: PTH114
            break
    else:
        return True
    return real_path(folder / name).is_relative_to(real_path(folder))


def real_path(path: str | Path) -> Path:
    """Follow every link of a path; links that go round in a circle stay as they are."""
    return Path(os.path.realpath(path))


def is_there(path: Path) -> bool:
    """Tell whether there is such a file; of a name that no file can have there is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
