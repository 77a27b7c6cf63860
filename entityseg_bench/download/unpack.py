"""Unpack an archive safely: no path leaves its folder, no links, nothing larger than it may be."""

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from entityseg_bench.io import MOST_UNPACKED, InputError, atomic_path
from entityseg_bench.tars import open_tar, whole_members

__all__ = ["ARCHIVES", "Place", "is_archive", "unpack"]

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
COPY_BYTES = 1 << 20
# What archives of some systems hold beside the files.
BYSTANDERS = frozenset(("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"))
READ_ERRORS = (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError)

Place = Callable[[PurePosixPath], PurePosixPath | None]


class Member(NamedTuple):
    """One file of an archive: its path there, its size in bytes, and how it is opened."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def is_archive(name: str) -> bool:
    """Say whether a file is an archive, by the end of its name."""
    return name.lower().endswith(ARCHIVES)


def unpack(path: Path, folder: Path, place: Place) -> int:
    """Write the files of an archive below a folder; all are looked at before the first is written.

    Files that are there in the right size are left, so that what was interrupted goes on.

    Args:
        path: zip or tar, packed by gzip, bzip2 or xz or not at all.
        folder: Below which everything goes.
        place: Gives a member's path below `folder`, or None to leave it out.

    Returns:
        Number of files that the archive has for the folder.

    Raises:
        InputError: The archive is broken; a path leaves the folder; a member is a link or a
            device; two members would be one file; or it unpacks to `MOST_UNPACKED` times its size,
            or to more than the disk has room for.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as opened:
                return _write(path, folder, _planned(path, _zip_members(path, opened), place))
        with path.open("rb") as file, open_tar(file, "r:*") as packed:
            return _write(path, folder, _planned(path, _tar_members(path, packed), place))
    except READ_ERRORS as error:
        hint = "Remove it and download it again."
        raise InputError(path, "", f"the archive is broken: {error}.", hint) from None


def _zip_members(path: Path, opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(path, info.filename, "it is a link or a device")
        if not info.is_dir():
            yield Member(info.filename, info.file_size, partial(opened.open, info))


def _tar_members(path: Path, opened: tarfile.TarFile) -> Iterator[Member]:
    for info in whole_members(opened):
        if not (info.isreg() or info.isdir()):
            raise _refused(path, info.name, "it is a link or a device")
        if info.isreg():
            yield Member(info.name, info.size, partial(opened.extractfile, info))


def _planned(path: Path, members: Iterable[Member], place: Place) -> dict[PurePosixPath, Member]:
    """Decide where each member goes, and refuse the archive as a whole if one is not right."""
    most = MOST_UNPACKED * path.stat().st_size + COPY_BYTES
    planned: dict[PurePosixPath, Member] = {}
    spelled: set[str] = set()
    total = 0
    for member in members:
        total += member.size
        if total > most:
            raise InputError(
                path, member.name, f"the archive unpacks to over {MOST_UNPACKED} times its size.",
                "No images or maps do.",
            )  # fmt: skip
        inner = _safe(path, member.name)
        if BYSTANDERS & set(inner.parts) or inner.name.startswith("._"):
            continue
        target = place(inner)
        if target is None:
            continue
        # Some disks do not tell large letters from small ones.
        if str(target).casefold() in spelled:
            raise _refused(path, member.name, f"another member is {target} as well")
        spelled.add(str(target).casefold())
        planned[target] = member
    return planned


def _safe(path: Path, name: str) -> PurePosixPath:
    inner = PurePosixPath(name.replace("\\", "/"))
    drive = inner.parts[:1] and ":" in inner.parts[0]
    if inner.is_absolute() or drive or ".." in inner.parts or "\0" in name or not inner.name:
        raise _refused(path, name, "its path leads out of the folder")
    return inner


def _refused(path: Path, name: str, why: str) -> InputError:
    return InputError(path, name, f"{why}: nothing of the archive is unpacked.", "Do not use it.")


def _write(path: Path, folder: Path, planned: dict[PurePosixPath, Member]) -> int:
    """Write what is not there yet, each file whole or not at all."""
    missing = {
        target: member
        for target, member in planned.items()
        if not ((folder / target).is_file() and (folder / target).stat().st_size == member.size)
    }
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = sum(member.size for member in missing.values()), shutil.disk_usage(folder).free
    if needed > free:
        what = f"it unpacks to {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free."
        raise InputError(path, "", what, "Make room.")
    for target, member in missing.items():
        out = folder / target
        out.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        if source is None:
            raise _refused(path, member.name, "it cannot be read")
        with source, atomic_path(out) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, COPY_BYTES)
            # An archive can hold more, or less, than its list says.
            if file.tell() != member.size:
                raise _refused(path, member.name, "its size is not the stated one")
    return len(planned)
