"""NPZ: one file an image with its masks as packed bits; overlap and empty masks are kept."""

import functools
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.check import Report, raise_all, stop
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.index import index_row, open_indexed_dt, read_index, write_index
from entityseg_bench.formats.maps import check_names, map_name, size_fault
from entityseg_bench.formats.npz.arrays import Arrays, opened_npz
from entityseg_bench.formats.opened import INDEX, Inputs, Opened, agree
from entityseg_bench.formats.png import MOST_PIXELS
from entityseg_bench.io import InputError, atomic_path
from entityseg_bench.masks import Masks
from entityseg_bench.names import inside
from entityseg_bench.parallel import Journal
from entityseg_bench.table import AnnotatedImages, Segments
from entityseg_bench.types import RLE, ImageInfo

__all__ = ["NpzMasks", "read_npz", "read_numbers", "write_npz"]

# The most bytes of an array of numbers beside the masks: a million of 64 bits.
MOST_NUMBERS = 8 << 20


def write_npz(
    dataset: AnnotatedImages, folder: str | Path, jobs: int = 1, label: str | None = None
) -> dict[str, int]:
    """Write the masks of each image to ``<stem>.npz``, and ``annotations.json``; nothing is lost.

    ``masks`` is (N, H, ceil(W / 8)) uint8 with 8 pixels of a row a byte:
    ``np.unpackbits(masks, axis=2, count=width).astype(bool)`` gives (N, H, W). ``size`` is
    (height, width); ``ids``, ``category_ids`` and, for predictions, ``scores`` are (N,). A run
    that broke off goes on where it stopped.

    Args:
        dataset: Ground truth, or predictions.
        folder: Where to write.
        jobs: Processes.
        label: Title of a progress bar.

    Returns:
        What was lost: nothing.
    """
    folder = Path(folder)
    check_names(dataset.images, dataset.where_from)
    work = functools.partial(_write_masks, dataset, folder)
    with Journal(folder / f".{INDEX}.journal", identity(dataset, "npz"), list) as journal:
        journal.run(work, len(dataset.images), jobs, label)
        write_index(dataset, folder, journal.results())
        journal.finish()
    return {}


