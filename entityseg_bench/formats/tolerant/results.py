"""Predictions of other tools, brought to the records that COCO results are made of."""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from entityseg_bench.check import IMAGE_UNNAMED, raise_all
from entityseg_bench.formats.json_files import decoded, encoded, foreign, loosely
from entityseg_bench.formats.matching import as_number, match_ids, names_of_records, stem_of
from entityseg_bench.formats.tolerant.fields import RESULT, number, own_id, settle
from entityseg_bench.formats.tolerant.rows import IMAGE_KEYS, MASK_KEYS, RecordFinder, Unclear
from entityseg_bench.formats.tolerant.score_from import ScoreFrom, known_key
from entityseg_bench.io import InputError
from entityseg_bench.types import ImageInfo, Tally

__all__ = ["Hints", "Plain", "parsed_results", "plain_results"]


SEPARATOR = re.compile(r"[\s,]*")
# What an image can be called by.
_NAMES = (str, int, float)


class Hints(NamedTuple):
    """Say what is known beside a file of predictions.

    Attributes:
        images: Those of the ground truth, None where there is none.
        image_id: Image of records that name none, as the user writes it.
        score_from: Where their score comes from, as the user writes it.
    """

    images: Sequence[ImageInfo] | None = None
    image_id: str | None = None
    score_from: str | None = None


class Plain(NamedTuple):
    """Hold predictions as COCO writes them.

    Attributes:
        data: A JSON list of results.
        images: Id -> file name of the images that the file itself lists.
        notes: What was turned.
        score_from: What was taken as score; "" for the field of that name.
    """

    data: bytes
    images: dict[Any, str]
    notes: list[str]
    score_from: str = ""


def parsed_results(path: Path, data: bytes, tally: Tally, refused: InputError) -> Any:
    """Parse a file of predictions: JSON, or JSON Lines.

    Args:
        path: The file.
        data: Its text.
        tally: Takes what was done.
        refused: What the strict decoder says of it.

    Raises:
        InputError: It is neither.
    """
    try:
        return loosely(path, data, refused)
    except InputError as error:
        if foreign(path, data) is not None:
            raise
        rows = _joined_values(path, decoded(path, data))
        if rows is None:
            raise error from None
    tally.once("it is JSON Lines, one record a line.")
    return rows


def _joined_values(path: Path, text: str) -> list[Any] | None:
    """Return JSON values that stand one after the other, None where they are not of JSON Lines.

    Raises:
        InputError: The last breaks off, or one is none.
    """
    decoder, at = json.JSONDecoder(), 0
    found: list[Any] = []
    while (at := _start(text, at)) < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            if len(found) < 2:
                return None
            where = f"line {text.count(chr(10), 0, at) + 1}"
            what = "it is JSON Lines, and what begins here is no JSON."
            raise InputError(path, where, what, "Is the file whole?") from None
        if isinstance(value, list) and value and value in found[-1:]:
            # The same file twice, one behind the other.
            return None
        found.append(value)
    return found if len(found) > 1 else None


def _start(text: str, at: int) -> int:
    """Return where the next value begins: behind space, and a comma at the end of a line."""
    return SEPARATOR.match(text, at).end()  # type: ignore[union-attr]


def plain_results(path: Path, content: Any, hints: Hints, tally: Tally) -> Plain:
    """Bring parsed predictions to COCO results.

    Args:
        path: The file, for errors.
        content: What it holds, as Python values.
        hints: What is known beside it.
        tally: Counts what was turned.

    Raises:
        InputError: Records without mask, score or image, or it cannot be told where they are.
    """
    finder = RecordFinder(_image_test(hints.images), tally)
    try:
        records = finder(content)
    except Unclear as error:
        hint = "Predictions are a list of COCO results: image_id, score, segmentation."
        raise InputError(path, "", f"{error}.", hint) from None
    truth = isinstance(content, dict) and {"images", "annotations"} <= set(content)
    if truth and records and not any("score" in row or known_key(row) for row in records):
        what = "this is ground truth, not predictions: no record has a score."
        raise InputError(path, "", what, "Are GT and PRED exchanged? GT comes first.")
    build = _Builder(path, hints, tally, records)
    rows = [build(idx, record) for idx, record in enumerate(records)]
    build.refuse(len(records))
    pairs = zip(rows, records, strict=True)
    beside = ((row["image_id"], record.get("file_name")) for row, record in pairs)
    own = finder.images
    if not own and all("image_id" in record for record in records):
        own = names_of_records(beside, hints.images)
    return Plain(encoded(path, rows), own, tally.notes(), build.score_from)


