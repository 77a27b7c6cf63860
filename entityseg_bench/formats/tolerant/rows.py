"""Where the records of predictions stand in JSON of other tools, and which image each is of."""

from collections.abc import Callable, Iterator
from typing import Any

from entityseg_bench.formats.matching import as_number, listed_names
from entityseg_bench.types import Tally

__all__ = ["IMAGE_KEYS", "MASK_KEYS", "RecordFinder", "Unclear", "is_record"]

# What tools call the mask of a record, and the masks of an image.
MASK_KEYS = ("segmentation", "rle", "mask", "segmentation_rle", "mask_rle", "counts")
MANY_MASKS = ("masks", "segmentations", "rles", "pred_masks", "segmentation")
# What tools call the list of predictions, of all images or of one.
WRAPPERS = (
    "predictions", "results", "detections", "instances", "annotations", "preds", "segments",
    "objects", "outputs", "data", "masks", "items",
)  # fmt: skip
# What tools call the image of a record.
IMAGE_KEYS = (
    "image_id", "img_id", "imageId", "imgId", "file_name", "filename", "image_name", "image",
    "image_path", "imgid", "imageid", "ImageID", "ImageId", "img", "img_name", "img_path",
    "imageID", "image-id", "IMAGE_ID", "Image_Id", "Image_ID", "fileName", "file-name", "imageName",
    "imagePath", "image_file", "image_filename",
)  # fmt: skip
# Other lists of an image that go with its masks, and what each is called in a record.
COLUMNS = {
    "scores": "score", "score": "score", "category_ids": "category_id", "labels": "category_id",
    "category_id": "category_id", "bboxes": "bbox", "boxes": "bbox", "bbox": "bbox",
}  # fmt: skip
MOST_NESTED = 6

Record = dict[str, Any]


class Unclear(ValueError):
    """Say why it cannot be told where the records are."""


def is_record(value: Any) -> bool:
    """Tell whether an object is one prediction: it has a mask, or a box."""
    if not isinstance(value, dict) or "segments_info" in value:
        return False
    if isinstance(value.get("bbox"), list) and value["bbox"][:1] and is_record(value["bbox"][0]):
        # The results of detection, beside those of segmentation.
        return False
    return any(key in value for key in (*MASK_KEYS, "bbox"))


