"""The columns of an evaluation: gathered from records, or checked where a program gives them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api.counts import Codes, RLEError
from entity_api.dense import array_of, code_mask

__all__ = [
    "RecordError",
    "Side",
    "areas_of",
    "boxes_of",
    "categories_of",
    "check_positions",
    "counts_of",
    "crowds_of",
    "locate",
    "plain",
    "rows_of",
    "settle",
]

Side = Literal["gt", "dt"]


class RecordError(ValueError):
    """Say which record of which side cannot be scored; ``idx`` is its position in the file.

    Examples:
        >>> from entity_api import RecordError, evaluate
        >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}], "annotations": []}
        >>> try:
        ...     evaluate(truth, [{"image_id": 8, "score": 0.9}])
        ... except RecordError as error:
        ...     print(error.side, error.idx, error.what, sep=": ")
        dt: 0: image_id 8 is not among the images of the ground truth
    """

    def __init__(self, side: Side, idx: int, what: str) -> None:
        super().__init__(f"{side} record {idx}: {what}")
        self.side = side
        self.idx = idx
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        # Without it an error of another process could not be read: it is made from its message.
        return type(self), (self.side, self.idx, self.what)


# What a column is made from, as numpy names kinds of numbers; how it is called; what it becomes.
KINDS: dict[str, tuple[str, str, type[np.generic]]] = {
    "i": ("iuf", "whole numbers", np.int64),
    "f": ("iuf", "numbers", np.float64),
    "b": ("biu", "yes or no", np.bool_),
}


class Column(NamedTuple):
    """Describe a column: a key of `KINDS`, and how many numbers a row has, 0 for a plain one."""

    kind: str
    width: int = 0

    def array(self, value: Any, name: str, n: int | None) -> NDArray[Any]:
        """Return values as an array of n rows, or of as many as there are.

        Raises:
            ValueError: They are of another kind, or not as many.
        """
        found = array_of(value)
        try:
            found = np.asarray(value) if found is None else found
        except ValueError as error:
            raise ValueError(f"{name} is no column of numbers: {error}") from None
        kinds, words, dtype = KINDS[self.kind]
        if found.size and found.dtype.kind not in kinds:
            raise ValueError(f"{name} holds {found.dtype}, and not {words}")
        tail = (self.width,) if self.width else ()
        if found.size == 0 and not n:
            found = found.reshape(0, *tail)
        if found.shape[1:] != tail or found.ndim != 1 + len(tail) or n not in (None, len(found)):
            rows = "N" if n is None else n
            wanted = f"({rows}, {self.width})" if self.width else f"({rows},)"
            raise ValueError(f"{name} has the shape {found.shape}, and not {wanted}")
        with np.errstate(invalid="ignore"):
            settled = found.astype(dtype, copy=False)
        # On ARM 2^63 becomes the greatest number below it, which as a float is 2^63 again.
        beyond = found.dtype.kind == "f" and bool((found >= 2.0**63).any())
        if dtype is np.int64 and settled is not found and (beyond or (settled != found).any()):
            raise ValueError(f"{name} holds numbers that are not whole, or beyond 64 bits")
        return settled


# Of both sides; ``image_idx`` says how many records there are.
COLUMNS = {
    "sizes": Column("i", 2),
    "image_idx": Column("i"),
    "category_ids": Column("i"),
    "iscrowd": Column("b"),
    "scores": Column("f"),
    "areas": Column("f"),
    "boxes": Column("f", 4),
}


def settle(table: Any, what: str, boxes: bool) -> None:
    """Turn the columns of a frozen dataclass into arrays, each with a row for each record.

    Args:
        table: It.
        what: Its name in errors.
        boxes: Whether it may do without masks.

    Raises:
        ValueError: A column of another kind or length, or one of masks that is no list.
    """
    n = None
    for field in dataclasses.fields(table):
        column, value = COLUMNS.get(field.name), getattr(table, field.name)
        if column is None or (value is None and field.default is None):
            continue
        array = column.array(value, f"{what}: {field.name}", None if field.name == "sizes" else n)
        if field.name in ("sizes", "image_idx") and (array < 0).any():
            raise ValueError(f"{what}: {field.name} holds {array.min()}, which is below 0")
        if field.name == "image_idx":
            n = len(array)
        object.__setattr__(table, field.name, array)
    counts = table.counts
    if not isinstance(counts, Codes | list | tuple):
        raise ValueError(f"{what}: counts are a list, not {type(counts).__name__}")
    if len(counts) != n and not (boxes and not len(counts)):
        raise ValueError(f"{what}: there are {n} records and {len(counts)} counts")


def check_positions(image_idx: NDArray[np.int64], n_images: int, side: Side) -> None:
    """Refuse records of an image beyond the last one.

    Raises:
        RecordError: The first.
    """
    beyond = np.flatnonzero(image_idx >= n_images)
    if len(beyond):
        idx = int(beyond[0])
        what = f"image_idx {image_idx[idx]} is no position of the {n_images} images"
        raise RecordError(side, idx, what)


def plain(value: Any) -> Any:
    """Return a number of an array's or a tensor's kind as Python's own, all else as it is."""
    own = isinstance(value, int | float | str) and not isinstance(value, np.generic)
    if value is None or own:
        return value
    found = array_of(value)
    if found is None or found.size != 1 or found.dtype.hasobject:
        return value
    return found.reshape(-1)[0].item()


