"""Names that files tell: a name from a file never leads out of its folder."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from entityseg_bench.io import InputError

__all__ = ["inside"]

# Of one part of a path, in bytes; of most file systems.
LONGEST = 255
HINT = "Name the folder that holds it, or allow it with --allow-outside."


def inside(folder: str | Path, name: str, place: str = "", allow_outside: bool = False) -> Path:
    """Return the path of a file that another file names, below its folder.

    The other file may come from anywhere: it must not make a command read, and copy into its
    output, what lies elsewhere on the machine. A link in the folder counts as the place that it
    leads to. The file itself need not be there.

    Args:
        folder: Where the named file has to be.
        name: As it was read, with ``/`` between its parts.
        place: Where it was read, for the error.
        allow_outside: Take any name that can be one of a file.

    Raises:
        InputError: The name leads out of the folder, by ``..``, as an absolute path of any system
            or over a link; or it cannot be the name of a file.
    """
    folder = Path(folder)
    if not name or "\0" in name:
        raise InputError(folder, place, f"{name!r} is no name of a file.")
    try:
        longest = max(len(os.fsencode(part)) for part in PurePosixPath(name).parts or (".",))
    except UnicodeEncodeError:
        raise InputError(folder, place, f"{name!r} is no name of a file.") from None
    if longest > LONGEST:
        what = f"a part of the name {name[:40]!r}... has {longest} bytes; {LONGEST} is the most."
        raise InputError(folder, place, what)
    path = folder / name
    if not allow_outside and (_leads_out(name) or not _lies_in(path, folder)):
        raise InputError(folder, place, f"{name!r} leads out of this folder.", HINT)
    return path


def _leads_out(name: str) -> bool:
    """Tell whether a name is absolute, or goes up, on any system."""
    windows = PureWindowsPath(name)
    return bool(name.startswith("/") or windows.drive or windows.root or ".." in windows.parts)


def _lies_in(path: Path, folder: Path) -> bool:
    """Tell whether a path is below a folder once every link is followed."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that go round in a circle
        return False
