"""COCO JSON as people hand it in, read into columns for checking and scoring.

Records are decoded by type with their segmentations left as raw JSON: the kernels read run-length
strings where they lie in the mapped file. What cannot be decoded so is read again slowly, only to
name every record that is wrong.
"""

import collections
import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import Detections, GroundTruth
from entity_api.counts import Codes, RLEError, compress_list, split_segmentations
from entity_api.rle import from_polygons
from entityseg_bench.io import InputError, decode_json, read_bytes

__all__ = ["FileRecords", "bad_records", "read_ground_truth", "read_predictions"]

T = TypeVar("T")

# Whole numbers that the columns hold: JSON knows larger ones.
Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
Extent = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
CategoryId = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class RLE(msgspec.Struct, gc=False):
    """Hold a run-length code whose counts are a JSON literal, a string or a list."""

    size: tuple[Extent, Extent]
    counts: msgspec.Raw


Segmentation = RLE | list[list[float]]


class RawImage(msgspec.Struct, gc=False):
    """Hold what scoring needs of an image."""

    id: int | str
    height: Pixels
    width: Pixels
    file_name: str = ""


class RawAnnotation(msgspec.Struct, gc=False):
    """Hold what scoring needs of an annotation; ``area`` may be missing, then the mask's counts."""

    image_id: int | str
    segmentation: msgspec.Raw
    id: int | str | None = None
    category_id: CategoryId | None = None
    area: float | None = None
    iscrowd: int | bool = 0


class RawCategory(msgspec.Struct, gc=False):
    """Hold what scoring needs of a category."""

    id: int
    name: str = ""


class RawGroundTruth(msgspec.Struct):
    """Hold a ground-truth file."""

    images: list[RawImage]
    annotations: list[RawAnnotation]
    categories: list[RawCategory] = []


class RawPrediction(msgspec.Struct, gc=False):
    """Hold what scoring needs of a prediction; ``bbox`` and the rest are not read."""

    image_id: int | str
    score: float
    segmentation: msgspec.Raw
    id: int | str | None = None
    category_id: CategoryId | None = None


class WholeAnnotation(RawAnnotation, kw_only=True):
    """Hold an annotation whose segmentation is read, too."""

    segmentation: Segmentation  # type: ignore[assignment]


class WholePrediction(RawPrediction, kw_only=True):
    """Hold a prediction whose segmentation is read, too."""

    segmentation: Segmentation  # type: ignore[assignment]


class Wrapped(msgspec.Struct):
    """Hold predictions that stand under a key, as some tools write them."""

    annotations: list[RawPrediction]


