"""The face of ``pycocotools.coco``: an index over a COCO file, for code that expects one."""

import copy
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle

__all__ = ["COCO"]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


class COCO:
    """Index images, annotations and categories of a COCO file, with pycocotools' names.

    Args:
        annotation_file: Path of a JSON file, or its content as a dict, which stays as it is.
        class_agnostic: Give every annotation, and every result that `loadRes` reads, category 1.
    """

    def __init__(
        self,
        annotation_file: str | Path | dict[str, Any] | None = None,
        class_agnostic: bool = False,
    ) -> None:
        self.class_agnostic = class_agnostic
        self.dataset: dict[str, Any] = {}
        self.anns: dict[Any, dict[str, Any]] = {}
        self.cats: dict[Any, dict[str, Any]] = {}
        self.imgs: dict[Any, dict[str, Any]] = {}
        self.imgToAnns: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        self.catToImgs: dict[Any, list[Any]] = defaultdict(list)
        if annotation_file is None:
            return
        if isinstance(annotation_file, dict):
            dataset = dict(annotation_file)
        else:
            dataset = json.loads(Path(annotation_file).read_text(encoding="utf-8"))
            if not isinstance(dataset, dict):
                raise ValueError(f"{annotation_file}: a COCO file holds one JSON object")
        if class_agnostic:
            dataset["annotations"] = [
                {**ann, "category_id": 1} for ann in dataset.get("annotations", [])
            ]
            dataset["categories"] = [{"id": 1, "name": "entity", "supercategory": "entity"}]
        self.dataset = dataset
        self.createIndex()

    def createIndex(self) -> None:
        """Build the look-up tables from ``dataset``."""
        self.anns, self.cats, self.imgs = {}, {}, {}
        self.imgToAnns, self.catToImgs = defaultdict(list), defaultdict(list)
        for ann in self.dataset.get("annotations", []):
            self.imgToAnns[ann["image_id"]].append(ann)
            self.anns[ann["id"]] = ann
            if "category_id" in ann:
                self.catToImgs[ann["category_id"]].append(ann["image_id"])
        self.imgs = {image["id"]: image for image in self.dataset.get("images", [])}
        self.cats = {category["id"]: category for category in self.dataset.get("categories", [])}

    def info(self) -> None:
        """Print the file's ``info``."""
        for key, value in self.dataset.get("info", {}).items():
            print(f"{key}: {value}")

    def getAnnIds(
        self,
        imgIds: Any = (),
        catIds: Any = (),
        areaRng: Sequence[float] = (),
        iscrowd: bool | None = None,
    ) -> list[Any]:
        """Return ids of the annotations that pass every filter given."""
        images, categories = _listed(imgIds), set(_listed(catIds))
        anns = (
            [ann for image_id in images for ann in self.imgToAnns.get(image_id, [])]
            if images
            else self.dataset.get("annotations", [])
        )
        return [
            ann["id"]
            for ann in anns
            if (not categories or ann.get("category_id") in categories)
            and (not len(areaRng) or areaRng[0] < ann["area"] < areaRng[1])
            and (iscrowd is None or bool(ann.get("iscrowd", 0)) == bool(iscrowd))
        ]

    def getCatIds(
        self,
        catNms: Any = (),
        supNms: Any = (),
        catIds: Any = (),
    ) -> list[Any]:
        """Return ids of the categories that pass every filter given."""
        names, supers, ids = ({*_listed(value)} for value in (catNms or (), supNms or (), catIds))
        return [
            category["id"]
            for category in self.dataset.get("categories", [])
            if (not names or category["name"] in names)
            and (not supers or category.get("supercategory") in supers)
            and (not ids or category["id"] in ids)
        ]

    def getImgIds(self, imgIds: Any = (), catIds: Any = ()) -> list[Any]:
        """Return ids of the images that are named and hold every category named."""
        ids = set(_listed(imgIds)) or set(self.imgs)
        for category_id in _listed(catIds):
            ids &= set(self.catToImgs.get(category_id, []))
        return list(ids)

    def loadAnns(self, ids: Any = ()) -> list[dict[str, Any]]:
        """Return annotations by id."""
        return [self.anns[ann_id] for ann_id in _listed(ids)]

    def loadCats(self, ids: Any = ()) -> list[dict[str, Any]]:
        """Return categories by id."""
        return [self.cats[category_id] for category_id in _listed(ids)]

    def loadImgs(self, ids: Any = ()) -> list[dict[str, Any]]:
        """Return images by id."""
        return [self.imgs[image_id] for image_id in _listed(ids)]

    def loadRes(self, resFile: Any) -> "COCO":
        """Read results (path, list or wrapped list) into an index of their own.

        Area is counted on the mask where there is one; pycocotools takes the box's where a record
        has both. Records without masks get their box's polygon.

        Raises:
            ValueError: A result of an image that is not in this file.
        """
        content = resFile
        if isinstance(resFile, str | Path):
            content = json.loads(Path(resFile).read_text(encoding="utf-8"))
        records = content["annotations"] if isinstance(content, dict) else content
        if not isinstance(records, list):
            raise ValueError("results must be a list of records")
        results = COCO()
        results.class_agnostic = self.class_agnostic
        results.dataset = {
            "images": list(self.dataset.get("images", [])),
            "categories": copy.deepcopy(self.dataset.get("categories", [])),
            "annotations": [self._completed(idx, ann) for idx, ann in enumerate(records)],
        }
        results.createIndex()
        return results

    def _completed(self, idx: int, record: dict[str, Any]) -> dict[str, Any]:
        """Copy one result, with id, area, box and crowd flag."""
        if record["image_id"] not in self.imgs:
            raise ValueError(f"result {idx}: image_id {record['image_id']!r} is not in the file")
        ann = {**record, "id": idx + 1, "iscrowd": 0}
        if self.class_agnostic:
            ann["category_id"] = 1
        if ann.get("segmentation"):
            code = self.annToRLE(ann)
            ann["area"] = rle.area(code)
            if not ann.get("bbox"):
                ann["bbox"] = rle.bbox(code)
        elif ann.get("bbox"):
            x, y, w, h = ann["bbox"]
            ann["area"] = w * h
            ann["segmentation"] = [[x, y, x, y + h, x + w, y + h, x + w, y]]
        else:
            raise ValueError(f"result {idx}: it has neither segmentation nor bbox")
        return ann

    def annToRLE(self, ann: dict[str, Any]) -> dict[str, Any]:
        """Bring an annotation's mask to RLE of its image's size."""
        image = self.imgs[ann["image_id"]]
        return rle.to_rle(ann["segmentation"], image["height"], image["width"])

    def annToMask(self, ann: dict[str, Any]) -> NDArray[np.uint8]:
        """Draw an annotation's mask, (H, W) uint8 of 0 and 1."""
        return rle.decode(self.annToRLE(ann)).view(np.uint8)