def rows_of(rows: Any, what: str, side: Side | None = None) -> list[Mapping[str, Any]]:
    """Return rows as a list, once each is seen to be a mapping.

    Raises:
        RecordError: One of a side's is none.
        ValueError: They are no sequence, or one of another list is no mapping.
    """
    if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__iter__"):
        raise ValueError(f"{what} are a list, not {type(rows).__name__}")
    try:
        listed = list(rows)
    except TypeError:  # an array without axes
        raise ValueError(f"{what} are a list, and not one value") from None
    for idx, row in enumerate(listed):
        if not isinstance(row, Mapping):
            text = f"it is {type(row).__name__}, and not a mapping"
            if side:
                raise RecordError(side, idx, text)
            raise ValueError(f"{what}, {idx}: {text}")
    return listed


def locate(image_ids: Sequence[Any], wanted: Sequence[Any], side: Side) -> NDArray[np.int64]:
    """Return the position of each wanted id among the image ids."""
    where = {image_id: idx for idx, image_id in enumerate(image_ids)}
    wanted = [plain(image_id) for image_id in wanted]
    if len(where) != len(image_ids):
        raise ValueError("an image id stands twice among the images of the ground truth")
    try:
        # True is 1 as a key, and no id.
        if bool not in set(map(type, wanted)):
            return np.array([where[image_id] for image_id in wanted], np.int64)
    except (KeyError, TypeError):  # unknown, or of a type that cannot be a key
        pass
    known = list(where)
    idx = next(i for i, k in enumerate(wanted) if isinstance(k, bool) or k not in known)
    what = f"image_id {wanted[idx]!r} is not among the images of the ground truth"
    raise RecordError(side, idx, what)


def counts_of(
    records: Sequence[Mapping[str, Any]], sizes: NDArray[np.int64], side: Side
) -> list[str]:
    """Bring each record's segmentation to compressed counts of its image's size."""
    out = []
    for idx, (record, (height, width)) in enumerate(zip(records, sizes.tolist(), strict=True)):
        try:
            out.append(code_mask(record.get("segmentation"), (height, width))["counts"])
        except RLEError as error:
            what = f"{error} (image_id {record.get('image_id')!r})"
            raise RecordError(side, idx, what) from None
    return out


def categories_of(records: Sequence[Mapping[str, Any]], side: Side) -> NDArray[np.int64]:
    """Gather the category of each record, (N,), -1 where it names none."""
    out = np.full(len(records), -1)
    for idx, record in enumerate(records):
        category_id = record.get("category_id")
        if category_id is None:
            continue
        if not isinstance(category_id, int | np.integer) or abs(int(category_id)) >= 2**63:
            raise RecordError(side, idx, f"category_id {category_id!r} is not a whole number")
        out[idx] = category_id
    return out


def areas_of(records: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Gather the area that each annotation states, (N,) in pixels, nan where it states none."""
    out = np.full(len(records), np.nan)
    for idx, record in enumerate(records):
        area = record.get("area")
        if area is None:
            continue
        if not isinstance(area, int | float | np.number):
            raise RecordError("gt", idx, f"area {area!r} is not a number")
        out[idx] = area if abs(area) != np.inf else np.nan
    return out


def crowds_of(records: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """Gather which annotations are crowds, (N,); a missing flag, None and nan are none."""
    out = np.zeros(len(records), bool)
    for idx, record in enumerate(records):
        flag = record.get("iscrowd")
        if flag is None:
            continue
        if not isinstance(flag, int | float | np.number | np.bool_) or abs(flag) == np.inf:
            raise RecordError("gt", idx, f"iscrowd {flag!r:.40} is not 0 or 1")
        out[idx] = bool(flag) and flag == flag
    return out


def boxes_of(records: Sequence[Mapping[str, Any]], side: Side) -> NDArray[np.float64]:
    """Gather the boxes of all records, (N, 4) xywh."""
    out = np.zeros((len(records), 4))
    for idx, record in enumerate(records):
        box = record.get("bbox")
        try:
            out[idx] = np.asarray(box, np.float64).reshape(4)
            if not np.isfinite(out[idx]).all():
                raise ValueError
        except (TypeError, ValueError):
            raise RecordError(side, idx, "it has no bbox of four numbers") from None
    return out
