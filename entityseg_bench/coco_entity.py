"""COCO-Entity: the entity ground truth that the first-generation models were scored on.

It is made as `make_data` of github qqlu/Entity makes it: each panoptic segment is an entity, crowd
segments are left out instead of ignored, and the area is that of the box.
"""

from typing import NamedTuple

from entityseg_bench.dataset import EntityDataset
from entityseg_bench.io import InputError
from entityseg_bench.types import Annotation, Category

__all__ = ["CocoEntity", "coco_entity"]


class CocoEntity(NamedTuple):
    """Hold the entities and the number of crowd segments that were dropped."""

    dataset: EntityDataset
    n_crowds: int


def coco_entity(dataset: EntityDataset) -> CocoEntity:
    """Make COCO-Entity of a COCO panoptic data set.

    Annotations are numbered from 0 and have the category 0, ``entity``. Their ``extra`` holds the
    original category as ``category_id_ori``. Areas are (x2 - x1)(y2 - y1) of the segment's box in
    pixels, so small, medium and large are sizes of boxes. Pixels without a segment are background:
    predictions on them count as wrong, as they did for the published numbers.

    Args:
        dataset: A panoptic data set. Its masks are read.

    Raises:
        InputError: The data set has another type, or holds only crowds.
    """
    if dataset.task != "panoptic":
        raise InputError(
            dataset.where, "", f"COCO-Entity is made of panoptic segments, and this is {dataset}.",
            "Take COCO's panoptic annotations.",
        )  # fmt: skip
    entities: list[Annotation] = []
    n_crowds = 0
    for _, segments in dataset:
        for segment in segments:
            if segment.iscrowd:
                n_crowds += 1
                continue
            _, _, width, height = segment.bbox
            entities.append(
                Annotation(
                    id=len(entities),
                    image_id=segment.image_id,
                    category_id=0,
                    segmentation=segment.segmentation,
                    area=float(width * height),
                    bbox=segment.bbox,
                    extra={"category_id_ori": segment.category_id},
                )
            )
    if not entities:
        raise InputError(dataset.where, "annotations", "there is no segment but crowds.")
    made = dataset.replace(
        task="entity",
        annotations=entities,
        categories=(Category(id=0, name="entity", type="thing"),),
    )
    return CocoEntity(made, n_crowds)