class RecordFinder:
    """Find the records of predictions, each with its ``image_id`` where the file names it.

    Args:
        is_image: Tells whether a key of an object names an image.
        tally: Takes what was done.

    Attributes:
        images: Id -> file name of the images that the file lists.
    """

    def __init__(self, is_image: Callable[[Any], bool], tally: Tally) -> None:
        self._is_image = is_image
        self._tally = tally
        self.images: dict[Any, str] = {}

    def __call__(self, content: Any) -> list[Record]:
        """Return the records of what a JSON file holds.

        Raises:
            Unclear: There are none, or it cannot be told which are meant.
        """
        return list(self._records(content, 0))

    def _records(self, content: Any, depth: int) -> Iterator[Record]:
        if depth > MOST_NESTED:
            raise Unclear("its lists are nested too deeply")
        if isinstance(content, list):
            yield from self._of_list(content, depth)
        elif isinstance(content, dict):
            yield from self._of_object(content, depth)
        else:
            raise Unclear(f"it holds {type(content).__name__}, not records")

    def _of_list(self, content: list[Any], depth: int) -> Iterator[Record]:
        if content and all(isinstance(part, list) for part in content):
            self._tally.once("it is a list of lists, as of one an image: they were joined.")
            for part in content:
                yield from self._records(part, depth + 1)
            return
        for idx, part in enumerate(content):
            if is_record(part) and not _columns(part):
                yield part
            elif isinstance(part, dict):
                yield from self._of_image(part, None, depth + 1)
            else:
                raise Unclear(f"record {idx} is {part!r:.40}, not an object")

    def _of_object(self, content: Record, depth: int) -> Iterator[Record]:
        self._list_images(content.get("images"))
        table = _transposed(content)
        if table:
            self._tally.once("it is a table by columns, as pandas writes it: its rows were read.")
            yield from table
            return
        if is_record(content) and not _columns(content):
            self._tally.once("it holds a single record, not a list.")
            yield content
            return
        if isinstance(content.get("image"), dict) or _columns(content):
            yield from self._of_image(content, None, depth)
            return
        holders = [key for key, value in content.items() if _holds(value)]
        images = [key for key in content if self._is_image(key)]
        if holders and set(holders) <= set(images):
            self._tally.once(f"the records are keyed by image (key {holders[0]!r} first).")
            for key in images:
                yield from self._under(content[key], key, depth + 1)
        elif holders:
            yield from self._wrapped(content, holders, depth)
        elif not any(content.values()) or content.get("annotations") == []:
            return
        elif all(map(_is_map, content.values())):
            raise Unclear(
                "it holds maps of classes, without scores: these are read as a folder of PNG, one "
                "an image (--pred-format semantic)"
            )
        else:
            raise Unclear(f"no list of records is in it; its keys are {_listed(content)}")

    def _wrapped(self, content: Record, holders: list[Any], depth: int) -> Iterator[Record]:
        """Take the records under the one key that has them, or under keys that are images."""
        usual = [key for key in holders if key in WRAPPERS]
        lists = all(isinstance(content[key], list) for key in holders)
        if len(holders) > 1 and not usual and lists and not _names_images(content[holders[0]]):
            # Images of another ground truth, as it seems: they are named as such later.
            self._tally.once(f"the records are keyed by image (key {holders[0]!r} first).")
            for key in holders:
                yield from self._under(content[key], key, depth + 1)
            return
        if all(is_record(content[key]) for key in holders):
            self._tally.once("the records are keyed one by one: the keys were not read.")
            yield from (content[key] for key in holders)
            return
        masked = [key for key in holders if _has_mask(content[key])]
        chosen = masked if len(masked) == 1 else usual
        if len(chosen) != 1:
            what = f"it has lists of records under several keys: {_listed(holders)}"
            raise Unclear(f"{what}; name one of them results")
        if chosen[0] != "annotations":
            self._tally.once(f"the records stand under the key {chosen[0]!r}.")
        yield from self._records(content[chosen[0]], depth + 1)

    def _under(self, value: Any, image_id: Any, depth: int) -> Iterator[Record]:
        """Take the records of an image that is known from outside of them."""
        if isinstance(value, dict) and not is_record(value):
            yield from self._of_image(value, image_id, depth)
            return
        for part in value if isinstance(value, list) else [value]:
            for record in [part] if is_record(part) else self._records(part, depth):
                named = any(key in record for key in IMAGE_KEYS)
                own = as_number(record.get("image_id"))
                if named and own is not None and as_number(image_id) not in (None, own):
                    raise Unclear(
                        f"under the key of image {image_id!r} a record has image_id {own}"
                    )
                yield record if named else {**record, "image_id": image_id}

    def _of_image(self, part: Record, image_id: Any, depth: int) -> Iterator[Record]:
        """Take the records of an object that is about one image."""
        if depth > MOST_NESTED:
            raise Unclear("its lists are nested too deeply")
        image_id = self._image_of(part, image_id)
        if "segments_info" in part:
            raise Unclear(
                "it has segments_info without a list of annotations: panoptic JSON has "
                '{"annotations": [{"image_id", "segments_info"}]} and a folder of maps'
            )
        columns = _columns(part)
        if columns:
            rows: Iterator[Record] = _rows(part, columns)
        else:
            holders = [key for key, value in part.items() if _holds(value)]
            empty = [key for key in part if key in WRAPPERS and part[key] == []]
            if not holders and not empty:
                # A record without a mask, which is named as such.
                yield part if image_id is None else {"image_id": image_id, **part}
                return
            if len(holders) > 1 and all(is_record(part[key]) for key in holders):
                part, holders = {"records": [part[key] for key in holders]}, ["records"]
            if len(holders) > 1:
                keys = _listed(holders)
                raise Unclear(f"an image has lists of records under several keys: {keys}")
            if holders:
                self._tally.once(f"the records of an image stand under its key {holders[0]!r}.")
            rows = self._records(part[holders[0]], depth + 1) if holders else iter(())
        for record in rows:
            named = any(key in record for key in IMAGE_KEYS) or image_id is None
            yield record if named else {**record, "image_id": image_id}

    def _image_of(self, part: Record, image_id: Any) -> Any:
        """Return the id of the image that an object is about, None where it names none."""
        for key in IMAGE_KEYS:
            if key not in part:
                continue
            value = part[key]
            if isinstance(value, dict):
                own = value.get("image_id", value.get("id"))
                name = value.get("file_name")
                if own is None:
                    return image_id if name is None else name
                self._list_images([{"id": own, "file_name": name}])
                return own
            if isinstance(value, str | int | float):
                return value
        return image_id

    def _list_images(self, images: Any) -> None:
        """Keep the names of the images that a file lists."""
        self.images.update(listed_names(images))