def _image_test(images: Sequence[ImageInfo] | None) -> Callable[[Any], bool]:
    """Return what tells whether a key names an image: of the ground truth, or by its looks."""
    if images is None:
        return lambda key: isinstance(key, int) or isinstance(as_number(key), int)
    ids = {str(image.id) for image in images}
    numbers = {as_number(image.id) for image in images} - {None}
    stems = {stem_of(image.file_name) for image in images} - {""}
    return lambda key: str(key) in ids or as_number(key) in numbers or stem_of(key) in stems


class _Builder:
    """Turn records into COCO results, and collect what is wrong with them."""

    def __init__(
        self, path: Path, hints: Hints, tally: Tally, records: Sequence[dict[str, Any]]
    ) -> None:
        self._path = path
        self._hints = hints
        self._tally = tally
        self._records = records
        self._faults: dict[tuple[str, str, str], tuple[str, list[int]]] = {}
        self._given = ScoreFrom(hints.score_from) if hints.score_from else None
        unscored = [record for record in records if record.get("score") is None]
        self._key = known_key(unscored[0]) if unscored else None
        self._only: Any = None
        if any(_image_key(record) is None for record in records):
            self._only = self._only_image()

    @property
    def score_from(self) -> str:
        """What was taken as score."""
        return self._given.text if self._given else self._key or ""

    def __call__(self, idx: int, record: dict[str, Any]) -> dict[str, Any]:
        """Return a record as a COCO result."""
        row = settle(record, RESULT, self._tally)
        mask = next((row[key] for key in MASK_KEYS if row.get(key) is not None), None)
        if "original_width" in row and isinstance(row.get("rle"), list):
            mask = {"format": "rle", **row}
        if "counts" in row and "size" in row:
            mask = {"size": row["size"], "counts": row["counts"]}
        if mask is None:
            self._without_mask(idx, row)
        found = {
            "image_id": self._image_id(idx, row),
            "score": self._score(idx, row),
            "segmentation": mask,
            "category_id": row.get("category_id"),
            "id": row.get("id"),
            "bbox": row.get("bbox"),
        }
        return {name: value for name, value in found.items() if value is not None}

    def _fault(
        self, idx: int, what: str, hint: str = "", code: str = "", cause: str | None = None
    ) -> None:
        """Note a fault of a record; those of one cause are told as the first of them."""
        key = cause or what, hint, code
        self._faults.setdefault(key, (what, []))[1].append(idx)

    def _without_mask(self, idx: int, row: dict[str, Any]) -> None:
        if "bbox" in row:
            what = "it is a bounding box without a mask; masks are scored here."
            self._fault(idx, what, "Take the results of the segmentation (task segm).")
        else:
            self._fault(idx, "it has no mask (`segmentation`).", "Write the masks, too.")

    def _image_id(self, idx: int, row: dict[str, Any]) -> Any:
        key = _image_key(row)
        if key is not None:
            if key != "image_id":
                self._tally.add(f"image_id is missing in {{n}}: {key} was taken.")
            return own_id(_alone(row[key]), "image_id", self._tally)
        if self._only is None:
            hint = "Say which image they are of: --image-id ID. Or write image_id into each."
            self._fault(idx, "it names no image (`image_id`).", hint, IMAGE_UNNAMED)
        return self._only

    def _only_image(self) -> Any:
        """Return the image of records that name none: the one said, or the file is called like."""
        images = self._hints.images
        if self._hints.image_id is not None:
            return named_image(self._hints.image_id, images)
        alike = [im for im in images or () if stem_of(im.file_name) == stem_of(self._path.name)]
        if len(alike) != 1:
            alike = [im for im in images or () if stem_of(im.file_name) == self._path.stem]
        if len(alike) != 1:
            return None
        self._tally.once(
            f"its records name no image: the file is called like {alike[0].file_name}."
        )
        return alike[0].id

    def _score(self, idx: int, row: dict[str, Any]) -> Any:
        if self._given:
            values = {key: number(row.get(key), key, self._tally) for key in self._given.keys}
            score = self._given(values)
            if score is None:
                numbers = ", ".join(_numbers(row)) or "none"
                what = f"--score-from {self._given.text} finds no such numbers in it."
                self._fault(idx, what, f"Its fields of numbers are: {numbers}.")
            return score
        if "score" in row:
            score = row["score"]
        elif self._key is not None and self._key in row:
            self._tally.add(f"there is no score in {{n}}: {self._key} was taken.")
            score = number(row[self._key], self._key, self._tally)
        else:
            numbers = ", ".join(_numbers(row))
            hint = f"Say where it comes from: --score-from KEY (of {numbers})." if numbers else ""
            self._fault(idx, "it has no `score`.", hint or "Write a score into each.")
            return None
        if isinstance(score, bool) or not isinstance(score, int | float):
            what = f"its score is {score!r:.40}, which is no number."
            self._fault(idx, what, "A score is a number, as 0.9.", cause="no number")
        elif not math.isfinite(score):
            word = "NaN" if score != score else "Infinity" if score > 0 else "-Infinity"
            self._fault(idx, f"its score is {word}.", "A score is a finite number.")
        else:
            return score
        return None

    def refuse(self, n: int) -> None:
        """Raise what is wrong, one fault for each cause."""
        faults = []
        for (_, hint, code), (what, idxs) in self._faults.items():
            more = f" ({len(idxs)} of {n} records are so.)" if len(idxs) > 1 else ""
            where = f"record {idxs[0]}{_named(self._records[idxs[0]])}"
            faults.append(InputError(self._path, where, what + more, hint, code))
        raise_all(faults)


