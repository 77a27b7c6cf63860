"""Files of other kinds than COCO results, as people have them: panoptic, maps, folders, pickles."""

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from odd_inputs import (
    ENTITIES,
    HEIGHT,
    IDS,
    PREDICTIONS,
    WIDTH,
    box_mask,
    by_image,
    edited,
    named,
    plain_metrics,
    renumbered,
    results,
    saved,
    scored,
    truth,
)

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.io import InputError
from entityseg_bench.validate import validate


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return plain_metrics(tmp_path_factory.mktemp("tolerance"))


def panoptic_sides(folder):
    """Write panoptic ground truth and predictions with scores, which do not overlap."""
    gt, dt, maps = [], [], {"gt": [], "dt": []}
    for image_id, entities, found in zip(IDS, ENTITIES, PREDICTIONS, strict=True):
        shown = [(box, 0.5 + 0.0625 * k) for k, (box, _) in enumerate(found) if box[0] < 6]
        for side, boxes in (("gt", entities), ("dt", [box for box, _ in shown])):
            pixels = np.zeros((HEIGHT, WIDTH), int)
            for k, box in enumerate(boxes, 1):
                pixels[box_mask(*box)] = k
            maps[side].append(pixels)
        name = named(image_id)
        gt.append(
            {
                "image_id": image_id,
                "file_name": name,
                "segments_info": [
                    {"id": k, "category_id": 1 + k % 2} for k in range(1, len(entities) + 1)
                ],
            }
        )
        dt.append({"image_id": image_id, "file_name": name, "segments_info": [
            {"id": k, "label_id": 1 + k % 2, "score": score, "was_fused": False}
            for k, (_, score) in enumerate(shown, 1)]})  # fmt: skip
    for side, pixels in maps.items():
        for image_id, own in zip(IDS, pixels, strict=True):
            target = folder / side / f"{Path(named(image_id)).stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            from PIL import Image

            Image.fromarray(np.stack([own, own * 0, own * 0], -1).astype(np.uint8)).save(target)
    images, table = truth()["images"], [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    head = {"images": images, "categories": table}
    return {**head, "annotations": gt}, {**head, "annotations": dt}, maps["dt"]


def image_by_image(dt, key):
    return {key(row["image_id"]): {"segments_info": row["segments_info"]} for row in dt}


def with_maps(dt, maps, void):
    return [
        {**row, "segmentation": np.where(own == 0, void, own).tolist()}
        for row, own in zip(dt, maps, strict=True)
    ]


PANOPTIC = {
    "as_it_is": (lambda dt, maps: dt, "label_id"),
    "coco": (
        lambda dt, maps: {**dt, "annotations": [
            {**row, "segments_info": edited(row["segments_info"], category_id=1, label_id=...)}
            for row in dt["annotations"]
        ]},
        "",
    ),
    "bare": (lambda dt, maps: {"annotations": dt["annotations"]}, "label_id"),
    "list": (lambda dt, maps: dt["annotations"], "label_id"),
    "under_key": (lambda dt, maps: {"predictions": dt["annotations"]}, "the key 'predictions'"),
    "by_image": (lambda dt, maps: image_by_image(dt["annotations"], str), "keyed by image"),
    "by_name": (lambda dt, maps: image_by_image(dt["annotations"], named), "keyed by image"),
    "lines": (lambda dt, maps: "\n".join(map(json.dumps, dt["annotations"])), "JSON Lines"),
    "ids_text": (lambda dt, maps: edited(dt["annotations"], image_id=str), "ids are text"),
    "ids_floats": (lambda dt, maps: edited(dt["annotations"], image_id=float), ""),
    "no_ids": (lambda dt, maps: edited(dt["annotations"], image_id=...), "file_name was taken"),
    "renumbered": (
        lambda dt, maps: {
            "images": [{"id": 100 + k, "file_name": named(k)} for k in IDS],
            "annotations": edited(dt["annotations"], image_id=lambda k: 100 + k, file_name=...),
        },
        "numbers its images anew",
    ),
    "segments_floats": (
        lambda dt, maps: edited(
            dt["annotations"],
            segments_info=lambda rows: edited(rows, id=float, label_id=float, score=str),
        ),
        "score is text",
    ),
    "nan": (
        lambda dt, maps: json.dumps(edited(
            dt["annotations"],
            segments_info=lambda rows: edited(rows, area=float("nan"), bbox=None),
        )),
        "",
    ),
    "utf16": (lambda dt, maps: json.dumps(dt).encode("utf-16"), "label_id"),
    "maps_within": (lambda dt, maps: with_maps(dt["annotations"], maps, -1), "stand in the JSON"),
    "maps_within_0": (lambda dt, maps: with_maps(dt["annotations"], maps, 0), "stand in the JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", PANOPTIC)
def test_panoptic_predictions(name, tmp_path):
    change, note = PANOPTIC[name]
    gt, dt, maps = panoptic_sides(tmp_path)
    plain = {**dt, "annotations": [
        {**row, "segments_info": [
            {**{k: v for k, v in s.items() if k != "label_id"}, "category_id": s["label_id"]}
            for s in row["segments_info"]
        ]}
        for row in dt["annotations"]
    ]}  # fmt: skip
    folders = {"gt_maps": tmp_path / "gt", "pred_maps": tmp_path / "dt"}
    wanted, said = scored(*saved(tmp_path, gt, plain), **folders)
    assert not any("pred.json" in line for line in said)
    assert 0.2 < wanted["APe"] < 1
    paths = saved(tmp_path, gt, change(dt, maps))
    metrics, said = scored(*paths, **folders)
    assert metrics == pytest.approx(wanted, nan_ok=True)
    if note:
        assert any(note in line for line in said), said


def test_panoptic_ground_truth_loosely_typed(tmp_path):
    gt, dt, _ = panoptic_sides(tmp_path)
    folders = {"gt_maps": tmp_path / "gt", "pred_maps": tmp_path / "dt"}
    wanted, _ = scored(*saved(tmp_path, gt, dt), **folders)
    loose = {
        "images": edited(gt["images"], id=float, height=float),
        "annotations": edited(gt["annotations"], image_id=str, segments_info=lambda rows: edited(
            rows, id=float, category_id=str, iscrowd=None, area=float("nan"))),
        "categories": edited(gt["categories"], id=float, name=None),
    }  # fmt: skip
    metrics, said = scored(*saved(tmp_path, loose, dt), **folders)
    assert metrics == pytest.approx(wanted, nan_ok=True)
    assert any("category_id is text" in line for line in said)


def test_lvis_is_warned_of(tmp_path, plain):
    gt = truth()
    url = "http://images.example.org/val/{}".format
    images = [
        {**image, "coco_url": url(image["file_name"]), "not_exhaustive_category_ids": [1],
         "neg_category_ids": []}
        for image in edited(gt["images"])
    ]  # fmt: skip
    for image in images:
        del image["file_name"]
    dt = edited(results(), image_id=named)
    paths = saved(tmp_path, {**gt, "images": images}, dt)
    metrics, said = scored(*paths)
    assert metrics == pytest.approx(plain, nan_ok=True)
    assert any("not labelled exhaustively" in line and "gt.json" in line for line in said)
    assert any("matched with the file names" in line for line in said)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"<html>"])
