"""The published category tables of the four annotation types."""

import functools
from pathlib import Path
from typing import Literal, get_args

import msgspec

from entityseg_bench.types import Category

__all__ = ["IGNORE", "TASKS", "Task", "ambiguous_semantic_ids", "entity_to_semantic", "table"]

Task = Literal["entity", "instance", "semantic", "panoptic"]
TASKS: tuple[Task, ...] = get_args(Task)

# The value of pixels without a class in a semantic map.
IGNORE = 255


class SemanticRow(msgspec.Struct, frozen=True):
    """Name one semantic class and the entity categories of its name: none, one, or two."""

    id: int
    name: str
    entity_ids: list[int]


class Tables(msgspec.Struct, frozen=True):
    """Mirror the package's data file: ids of `instance` and `panoptic` are ids of `entity`."""

    source: str
    entity: list[Category]
    instance: list[int]
    panoptic: list[int]
    semantic: list[SemanticRow]


@functools.cache
def _tables() -> Tables:
    path = Path(__file__).parent / "data" / "categories.json"
    return msgspec.json.decode(path.read_bytes(), type=Tables)


def table(task: Task) -> list[Category]:
    """Return the categories of an annotation type, sorted by id.

    Entity has 644 (ids 0..643), instance 206 and panoptic 350 of the same ids, semantic 150 with
    ids of its own (0..149). Key on ids: names repeat ("pipe" is 100 and 277), and some begin with
    a space.

    Raises:
        ValueError: The task is none of the four.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r} must be one of {', '.join(TASKS)}")
    tables = _tables()
    if task == "entity":
        return list(tables.entity)
    if task == "semantic":
        return [Category(row.id, row.name, type=_type_of(row)) for row in tables.semantic]
    return [tables.entity[category_id] for category_id in getattr(tables, task)]


def _type_of(row: SemanticRow) -> Literal["thing", "stuff"] | None:
    types = {_tables().entity[entity_id].type for entity_id in row.entity_ids}
    return types.pop() if len(types) == 1 else None


def entity_to_semantic() -> dict[int, int]:
    """Map entity category ids to semantic ones, 147 of the 150.

    The published tables share names only. Semantic 32 ``buildingstructure_ot`` is entity 73
    ``building_structure_ot``; 37 ``porch`` has no counterpart; and `ambiguous_semantic_ids` are
    left out, since nothing tells which is which.
    """
    return {row.entity_ids[0]: row.id for row in _tables().semantic if len(row.entity_ids) == 1}


def ambiguous_semantic_ids() -> dict[int, list[int]]:
    """Map the semantic ids whose name two entity categories share to those: the two blankets."""
    return {row.id: list(row.entity_ids) for row in _tables().semantic if len(row.entity_ids) > 1}