@dataclasses.dataclass(frozen=True)
class FileRecords:
    """Hold the segment records of one side and the images they refer to.

    Attributes:
        path: The file.
        images: Of the ground truth, for either side.
        records: In file order.
        image_idx: (N,) position of each record's image, -1 where it is unknown.
        categories: Of the ground truth, for either side.
        void: Whether pixels of no segment of the ground truth count nowhere.
    """

    path: Path
    images: list[RawImage]
    records: Sequence[RawAnnotation | RawPrediction]
    image_idx: NDArray[np.int64]
    categories: list[RawCategory]
    void: bool = False

    @functools.cached_property
    def image_sizes(self) -> NDArray[np.int64]:
        """(I, 2) height and width of the images."""
        return np.array([(im.height, im.width) for im in self.images], np.int64).reshape(-1, 2)

    @functools.cached_property
    def records_per_image(self) -> NDArray[np.int64]:
        """(I,) number of records of each image."""
        return np.bincount(self.image_idx[self.image_idx >= 0], minlength=len(self.images))

    @functools.cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2) the size that each record's mask states; -1 for polygons, which state none."""
        return self.segmentations[1]

    @functools.cached_property
    def segmentations(self) -> tuple[Codes, NDArray[np.int64], list[int]]:
        """Places of the counts strings, stated sizes, and records whose counts are no string."""
        slots = np.where(self.image_idx < 0, len(self.images), self.image_idx)
        segmentations = [record.segmentation for record in self.records]
        return split_segmentations(segmentations, slots, _rle_or_none)

    @functools.cached_property
    def category_ids(self) -> NDArray[np.int64]:
        """(N,) category of each record, -1 where it names none."""
        ids = [record.category_id for record in self.records]
        return np.array([-1 if one is None else one for one in ids], np.int64)

    @functools.cached_property
    def scores(self) -> NDArray[np.float64]:
        """(N,) score of each prediction."""
        records: Any = self.records
        return np.array([record.score for record in records], np.float64)

    @functools.cached_property
    def counts_and_faults(self) -> tuple[Codes, dict[int, str]]:
        """Compressed counts of each record, and what is wrong with those that have none.

        Counts are the file's own JSON string literals where it has such; records of unknown images
        are left as they are.
        """
        counts, _, odd = self.segmentations
        faults = {}
        for idx in odd:
            if self.image_idx[idx] >= 0:
                try:
                    counts.put(idx, self._compressed(idx))
                except RLEError as error:
                    faults[idx] = str(error)
        return counts, faults

    @property
    def counts(self) -> Codes:
        """Compressed counts of each record.

        Raises:
            InputError: Counts that are neither a string nor a list of lengths, or bad polygons.
        """
        counts, faults = self.counts_and_faults
        for idx, what in faults.items():
            raise self.error(idx, what)
        return counts

    def segmentation(self, idx: int) -> Any:
        """Return the segmentation of a record as the file has it."""
        return msgspec.json.decode(self.records[idx].segmentation)

    def _compressed(self, idx: int) -> bytes | str:
        segmentation = self.segmentation(idx)
        if isinstance(segmentation, list):
            image = self.images[self.image_idx[idx]]
            return str(from_polygons(segmentation, image.height, image.width)["counts"])
        counts = segmentation["counts"]
        if not isinstance(counts, list) or not all(type(count) is int for count in counts):
            raise RLEError("counts must be a string or a list of whole numbers")
        return compress_list(counts)

    def where(self, idx: int) -> str:
        """Name a record the way a person finds it: position, own id, image."""
        record = self.records[idx]
        own = f", id {record.id!r}" if record.id is not None else ""
        return f"record {idx}{own} (image_id {record.image_id!r})"

    def error(self, idx: int, what: str, mend: str = "") -> InputError:
        """Make the error that names a record of this file."""
        return InputError(self.path, self.where(idx), what + ".", mend)

    def ground_truth(self) -> GroundTruth:
        """Give the evaluator's ground truth; the records must have passed the checks."""
        records: Any = self.records
        return GroundTruth(
            image_ids=[im.id for im in self.images],
            sizes=self.image_sizes,
            image_idx=self.image_idx,
            counts=self.counts,
            category_ids=self.category_ids,
            iscrowd=np.array([bool(r.iscrowd) for r in records], bool),
            areas=np.array([math.nan if r.area is None else r.area for r in records], np.float64),
            ids=[r.id for r in records],
        )

    def detections(self) -> Detections:
        """Give the evaluator's detections; the records must have passed the checks."""
        return Detections(
            image_idx=self.image_idx,
            counts=self.counts,
            category_ids=self.category_ids,
            scores=self.scores,
        )


SEGMENTATION = msgspec.json.Decoder(Segmentation)
GROUND_TRUTH = msgspec.json.Decoder(RawGroundTruth)
PREDICTIONS = msgspec.json.Decoder(list[RawPrediction] | Wrapped)


def read_ground_truth(path: str | Path) -> FileRecords:
    """Read a COCO ground-truth file, ``.json`` or ``.json.gz``.

    Raises:
        InputError: No such file, no JSON (with the byte), or a record of the wrong shape.
    """
    content = _decode(path, GROUND_TRUTH, predictions=False)
    image_idx = _image_positions(content.images, content.annotations)
    return _with_sizes(
        FileRecords(Path(path), content.images, content.annotations, image_idx, content.categories),
        predictions=False,
    )


