"""Changes of the plain files of `odd_inputs`, and masks in other shapes."""

from pathlib import Path

import numpy as np
from odd_inputs import (
    ENTITIES,
    IDS,
    edited,
    named,
    polygon,
    renumbered,
)

from entity_api import rle


def of_gt(key="annotations", **changes):
    """Change fields of one list of the ground truth."""

    def change(gt, dt):
        return {**gt, key: edited(gt[key], **changes)}, dt

    return change


def of_dt(**changes):
    """Change fields of the predictions."""
    return lambda gt, dt: (gt, edited(dt, **changes))


def both(first, second):
    return lambda gt, dt: second(*first(gt, dt))


def wrapped(wrap):
    """Put the predictions into something."""
    return lambda gt, dt: (gt, wrap(dt))


def own_ids(dt, kind):
    """Number the images anew, their ids of another type than those of the records."""
    made = renumbered(dt)
    return {**made, "images": [{**image, "id": kind(image["id"])} for image in made["images"]]}


def with_names(dt):
    """Name the image in each record, whose id is another one's."""
    swap = {image_id: IDS[k - 1] for k, image_id in enumerate(IDS)}
    rows = zip(edited(dt, image_id=swap.get), dt, strict=True)
    return [{**row, "file_name": named(plain["image_id"])} for row, plain in rows]


def in_folder(name):
    """Give all images one name, each in its own folder."""
    return f"{Path(name).stem}/image.jpg"


def rows_of_mask(code):
    return rle.decode(code).astype(int).tolist()


def counts_list(code, kind=int):
    flat = rle.decode(code).ravel(order="F").astype(int)
    lengths, value = [0], 0
    for pixel in flat.tolist():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return {"size": code["size"], "counts": [kind(n) for n in lengths]}


def printed(code, quote="'"):
    return {**code, "counts": f"b{quote}{code['counts']}{quote}".replace("\\", "\\\\")}


def outlines(shape):
    """Write the ground truth's masks as polygons of another shape."""

    def change(gt, dt):
        boxes = [box for found in ENTITIES for box in found]
        rows = zip(gt["annotations"], boxes, strict=True)
        rows = [{**row, "segmentation": shape(polygon(box))} for row, box in rows]
        return {**gt, "annotations": rows}, dt

    return change


def pairs(flat):
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def by_rows(code):
    """Code a mask row by row, as those do who forget the order."""
    turned = rle.encode(np.ascontiguousarray(rle.decode(code).T))
    return {"size": code["size"], "counts": turned["counts"]}


def with_boxes(dt, corners=False):
    boxes = [rle.bbox(row["segmentation"]) for row in dt]
    if corners:
        boxes = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    return [{**row, "bbox": box} for row, box in zip(dt, boxes, strict=True)]
