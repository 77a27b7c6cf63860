"""COCO's tools read panoptic exports: their sequences of calls, typed anew.

panopticapi scores a pair of JSON files by the PNG that ``file_name`` names in a folder; detectron2
loads the same files and needs ``isthing`` of every category. Neither is a package that could be
installed here; no code of theirs is copied.
"""

import json
from collections import defaultdict
from pathlib import Path

import msgspec
import numpy as np
import pytest
from datasets_read import read_coco
from PIL import Image

from entityseg_bench.cli import main
from entityseg_bench.demo import write_demo
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.types import Category

from .conftest import dataset_of, from_map

VOID = 0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "set", 8, size=(48, 72))


def ids_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        rgb = np.array(image.convert("RGB"), np.uint32)
    return rgb[..., 0] + 256 * rgb[..., 1] + 256 * 256 * rgb[..., 2]


class Score:
    """What panopticapi sums up for a category."""

    def __init__(self) -> None:
        self.tp = self.fp = self.fn = 0
        self.iou = 0.0


def compare(truth: dict, found: dict, gt: np.ndarray, dt: np.ndarray, of: dict) -> None:
    """Score one image as panopticapi does; areas of the truth are those that its JSON states."""
    gt_segments = {segment["id"]: segment for segment in truth["segments_info"]}
    dt_segments = {segment["id"]: segment for segment in found["segments_info"]}
    labels, counts = np.unique(dt, return_counts=True)
    listed = set(dt_segments)
    for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
        if label not in dt_segments:
            assert label == VOID, "a segment of the map is not in the JSON"
            continue
        dt_segments[label]["area"] = count
        listed.discard(label)
    assert not listed, "a segment of the JSON is not in the map"
    pairs, counts = np.unique(gt.astype(np.uint64) << 32 | dt, return_counts=True)
    shared = {
        (int(pair >> 32), int(pair & 0xFFFFFFFF)): int(count)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
    }
    gt_matched, dt_matched = set(), set()
    for (g, d), common in shared.items():
        if g not in gt_segments or d not in dt_segments or gt_segments[g]["iscrowd"]:
            continue
        if gt_segments[g]["category_id"] != dt_segments[d]["category_id"]:
            continue
        union = gt_segments[g]["area"] + dt_segments[d]["area"] - common
        union -= shared.get((VOID, d), 0)
        if common / union > 0.5:
            of[gt_segments[g]["category_id"]].tp += 1
            of[gt_segments[g]["category_id"]].iou += common / union
            gt_matched.add(g)
            dt_matched.add(d)
    crowds = {}
    for g, segment in gt_segments.items():
        if segment["iscrowd"]:
            crowds[segment["category_id"]] = g
        elif g not in gt_matched:
            of[segment["category_id"]].fn += 1
    for d, segment in dt_segments.items():
        if d in dt_matched:
            continue
        ignored = shared.get((VOID, d), 0)
        ignored += shared.get((crowds.get(segment["category_id"]), d), 0)
        if ignored / segment["area"] <= 0.5:
            of[segment["category_id"]].fp += 1


def pq(gt_json: Path, gt_folder: Path, dt_json: Path, dt_folder: Path) -> dict[str, float]:
    """Compute PQ of all categories, of things and of stuff, from files alone."""
    truth, found = (json.loads(p.read_text(encoding="utf-8")) for p in (gt_json, dt_json))
    categories = {row["id"]: row for row in truth["categories"]}
    by_image = {row["image_id"]: row for row in found["annotations"]}
    of: dict[int, Score] = defaultdict(Score)
    for row in truth["annotations"]:
        other = by_image[row["image_id"]]
        maps = ids_of(gt_folder / row["file_name"]), ids_of(dt_folder / other["file_name"])
        compare(row, other, *maps, of)
    out = {}
    for name, kinds in (("all", (0, 1)), ("things", (1,)), ("stuff", (0,))):
        parts = []
        for category_id, score in of.items():
            n = score.tp + score.fp / 2 + score.fn / 2
            if categories[category_id]["isthing"] in kinds and n:
                parts.append(score.iou / n)
        out[name] = sum(parts) / len(parts) if parts else float("nan")
    return out


