"""Segment Anything: what its automatic mask generator writes, and SA-1B.

A folder of one JSON file an image (``amg.py --convert-to-rle``, SA-1B), or a folder an image with
one PNG a mask and ``metadata.csv`` (``amg.py``). One JSON file is read as results (`formats.coco`).
Masks of both overlap, and no record has a score: ``predicted_iou`` is taken, or what
``--score-from`` says.
"""

import csv
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from entity_api import rle as rle_codes
from entityseg_bench.check import IMAGE_UNNAMED, Report, reported, stop
from entityseg_bench.formats import png
from entityseg_bench.formats.coco import table_of_content, truth_of_content
from entityseg_bench.formats.json_files import foreign, needs_all, read_json, read_records
from entityseg_bench.formats.maps import files_below, size_fault
from entityseg_bench.formats.matching import as_number, match_ids
from entityseg_bench.formats.opened import Inputs, Opened, Side, agree
from entityseg_bench.formats.tolerant.results import named_image, parsed_results
from entityseg_bench.formats.tolerant.rows import IMAGE_KEYS, RecordFinder, Unclear
from entityseg_bench.formats.tolerant.score_from import ScoreFrom, known_key
from entityseg_bench.formats.tolerant.truth import is_sa1b
from entityseg_bench.io import InputError, open_regular
from entityseg_bench.masks import Masks
from entityseg_bench.table import Segments
from entityseg_bench.types import RLE, ImageInfo, Tally

__all__ = ["HEAD", "JSON", "PngMasks", "read_png_folders", "says_masks", "tells"]

METADATA = "metadata.csv"
ORDER = "Are GT and PRED exchanged? GT comes first; entityseg convert takes --gt FILE."
# Words near the start of what the generator writes, and of SA-1B.
SIGNS = (b'"predicted_iou"', b'"stability_score"')
SA1B = (b'"image"', b'"annotations"')
HEAD = 1 << 16
POINTER = b"version https://git-lfs"
JSON = re.compile(r"\.(json|jsonl|ndjson)(\.gz)?$", re.IGNORECASE)


def tells(folder: Path, side: Side | None = None) -> bool:
    """Tell a folder of masks or of JSON files of Segment Anything, by the first of its files.

    Predictions in a JSON file an image may be of any tool, where no maps are beside them.
    """
    if png_folders(folder):
        return True
    first = next(json_files(folder), None)
    if first is None:
        return False
    if side == "dt":
        return not any(files_below(folder, kind) for kind in (".png", ".npz"))
    with open_regular(first) as file:
        head = file.read(HEAD)
    if needs_all(head[:4]):
        head = read_json(first)[:HEAD]
    if head.startswith(POINTER):
        # Told when it is opened, with its name.
        return True
    return says_masks(head)


def says_masks(head: bytes) -> bool:
    """Tell JSON of the generator or of one image by its start; COCO's lists images."""
    told = any(sign in head for sign in SIGNS) or all(sign in head for sign in SA1B)
    return told and b'"images"' not in head


def json_files(folder: Path) -> Iterator[Path]:
    """Yield the JSON files of a folder, by name, else those of the folders in it."""
    for found in (folder.glob("*"), folder.glob("*/*")):
        paths = sorted(path for path in found if JSON.search(path.name) and not path.is_dir())
        yield from (path for path in paths if not path.name.startswith("."))
        if paths:
            return


def png_folders(folder: Path) -> list[Path]:
    """List the folders of masks: the folder itself, or those in it."""
    if metadata_of(folder):
        return [folder]
    return sorted(path.parent for path in folder.glob("*/*") if is_metadata(path))


def metadata_of(folder: Path) -> Path | None:
    """Return the metadata.csv of a folder of masks, None where there is none."""
    return next(filter(is_metadata, folder.iterdir()), None)


def is_metadata(path: Path) -> bool:
    """Tell a metadata.csv by its name, in any case."""
    return path.name.lower() == METADATA and path.is_file()


def masks_in(folder: Path) -> dict[str, Path]:
    """Return the masks of a folder by the ids that their names are, without zeros before them."""
    found = [path for path in folder.iterdir() if path.suffix.lower() == ".png"]
    return {plain_number(path.stem): path for path in found if not path.name.startswith(".")}


