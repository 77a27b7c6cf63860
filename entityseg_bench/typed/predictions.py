"""What predictions are, and opening them: results, panoptic, class maps, id maps, NPZ."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec
import numpy as np

from entityseg_bench.categories import IGNORE
from entityseg_bench.contents.checked_rows import Whole
from entityseg_bench.contents.panoptic import PanopticMasks
from entityseg_bench.contents.panoptic_rows import checked_segments, image_segments
from entityseg_bench.contents.records import Records
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.faults import Report, UnknownImage, misfit, stop
from entityseg_bench.formats.index import INDEX
from entityseg_bench.formats.label_maps import ClassRegions, LabelMaps, maps_below
from entityseg_bench.formats.maps import find_map, is_there, map_name, maps_folder
from entityseg_bench.inputs import PANOPTIC_MARK, Inputs, PredFormat
from entityseg_bench.io import InputError, decode_json, read_bytes
from entityseg_bench.typed.truth import read_indexed
from entityseg_bench.types import Annotation, ImageInfo

__all__ = ["Predictions", "base_name", "open_predictions"]

ID_OPTIONS = "--pred-format id-png (0 = nothing, each other value a segment)"
SEMANTIC_OPTIONS = "--pred-format semantic (each value a class, 255 = none)"

# What may be behind predictions of another size.
MISFITS = {
    "swapped": "Height and width are swapped.",
    "scaled": "Score them against the ground truth of their resolution.",
    "other": "Masks must have the image's own size.",
}

Classes = Literal["none", "some", "all"]


class Predictions:
    """Give the predictions of an image of the ground truth.

    Args:
        dataset: Predictions as annotations; ``extra["score"]`` where there are scores.
        read: Files and folders they are read from.
        classes: What their category ids are worth: "none"; "some" where they may be fillers;
            "all" where the format is one of classes.
        notes: What the user should know of how they were read.
        by_name: Whether an image is found by its name, and not by its id: semantic lists give none.
    """

    def __init__(
        self,
        dataset: EntityDataset,
        read: Sequence[Path],
        classes: Classes,
        notes: Sequence[str] = (),
        by_name: bool = False,
    ) -> None:
        self.dataset = dataset
        self.read = list(read)
        self.classes = classes
        self.notes = list(notes)
        self._key = base_name if by_name else _id_of
        self._where = {self._key(image): idx for idx, image in enumerate(dataset.images)}

    def of(self, image: ImageInfo) -> list[Annotation]:
        """Return the predictions of an image, in the order of the file.

        Raises:
            InputError: They are for an image of another name or size under the same id, or broken.
        """
        idx = self._where.get(self._key(image))
        if idx is None:
            return []
        own = self.dataset.images[idx]
        place = f"image {image.id} ({image.file_name})"
        # Predictions that were read without their ground truth call their images by the id.
        if base_name(own) not in (base_name(image), f"{image.id}.png"):
            what = f"under this id the predictions have the image {own.file_name}."
            raise InputError(self.dataset.where, place, what, "Image ids restart in each part.")
        if (own.height, own.width) != (image.height, image.width):
            sizes = (own.height, own.width), (image.height, image.width)
            raise InputError(
                self.dataset.where,
                place,
                f"the predictions are of {own.height} x {own.width} pixels (height x width), the "
                f"ground truth of {image.height} x {image.width}.",
                MISFITS[misfit(*sizes)],
            )
        return self.dataset.annotations(idx)

    def check_known(self, images: Sequence[ImageInfo], report: Report) -> None:
        """Report predictions of images that the ground truth does not have."""
        known = {self._key(image) for image in images}
        for image in self.dataset.images:
            if self._key(image) not in known:
                place = f"image {image.id} ({image.file_name})"
                what = "this image is not among the images of the ground truth."
                mend = "Is this the right split?"
                report(UnknownImage(self.dataset.where, place, what, mend))


def base_name(image: ImageInfo) -> str:
    """Return the name of an image's map without folders."""
    return PurePosixPath(map_name(image.file_name)).name


def _id_of(image: ImageInfo) -> Any:
    return image.id


