"""The demo set's annotation files: all four types, as EntitySeg documents them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import rle
from entityseg_bench import categories
from entityseg_bench.formats.png import write_image
from entityseg_bench.io import write_json
from entityseg_bench.layout import PART_FOLDERS, PARTS

__all__ = [
    "VAL_FILE",
    "Drawn",
    "Picture",
    "list_records",
    "write_class_files",
    "write_entity_files",
]

# The entities of all parts for validation, where `write_entity_files` puts them.
VAL_FILE = "annotations/entity_segmentation/entityv2_010203_entity_val.json"


class Picture(NamedTuple):
    """Hold one resolution of an image: (height, width), and its annotations without their ids."""

    size: tuple[int, int]
    records: list[dict[str, Any]]


class Drawn(NamedTuple):
    """Hold what the annotation files need of one image in high and low resolution."""

    part: str
    split: str
    idx: int
    name: str
    high: Picture
    low: Picture


def list_records(
    id_map: NDArray[np.int32], category_ids: Sequence[int], crowds: Sequence[bool]
) -> Picture:
    """List the entities 1..N of an id map, (H, W), as COCO records; vanished ones are left out."""
    ids, masks = rle.encode_id_map(id_map)
    records = [
        {
            "category_id": category_ids[k - 1],
            "bbox": rle.bbox(mask),
            "area": rle.area(mask),
            "segmentation": mask,
            "iscrowd": int(crowds[k - 1]),
        }
        for k, mask in zip(ids.tolist(), masks, strict=True)
        if k > 0
    ]
    return Picture(id_map.shape, records)


def write_entity_files(
    root: Path, drawn: Sequence[Drawn], split: str, about: dict[str, Any]
) -> None:
    """Write each part with ids of its own, and the joined files of both resolutions re-keyed."""
    folder = root / "annotations" / "entity_segmentation"
    rows = _rows("entity")
    for part in PARTS:
        own = {d.idx + 1: (d.name, d.high) for d in drawn if d.part == part}
        path = folder / f"entityv2_{part}_entity_{split}.json"
        _write(path, _coco(own, rows, about))
    joined = sorted(drawn, key=lambda image: (image.part, image.idx))
    names = [f"{PART_FOLDERS[image.part]}/{image.name}" for image in joined]
    for suffix in ("", "_lr"):
        pictures = [image.low if suffix else image.high for image in joined]
        all_parts = dict(enumerate(zip(names, pictures, strict=True), start=1))
        path = folder / f"entityv2_010203_entity_{split}{suffix}.json"
        _write(path, _coco(all_parts, rows, about))


def write_class_files(
    root: Path,
    drawn: Sequence[Drawn],
    split: str,
    about: dict[str, Any],
    semantic_ids: dict[int, int],
) -> None:
    """Write the instance, semantic and panoptic annotations of part 01."""
    own = {d.idx + 1: (d.name, d.high) for d in drawn if d.part == "01"}
    folder = root / "annotations"
    path = folder / "instance_segmentation" / f"entityv2_01_instances_{split}.json"
    _write(path, _coco(own, _rows("instance"), about))
    _write_semantic(folder / "semantic_segmentation", own, split, semantic_ids)
    _write_panoptic(folder / "panoptic_segmentation", own, split, about)


Pictures = Mapping[int, tuple[str, Picture]]


def _rows(task: categories.Task) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(row) for row in categories.table(task)]


def _image_rows(pictures: Pictures) -> list[dict[str, Any]]:
    return [
        {"id": image_id, "file_name": name, "height": size[0], "width": size[1]}
        for image_id, (name, (size, _)) in pictures.items()
    ]


def _coco(pictures: Pictures, rows: list[dict[str, Any]], about: dict[str, Any]) -> dict[str, Any]:
    """Put a COCO file together from the annotations whose category it has, numbered from 1."""
    ids = {row["id"] for row in rows}
    records = [
        {"image_id": image_id, **record}
        for image_id, (_, picture) in pictures.items()
        for record in picture.records
        if record["category_id"] in ids
    ]
    numbered = [{"id": n, **record} for n, record in enumerate(records, start=1)]
    images = _image_rows(pictures)
    return {"info": about, "images": images, "annotations": numbered, "categories": rows}


def _write_semantic(
    folder: Path, pictures: Pictures, split: str, semantic_ids: dict[int, int]
) -> None:
    lines = []
    for name, (size, records) in pictures.values():
        labels = [semantic_ids.get(r["category_id"], categories.IGNORE) for r in records]
        masks = [record["segmentation"] for record in records]
        painted = rle.paint_id_map(masks, labels, *size, background=categories.IGNORE)
        map_name = f"{Path(name).stem}.png"
        write_image(folder / f"semantic_maps_{split}" / map_name, painted.astype(np.uint8), "PNG")
        lines.append(f"{name} {map_name}\n")
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8", newline="\n")


def _write_panoptic(folder: Path, pictures: Pictures, split: str, about: dict[str, Any]) -> None:
    rows = _rows("panoptic")
    ids = {row["id"] for row in rows}
    annotations = []
    for image_id, (name, (size, records)) in pictures.items():
        kept = [record for record in records if record["category_id"] in ids]
        # A multiple of 256 and more, so that each of the map's three channels is needed.
        numbers = [record["category_id"] * 256 + k for k, record in enumerate(kept, start=1)]
        painted = rle.paint_id_map([record["segmentation"] for record in kept], numbers, *size)
        rgb = np.stack([painted % 256, painted // 256 % 256, painted // 65536], axis=-1)
        map_name = f"{Path(name).stem}.png"
        write_image(folder / f"panoptic_maps_{split}" / map_name, rgb.astype(np.uint8), "PNG")
        segments = [
            {"id": number, **{k: v for k, v in record.items() if k != "segmentation"}}
            for number, record in zip(numbers, kept, strict=True)
        ]
        # The real files name the image here, and the map is its stem with .png.
        annotations.append({"image_id": image_id, "file_name": name, "segments_info": segments})
    table = [{**row, "isthing": int(row["type"] == "thing")} for row in rows]
    content = {
        "info": about,
        "images": _image_rows(pictures),
        "annotations": annotations,
        "categories": [{k: v for k, v in row.items() if k != "type"} for row in table],
    }
    _write(folder / f"entityv2_01_panoptic_{split}.json", content)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