def plain_number(text: str) -> str:
    """Return a whole number without zeros before it, other text as it is."""
    return str(int(text)) if text.isdecimal() and len(text) < 19 else text


def read_json_folder(
    folder: Path, inputs: Inputs, truth: Segments | None, report: Report
) -> Segments:
    """Read predictions of one JSON file an image; a file that names none is called like it."""
    tally = Tally()
    content: list[Any] = []
    for path in json_files(folder):
        with reported(report):
            found = _parsed(path)
            content += [found] if is_sa1b(found) else _rows_of_image(path, found, tally)
    return table_of_content(folder, content, inputs, truth, tally)


def _rows_of_image(path: Path, found: Any, tally: Tally) -> list[dict[str, Any]]:
    """Return the records of one file; those that name no image are of the one it is called like."""
    if isinstance(found, dict) and {"images", "annotations"} <= set(found):
        what = "it lists images of its own, as one file of all images does."
        raise InputError(path, "", what, "Name the file, not its folder.")
    try:
        rows = RecordFinder(lambda key: isinstance(as_number(key), int), tally)(found)
    except Unclear as error:
        raise InputError(path, "", f"{error}.", "Take it out of the folder.") from None
    if any(not any(key in row for key in IMAGE_KEYS) for row in rows):
        tally.once("each file is of the image that it is called like.")
    stem = JSON.sub("", path.name)
    return [row if any(k in row for k in IMAGE_KEYS) else {"image_id": stem, **row} for row in rows]


def _parsed(path: Path) -> Any:
    try:
        return read_records(path, object)
    except InputError as error:
        return parsed_results(path, read_json(path), Tally(), error)


