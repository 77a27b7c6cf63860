"""The two sides of an evaluation from what a program has: paths, dictionaries, lists, arrays."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from entity_api.columns import RecordError, check_positions, plain
from entity_api.dense import array_of
from entity_api.loading import loaded
from entity_api.tables import Detections, GroundTruth

__all__ = ["check_names", "detections_of", "ground_truth_of"]

ENDING = re.compile(r"\.(jpe?g|png|tiff?|bmp|webp|gif)$")


def ground_truth_of(source: Any, boxes: bool = False) -> GroundTruth:
    """Return ground truth as columns, whatever it is given as.

    Args:
        source: Columns; a COCO dictionary; an object with one as ``dataset``, as `COCO` is; the
            path of COCO JSON, plain or ``.gz``; or a list of the masks of each image.
        boxes: Take ``bbox`` instead of masks.

    Raises:
        RecordError: An annotation that cannot be scored, with its position.
        ValueError: It is nothing of this, or no JSON.
    """
    if isinstance(source, GroundTruth):
        return source
    content = loaded(source, "ground truth")
    if isinstance(content, Mapping):
        return GroundTruth.from_coco(content, boxes)
    listed = isinstance(content, list | tuple) and len(content)
    if listed and not any(isinstance(one, Mapping) for one in content):
        return GroundTruth.from_masks(content)
    what = "a list of records" if listed else f"{type(content).__name__}"
    raise ValueError(f"ground truth is a COCO dictionary or the masks of each image, not {what}")


def detections_of(source: Any, gt: GroundTruth, boxes: bool = False) -> Detections:
    """Return detections as columns, whatever they are given as.

    Args:
        source: Columns; a list of COCO results, the path of one, plain or ``.gz``, or an object
            with one in ``dataset``, as `COCO.loadRes` returns it; or masks with their scores, as
            pairs ``(masks, scores)`` or dictionaries with the keys ``masks`` and ``scores``: a list
            of one an image, in the order of the ground truth's images (or each with its
            ``image_id``), or a dictionary from image ids to them.
        gt: Ground truth that they are for.
        boxes: Take ``bbox`` instead of masks.

    Raises:
        RecordError: A detection that cannot be scored, with its position.
        ValueError: They are nothing of this, or no JSON.

    >>> import numpy as np
    >>> gt = GroundTruth.from_masks([np.ones((1, 2, 3), bool)], image_ids=[7])
    >>> found = {"image_id": 7, "masks": np.ones((2, 2, 3), bool), "scores": [0.9, 0.3]}
    >>> detections_of([found], gt).image_idx.tolist()
    [0, 0]
    """
    if isinstance(source, Detections):
        check_positions(source.image_idx, len(gt.image_ids), "dt")
        return source
    content = loaded(source, "detections")
    if isinstance(content, Mapping) and isinstance(content.get("annotations"), list | tuple):
        content = content["annotations"]
    if isinstance(content, list | tuple) and content:
        if all(map(_are_records, content)) and any(content):
            records = [record for own in content for record in own]
            stated = all("image_id" in record for record in records)
            content = records if stated else _by_image(content, gt)
        elif all(map(_is_of_image, content)):
            content = _by_image(content, gt)
        elif any(array_of(one) is not None for one in content):
            raise ValueError("masks alone are no detections: give (masks, scores) for each image")
    if not isinstance(content, Mapping):
        return Detections.from_coco(content, gt, boxes)
    if all(map(_are_records, content.values())):
        return Detections.from_coco(_flattened(content), gt, boxes)
    return Detections.from_masks(_pairs(content), gt)


def check_names(gt: Any, dt: Any) -> None:
    """Check that images which detections list have the names that the ground truth has.

    Args:
        gt: Ground truth as `ground_truth_of` takes it.
        dt: Detections as `detections_of` takes them.

    Raises:
        ValueError: An id is of one image in the ground truth and of another in the detections.

    >>> truth = {"images": [{"id": 1, "file_name": "val/a.jpg"}]}
    >>> check_names(truth, {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []})
    """
    if not (isinstance(gt, Mapping) and isinstance(dt, Mapping) and "annotations" in dt):
        return
    names, own = _names(gt.get("images")), _names(dt.get("images"))
    for image_id, name in own.items():
        known = names.get(image_id, name)
        if _stem(known) != _stem(name):
            raise ValueError(
                f"image {image_id!r} is {name} in the detections and {known} in the ground truth: "
                "are the images numbered anew? Write the ground truth's ids"
            )


def _names(images: Any) -> dict[Any, str]:
    """Return what each image with a name is called, by its id as text."""
    rows = [row for row in images if isinstance(row, Mapping)] if isinstance(images, list) else []
    return {
        str(row.get("id")).removesuffix(".0"): row["file_name"]
        for row in rows
        if isinstance(row.get("file_name"), str) and row["file_name"]
    }


def _stem(name: str) -> str:
    """Return a name without folders, of either system, and without its ending."""
    return ENDING.sub("", PureWindowsPath(name).name.casefold())


def _is_of_image(entry: Any) -> bool:
    """Tell whether an entry is the masks of an image with their scores."""
    if isinstance(entry, Mapping):
        return "masks" in entry
    return isinstance(entry, list | tuple) and len(entry) == 2


def _by_image(entries: Sequence[Any], gt: GroundTruth) -> dict[Any, Any]:
    """Key entries by their image's id, which is stated in all of them or goes by the order."""
    stated = [isinstance(entry, Mapping) and "image_id" in entry for entry in entries]
    if not any(stated):
        if len(entries) != len(gt.image_ids):
            raise ValueError(
                f"there are masks of {len(entries)} images, and {len(gt.image_ids)} in the ground "
                "truth: say which with image_id"
            )
        return dict(zip(gt.image_ids, entries, strict=True))
    found: dict[Any, Any] = {}
    for idx, (entry, says) in enumerate(zip(entries, stated, strict=True)):
        if not says:
            raise ValueError(f"entry {idx} of the detections has no image_id, others do")
        image_id = plain(entry["image_id"])
        if image_id in found:
            raise ValueError(f"entry {idx} of the detections: image {image_id!r} stands twice")
        found[image_id] = entry
    return found


def _are_records(own: Any) -> bool:
    """Tell whether an entry is a list of COCO results."""
    return isinstance(own, list | tuple) and all(isinstance(one, Mapping) for one in own)


def _flattened(by_image: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """List records that are keyed by their images' ids, each with its id."""
    records: list[dict[str, Any]] = []
    for image_id, own in by_image.items():
        for record in own:
            stated = plain(record.get("image_id", image_id))
            if stated != image_id:
                what = f"its image_id is {stated!r}, and it stands among those of {image_id!r}"
                raise RecordError("dt", len(records), what)
            records.append({**record, "image_id": image_id})
    return records


def _pairs(by_image: Mapping[Any, Any]) -> dict[Any, tuple[Any, Any]]:
    """Take masks and scores out of the entries of images."""
    pairs = {}
    for image_id, entry in by_image.items():
        if not _is_of_image(entry):
            raise ValueError(f"image {image_id!r} of the detections: give (masks, scores)")
        if isinstance(entry, Mapping):
            if "scores" not in entry:
                raise ValueError(f"image {image_id!r} of the detections has masks and no scores")
            entry = entry["masks"], entry["scores"]
        pairs[image_id] = entry
    return pairs