def load_as_detectron2(path: Path, maps: Path) -> dict[str, dict[int, int]]:
    """Number things and stuff contiguously, and look for every map."""
    content = json.loads(path.read_text(encoding="utf-8"))
    numbered: dict[str, dict[int, int]] = {"thing": {}, "stuff": {}}
    for idx, row in enumerate(content["categories"]):
        numbered["thing" if row["isthing"] else "stuff"][row["id"]] = idx
    known = {row["id"] for row in content["categories"]}
    for annotation in content["annotations"]:
        assert annotation["file_name"].endswith(".png")
        assert (maps / annotation["file_name"]).is_file()
        for segment in annotation["segments_info"]:
            assert segment["category_id"] in known
            assert set(segment) >= {"id", "category_id", "iscrowd", "area", "bbox"}
    return numbered


def exported(demo: Path, folder: Path) -> Path:
    """Export one COCO file, in the layout of COCO: a folder of JSON, with the maps beside it."""
    source = demo / "annotations/entity_segmentation/entityv2_01_entity_val.json"
    if not source.is_file():
        source = next((demo / "annotations/entity_segmentation").glob("*_val.json"))
    target = folder / "annotations" / "panoptic_val2017.json"
    assert main(["convert", str(source), str(target), "--to", "panoptic", "--jobs", "1"]) == 0
    return target


def test_an_export_against_itself(demo: Path, tmp_path: Path) -> None:
    path = exported(demo, tmp_path)
    maps = path.with_suffix("")
    assert pq(path, maps, path, maps) == {"all": 1.0, "things": 1.0, "stuff": 1.0}
    numbered = load_as_detectron2(path, maps)
    assert numbered["thing"] and numbered["stuff"]


def test_a_change_is_seen(demo: Path, tmp_path: Path) -> None:
    """A category renamed in one segment costs both its old category and its new one."""
    path = exported(demo, tmp_path)
    maps = path.with_suffix("")
    content = json.loads(path.read_text(encoding="utf-8"))
    first, second = content["annotations"][0]["segments_info"][:2]
    first["category_id"], second["category_id"] = second["category_id"], first["category_id"]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content), encoding="utf-8")
    assert pq(path, maps, changed, maps)["all"] < 1


def test_real_annotations(shared: Path, tmp_path: Path) -> None:
    """Areas of COCO's instances are those of polygons, of a map those of its pixels."""
    source = shared / "realdata/coco100/instances_val2014_100.json"
    target = tmp_path / "p.json"
    maps = target.with_suffix("")
    write_panoptic(read_coco(source, "panoptic"), target, maps)
    assert pq(target, maps, target, maps)["all"] == 1.0
    load_as_detectron2(target, maps)


def test_areas_are_those_of_the_pixels(tmp_path: Path) -> None:
    image, annotations = from_map([[1, 1, 0], [2, 2, 2]])
    stated = [msgspec.structs.replace(one, area=99.5) for one in annotations]
    write_panoptic(dataset_of((image, stated)), tmp_path / "p.json", tmp_path / "p")
    (row,) = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["annotations"]
    assert [segment["area"] for segment in row["segments_info"]] == [2, 3]


def test_categories_of_neither_kind_are_things(tmp_path: Path) -> None:
    dataset = dataset_of(from_map([[1, 1], [0, 2]])).replace(
        categories=(Category(3, "pipe"), Category(7, "sky", type="stuff"), Category(200, "a"))
    )
    lost = write_panoptic(dataset, tmp_path / "p.json", tmp_path / "p")
    assert lost == {"categories written as things: nothing says that they are stuff": 2}
    rows = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["categories"]
    assert [row["isthing"] for row in rows] == [1, 0, 1]


def test_the_data_sets_own_folder_names_images(demo: Path, tmp_path: Path) -> None:
    assert main(["convert", str(demo), str(tmp_path), "--to", "panoptic", "--jobs", "1"]) == 0
    paths = sorted((tmp_path / "annotations/panoptic_segmentation").glob("*.json"))
    assert len(paths) == 2
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {row["id"]: row["file_name"] for row in content["images"]}
        for row in content["annotations"]:
            assert row["file_name"] == images[row["image_id"]]
            assert not row["file_name"].endswith(".png")
