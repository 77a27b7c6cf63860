"""The protocols that numbers are published under, by name.

Each says which parameters are set, which images count, and what is done to the ground truth.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from entity_api import EvalParams
from entityseg_bench.check import Problem
from entityseg_bench.io import InputError
from entityseg_bench.table import Segments

__all__ = ["PROTOCOLS", "Protocol", "as_coco_entity", "protocol_of"]


class Protocol(NamedTuple):
    """Describe a protocol.

    Attributes:
        name: As users write it.
        about: What it is, in a line.
        params: Fields of `EvalParams` that it sets.
        predicted_images_only: Whether images without predictions are left out.
        is_coco_entity: Whether panoptic ground truth is turned into COCO-Entity's.
    """

    name: str
    about: str
    params: Mapping[str, Any]
    predicted_images_only: bool = False
    is_coco_entity: bool = False

    def settled(self, params: EvalParams) -> EvalParams:
        """Return parameters with the protocol's own in their places."""
        return dataclasses.replace(params, **self.params)

    def truth(self, gt: Segments) -> tuple[Segments, list[Problem]]:
        """Return ground truth as the protocol takes it, and what was done to it.

        Raises:
            InputError: It is none that the protocol can take.
        """
        if not self.is_coco_entity:
            return gt, []
        made, n_crowds = as_coco_entity(gt)
        what = f"{n_crowds} crowd segments are dropped, as COCO-Entity does."
        notes = [Problem(gt.where_from, "", what, "", "warning", "crowds-dropped")]
        return made, notes if n_crowds else []


PROTOCOLS = {
    one.name: one
    for one in (
        Protocol("entityseg", "AP^e and AP at 100 predictions, the benchmark's own", {}),
        Protocol(
            "ar1000",
            "AR at 1,000 predictions without classes, overlaps left, as UnSAM prints it",
            {"max_dets": (1, 10, 1000), "class_aware": False, "remove_overlaps": False},
            predicted_images_only=True,
        ),
        Protocol(
            "coco-entity",
            "AP^e on COCO's panoptic segments, as the first generation of models was scored",
            {},
            is_coco_entity=True,
        ),
    )
}


def protocol_of(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r} must be one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def as_coco_entity(gt: Segments) -> tuple[Segments, int]:
    """Turn panoptic ground truth into COCO-Entity's; what was turned already stays as it is.

    Returns:
        The entities, and how many crowd segments were dropped.

    Raises:
        InputError: It is neither.
    """
    if gt.task == "entity" and [category.name for category in gt.categories] == ["entity"]:
        return gt, 0
    if gt.task != "panoptic":
        raise InputError(
            gt.where_from,
            "",
            f"COCO-Entity is made of panoptic segments, and this is {gt.task} ground truth.",
            "Take COCO's panoptic JSON, or what `entityseg convert --to coco-entity` made of it.",
        )
    # Imported where it is used: a plain evaluation needs no data set.
    from entityseg_bench.coco_entity import coco_entity
    from entityseg_bench.dataset import EntityDataset

    made = coco_entity(EntityDataset.of(gt))
    return made.dataset.records.replace(where_from=gt.where_from, kind=gt.kind), made.n_crowds