def _write_masks(dataset: AnnotatedImages, folder: Path, idx: int) -> list[dict[str, Any]]:
    """Write the masks of one image; return the rows of its annotations."""
    image, annotations = dataset.images[idx], dataset.annotations(idx)
    masks = np.zeros((len(annotations), image.height, (image.width + 7) // 8), np.uint8)
    for packed, annotation in zip(masks, annotations, strict=True):
        packed[:] = np.packbits(rle_codes.decode(annotation.segmentation), axis=1)
    arrays: dict[str, NDArray[Any]] = {
        "masks": masks,
        "size": np.array([image.height, image.width], np.int64),
        "ids": np.array([annotation.id for annotation in annotations], np.int64),
        "category_ids": np.array([a.category_id for a in annotations], np.int64),
    }
    scores = [(annotation.extra or {}).get("score") for annotation in annotations]
    if annotations and None not in scores:
        arrays["scores"] = np.array(scores, np.float64)
    path = folder / _npz_name(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In memory: on a full disk numpy before 2 leaves an archive open, which complains when it goes.
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)  # type: ignore[arg-type]
    with atomic_path(path) as temporary:
        temporary.write_bytes(archive.getbuffer())
    return [index_row(annotation, k) for k, annotation in enumerate(annotations)]


def read_npz(folder: str | Path, report: Report = stop) -> Segments:
    """Read a folder of `write_npz`; masks are read when they are asked for.

    Args:
        folder: Of the files.
        report: Takes the faults of single rows of the index.

    Raises:
        InputError: No index, a broken one; later, a file that is missing or does not fit it.
    """
    folder = Path(folder)
    return read_index(folder, functools.partial(_masks_of, folder), report)


def _masks_of(folder: Path, images: list[ImageInfo], image_idx: Any, values: Any) -> "NpzMasks":
    return NpzMasks([inside(folder, _npz_name(image)) for image in images], image_idx, values)


def _npz_name(image: ImageInfo) -> str:
    return map_name(image.file_name).removesuffix(".png") + ".npz"


def check_packed(path: Path, arrays: Arrays) -> tuple[int, int]:
    """Check that a file holds masks, by its headers; return their (height, width).

    Raises:
        InputError: It does not.
    """
    absent = [name for name in ("masks", "size") if name not in arrays.headers]
    raise_all([InputError(path, name, "this array is missing.") for name in absent])
    masks, size = arrays.headers["masks"], arrays.headers["size"]
    hint = "They are uint8 (N, H, ceil(W / 8))."
    if masks.dtype != np.uint8 or len(masks.shape) != 3:
        what = f"{masks.dtype} of shape {masks.shape} are no packed masks."
        raise InputError(path, "masks", what, hint)
    if size.dtype.kind not in "iu" or math.prod(size.shape) != 2:
        what = f"{size.dtype} of shape {size.shape} is no size."
        raise InputError(path, "size", what, "It is (height, width), whole numbers.")
    height, width = arrays.read("size", MOST_NUMBERS).ravel().tolist()
    if masks.shape[1:] != (height, (width + 7) // 8):
        what = f"shape {masks.shape} does not fit the file's size {(height, width)}."
        raise InputError(path, "masks", what, hint)
    if height * width > MOST_PIXELS:
        what = f"{height} x {width} pixels are more than the {MOST_PIXELS:,} that are read."
        raise InputError(path, "size", what)
    return height, width


def read_numbers(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read those of the named arrays that a file has.

    Raises:
        InputError: There is no such file, it is broken, or one is too large.
    """
    with opened_npz(path) as arrays:
        return {name: arrays.read(name, MOST_NUMBERS) for name in names if name in arrays.headers}


class NpzMasks(Masks):
    """Read masks from packed bits.

    Args:
        paths: (I,) file of each image.
        image_idx: (N,) image of each mask.
        values: (N,) its place in the file.
    """

    def __init__(
        self, paths: list[Path], image_idx: NDArray[np.int64], values: NDArray[np.int64]
    ) -> None:
        self._state = paths, image_idx, values
        self._read_once = functools.lru_cache(maxsize=2)(self._read)

    def __reduce__(self) -> tuple[Any, ...]:
        return NpzMasks, self._state

    @property
    def paths(self) -> Sequence[Path]:
        """(I,) file of each image, there or not."""
        return self._state[0]

    @property
    def image_idx(self) -> NDArray[np.int64]:
        """(N,) position of each mask's file."""
        return self._state[1]

    @property
    def values(self) -> NDArray[np.int64]:
        """(N,) place of each mask in its file."""
        return self._state[2]

    def _read(self, image_idx: int, size: tuple[int, int]) -> dict[int, RLE]:
        """Read the masks of an image that the index asks for, one at a time."""
        path = self._state[0][image_idx]
        wanted = set(self._state[2][self._state[1] == image_idx].tolist())
        found: dict[int, RLE] = {}
        with opened_npz(path) as arrays:
            stated = check_packed(path, arrays)
            if stated != size:
                raise size_fault(path, "", stated, size)
            n_masks = arrays.headers["masks"].shape[0]
            what = f"the file holds {n_masks} masks, 0 first; the index asks for this one."
            raise_all(
                [
                    InputError(path, f"mask {at}", what, "File and index do not belong together.")
                    for at in sorted(wanted)
                    if not 0 <= at < n_masks
                ]
            )
            for at, packed in enumerate(arrays.rows("masks", max(wanted) + 1)):
                if at in wanted:
                    dense = np.unpackbits(packed, axis=1, count=size[1])
                    found[at] = rle_codes.encode(dense)  # type: ignore[assignment]
        return found

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        _, image_idx, values = self._state
        return self._read_once(int(image_idx[idx]), size)[int(values[idx])]


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open NPZ; see `entityseg_bench.formats.open`."""
    table = read_npz(path, report)
    agree(path, table.task, inputs.task)
    return Opened(table, [path])


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open predictions: NPZ with their index."""
    if not (path / INDEX).is_file():
        raise InputError(path, "", f"there is no index ({INDEX}).", "NPZ needs it.")
    return open_indexed_dt(read_npz(path, report), path, truth, report)