class PngMasks(Masks):
    """Read masks that are a PNG each, 0 where there is nothing.

    Args:
        paths: (N,) file of each mask.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        path = self._paths[idx]
        pixels = png.read_labels(path)
        if pixels.shape != size:
            raise size_fault(path, "", pixels.shape, size)
        if len(np.unique(pixels)) > 2:
            what = "it is no mask: it has more than two values."
            raise InputError(path, "", what, "A mask is 0 and 255.")
        return rle_codes.encode(pixels)  # type: ignore[return-value]


def read_png_folders(
    folder: Path, inputs: Inputs, images: Sequence[ImageInfo], report: Report = stop
) -> Segments:
    """Read predictions of a folder an image, with one PNG a mask and its row of metadata.csv.

    Args:
        folder: Of the images' folders, or that of one image.
        inputs: What the user says of it.
        images: Of the ground truth.
        report: Takes the faults of single files.

    Raises:
        InputError: Folders of no image, or rows that are broken.
    """
    folders = png_folders(folder)
    where, notes = _images_of(folder, folders, inputs, images)
    score = _Score(inputs.score_from)
    image_idx: list[int] = []
    unknown: dict[int, Any] = {}
    paths: list[Path] = []
    scores: list[float] = []
    extras: list[dict[str, Any]] = []
    for own in folders:
        table, masks = metadata_of(own) or own / METADATA, masks_in(own)
        seen: set[str] = set()
        for line, row in _rows(table):
            with reported(report):
                name = plain_number(str(row["id"]))
                path = masks.get(name)
                if path is None:
                    raise InputError(table, f"line {line}", f"{row['id']}.png is missing.")
                if name in seen:
                    what = f"mask {name} stands there before."
                    raise InputError(table, f"line {line}", what, "Take the row out.")
                seen.add(name)
                value = score(row, table, line)
                at = where.get(own.name, -1)
                if at < 0:
                    unknown[len(paths)] = own.name
                image_idx.append(at)
                paths.append(path)
                scores.append(value)
                extras.append(row)
    unused = len({path for own in folders for path in masks_in(own).values()} - set(paths))
    if unused:
        notes.append(f"{unused} masks have no row in their {METADATA}: not read.")
    if score.key and paths:
        notes.append(
            f"there is no score: {score.key} was taken (--score-from "
            '"mean(predicted_iou, stability_score)" takes another).'
        )
    return Segments.make(
        images,
        np.array(image_idx, np.int64),
        PngMasks(paths),
        np.arange(len(paths), dtype=np.int64),
        scores=np.array(scores, np.float64),
        extras=extras,
        predicted=True,
        where_from=str(folder),
        unknown=unknown,
        notes=tuple(notes),
        score_from=score.text,
    )


def _images_of(
    folder: Path, folders: Sequence[Path], inputs: Inputs, images: Sequence[ImageInfo]
) -> tuple[dict[Any, int], list[str]]:
    """Return the position of the image of each folder by its name, and how that was found."""
    names = [own.name for own in folders]
    if inputs.image_id is not None:
        if folders != [folder]:
            what = "it has a folder for each image, and --image-id says which one it is of."
            raise InputError(folder, "", what, "Leave --image-id out.")
        image_id = named_image(inputs.image_id, images)
        return {names[0]: [image.id for image in images].index(image_id)}, []
    where, _ = match_ids(names, images, folder)
    if folders == [folder] and not where:
        hint = "Say which image they are of: --image-id ID."
        what = f"its masks are of one image, but none is called {folder.name}."
        raise InputError(folder, "", what, hint, IMAGE_UNNAMED)
    return where, ["each folder is of the image that it is called like."]


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a metadata.csv with their lines; cells are numbers where they can be."""
    try:
        data = bytes(read_json(path))
        fault = foreign(path, data)
        if fault:
            raise fault
        text = data.decode("utf-8")
        rows = list(csv.DictReader(text.splitlines(), strict=True, skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "", f"it cannot be read: {error}.", "Write it again.") from None
    for line, row in enumerate(rows, start=2):
        if not row.get("id") or "/" in row["id"] or "\\" in row["id"] or None in row:
            what = "it is no row of id and measures of a mask."
            raise InputError(path, f"line {line}", what)
    return [(k, {n: _number(cell) for n, cell in row.items()}) for k, row in enumerate(rows, 2)]


def _number(cell: Any) -> Any:
    try:
        return float(cell) if "." in cell else int(cell)
    except (TypeError, ValueError):
        return cell


class _Score:
    """Take the score of a row of metadata.csv.

    Attributes:
        key: The field that was taken for want of a score; "" where one was named.
        text: What was taken.
    """

    def __init__(self, text: str | None) -> None:
        self._given = ScoreFrom(text) if text else None
        self.key, self.text = "", self._given.text if self._given else "score"

    def __call__(self, row: dict[str, Any], path: Path, line: int) -> float:
        if self._given is None and "score" not in row:
            self.key = self.key or known_key(row) or "predicted_iou"
            self.text = self.key
        take = self._given or _score_of(self.text)
        found = take(row)
        if found is None:
            what = f"it has no number {take.text}; its columns are {', '.join(row)}."
            raise InputError(path, f"line {line}", what, "Say what the score is: --score-from KEY.")
        return found


@functools.cache
def _score_of(text: str) -> ScoreFrom:
    return ScoreFrom(text)


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open a folder of SA-1B as ground truth; see `entityseg_bench.formats.open`."""
    agree(path, "entity", inputs.task)
    if not path.is_dir():
        raise InputError(path, "", "this is no folder of masks or JSON files.", "Name the folder.")
    files, content = list(json_files(path)), []
    for file in files:
        with reported(report):
            found = _parsed(file)
            if not is_sa1b(found):
                what = "these are masks of a generator, not ground truth: no image is in it."
                raise InputError(file, "", what, ORDER)
            content.append(found)
    if not files:
        what = "these are predictions (masks and metadata.csv), not ground truth."
        raise InputError(path, "", what, ORDER)
    return Opened(truth_of_content(path, content, whole), [path])


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open predictions: folders of masks, or of JSON files; see `entityseg_bench.formats.open`."""
    if png_folders(path):
        table = read_png_folders(path, inputs, truth.images, report)
        return Opened(table.replace(categories=truth.categories), [path], "none")
    return Opened(read_json_folder(path, inputs, truth, report), [path], "none")