def test_maps_that_were_not_fetched(content, tmp_path):
    gt, dt, _ = panoptic_sides(tmp_path)
    (tmp_path / "dt/pond_07.png").write_bytes(content)
    with pytest.raises(InputError, match=r"git lfs pull|web page"):
        scored(*saved(tmp_path, gt, dt), gt_maps=tmp_path / "gt", pred_maps=tmp_path / "dt")


def test_ground_truth_without_annotations_still_gives_the_images(tmp_path):
    """It is an empty table, which is not the same as none."""
    gt = {**truth(), "annotations": []}
    path = tmp_path / "pred.pth"
    path.write_bytes(pickle.dumps(results()))
    metrics, said = scored(saved(tmp_path, gt, [])[0], path)
    assert np.isnan(metrics["APe"])
    assert not any("not among" in line for line in said)


@pytest.mark.parametrize(
    ("make", "classes"),
    [
        (lambda labels: labels.astype(np.uint16), True),
        (lambda labels: np.dstack([labels] * 3), True),
        (lambda labels: labels.astype(np.uint16) + 300, False),
        (lambda labels: np.dstack([labels, labels * 0, labels * 0]), False),
    ],
)
def test_semantic_predictions_in_other_pixels(make, classes, tmp_path):
    """Class maps in 16 bits or in grey; what can be no classes is ids, which is said."""
    from PIL import Image

    labels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 50
    for side, pixels in (("gt", labels.astype(np.uint8)), ("dt", labels.astype(np.uint8))):
        (tmp_path / side).mkdir()
        made = pixels if side == "gt" else make(pixels)
        Image.fromarray(made).save(tmp_path / side / "a.png")
    metrics, said = scored(tmp_path / "gt", tmp_path / "dt", task="semantic")
    word = "read as class maps" if classes else "read as id maps"
    assert sum(word in line for line in said) == 1
    if classes:
        assert metrics["APe"] == 1


def folder_of_files(folder, encode, ending):
    """Write a file of predictions an image, called like the image."""
    folder.mkdir()
    for image_id, rows in by_image(results()).items():
        name = Path(named(image_id)).stem + ending
        (folder / name).write_bytes(encode(rows))
    return folder


@pytest.mark.parametrize(
    ("encode", "ending"),
    [
        (lambda rows: json.dumps(rows).encode(), ".json"),
        (lambda rows: json.dumps({"predictions": rows}).encode("utf-16"), ".JSON"),
        (lambda rows: gzip.compress(json.dumps(rows).encode()), ".json.gz"),
        (lambda rows: "\n".join(map(json.dumps, rows * 1)).encode(), ".jsonl"),
    ],
)
def test_folders_of_json(encode, ending, plain, tmp_path):
    """A file an image, of any tool: records that name no image are of the one it is called like."""
    gt, _ = saved(tmp_path, truth(), [])
    folder = folder_of_files(tmp_path / "out", encode, ending)
    metrics, said = scored(gt, folder)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)
    assert any("each file is of the image that it is called like" in line for line in said)
    assert [p for p in validate(gt, folder) if p.severity == "error"] == []


