"""The face of ``pycocotools.coco``: an index over a COCO file, for code that expects one."""

import copy
import gzip
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import mask as maskUtils
from entity_api.coco_results import completed, records_of_array

__all__ = ["COCO"]


def _isArrayLike(obj: Any) -> bool:
    return hasattr(obj, "__iter__") and hasattr(obj, "__len__")


def _listed(value: Any) -> Any:
    return value if _isArrayLike(value) else [value]


def _members(values: Any) -> Collection[Any]:
    """Prepare values for ``in``; a text stays one: pycocotools looks for names within it."""
    try:
        return values if isinstance(values, str) else set(values)
    except TypeError:
        return values


def read_json(path: str | Path) -> Any:
    """Read JSON in UTF-8, 16 or 32, with a byte order mark or without, plain or gzipped."""
    content = Path(path).read_bytes()
    return json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)


class COCO:
    """Index images, annotations and categories of a COCO file, with pycocotools' names.

    Args:
        annotation_file: Path of a JSON file, or its content as a dict, which stays as it is.
        class_agnostic: Give every annotation, and every result that `loadRes` reads, category 1.

    Raises:
        AssertionError: The file holds no JSON object.

    Examples:
        >>> coco = COCO({"images": [{"id": 7, "height": 2, "width": 3}], "categories": [{"id": 1}],
        ...              "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0,
        ...                               "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]], "area": 4}]})
        >>> coco.getAnnIds(imgIds=7)
        [1]
        >>> coco.annToMask(coco.anns[1]).tolist()
        [[1, 1, 0], [1, 1, 0]]
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
        given = isinstance(annotation_file, dict)
        dataset = dict(annotation_file) if given else read_json(annotation_file)  # type: ignore[arg-type]
        if not isinstance(dataset, dict):
            raise AssertionError(f"{annotation_file}: a COCO file holds one JSON object")
        if class_agnostic:
            dataset["annotations"] = [
                {**ann, "category_id": 1} for ann in dataset.get("annotations", [])
            ]
            dataset["categories"] = [{"id": 1, "name": "entity", "supercategory": "entity"}]
        self.dataset = dataset
        self.createIndex()

    def createIndex(self) -> None:
        """Build the look-up tables from ``dataset``."""
        self.imgToAnns, self.catToImgs = defaultdict(list), defaultdict(list)
        annotations = self.dataset.get("annotations", [])
        for ann in annotations:
            self.imgToAnns[ann["image_id"]].append(ann)
            if "categories" in self.dataset and "category_id" in ann:
                self.catToImgs[ann["category_id"]].append(ann["image_id"])
        self.anns = {ann["id"]: ann for ann in annotations}
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
        images, categories = _listed(imgIds), _members(_listed(catIds))
        anns = self.dataset.get("annotations", [])
        if len(images):
            anns = itertools.chain.from_iterable(
                self.imgToAnns[image_id] for image_id in images if image_id in self.imgToAnns
            )
        return [
            ann["id"]
            for ann in anns
            if (not len(categories) or ann["category_id"] in categories)
            and (not len(areaRng) or areaRng[0] < ann["area"] < areaRng[1])
            and (iscrowd is None or ann.get("iscrowd", 0) == iscrowd)
        ]

    def getCatIds(self, catNms: Any = (), supNms: Any = (), catIds: Any = ()) -> list[Any]:
        """Return ids of the categories that pass every filter given."""
        names, supers, ids = (_members(_listed(value)) for value in (catNms, supNms, catIds))
        return [
            category["id"]
            for category in self.dataset.get("categories", [])
            if (not len(names) or category["name"] in names)
            and (not len(supers) or category["supercategory"] in supers)
            and (not len(ids) or category["id"] in ids)
        ]

    def getImgIds(self, imgIds: Any = (), catIds: Any = ()) -> list[Any]:
        """Return ids of the images that are named and hold every category named; else all."""
        images, categories = _listed(imgIds), _listed(catIds)
        if not len(images) and not len(categories):
            return list(self.imgs)
        ids = set(images)
        for idx, category_id in enumerate(categories):
            of_category = set(self.catToImgs.get(category_id, ()))
            ids = of_category if idx == 0 and not ids else ids & of_category
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

    def showAnns(self, anns: Sequence[dict[str, Any]], draw_bbox: bool = False) -> int | None:
        """Draw annotations on matplotlib's current axes; print them if they are captions.

        Returns:
            0 where there is nothing to show, as in pycocotools.
        """
        if not len(anns):
            return 0
        from entity_api.coco_drawing import show

        skeletons = {key: one.get("skeleton", []) for key, one in self.cats.items()}
        show(anns, self.annToMask, skeletons, draw_bbox)
        return None

    def loadRes(self, resFile: Any) -> "COCO":
        """Index results: a path, a list of records, or an array.

        The records that are passed stay as they are: what is completed (id, area, box, crowd flag,
        and a box's outline as its mask) stands in copies. The first record says what all are:
        captions, boxes, masks or keypoints. Where there are boxes, areas are those of the boxes.

        Args:
            resFile: Path of a JSON file; a list, also under the key ``annotations``; or an array
                (N, 7) of image_id, x, y, width, height, score, category_id.

        Raises:
            AssertionError: No list of records, or a record of an image that is not in the file.
            ValueError: A record that cannot be completed, with its position.
        """
        # Of the base class, as in pycocotools; and `COCO.loadRes(coco, results)` is called, too.
        results = COCO()
        content = read_json(resFile) if isinstance(resFile, str | Path) else resFile
        if isinstance(content, np.ndarray):
            content = self.loadNumpyAnnotations(content)
        elif isinstance(content, dict) and "annotations" in content:
            content = content["annotations"]
        if not isinstance(content, list):
            raise AssertionError("results must be a list of records")
        for idx, record in enumerate(content):
            if record["image_id"] not in self.imgs:
                raise AssertionError(
                    f"result {idx}: image_id {record['image_id']!r} is not among the images of the "
                    "ground truth"
                )
        records = completed(content, self.annToRLE)
        results.class_agnostic = getattr(self, "class_agnostic", False)
        if results.class_agnostic:
            records = [{**record, "category_id": 1} for record in records]
        images = list(self.dataset.get("images", []))
        results.dataset = {"info": copy.deepcopy(self.dataset.get("info", {})), "images": images}
        if records and "caption" in records[0]:
            named = {record["image_id"] for record in records}
            results.dataset["images"] = [image for image in images if image["id"] in named]
        else:
            results.dataset["categories"] = copy.deepcopy(self.dataset.get("categories", []))
        results.dataset["annotations"] = records
        results.createIndex()
        return results

    def loadNumpyAnnotations(self, data: NDArray[Any]) -> list[dict[str, Any]]:
        """Bring rows (N, 7) of image_id, x, y, width, height, score, category_id to records.

        Examples:
            >>> import numpy as np
            >>> (record,) = COCO().loadNumpyAnnotations(np.array([[7, 0, 0, 2, 2, 0.5, 1]]))
            >>> record["image_id"]
            7
        """
        return records_of_array(data)

    def download(self, tarDir: str | Path | None = None, imgIds: Any = ()) -> int | None:
        """Fetch images (all, or those named) from their ``coco_url`` into a folder.

        Those that are there already stay as they are.

        Returns:
            -1 without a folder, as in pycocotools.

        Raises:
            ValueError: A file name that leads out of the folder.
        """
        if tarDir is None:
            print("Please specify target directory")
            return -1
        from urllib.request import urlretrieve

        folder = Path(tarDir).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for image in self.loadImgs(imgIds) if len(imgIds) else self.imgs.values():
            path = (folder / image["file_name"]).resolve()
            if not path.is_relative_to(folder):
                raise ValueError(f"file_name {image['file_name']!r} leads out of {folder}")
            if not path.exists():
                urlretrieve(image["coco_url"], path)
        return None

    def annToRLE(self, ann: dict[str, Any]) -> Any:
        """Bring an annotation's polygons or plain run lengths to RLE; an RLE stays itself."""
        segmentation = ann["segmentation"]
        if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
            return segmentation
        image = self.imgs[ann["image_id"]]
        codes = maskUtils.frPyObjects(segmentation, image["height"], image["width"])
        return codes if isinstance(segmentation, dict) else maskUtils.merge(codes)

    def annToMask(self, ann: dict[str, Any]) -> NDArray[np.uint8]:
        """Draw an annotation's mask, (H, W) uint8 of 0 and 1."""
        return maskUtils.decode(self.annToRLE(ann))
