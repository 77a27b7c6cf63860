"""Ground truth that is typed loosely or wrapped, brought to COCO JSON; SA-1B is of this kind."""

from pathlib import Path
from typing import Any

from entityseg_bench.formats.json_files import encoded
from entityseg_bench.formats.tolerant.fields import (
    settle_annotation,
    settle_category,
    settle_image,
    whole,
)
from entityseg_bench.formats.tolerant.rows import is_record
from entityseg_bench.formats.tolerant.score_from import known_key
from entityseg_bench.io import InputError
from entityseg_bench.types import Tally

__all__ = ["is_sa1b", "joined_sa1b", "plain_truth"]

ORDER = "Are GT and PRED exchanged? GT comes first."
# Annotations of SA-1B have no category.
SA1B_CATEGORY = {"id": 1, "name": "entity"}


def plain_truth(path: Path, found: Any) -> tuple[bytes, list[str]]:
    """Return ground truth as COCO JSON, and notes of what was turned.

    Args:
        path: Where it comes from.
        found: What it holds, as Python values.

    Raises:
        InputError: It is no ground truth.
    """
    tally = Tally()
    content = _unwrapped(found, path, tally)
    content["categories"] = _categories(content.get("categories"), tally)
    for key, settled in SETTLERS.items():
        records = _listed(content.get(key), key, tally)
        if isinstance(records, list):
            content[key] = [settled(record, tally) for record in records]
    if content.get("categories") is None:
        content.pop("categories", None)
    return encoded(path, content), tally.notes()


SETTLERS = {
    "images": settle_image,
    "annotations": settle_annotation,
    "categories": settle_category,
}


def _unwrapped(content: Any, path: Path, tally: Tally) -> dict[str, Any]:
    """Return the object that has images and annotations."""
    files = content if isinstance(content, list) else [content]
    if files and all(is_sa1b(one) for one in files):
        return joined_sa1b(files, tally)
    if isinstance(content, list) and len(content) == 1 and _is_truth(content[0]):
        tally.once("it is a list of one object, which was read.")
        content = content[0]
    if isinstance(content, dict) and "images" not in content:
        inner = [key for key, value in content.items() if _is_truth(value)]
        if len(inner) == 1:
            tally.once(f"the annotations stand under the key {inner[0]!r}.")
            content = content[inner[0]]
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(_listed(images, "images", Tally()), list):
        return dict(content)
    if _are_results(content):
        raise InputError(path, "", "these are results (predictions), not ground truth.", ORDER)
    if isinstance(content, dict):
        keys = ", ".join(map(repr, list(content)[:8])) or "none"
        what = f"images: it is missing or no list; the keys that are there are {keys}."
    else:
        what = "it is a list, not an object with images and annotations."
    raise InputError(path, "", what, "Ground truth is COCO JSON: images, annotations, categories.")


def _listed(records: Any, key: str, tally: Tally) -> Any:
    """Return records that stand one by one under keys, or in a list an image, as a list."""
    if isinstance(records, dict) and records:
        rows = list(records.values())
        if all(isinstance(row, dict) and "id" in row for row in rows):
            tally.once(f"{key} are keyed one by one: the keys were not read.")
            return rows
    if isinstance(records, list) and records and all(isinstance(row, list) for row in records):
        tally.once(f"{key} are a list of lists: they were joined.")
        return [row for rows in records for row in rows]
    return records


def _categories(table: Any, tally: Tally) -> Any:
    """Return the table of categories, which no number without classes reads."""
    if isinstance(table, dict) and table and all(isinstance(n, str) for n in table.values()):
        tally.once("categories are names by id, read so.")
        return [{"id": category_id, "name": name} for category_id, name in table.items()]
    if not isinstance(table, list):
        return table
    kept = [row for row in table if isinstance(row, dict) and _is_id(row.get("id"))]
    if len(kept) < len(table):
        n = len(table) - len(kept)
        tally.once(f"{n} of {len(table)} categories have no number as id: left out.")
    return kept


def _is_id(value: Any) -> bool:
    found = whole(value, "id", Tally())
    return isinstance(found, int) and not isinstance(found, bool)


def _is_truth(value: Any) -> bool:
    return isinstance(value, dict) and {"images", "annotations"} <= set(value)


def _are_results(content: Any, depth: int = 0) -> bool:
    """Tell whether a value is predictions: records, alone or under a key, not of annotations."""
    if depth > 3:
        return False
    if isinstance(content, dict):
        if is_record(content):
            return "score" in content or known_key(content) is not None
        return any(_are_results(value, depth + 1) for value in content.values())
    return isinstance(content, list) and bool(content) and _are_results(content[0], depth + 1)


def is_sa1b(content: Any) -> bool:
    """Tell whether an object is a file of SA-1B: one image and its annotations."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("image"), dict)
        and isinstance(content.get("annotations"), list)
    )


def joined_sa1b(files: list[dict[str, Any]], tally: Tally) -> dict[str, Any]:
    """Return the images and annotations of files of SA-1B as COCO JSON."""
    tally.once(
        "it is SA-1B: its masks may overlap, and are no complete annotation; each is an entity."
    )
    images: list[dict[str, Any]] = []
    annotations: list[Any] = []
    for one in files:
        image = settle_image({**one["image"]}, tally)
        image_id = image.pop("image_id", image.get("id"))
        images.append({**image, "id": image_id})
        for record in one["annotations"]:
            fields = record if isinstance(record, dict) else {}
            own = {"id": len(annotations) + 1, "category_id": SA1B_CATEGORY["id"]}
            row = {**own, **fields, "image_id": image_id}
            annotations.append(row if fields else record)
    return {"images": images, "annotations": annotations, "categories": [SA1B_CATEGORY]}
