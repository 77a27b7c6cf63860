"""Images in tar archives (WebDataset's, SA-1B's) and in Parquet files, read where they lie."""

import functools
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from entityseg_bench.formats.parquet.size import check_footer
from entityseg_bench.io import InputError, open_regular
from entityseg_bench.scale.sources import list_paths
from entityseg_bench.tars import hint_of, open_tar, plain, whole_members

__all__ = ["Found", "Member", "archives_of", "members_of"]

# Columns by which a row of Parquet may name its image.
NAMES = ("image_id", "file_name")


class Member(Protocol):
    """Where an image lies in an archive."""

    def read(self) -> bytes:
        """Read the image file as it was put there.

        Raises:
            InputError: The archive is broken, or gone.
        """


class Found(NamedTuple):
    """Hold what an archive says of an image.

    Attributes:
        image_id: Its id; its name where it has none.
        name: Its name in the archive.
        member: Where it lies.
        size: (height, width), where the archive states it.
    """

    image_id: int | str
    name: str
    member: Member
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Span:
    """Say which bytes of a tar archive are a file."""

    archive: Path
    offset: int
    n_bytes: int

    def read(self) -> bytes:
        """Read the file, see `Member`."""
        try:
            with open_regular(self.archive) as file:
                file.seek(self.offset)
                data = file.read(self.n_bytes)
        except OSError as error:
            raise InputError(self.archive, "", f"it cannot be read: {error.strerror}.") from None
        if len(data) < self.n_bytes:
            raise InputError(self.archive, "", "it breaks off.", "Copy it again.")
        return data


@dataclass(frozen=True)
class Cell:
    """Say which row of which row group of a Parquet file holds an image."""

    archive: Path
    group: int
    row: int

    def read(self) -> bytes:
        """Read the file, see `Member`; rows are asked for in their order, so a group is kept."""
        value = _images_of(self.archive, self.group)[self.row].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            what = "its column image holds no bytes of an image file."
            raise InputError(self.archive, f"row group {self.group}, row {self.row}", what)
        return data


def archives_of(source: Path) -> list[Path]:
    """List the archives that a file, a folder or a pattern names; none where it names others."""
    if not source.suffix and not source.is_dir():
        return []
    try:
        found = list_paths(source)
    except InputError:
        return []
    files = [path for path in found if path.is_file()]
    return files if {path.suffix for path in files} <= set(READERS) else []


def members_of(archive: Path, suffixes: Collection[str]) -> Iterator[Found]:
    """Yield the images of an archive in its order, without reading them.

    Args:
        archive: A file ``.tar``, or ``.parquet`` with a column ``image`` of files' bytes (as
            Hugging Face's data sets and ``entityseg convert --embed-images`` have) and their
            ``image_id`` or ``file_name``.
        suffixes: Of the names of images in a tar archive.

    Raises:
        InputError: It is broken, or holds no image.
    """
    found = READERS[archive.suffix](archive, suffixes)
    first = next(found, None)
    if first is None:
        raise InputError(archive, "", "no image is in it.", f"Known: {' '.join(sorted(suffixes))}.")
    yield first
    yield from found


def _tar_members(archive: Path, suffixes: Collection[str]) -> Iterator[Found]:
    try:
        with open_regular(archive) as file, open_tar(file) as tar:
            for member in whole_members(tar):
                if not member.isdir() and Path(member.name).suffix.lower() in suffixes:
                    plain(member)
                    span = Span(archive, member.offset_data, member.size)
                    yield Found(member.name, member.name, span)
    except (tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(archive, "", f"it is no tar archive: {error}.", hint_of(archive)) from None


def _parquet_rows(archive: Path, suffixes: Collection[str]) -> Iterator[Found]:
    with _opened_parquet(archive) as file:
        names = file.schema_arrow.names
        wanted = [name for name in (*NAMES, "height", "width") if name in names]
        if "image" not in names or not set(NAMES) & set(names):
            what = f"it has not the columns image and {' or '.join(NAMES)}."
            raise InputError(archive, "", what, f"It has {', '.join(names)}.")
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=wanted).to_pylist()
            for at, row in enumerate(rows):
                image_id = row.get("image_id", row.get("file_name"))
                if isinstance(image_id, bool) or not isinstance(image_id, int | str):
                    what = f"it names no image: {image_id!r:.40}."
                    raise InputError(archive, f"row group {group}, row {at}", what)
                height, width = row.get("height"), row.get("width")
                size = (height, width) if height and width else None
                yield Found(
                    image_id, row.get("file_name") or str(image_id), Cell(archive, group, at), size
                )


def _opened_parquet(archive: Path) -> Any:
    """Open a Parquet file, whose footer promises no more than its bytes can hold."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_regular(archive) as file:
            opened = parquet.ParquetFile(file)
            names = [name for name in opened.schema_arrow.names if name != "image"]
            check_footer(archive, file, opened, names)
        return parquet.ParquetFile(archive)
    except (pa.ArrowException, OSError) as error:
        raise InputError(archive, "", f"it cannot be read: {error}.", "Is it whole?") from None


@functools.lru_cache(maxsize=1)
def _images_of(archive: Path, group: int) -> Any:
    import pyarrow as pa

    try:
        with _opened_parquet(archive) as file:
            return file.read_row_group(group, columns=["image"]).column("image")
    except (pa.ArrowException, OSError) as error:
        what = f"it cannot be read: {error}."
        raise InputError(archive, f"row group {group}", what, "Copy it again.") from None


READERS = {".tar": _tar_members, ".parquet": _parquet_rows}
