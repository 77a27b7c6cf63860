"""The shape of the leaderboard's files: what a field may hold, and what it means."""

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from entity_api.names import LETTERS, PublishedName, averages
from entityseg_bench.categories import Task
from entityseg_bench.io import InputError
from entityseg_bench.layout import Resolution, Split

__all__ = [
    "SCHEMA",
    "FiledResult",
    "Files",
    "Mark",
    "ModelFile",
    "Published",
    "PublishedRow",
    "ResultFile",
    "Source",
    "converted",
]

# Version of published.json and of the filed results: raised when a field changes its meaning.
SCHEMA = 1

Mark = Literal["first-party", "secondary", "doubtful"]

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
# No letter that ends an address in any of the formats that are written.
Url = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^https?://[^\s\"'<>\\`{}]+\Z")]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Year = Annotated[int, msgspec.Meta(ge=2000, le=2100)]


# What a type's own metrics may be, over all its categories; `n` counts those.
OWN_METRICS: dict[Task, frozenset[str]] = {
    "entity": frozenset(),
    "instance": frozenset(("n", *averages(LETTERS, (1, 10, 100)))),
    "semantic": frozenset(("n", "mIoU", "fwIoU", "mACC", "pACC")),
    "panoptic": frozenset(("n", "PQ", "SQ", "RQ")),
}


# Kinds of characters: control, format (zero width, direction), surrogate, private, unassigned; ends
# of lines and paragraphs.
UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def check_shown(struct: msgspec.Struct) -> None:
    """See that no text can mislead a reader of the tables.

    Raises:
        ValueError: One holds a control character, one that turns the direction of writing, or one
            that is not seen, by which two names that look alike differ.
    """
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, str) and any(unicodedata.category(c) in UNSEEN for c in value):
            raise ValueError(f"`{name}` holds a character that is not to be shown")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name where published numbers stand, and when they came out."""

    title: Text
    url: Url
    year: Year | None = None
    paper: Url | None = None
    code: Url | None = None

    def __post_init__(self) -> None:
        check_shown(self)


class PublishedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold numbers that others printed, in percent as printed.

    ``resolution`` is None for data sets that have one alone. ``mark`` says whose word it is: the
    authors' own (first-party), another paper's or project's (secondary), or one that its source
    leaves open or has corrected (doubtful; ``note`` says why). ``protocol`` ar1000 is that of
    average recall at 1,000 masks, which never shares a table with AP.
    """

    method: Text
    backbone: Text
    dataset: Text
    task: Task
    resolution: Resolution | None
    percent: dict[PublishedName, Percent]
    source: str
    mark: Mark
    split: Split = "val"
    parameters: Count | None = None
    note: str = ""
    protocol: Literal["entityseg", "ar1000"] = "entityseg"

    def __post_init__(self) -> None:
        check_shown(self)
        if self.protocol == "ar1000" and set(self.percent) != {"AR1000"}:
            raise ValueError("AR1000 is the one metric of the protocol ar1000")
        if self.protocol != "ar1000" and "AR1000" in self.percent:
            raise ValueError("AR1000 is a metric of the protocol ar1000 alone")


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold ``published.json``."""

    schema: Literal[1]
    sources: dict[str, Source]
    rows: list[PublishedRow]


class HashedFile(msgspec.Struct, frozen=True):
    """Name a scored file and its bytes."""

    name: Text
    sha256: Hash

    def __post_init__(self) -> None:
        check_shown(self)


class Toolkit(msgspec.Struct, frozen=True):
    """Name what scored."""

    name: Text
    version: Text

    def __post_init__(self) -> None:
        check_shown(self)


class Files(msgspec.Struct, frozen=True):
    """Name the two sides."""

    ground_truth: HashedFile
    predictions: HashedFile


class Parameters(msgspec.Struct, frozen=True):
    """Say how it was scored."""

    iou_thrs: list[float]
    area_ranges: dict[str, tuple[float, float]]
    max_dets: list[int]
    class_aware: bool
    iou_type: str
    images: Count | Literal["all"]
    protocol: str = "entityseg"
    overlap_rule: str = "score"
    ap_max_det: Count | None = None


class Counts(msgspec.Struct, frozen=True):
    """Count both sides."""

    images: Count
    ground_truth: Count
    predictions: Count


class OverlapRecord(msgspec.Struct, frozen=True):
    """Say how much the predictions overlapped."""

    images: Count
    pixels: Count
    share_of_covered: Fraction


class OwnMetrics(msgspec.Struct, frozen=True):
    """Hold the metrics over all categories: class-aware AP, mIoU, or PQ, SQ and RQ."""

    all: dict[str, float | None] = {}


class ResultFile(msgspec.Struct, frozen=True):
    """Hold what ``entityseg evaluate --json`` writes, as far as the leaderboard reads it.

    In schema 1 masks that overlap removal hides whole counted as false positives of AP^e; since
    schema 2 they cost nothing.
    """

    schema: Literal[1, 2]
    toolkit: Toolkit
    task: Task
    metrics: dict[str, Fraction | None]
    own_metrics: OwnMetrics | None
    parameters: Parameters
    files: Files
    counts: Counts
    overlap: OverlapRecord

    def __post_init__(self) -> None:
        found = self.own_metrics.all if self.own_metrics else {}
        for name, value in found.items():
            if name not in OWN_METRICS[self.task]:
                raise ValueError(f"own_metrics.all.{name} is no metric of the task {self.task}")
            if name != "n" and value is not None and not 0 <= value <= 1:
                raise ValueError(f"own_metrics.all.{name} is {value}, and not in [0, 1]")

    def class_aware(self) -> dict[str, float]:
        """Return the metrics that the type has of its own, fractions; {} where there are none."""
        found = self.own_metrics.all if self.own_metrics else {}
        return {name: value for name, value in found.items() if value is not None}


class FiledResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold one result of a model, whole as it was written."""

    resolution: Resolution
    result: dict[str, Any]

    def parsed(self, path: Path) -> ResultFile:
        """Check the result's own fields.

        Raises:
            InputError: A field is missing or out of range.
        """
        result: ResultFile = converted(path, self.result, ResultFile)
        return result


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold ``results/<split>/<model>.json``: one model and its results on one split.

    ``method`` is the name in the tables, ``model`` that of the trained network and of the file.
    ``predictions`` is where the scored files can be fetched, so that anybody can score them again.
    """

    schema: Literal[1]
    model: Text
    method: Text
    backbone: Text
    paper: Url
    code: Url
    dataset: Text
    split: Split
    parameters: Count | None
    results: list[FiledResult]
    year: Year | None = None
    weights: Url | None = None
    predictions: Url | None = None

    def __post_init__(self) -> None:
        check_shown(self)


def converted(path: Path, raw: dict[str, Any], struct: Any) -> Any:
    """Turn decoded JSON into a struct.

    Raises:
        InputError: A field is missing or out of range.
    """
    try:
        return msgspec.convert(raw, struct)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise InputError(
            path, where.rstrip("`").lstrip("."), what + ".", "Write it with evaluate --json."
        ) from None
