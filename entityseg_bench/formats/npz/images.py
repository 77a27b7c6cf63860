"""NPZ without an index: one file an image with its masks and scores under the names in use."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.check import IMAGE_UNNAMED, Report, reported, stop
from entityseg_bench.formats.maps import files_below, size_fault
from entityseg_bench.formats.matching import match_ids
from entityseg_bench.formats.npz.arrays import Arrays, opened_npz
from entityseg_bench.formats.opened import INDEX, Inputs, Opened
from entityseg_bench.formats.tolerant.results import named_image
from entityseg_bench.formats.tolerant.score_from import KNOWN, ScoreFrom
from entityseg_bench.io import InputError
from entityseg_bench.masks import Masks
from entityseg_bench.table import Segments
from entityseg_bench.types import RLE

__all__ = ["DenseMasks", "read_npz_images"]

# What tools call the masks of an image, and the categories of them.
MASKS = ("masks", "pred_masks", "segmentations", "segmentation", "mask", "arr_0")
CATEGORIES = ("category_ids", "category_id", "labels", "pred_classes", "class_ids")
SCORES = ("scores", "score", *KNOWN)
# The most bytes of an array beside the masks, which are read one by one.
MOST_SMALL = 64 << 20


class DenseMasks(Masks):
    """Read masks of files that hold (N, H, W) each.

    Args:
        paths: (I,) file of each image, None where there is none.
        names: (I,) what its array of masks is called.
        image_idx: (N,) image of each mask.
        values: (N,) its place in the file.
    """

    def __init__(
        self,
        paths: Sequence[Path | None],
        names: Sequence[str],
        image_idx: NDArray[np.int64],
        values: NDArray[np.int64],
    ) -> None:
        self._state = paths, names, image_idx, values
        self._read_once = functools.lru_cache(maxsize=2)(self._read)

    def __reduce__(self) -> tuple[Any, ...]:
        return DenseMasks, self._state

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        _, _, image_idx, values = self._state
        return self._read_once(int(image_idx[idx]), size)[int(values[idx])]

    def _read(self, image_idx: int, size: tuple[int, int]) -> list[RLE]:
        path, name = self._state[0][image_idx], self._state[1][image_idx]
        if path is None:
            raise InputError("", "", "there is no such file.")
        with opened_npz(path) as arrays:
            shape = arrays.headers[name].shape
            if shape[-2:] != size:
                raise size_fault(path, name, shape[-2:], size)
            masks = arrays.rows(name, shape[0])
            return [_coded(path, name, k, mask.reshape(size)) for k, mask in enumerate(masks)]


def _coded(path: Path, name: str, k: int, mask: NDArray[Any]) -> RLE:
    """Encode mask ``k`` of a file, (H, W)."""
    # Logits and probabilities need a threshold, which is not guessed.
    grey = mask.dtype.kind != "f" and np.isin(mask, (0, 255)).all()
    if mask.dtype != bool and not grey and not np.isin(mask, (0, 1)).all():
        what = f"mask {k} has other values than 0 and 1, from {mask.min():g} to "
        hint = "Write masks, not probabilities or logits."
        raise InputError(path, name, f"{what}{mask.max():g}.", hint)
    code: RLE = rle_codes.encode(mask != 0)  # type: ignore[assignment]
    return code


def read_npz_images(path: str | Path, inputs: Inputs, truth: Segments, report: Report) -> Segments:
    """Read predictions of one NPZ file an image, called like the image.

    Args:
        path: Folder of the files, or the file of one image.
        inputs: What the user says of it.
        truth: Ground truth, which gives images and categories.
        report: Takes the faults of single files.

    Raises:
        InputError: Files of no image, or without masks or scores.
    """
    path = Path(path)
    files = [path] if path.is_file() else files_below(path, ".npz")
    where, notes = _images_of(path, files, inputs, truth)
    reader = _Reader(inputs.score_from)
    paths: list[Path | None] = [None] * len(truth.images)
    names = [""] * len(truth.images)
    rows: list[tuple[int, int, float, int]] = []
    for file in files:
        at = where.get(file.stem, -1)
        # What is wrong with the first is wrong with all, as it seems, and stops at once.
        with reported(report if rows else stop):
            if at < 0:
                what = "no image of the ground truth is called like it."
                raise InputError(file, "", what, "Call each file like its image.")
            paths[at], names[at], scores, categories = file, *reader(file)
            rows += [(at, k, scores[k], int(categories[k])) for k in range(len(scores))]
    image_idx = np.array([row[0] for row in rows], np.int64)
    values = np.array([row[1] for row in rows], np.int64)
    if reader.found and reader.found not in ("scores", "score"):
        notes.append(f"there are no scores: {reader.found} was taken.")
    return Segments.make(
        truth.images,
        image_idx,
        DenseMasks(paths, names, image_idx, values),
        np.arange(len(rows), dtype=np.int64),
        scores=np.array([row[2] for row in rows], np.float64),
        category_ids=np.array([row[3] for row in rows], np.int64),
        categories=truth.categories,
        predicted=True,
        where_from=str(path),
        kind="prediction",
        notes=tuple(notes),
        score_from=inputs.score_from or reader.found or "score",
    )


def _images_of(
    path: Path, files: Sequence[Path], inputs: Inputs, truth: Segments
) -> tuple[dict[Any, int], list[str]]:
    """Return the position of the image of each file by its stem, and how that was found."""
    if inputs.image_id is not None:
        if len(files) != 1:
            what = f"it has {len(files)} files, and --image-id says which image it is of."
            raise InputError(path, "", what, "Name one file, or leave --image-id out.")
        image_id = named_image(inputs.image_id, truth.images)
        return {files[0].stem: [image.id for image in truth.images].index(image_id)}, []
    stems = [file.stem for file in files]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(path, "", f"two files are called {twice}.npz.", "Take one out.")
    where, _ = match_ids(stems, truth.images, path)
    if len(files) == 1 and not where:
        what = "no image of the ground truth is called like it."
        hint = "Say which image it is of: --image-id ID."
        raise InputError(files[0], "", what, hint, IMAGE_UNNAMED)
    return where, ["each file is of the image that it is called like."]


class _Reader:
    """Read what stands beside the masks of files; ``found`` is what was taken as score."""

    def __init__(self, score_from: str | None) -> None:
        self._given = ScoreFrom(score_from) if score_from else None
        self.found = ""

    def __call__(self, path: Path) -> tuple[str, NDArray[Any], NDArray[Any]]:
        """Return the name of the masks, and (N,) scores and category ids, -1 where there are none.

        Raises:
            InputError: There are no masks or scores, or not as many.
        """
        keys = self._given.keys if self._given else SCORES
        with opened_npz(path) as arrays:
            headers = arrays.headers
            if "size" in headers and "masks" in headers:
                what = f"the index ({INDEX}) of these packed masks is missing."
                hint = "Copy it, too: it has scores and categories."
                raise InputError(path.parent, "", what, hint)
            name = next((name for name in MASKS if name in headers), "")
            if not name:
                hint = f"An array of masks (N, H, W) is called one of {', '.join(MASKS)}."
                raise InputError(path, "", "it has no masks.", hint)
            shape = headers[name].shape
            if headers[name].dtype.kind not in "biuf" or not (
                len(shape) == 3 or (len(shape) == 4 and shape[1] == 1)
            ):
                what = f"{headers[name].dtype} of shape {shape} are no masks (N, H, W)."
                raise InputError(path, name, what)
            n = shape[0]
            scores = self._scores(path, arrays, keys, n)
            ids = next((key for key in CATEGORIES if key in headers), None)
            categories = _numbers(path, arrays, ids, n) if ids else np.full(n, -1)
        return name, scores, categories

    def _scores(
        self, path: Path, arrays: Arrays, keys: Sequence[str], n: int
    ) -> NDArray[np.float64]:
        if self._given is not None:
            values = {key: _numbers(path, arrays, key, n) for key in keys if key in arrays.headers}
            rows = ({key: float(values[key][k]) for key in values} for k in range(n))
            found = [self._given(row) for row in rows]
            if None in found or (n and len(values) < len(set(keys))):
                what = f"--score-from {self._given.text} finds no such numbers in it."
                raise InputError(path, "", what)
            return np.array(found, np.float64)
        key = next((key for key in keys if key in arrays.headers), None)
        if key is None:
            hint = "An array of scores (N,) is called scores; --score-from KEY names another."
            raise InputError(path, "", "it has masks without scores.", hint)
        self.found = self.found or key
        scores = _numbers(path, arrays, key, n).astype(np.float64)
        if not np.isfinite(scores).all():
            raise InputError(path, key, "a score is not finite.", "A score is a finite number.")
        return scores


def _numbers(path: Path, arrays: Arrays, name: str, n: int) -> NDArray[Any]:
    """Read an array of N numbers; axes of one do not count."""
    found = arrays.read(name, MOST_SMALL)
    if found.size != n or found.dtype.kind not in "biuf" or max((0, *found.shape)) != n:
        what = f"{found.dtype} of shape {found.shape} are not {n} numbers, one for each mask."
        raise InputError(path, name, what)
    return found.reshape(n)


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open predictions; see `entityseg_bench.formats.open`."""
    return Opened(read_npz_images(path, inputs, truth, report), [path])
