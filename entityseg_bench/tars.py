"""Tar archives read whole: what breaks off, or is no plain file, is an error and never left out."""

import contextlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["hint_of", "open_tar", "plain", "whole_members"]

BYTES = 1 << 20
# How gzip, bzip2, xz and zstd begin.
PACKED = (b"\x1f\x8b\x08", b"BZh", b"\xfd7z", b"(\xb5/")
# Types of members that only tell of the next one, and how large those are at most.
HEADS = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
MOST_OF_A_HEAD = 1 << 20


class Header(tarfile.TarInfo):
    """Refuse sizes by which the library would run in circles, or out of memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "Header":
        """Make it of 512 bytes."""
        found = super().frombuf(buf, encoding, errors)
        is_head = found.type in HEADS and found.type != tarfile.GNUTYPE_SPARSE
        if found.size < 0 or (is_head and found.size > MOST_OF_A_HEAD):
            raise tarfile.HeaderError(f"a size of {found.size} bytes cannot be")
        return found


def open_tar(file: IO[bytes], mode: Any = "r:") -> tarfile.TarFile:
    """Open an archive for `whole_members`.

    Args:
        file: The archive.
        mode: "r:" for a plain one, "r:*" for one that may be packed.

    Raises:
        tarfile.TarError: It is none.
    """
    with _told():
        return tarfile.open(fileobj=file, mode=mode, tarinfo=Header)


def whole_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield what an archive holds, and see that it does end there.

    Where a header is broken, and where the file was cut between two members, the library takes the
    archive for ended.

    Raises:
        tarfile.TarError: It breaks off, or more comes behind its end.
    """
    end = 0
    while True:
        with _told():
            member = tar.next()
        if member is None:
            break
        if member.size < 0 or member.offset < end:
            raise tarfile.ReadError(f"{member.name} has a size of {member.size} bytes")
        end = member.offset_data
        yield member
    file: IO[bytes] = tar.fileobj  # type: ignore[assignment]
    file.seek(tar.offset)
    n = 0
    while data := file.read(BYTES):
        n += len(data)
        if data.strip(b"\0"):
            raise tarfile.ReadError(
                f"at byte {tar.offset} it is broken, or another archive is joined to it"
            )
    if n < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it breaks off: the mark of its end is not there")


def hint_of(archive: Path) -> str:
    """Say what to do about an archive that cannot be read."""
    # It may not be there at all.
    with contextlib.suppress(OSError), archive.open("rb") as file:
        if file.read(3) in PACKED:
            return "A packed archive (.tar.gz) has to be unpacked once: gunzip."
    return "Copy it again, or pack its files anew."


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a member, if it is a file that lies in the archive as it is.

    Raises:
        tarfile.ReadError: It is a link, a device or a file with holes.
    """
    if member.isreg() and not member.issparse():
        return member
    what = "has holes" if member.issparse() else "is a link or a device"
    raise tarfile.ReadError(f"{member.name} {what}, and not the file itself")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the library raises of odd headers into its own error."""
    try:
        yield
    except (ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise tarfile.ReadError(f"a header is broken: {error}") from None
