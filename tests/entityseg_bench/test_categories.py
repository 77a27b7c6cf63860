"""The category tables, against what is published about them."""

import json
from collections import Counter
from pathlib import Path

import pytest

from entityseg_bench import categories


@pytest.mark.parametrize(
    ("task", "n", "things"), [("entity", 644, 535), ("instance", 206, 206), ("panoptic", 350, 279)]
)
def test_sizes(task: categories.Task, n: int, things: int) -> None:
    rows = categories.table(task)
    assert len(rows) == n
    assert sum(row.type == "thing" for row in rows) == things
    assert [row.id for row in rows] == sorted({row.id for row in rows})


def test_names_are_no_keys() -> None:
    names = Counter(row.name for row in categories.table("entity"))
    assert {name for name, n in names.items() if n > 1} == {
        "pipe",
        "blanket",
        "hose",
        "cage",
        "tank",
    }


def test_semantic_ids() -> None:
    mapping = categories.entity_to_semantic()
    table = categories.table("semantic")
    assert [row.id for row in table] == list(range(150))
    assert mapping[73] == 32
    assert table[32].name == "buildingstructure_ot"
    assert table[37].name == "porch"
    assert set(range(150)) - set(mapping.values()) == {37, 97, 111}
    assert categories.ambiguous_semantic_ids() == {97: [166, 328], 111: [166, 328]}
    entity = categories.table("entity")
    assert all(entity[k].name == table[v].name for k, v in mapping.items() if v != 32)


def test_instance_ids_that_panoptic_lacks() -> None:
    of = {task: {row.id for row in categories.table(task)} for task in ("instance", "panoptic")}
    assert of["instance"] - of["panoptic"] == {359, 406, 422, 426, 427, 446, 478}


def test_unknown_task() -> None:
    with pytest.raises(ValueError, match="must be one of entity"):
        categories.table("segments")  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["entity", "instance", "panoptic", "semantic"])
def test_equal_the_published_files(shared: Path, task: categories.Task) -> None:
    path = next((shared / "categories").glob(f"{task}_*.json"))
    for ours, theirs in zip(categories.table(task), json.loads(path.read_text()), strict=True):
        assert (ours.id, ours.name) == (theirs["id"], theirs["name"])
        if task != "semantic":
            assert (ours.supercategory, ours.c_name) == (theirs["supercategory"], theirs["c_name"])
            kind = "thing" if theirs.get("isthing", theirs.get("type") == "thing") else "stuff"
            assert ours.type == kind