def named_image(text: str, images: Sequence[ImageInfo] | None) -> Any:
    """Return the id of the image that a user names.

    Raises:
        InputError: The ground truth has no such image.
    """
    if images is None:
        return as_number(text) if as_number(text) is not None else text
    for of_image in (lambda im: str(im.id), lambda im: im.file_name):
        found = [image.id for image in images if of_image(image) == text]
        if len(found) == 1:
            return found[0]
    where = match_ids([text], images, "arguments").where
    if where:
        return images[where[text]].id
    some = ", ".join(str(image.id) for image in images[:5])
    what = f"the ground truth has no image {text!r}."
    raise InputError("arguments", "--image-id", what, f"It has {some}, ...")


def _image_key(row: dict[str, Any]) -> str | None:
    """Return the field that names the image of a record."""
    for key in IMAGE_KEYS:
        if key in row and isinstance(_alone(row[key]), _NAMES):
            return key
    return None


def _alone(value: Any) -> Any:
    """Return what a list of one holds: batches of one image are written so."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _numbers(row: dict[str, Any]) -> list[str]:
    """Name the fields of a record that are numbers and may be scores."""
    skipped = {"id", "image_id", "category_id", "label_id", "iscrowd"}
    return [
        key for key, value in row.items()
        if key not in skipped and isinstance(value, int | float) and not isinstance(value, bool)
    ]  # fmt: skip


def _named(record: dict[str, Any]) -> str:
    key = _image_key(record)
    return f" ({key} {record[key]!r:.60})" if key else ""
