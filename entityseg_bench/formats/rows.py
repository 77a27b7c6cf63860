"""An image and its annotations as one row of a Hugging Face dataset, and back."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from entityseg_bench.io import InputError, open_regular
from entityseg_bench.table import AnnotatedImages
from entityseg_bench.types import Annotation, Category, ImageInfo

if TYPE_CHECKING:
    import datasets

__all__ = ["features", "from_row", "label_names", "to_row"]


def label_names(categories: Sequence[Category]) -> list[str]:
    """Name each category once: names that repeat get their id, as in ``pipe (277)``."""
    names = [category.name.strip() for category in categories]
    often = Counter(names)
    return [
        name if often[name] == 1 else f"{name} ({category.id})"
        for name, category in zip(names, categories, strict=True)
    ]


def features(dataset: AnnotatedImages, images: bool) -> "datasets.Features":
    """Describe the columns.

    ``category_id`` is the id of the table, ``category`` the class label: its number is the place
    in the table, since labels are counted from 0 and ids of instance and panoptic have gaps.

    Args:
        dataset: Gives the categories and the type of the image ids.
        images: Whether rows have an ``image``.

    Raises:
        InputError: Image ids that are both numbers and strings.
    """
    from datasets import ClassLabel, Features, Image, List, Value

    kinds = {type(image.id) for image in dataset.images}
    if len(kinds) > 1:
        raise InputError(
            dataset.where_from or "images",
            "",
            "image ids are both numbers and strings.",
            "Use one.",
        )
    names = label_names(dataset.categories)
    annotation = {
        "id": Value("int64"),
        "category_id": Value("int64"),
        "category": ClassLabel(names=names) if names else Value("int64"),
        "bbox": List(Value("float64"), length=4),
        "area": Value("float64"),
        "iscrowd": Value("bool"),
        "segmentation": {"size": List(Value("int32"), length=2), "counts": Value("string")},
        "extra": Value("string"),
    }
    columns = {
        "image_id": Value("string" if kinds == {str} else "int64"),
        "file_name": Value("string"),
        "height": Value("int32"),
        "width": Value("int32"),
        "annotations": List(annotation),
        "extra": Value("string"),
    }
    return Features({"image": Image(), **columns} if images else columns)


def to_row(dataset: AnnotatedImages, idx: int) -> dict[str, Any]:
    """Return the row of an image, without the image itself.

    Raises:
        InputError: An annotation whose category is not in the table.
    """
    image = dataset.images[idx]
    place_of = {category.id: place for place, category in enumerate(dataset.categories)}
    rows = []
    for annotation in dataset.annotations(idx):
        if place_of and annotation.category_id not in place_of:
            raise InputError(
                dataset.where_from or "annotations",
                f"image {image.id} ({image.file_name}), annotation {annotation.id}",
                f"category {annotation.category_id} is not in the table of categories.",
            )
        rows.append(
            {
                "id": annotation.id,
                "category_id": annotation.category_id,
                "category": place_of.get(annotation.category_id, annotation.category_id),
                "bbox": list(annotation.bbox),
                "area": annotation.area,
                "iscrowd": annotation.iscrowd,
                "segmentation": annotation.segmentation,
                "extra": _text(annotation.extra),
            }
        )
    return {
        "image_id": image.id,
        "file_name": image.file_name,
        "height": image.height,
        "width": image.width,
        "annotations": rows,
        "extra": _text(image.extra),
    }


def from_row(row: dict[str, Any]) -> tuple[ImageInfo, list[Annotation]]:
    """Return what `to_row` was made from."""
    image = ImageInfo(
        row["image_id"], row["file_name"], row["height"], row["width"], _fields(row["extra"])
    )
    annotations = [
        Annotation(
            id=fields["id"],
            image_id=image.id,
            category_id=fields["category_id"],
            segmentation=fields["segmentation"],
            area=fields["area"],
            bbox=tuple(fields["bbox"]),
            iscrowd=fields["iscrowd"],
            extra=_fields(fields["extra"]),
        )
        for fields in row["annotations"]
    ]
    return image, annotations


def _text(extra: dict[str, Any] | None) -> str | None:
    return msgspec.json.encode(extra).decode() if extra else None


def _fields(text: str | None) -> dict[str, Any] | None:
    return msgspec.json.decode(text, type=dict[str, Any]) if text else None


def image_bytes(path: Path) -> bytes:
    """Read an image file as it is.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise InputError(path, "", f"it cannot be read: {error.strerror}.") from None