def open_predictions(
    path: Path,
    truth: EntityDataset,
    inputs: Inputs,
    some_images: bool = False,
    report: Report = stop,
) -> Predictions:
    """Open predictions of any format.

    Args:
        path: Results JSON, panoptic JSON, or a folder: class maps, id maps with or without their
            index of scores, NPZ.
        truth: Ground truth, which gives images, sizes and categories.
        inputs: What the user said of them.
        some_images: Whether maps may be missing.
        report: Takes the faults that something is left of the predictions without.

    Raises:
        InputError: It cannot be told what they are, maps are missing, or they are broken.
    """
    notes: list[str] = []
    found = inputs.pred_format
    if found is None:
        found, notes = detect_predictions(path, truth)
    if found in ("id-png", "npz", "semantic") and not path.is_dir():
        raise InputError(path, "", f"{found} predictions are a folder.", "Name the folder.")
    if found == "results":
        return _read_results(path, truth)
    if found == "panoptic":
        return _read_panoptic_predictions(path, truth, inputs, report)
    if (path / INDEX).is_file() or found == "npz":
        dataset, by_name = read_indexed(path, report), truth.task == "semantic"
        classes: Classes = "some" if _same_names(dataset, truth) else "none"
        predictions = Predictions(dataset, [path], classes, notes, by_name)
        predictions.check_known(truth.images, report)
        return predictions
    ignore, deep = (IGNORE, False) if found == "semantic" else (0, True)
    own = truth.task == "semantic" and found == "semantic"
    regions = ClassRegions(frozenset((ignore,)), deep=deep)
    dataset, unused = _bare_maps(path, truth, regions, some_images, report)
    if unused:
        notes.append(f"{len(unused)} maps belong to no image, {unused[0]} first: not read.")
    return Predictions(dataset, [path], "all" if own else "none", notes)


def detect_predictions(path: Path, truth: EntityDataset) -> tuple[PredFormat, list[str]]:
    """Tell the format of predictions; also how that was decided, where they could be another.

    Raises:
        InputError: It cannot be told.
    """
    if not path.is_dir():
        return ("panoptic" if read_bytes(path).find(PANOPTIC_MARK) >= 0 else "results"), []
    if (path / INDEX).is_file():
        return ("npz" if next(path.rglob("*.npz"), None) else "id-png"), []
    maps = [map_ for map_ in path.rglob("*.png") if not map_.name.startswith(".")]
    if not maps:
        what = f"there are no PNG maps in this folder, nor an index ({INDEX}) of id maps or NPZ."
        mend = "Predictions are results JSON, panoptic JSON, or a folder of PNG maps or NPZ."
        raise InputError(path, "", what, mend)
    if any(_is_deep(map_) for map_ in maps):
        return "id-png", []
    if truth.task == "panoptic":
        raise InputError(
            path,
            "",
            "these maps of 8 bits may be class maps or id maps.",
            f"Say which: {SEMANTIC_OPTIONS} or {ID_OPTIONS}; or name a panoptic JSON.",
        )
    if truth.task == "semantic":
        return "semantic", [f"read as class maps; if they are id maps, say {ID_OPTIONS}."]
    return "id-png", [f"read as id maps; if they are class maps, say {SEMANTIC_OPTIONS}."]


