"""The arrays of an evaluation's state, checked, in memory and in files."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from entity_api.groups import repeated
from entity_api.params import EvalParams
from entity_api.state_file import StateError, read_arrays, write_arrays

__all__ = ["ABSENT", "KEYS", "StateArrays", "bare"]

# Version of the file: raised when an array changes its meaning.
SCHEMA = 1

# Beside the outcomes of `Matches`: the detection has no rank in this pass.
ABSENT = 3

# What a state depends on; images, threads and what else is kept make no difference to it.
KEYS = (
    "iou_thrs", "rec_thrs", "area_ranges", "max_dets", "ap_max_det", "class_aware", "category_ids",
    "remove_overlaps", "overlap_rule", "iou_type", "boundary_ratio",
)  # fmt: skip

# Array -> its type, in memory and in the file.
ARRAYS: dict[str, Any] = {
    "overlap": np.int64, "group_category": np.int64, "group_image": np.int64, "n_gt": np.int64,
    "n_dt": np.int64, "scores": np.float64, "codes": np.int32, "patterns": np.uint8,
}  # fmt: skip


Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class StateArrays:
    """Hold what the metrics of some images need, and no mask.

    Attributes:
        params: What was measured.
        category_ids: (K,) as in `Groups`.
        image_ids: (I,) scored images by rising id, numbers before strings.
        overlap: (I, 4) pixels, covered, pairs and hidden of `Overlap`; (I, 0) where overlaps were
            not removed.
        group_category: (P,) position of the category of each group, rising.
        group_image: (P,) position of its image, rising within a category.
        n_gt: (P, A) its ground truth that counts.
        n_dt: (P,) its detections.
        scores: (N,) of the detections, group after group, descending.
        codes: (N,) which pattern each has.
        patterns: (C, 2, A, T) outcomes as submitted and with overlaps removed, or ``ABSENT``.
    """

    params: EvalParams
    category_ids: list[int]
    image_ids: list[int | str]
    overlap: Ints
    group_category: Ints
    group_image: Ints
    n_gt: Ints
    n_dt: Ints
    scores: NDArray[np.float64]
    codes: NDArray[np.int32]
    patterns: NDArray[np.uint8]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Write the state as named arrays without Python objects; `of_arrays` reads them."""
        texts = [image_id for image_id in self.image_ids if isinstance(image_id, str)]
        numbers = [image_id for image_id in self.image_ids if not isinstance(image_id, str)]
        try:
            image_numbers = np.array(numbers, np.int64)
        except OverflowError:
            raise StateError("an image id has more than 64 bits") from None
        head = {key: getattr(self.params, key) for key in KEYS}
        head |= {"schema": SCHEMA, "categories": self.category_ids}
        head["area_ranges"] = [[key, *ends] for key, ends in self.params.area_ranges.items()]
        fields = {name: getattr(self, name) for name in ARRAYS}
        return fields | {
            "head": _bytes_of(head),
            "image_numbers": image_numbers,
            "image_texts": _bytes_of(texts),
        }

    def about(self) -> dict[str, Any]:
        """Return what a file says of the arrays, which have a head of their own."""
        return {"schema": SCHEMA}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `arrays` wrote, checked.

        Raises:
            StateError: Arrays that are no state.
        """
        try:
            head, texts = _read(arrays["head"]), _read(arrays["image_texts"])
            if head["schema"] != SCHEMA:
                raise StateError(f"a state of schema {head['schema']}, not {SCHEMA}")
            ranges = {key: (low, high) for key, low, high in head["area_ranges"]}
            settings = {key: head[key] for key in KEYS} | {"area_ranges": ranges}
            for key in ("iou_thrs", "rec_thrs", "max_dets"):
                settings[key] = tuple(settings[key])
            state = cls(
                params=bare(EvalParams(**settings)),
                category_ids=[int(category_id) for category_id in head["categories"]],
                image_ids=[*arrays["image_numbers"].tolist(), *texts],
                **{name: np.asarray(arrays[name], dtype) for name, dtype in ARRAYS.items()},
            )
            state.check()
        except StateError:
            raise
        except (
            LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError,
        ) as error:  # fmt: skip
            raise StateError(f"these arrays are no state: {error}") from None
        return state

    def check(self) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            StateError: What is wrong.
        """
        n_areas, n_thrs = len(self.params.area_ranges), len(self.params.iou_thrs)
        n_groups, n, n_images = len(self.n_dt), len(self.scores), len(self.image_ids)
        removed = self.params.remove_overlaps and self.params.iou_type != "bbox"
        shapes = {
            "overlap": (n_images, 4 if removed else 0),
            "group_category": (n_groups,),
            "group_image": (n_groups,),
            "n_gt": (n_groups, n_areas),
            "n_dt": (n_groups,),
            "scores": (n,),
            "codes": (n,),
            "patterns": (len(self.patterns), 2, n_areas, n_thrs),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise StateError(f"{name} of shape {getattr(self, name).shape}, not {shape}")
        keys = self.group_category * max(n_images, 1) + self.group_image
        faults = {
            "groups out of order": bool((np.diff(keys) <= 0).any()),
            "a group of no category": not _within(self.group_category, len(self.category_ids)),
            "a group of no image": not _within(self.group_image, n_images),
            "a detection of no pattern": not _within(self.codes, len(self.patterns)),
            "an outcome that is none": bool((self.patterns > ABSENT).any()),
            "a negative count": min(self.n_gt.min(initial=0), self.n_dt.min(initial=0)) < 0,
            "another number of detections than its groups": int(self.n_dt.sum()) != n,
            "an image id that is no text": not all(
                isinstance(one, int | str) and not isinstance(one, bool) for one in self.image_ids
            ),
            "a score that is no number": not np.isfinite(self.scores).all(),
        }
        for fault, present in faults.items():
            if present:
                raise StateError(f"the state has {fault}")
        if (self._n_matched() > self._n_gt_of_categories()[:, None, :, None]).any():
            raise StateError("the state has more matches than ground truth")

    def _n_matched(self) -> Ints:
        """Count the true positives of each category, (K, 2, A, T)."""
        n_codes = max(len(self.patterns), 1)
        keys = repeated(self.group_category, self.n_dt) * n_codes + self.codes
        n = np.zeros((len(self.category_ids), *self.patterns.shape[1:]), np.int64)
        found, often = np.unique(keys, return_counts=True)
        for key, count in zip(found.tolist(), often.tolist(), strict=True):
            n[key // n_codes] += count * (self.patterns[key % n_codes] == 1)
        return n

    def _n_gt_of_categories(self) -> Ints:
        """Count the ground truth of each category that counts, (K, A)."""
        n = np.zeros((len(self.category_ids), self.n_gt.shape[1]), np.int64)
        np.add.at(n, self.group_category, self.n_gt)
        return n

    def save(self, path: str | Path) -> None:
        """Write the state as Parquet (needs pyarrow); a file there is replaced once it is whole."""
        path = Path(path)
        part = path.with_name(f".{path.name[:40]}.{os.urandom(8).hex()}.part")
        try:
            # Made new: never a file, nor a link, that is there already.
            part.open("xb").close()
            write_arrays(part, self.arrays(), self.about())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            StateError: A file that holds no state.
        """
        try:
            return cls.of_arrays(read_arrays(path)[0])
        except StateError as error:
            raise StateError(f"{path}: {error}") from None


def _within(values: NDArray[Any], n: int) -> bool:
    return not len(values) or (values.min() >= 0 and values.max() < n)


def bare(params: EvalParams) -> EvalParams:
    """Keep of parameters what a state depends on."""
    kept = {key: getattr(params, key) for key in KEYS}
    for key in ("iou_thrs", "rec_thrs", "max_dets", "category_ids"):
        if kept[key] is not None:
            kept[key] = tuple(np.asarray(kept[key]).tolist())
    ranges = {key: (float(low), float(high)) for key, (low, high) in params.area_ranges.items()}
    return EvalParams(**kept | {"area_ranges": ranges}, keep_matches=False)


def _bytes_of(content: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def _read(content: NDArray[np.uint8]) -> Any:
    return json.loads(np.asarray(content, np.uint8).tobytes())