@pytest.mark.parametrize("ending", [".json", ".npz", ".png"])
def test_folders_that_were_not_fetched(ending, tmp_path):
    gt, _ = saved(tmp_path, truth(), [])
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    folder = folder_of_files(tmp_path / "out", lambda rows: pointer, ending)
    with pytest.raises(InputError, match=r"out/pond_0\d.*git lfs pull"):
        scored(gt, folder)


@pytest.mark.parametrize("image_id", ["11", "011", "pond_07", "POND_07.JPG", "/data/pond_07.jpg"])
def test_image_id_option(image_id, tmp_path):
    first = edited(results(), image_id=...)[: len(PREDICTIONS[0])]
    wanted, _ = scored(*saved(tmp_path, truth(), results()[: len(first)]))
    metrics, _ = scored(*saved(tmp_path, truth(), first), image_id=image_id)
    assert metrics == pytest.approx(wanted, nan_ok=True)


def test_panoptic_sides_exchanged(tmp_path):
    """Both are panoptic JSON: the scores tell."""
    gt, dt, _ = panoptic_sides(tmp_path)
    paths = saved(tmp_path, dt, gt)
    with pytest.raises(InputError, match=r"pred\.json: it has no scores.*GT and PRED exchanged"):
        scored(*paths, gt_maps=tmp_path / "dt", pred_maps=tmp_path / "gt")


@pytest.mark.parametrize("target", ["results", "npz"])
def test_converted_by_the_names_of_images(target, plain, tmp_path):
    """What has ground truth beside it is predictions, also where it lists images as that does."""
    paths = saved(tmp_path, truth(), renumbered(results()))
    out = tmp_path / "out.json" if target == "results" else tmp_path / "out"
    assert main(["convert", str(paths[1]), str(out), "--to", target, "--gt", str(paths[0])]) == 0
    metrics, _ = scored(paths[0], out)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("void", [-1, 0])
def test_pickled_maps_of_segments(void, tmp_path):
    """Hugging Face's output in a pickle; a map of one segment is no mask."""
    gt, dt, maps = panoptic_sides(tmp_path)
    folders = {"gt_maps": tmp_path / "gt", "pred_maps": tmp_path / "dt"}
    paths = saved(tmp_path, gt, dt)
    wanted, _ = scored(*paths, **folders)
    rows = [
        {**row, "segmentation": np.where(own == 0, void, own)}
        for row, own in zip(dt["annotations"], maps, strict=True)
    ]
    pickled = tmp_path / "found.pth"
    pickled.write_bytes(pickle.dumps(rows))
    metrics, said = scored(paths[0], pickled, gt_maps=tmp_path / "gt")
    assert metrics == pytest.approx(wanted, nan_ok=True)
    assert any("maps of segments" in line for line in said)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_parquet_as_pandas_writes_results(as_bytes, plain, tmp_path):
    """The masks are one column of records."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = results()
    if as_bytes:
        rows = edited(rows, segmentation=lambda s: {**s, "counts": s["counts"].encode()})
    gt, _ = saved(tmp_path, truth(), [])
    path = tmp_path / "pred.parquet"
    parquet.write_table(pa.Table.from_pylist(edited(rows, image_id=float)), path)
    metrics, _ = scored(gt, path)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)


def test_pickled_masks_with_an_axis_of_one(plain, tmp_path):
    gt, _ = saved(tmp_path, truth(), [])
    path = tmp_path / "pred.pth"
    found = {
        image_id: {
            "masks": np.stack([rle.decode(row["segmentation"]).astype(bool) for row in rows])[
                :, None
            ],
            "scores": np.array([row["score"] for row in rows]),
        }
        for image_id, rows in by_image(results()).items()
    }
    path.write_bytes(pickle.dumps(found))
    metrics, _ = scored(gt, path)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["pond_07", "POND_07.JPG", "/data/pond_07.png", "11", "0011"])
def test_metric_knows_images_by_name(name):
    from entityseg_bench import EntityMetric

    metric = EntityMetric(truth())
    metric.update(name, [np.ones((HEIGHT, WIDTH), bool)], [0.5])
    assert list(metric._found) == [0]
    with pytest.raises(InputError, match="there is no image 'lake'"):
        metric.update("lake", [], [])


def test_a_folder_of_any_tool_is_converted(plain, tmp_path):
    gt, _ = saved(tmp_path, truth(), [])
    folder = folder_of_files(tmp_path / "out", lambda rows: json.dumps(rows).encode(), ".json")
    made = tmp_path / "made.json"
    assert main(["convert", str(folder), str(made), "--to", "results", "--gt", str(gt)]) == 0
    metrics, _ = scored(gt, made)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)
