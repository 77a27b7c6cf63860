"""The other annotation types from entity annotations: the data set's own subset rules."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from entityseg_bench import categories
from entityseg_bench.categories import Task
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.io import InputError

__all__ = ["Subset", "has_entity_categories", "subset"]


class Subset(NamedTuple):
    """Hold a derived dataset and what its source had beyond it."""

    dataset: EntityDataset
    lost: dict[str, int]


def has_entity_categories(dataset: EntityDataset) -> bool:
    """Tell whether category ids are those of EntitySeg's entity table."""
    known = {row.id: row.name.strip() for row in categories.table("entity")}
    return bool(dataset.categories) and all(
        known.get(row.id) == row.name.strip() for row in dataset.categories
    )


def subset(dataset: EntityDataset, task: Task) -> Subset:
    """Derive another annotation type by category id.

    Instance keeps the 206 instance categories, panoptic the 350, both with their entity ids.
    Semantic gets ids of its own (0..149) by `categories.entity_to_semantic`; the two blankets
    (semantic 97 and 111, entity 166 and 328) cannot be told apart and stay without a class, which
    is ignored in scoring. Only part 01 has class labels: other images come out without annotations.
    A dataset with another table (COCO's, say) keeps its categories as they are, except that
    instance drops what is stuff.

    Raises:
        InputError: Nothing is left.
    """
    if task == dataset.task or task == "entity":
        return Subset(dataset.replace(task=task), {})
    if dataset.task == "semantic":
        raise InputError(
            dataset.where,
            "",
            f"semantic maps do not say which regions are one {task} segment.",
            "Start from the entity annotations.",
        )
    if not has_entity_categories(dataset):
        return _of_other_table(dataset, task)
    ids = dataset.records.category_ids
    if task == "semantic":
        mapping = categories.entity_to_semantic()
    else:
        mapping = {row.id: row.id for row in categories.table(task)}
    kept = dataset.take(category_ids=mapping)
    dropped = len(dataset.records) - len(kept.records)
    lost = Counter({f"annotations dropped: their category is not in the {task} table": dropped})
    if task == "semantic":
        blankets = [k for pair in categories.ambiguous_semantic_ids().values() for k in pair]
        n_blankets = int(np.isin(ids, blankets).sum())
        reason = "blankets left without a class: semantic 97 and 111 cannot be told apart"
        lost += Counter({reason: n_blankets})
        lost[f"annotations dropped: their category is not in the {task} table"] -= n_blankets
    _check_left(dataset, kept, task)
    rows = kept.records
    new_ids = np.array([mapping[k] for k in rows.category_ids.tolist()], np.int64)
    return Subset(
        kept.replace(
            task=task,
            annotations=rows.replace(category_ids=new_ids),
            categories=categories.table(task),
        ),
        {name: n for name, n in lost.items() if n > 0},
    )


def _of_other_table(dataset: EntityDataset, task: Task) -> Subset:
    if task != "instance":
        return Subset(dataset.replace(task=task), {})
    kept = dataset.take(category_ids=[c.id for c in dataset.categories if c.type != "stuff"])
    _check_left(dataset, kept, task)
    dropped = len(dataset.records) - len(kept.records)
    lost = {"annotations dropped: their category is stuff": dropped} if dropped else {}
    return Subset(kept.replace(task=task), lost)


def _check_left(source: EntityDataset, kept: EntityDataset, task: Task) -> None:
    if len(source.records) and not len(kept.records):
        raise InputError(
            source.where,
            "",
            f"no annotation has a category of the {task} table.",
            "Only part 01 of EntitySeg has class labels.",
        )
