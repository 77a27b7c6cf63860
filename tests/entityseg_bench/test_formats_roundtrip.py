"""Through a format and back: identical, for any dataset that the format can hold."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from datasets_read import (
    read_coco,
    read_id_png,
    read_npz,
    read_panoptic,
    read_parquet,
    read_results,
    read_semantic,
)
from hypothesis import HealthCheck, assume, given, settings

from entity_api import rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.coco import write_coco, write_results
from entityseg_bench.formats.id_maps import write_id_png
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.formats.parquet import write_parquet
from entityseg_bench.formats.semantic import write_semantic
from entityseg_bench.types import Annotation, ImageInfo

from .conftest import TABLE, dataset_of, datasets, from_map, same

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@quick
@given(datasets())
def test_coco(dataset: EntityDataset) -> None:
    with folder() as base:
        for name in ("e.json", "e.json.gz"):
            assert write_coco(dataset, Path(base, name)) == {}
            same(dataset, read_coco(Path(base, name)))


@quick
@given(datasets())
def test_panoptic(dataset: EntityDataset) -> None:
    with folder() as base:
        assert write_panoptic(dataset, Path(base, "p.json"), Path(base, "p")) == {}
        same(dataset, read_panoptic(Path(base, "p.json")))


@quick
@given(datasets())
def test_id_png(dataset: EntityDataset) -> None:
    with folder() as base:
        assert write_id_png(dataset, base) == {}
        same(dataset, read_id_png(base))


@quick
@given(datasets())
def test_npz(dataset: EntityDataset) -> None:
    with folder() as base:
        assert write_npz(dataset, base) == {}
        same(dataset, read_npz(base))


@settings(max_examples=12, deadline=None)
@given(datasets(split="val", resolution="low"))
def test_parquet(dataset: EntityDataset) -> None:
    with folder() as base:
        assert write_parquet(dataset, base) == {}
        found = read_parquet(base, "entity", "val")
        same(dataset, found)
        assert (found.task, found.split, found.resolution) == ("entity", "val", "low")


@quick
@given(datasets())
def test_semantic_keeps_the_classes_of_every_pixel(dataset: EntityDataset) -> None:
    assume(len(dataset))
    with folder() as base:
        write_semantic(dataset, Path(base, "list.txt"), Path(base, "maps"))
        found = read_semantic(Path(base, "list.txt"), Path(base, "maps"), TABLE)
        for image_idx, image in enumerate(dataset.images):
            assert found.images[image_idx].file_name == image.file_name
            expected = np.full((image.height, image.width), 255)
            for annotation in dataset.annotations(image_idx):
                expected[rle.decode(annotation.segmentation)] = annotation.category_id
            shown = {
                annotation.category_id: rle.decode(annotation.segmentation)
                for annotation in found.annotations(image_idx)
            }
            assert set(shown) == set(np.unique(expected).tolist()) - {255}
            for category_id, mask in shown.items():
                assert (mask == (expected == category_id)).all()
        # Once it is semantic nothing more is lost.
        lost = write_semantic(found, Path(base, "again.txt"), Path(base, "again"))
        assert lost == {}
        assert list(read_semantic(Path(base, "again.txt"), Path(base, "again"), TABLE)) == list(
            found
        )


@quick
@given(datasets())
def test_panoptic_to_entity_to_panoptic(dataset: EntityDataset) -> None:
    with folder() as base:
        write_panoptic(dataset, Path(base, "p.json"), Path(base, "p"))
        write_coco(read_panoptic(Path(base, "p.json")), Path(base, "e.json"))
        write_panoptic(
            read_coco(Path(base, "e.json"), "panoptic"), Path(base, "q.json"), Path(base, "q")
        )
        assert Path(base, "p.json").read_bytes() == Path(base, "q.json").read_bytes()
        maps = [path for path in Path(base, "p").rglob("*") if path.is_file()]
        for path in maps:
            assert (
                path.read_bytes() == Path(base, "q", path.relative_to(Path(base, "p"))).read_bytes()
            )


def predictions() -> EntityDataset:
    """Make overlapping predictions: the 2nd hides a column of the 1st, the 3rd is hidden."""
    image = ImageInfo("im", "im.jpg", 2, 4)
    masks = np.zeros((4, 2, 4), bool)
    masks[0, :, :3] = True
    masks[1, :, 2:] = True
    masks[2, 0, 3] = True
    scores = [0.25, 0.75, 0.5, 0.125]
    rows = []
    for n, (mask, score) in enumerate(zip(masks, scores, strict=True), start=1):
        found = rle.encode(mask)
        box = tuple(rle.bbox(found))
        rows.append(Annotation(n, "im", 3, found, float(mask.sum()), box, extra={"score": score}))
    return dataset_of((image, rows), info={})


def test_results_hold_overlap_and_empty_masks(tmp_path: Path) -> None:
    dataset = predictions()
    assert write_results(dataset, tmp_path / "r.json") == {}
    same(dataset, read_results(tmp_path / "r.json", dataset.images, TABLE))
    rows = json.loads((tmp_path / "r.json").read_text())
    assert [row["score"] for row in rows] == [0.25, 0.75, 0.5, 0.125]
    write_npz(dataset, tmp_path / "npz")
    same(dataset, read_npz(tmp_path / "npz"))
    with np.load(tmp_path / "npz/im.npz") as arrays:
        dense = np.unpackbits(arrays["masks"], axis=2, count=4).astype(bool)
        assert dense.shape == (4, 2, 4)
        assert dense[0].tolist() == [[True, True, True, False]] * 2
        assert arrays["scores"].tolist() == [0.25, 0.75, 0.5, 0.125]


EXPECTED_LOSS = {
    "empty masks dropped: a map cannot show them": 1,
    "masks dropped: others hide them entirely": 1,
    "masks cut: a pixel belongs to one segment": 1,
}


def test_a_map_gives_each_pixel_to_the_highest_score(tmp_path: Path) -> None:
    assert write_id_png(predictions(), tmp_path / "ids") == EXPECTED_LOSS
    pixels = [[1, 1, 2, 2], [1, 1, 2, 2]]
    from PIL import Image

    assert np.asarray(Image.open(tmp_path / "ids/im.png")).tolist() == pixels
    found = read_id_png(tmp_path / "ids")
    assert [(a.id, a.area, a.bbox, a.extra) for a in found.annotations(0)] == [
        (1, 4.0, (0, 0, 2, 2), {"score": 0.25}),
        (2, 4.0, (2, 0, 2, 2), {"score": 0.75}),
    ]
    assert write_panoptic(predictions(), tmp_path / "p.json", tmp_path / "p") == EXPECTED_LOSS
    assert [a.extra for a in read_panoptic(tmp_path / "p.json").annotations(0)] == [
        {"score": 0.25},
        {"score": 0.75},
    ]


def test_bare_id_maps(tmp_path: Path) -> None:
    write_id_png(predictions(), tmp_path)
    (tmp_path / "annotations.json").unlink()
    found = read_id_png(tmp_path)
    assert found.images == (ImageInfo(1, "im.jpg", 2, 4),)
    assert [a.area for a in found.annotations(0)] == [4.0, 4.0]
    assert write_results(found, tmp_path / "r.json") == {"scores missing: written as 1.0": 2}


@pytest.mark.parametrize(("n", "mode"), [(255, "L"), (256, "I;16"), (1200, "I;16")])
def test_more_than_255_segments_take_16_bits(tmp_path: Path, n: int, mode: str) -> None:
    from PIL import Image

    pixels = np.arange(1, n + 1).reshape(1, n)
    dataset = dataset_of(from_map(pixels, first_id=5))
    assert write_id_png(dataset, tmp_path) == {}
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == mode
    same(dataset, read_id_png(tmp_path))


def test_later_annotations_win_and_crowds_lie_lowest(tmp_path: Path) -> None:
    image = ImageInfo(1, "a.jpg", 1, 4)
    masks = [[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[1, 1, 1, 1]]]
    rows = [
        Annotation(
            k, 1, 3, rle.encode(np.array(mask)), float(np.sum(mask)), (0, 0, 1, 1), iscrowd=k == 3
        )
        for k, mask in enumerate(masks, start=1)
    ]
    lost = write_panoptic(dataset_of((image, rows)), tmp_path / "p.json", tmp_path / "p")
    assert lost == {"masks cut: a pixel belongs to one segment": 2}
    from PIL import Image

    assert np.asarray(Image.open(tmp_path / "p/a.png"))[..., 0].tolist() == [[1, 2, 2, 3]]


def test_ids_that_a_map_cannot_hold(tmp_path: Path) -> None:
    pairs = [from_map([[1, 2]], 1, 2**24 - 1), from_map([[1]], 2, 2**24 + 5, "b.jpg")]
    lost = write_panoptic(dataset_of(*pairs), tmp_path / "p.json", tmp_path / "p")
    assert lost == {"annotation ids changed: a map holds 1..2**24 - 1, each once an image": 3}
    found = read_panoptic(tmp_path / "p.json")
    # Both images have a segment 1, so annotations are numbered anew and segments remembered.
    assert [(a.id, a.extra) for _, rows in found for a in rows] == [
        (1, {"segment_id": 1}),
        (2, {"segment_id": 2}),
        (3, {"segment_id": 1}),
    ]


def test_real_panoptic_through_every_format(shared: Path, tmp_path: Path) -> None:
    source = shared / "realdata/panoptic"
    dataset = read_panoptic(source / "panoptic_examples.json")
    # The same segments in detection format, as panopticapi wrote them.
    detection = read_coco(source / "panoptic_coco_detection_format.json")
    for (_, ours), (_, theirs) in zip(dataset, detection, strict=True):
        assert [a.segmentation for a in ours] == [a.segmentation for a in theirs]
        assert [(a.area, a.bbox) for a in ours] == [(a.area, a.bbox) for a in theirs]
    assert len(dataset.records) == 50

    assert write_panoptic(dataset, tmp_path / "p.json", tmp_path / "p") == {}
    from PIL import Image

    for path in (source / "panoptic_examples").glob("*.png"):
        pixels = np.asarray(Image.open(path))
        assert (np.asarray(Image.open(tmp_path / "p" / path.name)) == pixels).all()
    write_coco(dataset, tmp_path / "e.json")
    same(dataset, read_coco(tmp_path / "e.json", "panoptic"))
    write_id_png(dataset, tmp_path / "ids")
    same(dataset, read_id_png(tmp_path / "ids"))
    write_npz(dataset, tmp_path / "npz")
    same(dataset, read_npz(tmp_path / "npz"))
    write_parquet(dataset.replace(split="val"), tmp_path / "parquet")
    same(dataset, read_parquet(tmp_path / "parquet", "panoptic", "val"))
    lost = write_semantic(dataset, tmp_path / "s.txt", tmp_path / "s")
    assert lost == {
        "annotations merged with others of their class": 38,
        "crowd flags dropped": 3,
    }
