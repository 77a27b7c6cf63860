"""The shards that a name, a folder or a pattern stands for, and each of them as a path at hand."""

import contextlib
import dataclasses
import glob
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from entityseg_bench.formats import Inputs, sam
from entityseg_bench.formats.opened import INDEX
from entityseg_bench.io import InputError, fingerprint, open_regular
from entityseg_bench.numbered import check_complete, check_finished
from entityseg_bench.scale.addresses import download, is_address, list_addresses, read_head
from entityseg_bench.tars import hint_of, open_tar, plain, whole_members

__all__ = ["AtHand", "Shard", "at_hand", "find_predictions", "find_shards", "list_paths"]

# Files of a shard where there is one an image, as in SA-1B.
FILES_A_SHARD = 512
TAR = ".tar"
# What stands beside shards in a folder.
NO_SHARD = re.compile(r"\.|(README|LICEN[CS]E|NOTICE)\b", re.IGNORECASE).match
# JSON Lines hold many images.
ONE_IMAGE = re.compile(r"\.json(\.gz)?$", re.IGNORECASE).search


@dataclasses.dataclass(frozen=True)
class Shard:
    """Name what is read at once.

    Attributes:
        address: A file or folder as the user calls it: a path, or an address of fsspec.
        files: Names of some files in the folder; empty for all that is there.
    """

    address: str
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name without folders."""
        own = PurePosixPath(self.address.replace(os.sep, "/")).name
        return f"{own}/{self.files[0]} to {self.files[-1]}" if self.files else own

    def paths(self) -> list[Path]:
        """List its files on this machine: none of an address, all that are below a folder."""
        path = Path(self.address)
        if is_address(self.address):
            return []
        if self.files:
            return [path / name for name in self.files]
        return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]

    def __str__(self) -> str:
        return self.address


@dataclasses.dataclass(frozen=True)
class AtHand:
    """Hold a shard as a path that every format is read from.

    Attributes:
        path: A file or folder.
        whole: What is hashed for it: the archive, where the path is what was unpacked from one.
        shard: The shard.
        copy: Name of what stands for it on this machine; empty if it is read where it lies.
    """

    path: Path
    whole: Path
    shard: Shard
    copy: str = ""

    def described(self, read: Sequence[Path]) -> dict[str, str]:
        """Name and hash it, of which some files were read."""
        whole = [self.whole] if self.whole != self.path else read
        return {"name": self.shard.name, "sha256": fingerprint(whole)}

    def named(self, text: str) -> str:
        """Return a text that names the shard where it named its copy."""
        return text.replace(self.copy, self.shard.address) if self.copy else text


def find_shards(path: str | Path, inputs: Inputs | None = None) -> list[Shard]:
    """List the shards that a pattern, a folder or a file names, by name.

    A folder of one JSON file an image, as SA-1B's, is cut into shards of many files; an export of
    `entityseg convert --to parquet` has those that it was written in.

    Args:
        path: A path, or an address of fsspec.
        inputs: Says which type and split of an export are meant.

    Raises:
        InputError: There is none; or it is a folder of a numbered set, and some are missing.
    """
    text = str(path)
    found = list_addresses(text) if is_address(text) else list(map(str, list_paths(text, inputs)))
    names = [PurePosixPath(one.replace(os.sep, "/")).name for one in found]
    folders = {one.removesuffix(name) for one, name in zip(found, names, strict=True)}
    if found != [text] and not glob.has_magic(text):
        check_complete(text, names)
        for place in {Path(one).parent for one in found if not is_address(one)}:
            check_finished(place)
    is_split = len(found) > 1 and len(folders) == 1 and all(map(ONE_IMAGE, names))
    if is_split and sam.says_masks(_head(found[0])):
        folder = folders.pop().rstrip("/" + os.sep)
        starts = range(0, len(names), FILES_A_SHARD)
        return [Shard(folder, tuple(names[k : k + FILES_A_SHARD])) for k in starts]
    return [Shard(one) for one in found]


def find_predictions(path: str | Path, inputs: Inputs) -> list[Shard]:
    """List the shards of predictions, as `find_shards` does.

    Raises:
        InputError: As it does; or the user says one image for the records of several shards.
    """
    shards = find_shards(path)
    if inputs.image_id is not None and len(shards) > 1:
        what = f"there are {len(shards)} shards, and --image-id says one image of their records."
        raise InputError(path, "", what, "Score the file of this image alone.")
    return shards


def list_paths(path: str | Path, inputs: Inputs | None = None) -> list[Path]:
    """List what a pattern or a folder of this machine holds, by name; a file is itself.

    Args:
        path: The name.
        inputs: Says which type and split of an export are meant.

    Raises:
        InputError: There is nothing, or annotations of several types.
    """
    text, folder = str(path), Path(path)
    if glob.has_magic(text) and not folder.exists():
        anchor = folder.anchor
        found = sorted(Path(anchor or ".").glob(text[len(anchor) :]))
    elif folder.is_dir() and any(folder.glob("*/*.meta.json")):
        said = inputs or Inputs()
        found = sorted(folder.glob(f"{said.task or '*'}/{said.split}-*-of-*.parquet"))
        if len({one.parent for one in found}) > 1:
            tasks = sorted({one.parent.name for one in found})
            what = f"the export has annotations of the types {', '.join(tasks)}."
            raise InputError(path, "", what, f"Say which: --task {'|'.join(tasks)}.")
    elif (folder / INDEX).is_file() or next(folder.glob("*.png"), None):
        # One file an image: the folder is read as one.
        return [folder]
    elif folder.is_dir():
        found = sorted(one for one in folder.iterdir() if not NO_SHARD(one.name))
    else:
        return [folder]
    if not found:
        raise InputError(path, "", "there is no shard.", "Name a folder, or a pattern in quotes.")
    return found


def _head(name: str) -> bytes:
    if is_address(name):
        return read_head(name, sam.HEAD)
    with open_regular(name) as file:
        return file.read(sam.HEAD)


@contextlib.contextmanager
def at_hand(shard: Shard, images: bool = False) -> Iterator[AtHand]:
    """Bring a shard to this machine, and out of its archive, while the block runs.

    What is raised in the block names the shard, and not its copy.

    Args:
        shard: The shard.
        images: Whether to unpack images, too, that an archive has beside its annotations.

    Raises:
        InputError: It cannot be read.
    """
    far = is_address(shard.address)
    if not far and not shard.files and not shard.address.endswith(TAR):
        yield AtHand(Path(shard.address), Path(shard.address), shard)
        return
    with tempfile.TemporaryDirectory(prefix="entityseg-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary) / "shard"
        found = _brought(shard, far, place, images)
        try:
            yield found
        except InputError as error:
            file, where, what, hint = map(
                found.named, (error.file, error.where, error.what, error.hint)
            )
            raise InputError(file, where, what, hint, error.code) from None


def _brought(shard: Shard, far: bool, place: Path, images: bool) -> AtHand:
    """Copy a shard to a folder, link its files there, or unpack it."""
    place.mkdir()
    if shard.files:
        for name in shard.files:
            _bring(f"{shard.address}/{name}", far, place / name)
        return AtHand(place, place, shard, str(place))
    whole = Path(shard.address)
    if far:
        # An address may end in what is no name of a file: https://host/a.json?version=3.
        name = shard.address.rpartition("/")[2].partition("?")[0] or "shard"
        whole = place.parent / name
        download(shard.address, whole)
    if whole.suffix != TAR:
        return AtHand(whole, whole, shard, str(whole))
    _unpack(whole, shard, place, images)
    files = [one for one in place.rglob("*") if one.is_file()]
    # A file alone is what it would be without the archive.
    return AtHand(files[0] if len(files) == 1 else place, whole, shard, str(place))


def _bring(source: str, far: bool, target: Path) -> None:
    if far:
        download(source, target)
        return
    try:
        target.symlink_to(Path(source).absolute())
    except OSError:  # links need rights on Windows
        shutil.copyfile(source, target)


def _unpack(archive: Path, shard: Shard, place: Path, images: bool) -> None:
    """Unpack the annotations of an archive: its JSON, or all files where there is none."""
    try:
        with open_regular(archive) as file, open_tar(file) as tar:
            found = [one for one in whole_members(tar) if not one.isdir()]
            files = [one for one in found if not Path(one.name).name.startswith(".")]
            annotations = [one for one in files if sam.JSON.search(one.name)]
            for member in files if images else annotations or files:
                if (place / member.name.lstrip("/")).exists():
                    raise tarfile.ReadError(f"{member.name} is in it twice")
                tar.extract(plain(member), place, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = str(error).replace(str(place), "").rstrip(".")
        raise InputError(
            str(shard), "", f"it cannot be unpacked: {reason}.", hint_of(archive)
        ) from None
    if not files:
        raise InputError(str(shard), "", "there is no file in it.")