def read_predictions(path: str | Path, gt: FileRecords) -> FileRecords:
    """Read COCO results, a list or one wrapped in ``annotations``, ``.json`` or ``.json.gz``.

    Raises:
        InputError: As `read_ground_truth`.
    """
    content = _decode(path, PREDICTIONS, predictions=True)
    records = content.annotations if isinstance(content, Wrapped) else content
    image_idx = _image_positions(gt.images, records)
    return _with_sizes(
        FileRecords(Path(path), gt.images, records, image_idx, gt.categories), predictions=True
    )


def _decode(path: str | Path, decoder: "msgspec.json.Decoder[T]", predictions: bool) -> T:
    """Decode a file; where its JSON is sound but a record is not, name that record."""
    try:
        return decode_json(path, read_bytes(path), decoder)
    except InputError:
        _name_bad_record(path, predictions)
        raise


def _with_sizes(side: FileRecords, predictions: bool) -> FileRecords:
    """Read the segmentations' sizes and find their strings; name a record that has neither."""
    try:
        _ = side.segmentations
    except msgspec.MsgspecError:
        _name_bad_record(side.path, predictions)
        # No other reader takes the file: this one says what it has seen.
        for idx, record in enumerate(side.records):
            try:
                SEGMENTATION.decode(record.segmentation)
            except msgspec.MsgspecError as error:
                raise side.error(idx, f"its segmentation cannot be read: {error}") from None
        raise
    return side


def _name_bad_record(path: str | Path, predictions: bool) -> None:
    for where, what in bad_records(path, predictions):
        mend = "entityseg validate lists every one."
        raise InputError(path, where, f"{what}.", mend) from None


def _rle_or_none(segmentation: msgspec.Raw) -> RLE | None:
    found = SEGMENTATION.decode(segmentation)
    return found if isinstance(found, RLE) else None


def _image_positions(images: list[RawImage], records: Sequence[Any]) -> NDArray[np.int64]:
    where: dict[Any, int] = collections.defaultdict(lambda: -1)
    where.update((image.id, idx) for idx, image in enumerate(images))
    return np.array([where[record.image_id] for record in records], np.int64)


def bad_records(path: str | Path, predictions: bool) -> Iterator[tuple[str, str]]:
    """Name every record of a file that cannot be decoded, as (where, what).

    Slow and thorough: for the file that the typed decoder has refused. Nothing is wrong with the
    records of a file that is no JSON.
    """
    data = read_bytes(path)
    try:
        content = json.loads(bytes(data), parse_constant=str, parse_float=_finite_or_text)
    except (ValueError, RecursionError):
        return
    groups: dict[str, type] = (
        {"annotations": WholePrediction}
        if predictions
        else {"images": RawImage, "annotations": WholeAnnotation, "categories": RawCategory}
    )
    if predictions and isinstance(content, list):
        content = {"annotations": content}
    if not isinstance(content, dict):
        yield "", f"it holds {type(content).__name__}, not the records of COCO"
        return
    for key, record_type in groups.items():
        records = content.get(key, [] if key == "categories" else None)
        if not isinstance(records, list):
            yield key, "it is missing or no list"
            continue
        for idx, record in enumerate(records):
            try:
                msgspec.json.decode(msgspec.json.encode(record), type=record_type)
            except msgspec.ValidationError as error:
                yield f"{key} record {idx}{_names(record)}", _in_words(str(error), record)
            except UnicodeEncodeError:
                yield f"{key} record {idx}{_names(record)}", "it holds half a character of UTF-16"


def _finite_or_text(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _names(record: Any) -> str:
    if not isinstance(record, dict):
        return ""
    names = [f"{key} {record[key]!r}" for key in ("id", "image_id") if key in record]
    return f" ({', '.join(names)})" if names else ""


def _in_words(error: str, record: Any) -> str:
    """Put the decoder's message and the offending value into one sentence."""
    what, _, field = error.partition(" - at `$.")
    field = field.rstrip("`")
    if not field or not isinstance(record, dict):
        return what
    return f"{field} is {record.get(field.partition('.')[0].partition('[')[0])!r:.80}: {what}"
