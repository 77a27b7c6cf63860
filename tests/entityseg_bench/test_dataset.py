"""Opening COCO JSON, lazily: what is kept, what is computed, what is refused."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets_read import read_coco
from pycocotools.coco import COCO

from entity_api import evaluate, rle
from entity_api.columns import RecordError
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.coco import write_coco
from entityseg_bench.io import InputError, cache_folder
from entityseg_bench.layout import ImageFiles
from entityseg_bench.selection import join
from entityseg_bench.types import ImageInfo

from .conftest import coco, dataset_of, from_map, record, same, save_image, write

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]


def opened(tmp_path: Path, content: Any) -> EntityDataset:
    return read_coco(write(tmp_path / "entities.json", content))


def test_an_annotation_as_it_stands(tmp_path: Path) -> None:
    dataset = opened(tmp_path, coco([record(area=6.5)]))
    ((image, [annotation]),) = list(dataset)
    assert image == ImageInfo(1, "a.jpg", 4, 6)
    assert annotation.area == 6.5
    assert annotation.bbox == (1.0, 1.0, 3.0, 2.0)
    assert annotation.iscrowd is False
    assert annotation.segmentation == record()["segmentation"]
    assert annotation.extra is None
    assert len(dataset.categories) == 644


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        {"size": [4, 6], "counts": [5, 2, 2, 2, 2, 2, 9]},
        record()["segmentation"],
    ],
    ids=["polygon", "plain", "compressed"],
)
def test_every_kind_of_mask(tmp_path: Path, segmentation: Any) -> None:
    row = record(segmentation=segmentation)
    del row["area"], row["bbox"], row["iscrowd"]
    dataset = opened(tmp_path, coco([row]))
    (annotation,) = dataset.annotations(0)
    assert annotation.segmentation == record()["segmentation"]
    assert annotation.area == 6
    assert annotation.bbox == (1, 1, 3, 2)
    assert dataset.ground_truth().areas.tolist() == pytest.approx([np.nan], nan_ok=True)


def test_other_fields_are_kept(tmp_path: Path) -> None:
    # The second record has a field of its own, so the guess made from the first is corrected.
    rows = [
        record(category_id_ori=3, note={"segmentation": "x", "tags": ["a", '"segmentation": ']}),
        record(id=2, url_a="é"),
        record(id=3),
        record(id=4, category_id_ori=None),
    ]
    images = [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6, "img_source": "coco"}]
    table = [{"id": 3, "name": "x", "isthing": 1, "color": [1, 2, 3]}]
    content = coco(rows, images, categories=table, info={"year": 1}, licenses=[], custom="kept")
    dataset = opened(tmp_path, content)
    assert [row.extra for row in dataset.annotations(0)] == [
        {"category_id_ori": 3, "note": rows[0]["note"]},
        {"url_a": "é"},
        None,
        {"category_id_ori": None},
    ]
    assert dataset.images[0].extra == {"img_source": "coco"}
    assert dataset.info == {"info": {"year": 1}, "licenses": [], "custom": "kept"}
    assert dataset.categories[0].type == "thing"
    assert dataset.categories[0].extra == {"color": [1, 2, 3]}
    write_coco(dataset, tmp_path / "again.json")
    same(dataset, read_coco(tmp_path / "again.json"))


def test_spacing_that_changes_half_way(tmp_path: Path) -> None:
    rows = [record(id=k, segmentation=[[k, 1, 4, 1, 4, 3]]) for k in range(1, 5)]
    texts = [json.dumps(row) for row in rows]
    texts[2] = texts[2].replace('"segmentation": ', '"segmentation"  :\n\t')
    texts[3] = json.dumps(rows[3], separators=(",", ":"))
    head = json.dumps(coco([]))[: -len("[]}")]
    path = tmp_path / "entities.json"
    path.write_text(f"{head}[{', '.join(texts)}]}}")
    masks = [row.segmentation for row in read_coco(path).annotations(0)]
    assert masks == [rle.from_polygons(row["segmentation"], 4, 6) for row in rows]


def test_string_ids_and_annotations_in_any_order(tmp_path: Path) -> None:
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 4, "width": 6} for k in ("b", "a", 3)]
    rows = [record(id=n, image_id=k) for n, k in enumerate(("a", 3, "b", "a"))]
    dataset = opened(tmp_path, coco(rows, images))
    found = [(image.id, [row.id for row in rows]) for image, rows in dataset]
    assert found == [("b", [2]), ("a", [0, 3]), (3, [1])]


def test_real_annotations_are_those_of_pycocotools(shared: Path) -> None:
    path = shared / "realdata/coco100/instances_val2014_100.json"
    theirs = COCO(str(path))
    n = 0
    for image, annotations in read_coco(path):
        rows = theirs.imgToAnns[image.id]
        assert [row["id"] for row in rows] == [annotation.id for annotation in annotations]
        for row, annotation in zip(rows, annotations, strict=True):
            mask = theirs.annToRLE(row)
            assert annotation.segmentation["counts"] == mask["counts"].decode()
            assert annotation.iscrowd == bool(row["iscrowd"])
            assert annotation.area == row["area"]
            n += 1
    assert n == 839


REFUSED = {
    "broken mask": (
        [record(), record(id=7, segmentation={"size": [4, 6], "counts": "0"})],
        r"record 1, id 7 \(image_id 1\).*covers 0 of the 24",
    ),
    "transposed mask": (
        [record(segmentation={"size": [6, 4], "counts": "52"})],
        r"id 1 .*\[6, 4\] is not",
    ),
    "mask of no kind": ([record(segmentation=5)], r"id 1 .*segmentation is 5, which is no mask"),
    "half a box": ([record(bbox=[1, 2])], r"annotations\[0\]\.bbox"),
    "no category": ([{"id": 1, "image_id": 1, "segmentation": []}], r"category_id"),
    "unknown image": ([record(), record(image_id=8)], r"record 1.*image_id 8"),
    "huge id": ([record(id=2**70)], r"64 bits|integer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_broken_records(tmp_path: Path, case: str) -> None:
    rows, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        list(opened(tmp_path, coco(rows)))
    assert "entities.json" in str(caught.value)
    if case in ("transposed mask", "mask of no kind"):
        with pytest.raises(InputError, match=message):
            opened(tmp_path, coco(rows)).ground_truth()


def test_run_lengths_of_ground_truth_are_checked_when_scored(tmp_path: Path) -> None:
    truth = opened(tmp_path, coco(REFUSED["broken mask"][0])).ground_truth()
    with pytest.raises(RecordError, match=r"gt record 1: .*covers 0 of the 24"):
        evaluate(truth, [])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([{"id": 1, "file_name": "a"}], r"images record 0.*`height`"),
        ([{"id": 1, "file_name": "a", "height": "x", "width": 6}], r"images record 0.*height"),
        ([{"id": 1, "file_name": "a", "height": 0, "width": 6}], r"no pixels"),
        ([{"id": 1, "file_name": "a", "height": 4, "width": 6}] * 2, r"id stands twice"),
    ],
)
def test_broken_images(tmp_path: Path, images: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(tmp_path, coco([], images))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [], "annotations": [{"id"', r"breaks off at its end, byte 36"),
        ('{"images": [], "annotations": [NaN]}', r"annotations record 0"),
        ("[]", r"it is a list, not an object"),
        ('{"images": []}', r"annotations"),
        ("", r"empty"),
        ("\xff\xfe", r"this is no JSON"),
        ("{\xff", r"not UTF-8 .byte 0xff at position 1"),
    ],
)
def test_broken_json(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "entities.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_coco(path)


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "entities.json", coco([record(), record(id=2, extra=[1])]))
    whole = path.read_bytes()
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError):
            read_coco(path)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "entities.json", coco([record(), record(id=2, extra=1)]))
    assert read_coco(path).annotations(0)[0].category_id == 3
    stat = path.stat()
    path.write_text(path.read_text().replace('"category_id": 3', '"category_id": 7', 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert read_coco(path).annotations(0)[0].category_id == 7


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "x/entityseg-bench"),
        ("win32", "LOCALAPPDATA", "x/entityseg-bench"),
        ("darwin", "HOME", "x/Library/Caches/entityseg-bench"),
    ],
)
def test_cache_folder(
    platform: str, variable: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ENTITYSEG_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv(variable, str(tmp_path / "x"))
    assert cache_folder() == tmp_path / expected


def test_datasets_travel_to_other_processes(tmp_path: Path) -> None:
    dataset = opened(tmp_path, coco([record(), record(id=2, extra="e")]))
    same(dataset, pickle.loads(pickle.dumps(dataset)))


def test_images_are_read_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "entityseg_val.json", coco([record()]))
    dataset = EntityDataset.open(tmp_path)
    with pytest.raises(InputError, match=r"image 1 \(a\.jpg\): there is no such image"):
        dataset.read_image(dataset.images[0])
    path = save_image(tmp_path / "images/a.jpg", 4, 6)
    assert dataset.read_image(dataset.images[0]).shape == (4, 6, 3)
    save_image(path, 6, 4)
    with pytest.raises(InputError, match=r"6 x 4 pixels .* not the 4 x 6"):
        dataset.read_image(dataset.images[0])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"a\.jpg.*(cannot be read|is no image)"):
        dataset.read_image(dataset.images[0])
    for content in (b"no image", b"\xff\xd8\xff no image"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"this is no image\. Copy it again"):
            dataset.read_image(dataset.images[0])


def test_nothing_says_where_images_are() -> None:
    dataset = dataset_of(from_map([[1]]))
    with pytest.raises(InputError, match="the folder of the images is not known"):
        dataset.image_path(dataset.images[0])


def test_take() -> None:
    pairs = [from_map([[0, k, 2]], k, 10 * k) for k in (1, 2, 3)]
    dataset = dataset_of(*pairs, image_files=ImageFiles(Path()))
    taken = dataset.take([2, 0])
    assert [image.id for image in taken.images] == [3, 1]
    assert taken.annotations(0) == pairs[2][1]
    # Values 1, 2, 3 have the categories 7, 200, 3.
    of_category = dataset.take(category_ids=[3])
    assert [[row.id for row in rows] for _, rows in of_category] == [[], [], [31]]
    assert [category.id for category in of_category.categories] == [3]
    assert len(dataset.records) == 5


def test_constructor_checks_images() -> None:
    image, annotations = from_map([[1]])
    with pytest.raises(InputError, match=r"image_id 1\): its image is not among"):
        EntityDataset([ImageInfo(2, "b", 1, 1)], annotations)
    with pytest.raises(InputError, match="twice"):
        EntityDataset([image, image], [])


def test_ground_truth_scores_as_the_plain_file(shared: Path) -> None:
    folder = shared / "realdata/coco100"
    truth = folder / "instances_val2014_100.json"
    predictions = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    ours = evaluate(read_coco(truth).ground_truth(), predictions)
    theirs = evaluate(json.loads(truth.read_text()), predictions)
    assert ours.metrics == pytest.approx(theirs.metrics, nan_ok=True, abs=0)


def test_joined_records_keep_their_masks() -> None:
    parts = [dataset_of(from_map([[k, 9]], extra={"k": k} if k else None)) for k in range(3)]
    joined = join([part.records for part in parts], [i for part in parts for i in part.images])
    dataset = EntityDataset(
        [ImageInfo(k, f"{k}", 1, 2) for k in range(3)], joined, parts[0].categories
    )
    for k, part in enumerate(parts):
        expected = part.annotations(0)
        found = dataset.annotations(k)
        assert [a.segmentation for a in found] == [a.segmentation for a in expected]
        assert [a.extra for a in found] == [a.extra for a in expected]


def test_file_without_annotations_opens(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    image = {"id": 1, "file_name": "a.jpg", "height": 4, "width": 5}
    path.write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    assert [annotations for _, annotations in read_coco(path)] == [[]]