def _is_deep(path: Path) -> bool:
    """Tell whether a PNG has 16 bits or colours, as maps of ids have and class maps have not."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError as error:
        raise InputError(path, "", f"the map cannot be read: {error.strerror}.") from None
    # Bit depth and colour type of the IHDR chunk; 2 is RGB.
    return len(head) == 26 and (head[24] == 16 or head[25] == 2)


def _same_names(dataset: EntityDataset, truth: EntityDataset) -> bool:
    """Tell whether the ids that two category tables share mean the same."""
    names = {category.id: category.name.strip() for category in truth.categories}
    own = [(category.id, category.name.strip()) for category in dataset.categories]
    return all(names.get(category_id, name) == name for category_id, name in own)


def _bare_maps(
    folder: Path, truth: EntityDataset, regions: ClassRegions, some_images: bool, report: Report
) -> tuple[EntityDataset, list[str]]:
    """Read maps that are called like the images; also name those that are called otherwise."""
    maps = {image.id: find_map(folder, image.file_name) for image in truth.images}
    missing = [image for image in truth.images if not is_there(maps[image.id])]
    for image in missing if len(missing) == len(truth) or not some_images else []:
        place = f"image {image.id} ({image.file_name})"
        what = f"its map {map_name(image.file_name)} is missing"
        fault = InputError(
            folder,
            place,
            f"{what} ({len(missing)} of {len(truth)} are).",
            "--predicted-images-only leaves such images out." if len(missing) < len(truth) else "",
        )
        if len(missing) == len(truth):
            raise fault
        report(fault)
    images = [image for image in truth.images if is_there(maps[image.id])]
    paths = [maps[image.id] for image in images]
    twice = dict(zip(paths, images, strict=True))
    for path, image in zip(paths, images, strict=True):
        if twice[path] is not image:
            place = f"image {image.id} ({image.file_name})"
            other = twice[path]
            what = f"its map would be that of image {other.id} ({other.file_name}), too."
            mend = "Put the maps into the folders of their images."
            report(InputError(path, place, what, mend))
    unused = sorted(p.name for p in maps_below(folder, ".png") if p not in twice)
    rows = LabelMaps(images, paths, str(folder), regions)
    return EntityDataset(images, rows, truth.categories, truth.task, where=str(folder)), unused


class _Result(msgspec.Struct):
    image_id: int | str


class _Wrapped(msgspec.Struct):
    annotations: list[_Result]


def _read_results(path: Path, truth: EntityDataset) -> Predictions:
    """Read COCO results; an ``image_id`` may be an image's name where that has another id."""
    from entityseg_bench.formats.results import read_results

    decoder = msgspec.json.Decoder(list[_Result] | _Wrapped)
    content = decode_json(path, read_bytes(path), decoder)
    rows = content.annotations if isinstance(content, _Wrapped) else content
    used = dict.fromkeys(row.image_id for row in rows)
    known = {image.id for image in truth.images}
    if all(image_id in known for image_id in used):
        note = "each image_id is taken as the image's place in the list of maps, from 1."
        notes = [note] if truth.task == "semantic" and used else []
        return Predictions(
            read_results(path, truth.images, truth.categories), [path], "some", notes
        )
    by_name = {base_name(image): image for image in truth.images}
    if len(by_name) < len(truth):
        raise InputError(path, "", "two images have the same name.", "Use the images' ids.")
    images = []
    for image_id in used:
        image = by_name.get(PurePosixPath(map_name(str(image_id))).name)
        if image is None:
            what = "it is neither the id nor the name of an image of the ground truth."
            raise UnknownImage(path, f"image_id {image_id!r}", what, "Is this the right split?")
        images.append(ImageInfo(image_id, image.file_name, image.height, image.width))
    dataset = read_results(path, images, truth.categories)
    return Predictions(dataset, [path], "some", by_name=True)


class _Segment(msgspec.Struct):
    """Hold a predicted segment; a score is no part of COCO's format, but is read where it is."""

    id: Whole
    category_id: Whole
    score: float | None = None


class _Image(msgspec.Struct):
    image_id: int | str
    segments_info: list[Any]
    file_name: str = ""


class _File(msgspec.Struct):
    annotations: list[Any]


def _read_panoptic_predictions(
    path: Path, truth: EntityDataset, inputs: Inputs, report: Report
) -> Predictions:
    """Read panoptic JSON for the images of the ground truth; its own list may be missing."""
    content = decode_json(path, read_bytes(path), msgspec.json.Decoder(_File))
    of_images = image_segments(content.annotations, _Image, truth.images, path, report, True)
    rows: list[tuple[int, _Segment]] = []
    for idx, row in of_images.items():
        place = f"image {row.image_id} ({truth.images[idx].file_name})"
        segments = checked_segments(row.segments_info, _Segment, path, place, report)
        rows += [(idx, segment) for segment, _ in segments]
    maps = maps_folder(path, "panoptic", inputs.pred_maps, "--pred-maps")
    named = {idx: row.file_name for idx, row in of_images.items() if row.file_name}
    paths = [
        find_map(maps, named.get(idx, image.file_name)) for idx, image in enumerate(truth.images)
    ]
    image_idx = np.array([idx for idx, _ in rows], np.int64)
    ids = np.array([segment.id for _, segment in rows], np.int64)
    names = [f"image {image.id} ({image.file_name})" for image in truth.images]
    extras: list[Any] = [None if s.score is None else {"score": s.score} for _, s in rows]
    nan = np.full((len(rows), 4), np.nan)
    records = Records(
        ids=ids,
        image_idx=image_idx,
        category_ids=np.array([segment.category_id for _, segment in rows], np.int64),
        areas=nan[:, 0],
        boxes=nan,
        iscrowd=np.zeros(len(rows), bool),
        masks=PanopticMasks(paths, names, image_idx, ids),
        extras=extras,
        where=str(path),
    )
    dataset = EntityDataset(truth.images, records, truth.categories, "panoptic", where=str(path))
    return Predictions(dataset, [path, maps], "all" if truth.task == "panoptic" else "none")