def _names_images(records: list[Any]) -> bool:
    """Tell whether the first of some records names its image."""
    return isinstance(records[0], dict) and any(key in records[0] for key in IMAGE_KEYS)


def _has_mask(value: Any) -> bool:
    """Tell whether the first of some records has a mask, or stands deeper."""
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, dict) or not is_record(first):
        return True
    return any(first.get(key) is not None for key in MASK_KEYS)


def _holds(value: Any, depth: int = 0) -> bool:
    """Tell whether a value is, or holds, records."""
    if depth > MOST_NESTED:
        return False
    if isinstance(value, dict):
        return (
            is_record(value)
            or bool(_columns(value))
            or any(_holds(part, depth + 1) for part in value.values())
        )
    if isinstance(value, list) and value:
        return isinstance(value[0], dict | list) and _holds(value[0], depth + 1)
    return False


def _columns(part: Record) -> str:
    """Return the key of an object's list of masks, one entry a record; "" where it has none."""
    for key in MANY_MASKS:
        masks = part.get(key)
        if not isinstance(masks, list) or any(is_image_row(mask) for mask in masks[:1]):
            continue
        others = [name for name in COLUMNS if isinstance(part.get(name), list)]
        alike = [name for name in others if len(part[name]) == len(masks)]
        # A record's own segmentation is a list, too: columns have a score for each entry.
        if any(COLUMNS[name] == "score" for name in alike) and (key != "segmentation" or masks):
            return key
    return ""


def _is_map(value: Any) -> bool:
    """Tell lists of rows of whole numbers, by the first."""
    row = value[0] if isinstance(value, list) and value else None
    return isinstance(row, list) and bool(row) and type(row[0]) is int


def _transposed(content: Record) -> list[Record]:
    """Return the rows of a table whose columns are objects by row; none where it is no such."""
    columns = list(content.values())
    if not is_record(content) or not all(isinstance(column, dict) for column in columns):
        return []
    rows = list(columns[0])
    if any(list(column) != rows for column in columns) or "counts" in rows:
        return []
    return [{name: column[row] for name, column in content.items()} for row in rows]


def is_image_row(mask: Any) -> bool:
    """Tell whether an entry of a list of masks is a whole record."""
    return is_record(mask) and "counts" not in mask


def _rows(part: Record, masks: str) -> Iterator[Record]:
    """Yield the records of an object of columns."""
    n = len(part[masks])
    lists = {key: value for key, value in part.items() if isinstance(value, list)}
    for key, values in lists.items():
        if key in COLUMNS and len(values) != n:
            raise Unclear(f"it has {n} {masks}, but {len(values)} {key}")
    for idx in range(n):
        row = {key: values[idx] for key, values in lists.items() if len(values) == n}
        record = {COLUMNS.get(key, key): value for key, value in row.items() if key != masks}
        yield {**record, "segmentation": part[masks][idx]}


def _listed(keys: Any) -> str:
    names = [repr(key) for key in keys]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
