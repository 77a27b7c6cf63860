"""NPZ: one file an image with its masks as packed bits; overlap and empty masks are kept."""

import functools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.index import INDEX, index_row, read_index, write_index
from entityseg_bench.formats.maps import check_names, map_name
from entityseg_bench.io import InputError, atomic_path
from entityseg_bench.parallel import Journal
from entityseg_bench.types import RLE, ImageInfo

__all__ = ["NpzMasks", "read_npz", "write_npz"]


def write_npz(
    dataset: EntityDataset, folder: str | Path, jobs: int = 1, label: str | None = None
) -> dict[str, int]:
    """Write the masks of each image to ``<stem>.npz``, and ``annotations.json``; nothing is lost.

    ``masks`` is (N, H, ceil(W / 8)) uint8 with 8 pixels of a row a byte:
    ``np.unpackbits(masks, axis=2, count=width).astype(bool)`` gives (N, H, W). ``size`` is
    (height, width); ``ids``, ``category_ids`` and, for predictions, ``scores`` are (N,). A run
    that broke off goes on where it stopped.

    Args:
        dataset: Ground truth, or predictions (`formats.results`).
        folder: Where to write.
        jobs: Processes.
        label: Title of a progress bar.

    Returns:
        What was lost: nothing.
    """
    folder = Path(folder)
    check_names(dataset.images, dataset.where)
    journal = Journal(folder / f".{INDEX}.journal", identity(dataset, "npz"))
    journal.run(functools.partial(_write_masks, dataset, folder), len(dataset), jobs, label)
    write_index(dataset, folder, journal.results())
    journal.finish()
    return {}


def _write_masks(dataset: EntityDataset, folder: Path, idx: int) -> list[dict[str, Any]]:
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
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return [index_row(annotation, k) for k, annotation in enumerate(annotations)]


def read_npz(folder: str | Path) -> EntityDataset:
    """Read a folder of `write_npz`; masks are read when they are asked for.

    Raises:
        InputError: No index, a broken one; later, a file that is missing or does not fit it.
    """
    folder = Path(folder)
    return read_index(folder, functools.partial(_masks_of, folder))


def _masks_of(folder: Path, images: list[ImageInfo], image_idx: Any, values: Any) -> "NpzMasks":
    return NpzMasks([folder / _npz_name(image) for image in images], image_idx, values)


def _npz_name(image: ImageInfo) -> str:
    return map_name(image.file_name).removesuffix(".png") + ".npz"


class NpzMasks:
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

    def _read(self, image_idx: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        path = self._state[0][image_idx]
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                masks, size = arrays["masks"], tuple(arrays["size"].tolist())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                path, "", f"it is no file of masks: {error}.", "Write it again."
            ) from None
        if masks.dtype != np.uint8 or masks.ndim != 3 or len(size) != 2:
            raise InputError(path, "masks", f"{masks.dtype} {masks.shape} are no packed masks.")
        if masks.shape[1:] != (size[0], (size[1] + 7) // 8):
            raise InputError(path, "masks", f"shape {masks.shape} does not fit size {size}.")
        return masks, size

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        paths, image_idx, values = self._state
        masks, found = self._read_once(int(image_idx[idx]))
        at = int(values[idx])
        if found != size or not 0 <= at < len(masks):
            path = paths[int(image_idx[idx])]
            raise InputError(
                path,
                f"mask {at}",
                f"the file holds {len(masks)} masks of {found[0]} x {found[1]} (height x width); "
                f"the index asks for one of {size[0]} x {size[1]}.",
            )
        dense = np.unpackbits(masks[at], axis=1, count=size[1])
        return rle_codes.encode(dense)  # type: ignore[return-value]

    def counts(self, idx: int, size: tuple[int, int]) -> str:
        """Return its compressed counts."""
        return self.rle(idx, size)["counts"]
