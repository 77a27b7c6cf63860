"""Maps that do not fit their lists, and maps of other data sets."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets_read import (
    read_ade20k,
    read_cityscapes,
    read_id_png,
    read_npz,
    read_panoptic,
    read_semantic,
)

from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import png
from entityseg_bench.formats.cityscapes import CITYSCAPES
from entityseg_bench.formats.maps import check_names, map_name
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.formats.semantic import split_names, write_semantic
from entityseg_bench.io import InputError
from entityseg_bench.types import ImageInfo

from .conftest import dataset_of, from_map, write

PIXELS = np.array([[7, 7, 0], [8, 8, 300]])


def save(path: Path, pixels: Any, mode: str | None = None) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path)
    return path


def panoptic_json(segments: list[dict[str, Any]], **image: Any) -> dict[str, Any]:
    one = {"id": 1, "file_name": "a.b.jpg", "height": 2, "width": 3, **image}
    row = {"image_id": 1, "file_name": "a.b.jpg", "segments_info": segments}
    return {"images": [one], "annotations": [row], "categories": [{"id": 3, "name": "x"}]}


def segment(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "category_id": 3, **more}


def test_ids_use_three_channels(tmp_path: Path) -> None:
    ids = np.array([[0, 255, 256], [65536, 2**24 - 1, 70000]])
    png.write_ids(tmp_path / "x.png", ids)
    from PIL import Image

    with Image.open(tmp_path / "x.png") as image:
        assert np.asarray(image)[1].tolist() == [[0, 0, 1], [255, 255, 255], [112, 17, 1]]
    assert (png.read_ids(tmp_path / "x.png") == ids).all()
    assert png.png_size(tmp_path / "x.png") == (2, 3)


@pytest.mark.parametrize(
    ("writer", "value"),
    [(png.write_ids, 2**24), (png.write_ids, -1), (png.write_labels, 65536)],
)
def test_values_a_map_cannot_hold(tmp_path: Path, writer: Any, value: int) -> None:
    with pytest.raises(InputError, match="holds"):
        writer(tmp_path / "x.png", np.full((1, 1), value))


def test_panoptic_as_documented(tmp_path: Path) -> None:
    write(tmp_path / "p.json", panoptic_json([segment(7), segment(8), segment(300, iscrowd=1)]))
    png.write_ids(tmp_path / "maps/a.b.png", PIXELS)
    (annotations,) = [rows for _, rows in read_panoptic(tmp_path / "p.json", tmp_path / "maps")]
    assert [(a.id, a.area, a.bbox, a.iscrowd) for a in annotations] == [
        (7, 2, (0, 0, 2, 1), False),
        (8, 2, (0, 1, 2, 1), False),
        (300, 1, (2, 1, 1, 1), True),
    ]


PANOPTIC_FAULTS: dict[str, tuple[dict[str, Any], Any, str]] = {
    "segment absent from the map": (
        panoptic_json([segment(7), segment(8), segment(300), segment(9)]),
        PIXELS,
        r"a\.b\.png: image 1 .*segments 9 are not in the map",
    ),
    "segment absent from the JSON": (
        panoptic_json([segment(7)]),
        PIXELS,
        r"segments 8, 300 are not in the JSON",
    ),
    "map of another size": (
        panoptic_json([segment(7)]),
        PIXELS.T,
        r"the map's 3 x 2 pixels .* not the image's 2 x 3",
    ),
    "segment twice": (panoptic_json([segment(7), segment(7)]), PIXELS, r"segment 7 stands twice"),
    "segment 0": (panoptic_json([segment(0)]), PIXELS, r"segments_info\[0\].*0 is void"),
    "no category": (panoptic_json([{"id": 7}]), PIXELS, r"segments_info\[0\].*category_id"),
    "no map": (panoptic_json([segment(7)]), None, r"the folder of its maps is not beside it"),
}


@pytest.mark.parametrize("case", PANOPTIC_FAULTS)
def test_panoptic_faults(tmp_path: Path, case: str) -> None:
    content, pixels, message = PANOPTIC_FAULTS[case]
    write(tmp_path / "p.json", content)
    if pixels is not None:
        png.write_ids(tmp_path / "p/a.b.png", pixels)
    with pytest.raises(InputError, match=message):
        list(read_panoptic(tmp_path / "p.json"))


def test_panoptic_image_twice(tmp_path: Path) -> None:
    content = panoptic_json([segment(7)])
    content["annotations"] *= 2
    with pytest.raises(InputError, match="an image stands twice"):
        read_panoptic(write(tmp_path / "p.json", content))


@pytest.mark.parametrize("mode", ["RGBA", "1", "LA"])
def test_maps_of_other_modes(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "x.png", np.zeros((2, 3), np.uint8), mode)
    with pytest.raises(InputError, match=f"not mode {mode}"):
        png.read_ids(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "L", "1"])
def test_class_maps_are_grey_in_any_mode(tmp_path: Path, mode: str) -> None:
    classes = np.array([[0, 1, 1], [1, 0, 1]], np.uint8) * (255 if mode == "1" else 7)
    path = save(tmp_path / "x.png", classes, mode)
    found = png.read_labels(path)
    assert found.dtype == np.uint8
    assert found.tolist() == (classes // 255 if mode == "1" else classes).tolist()


def test_coloured_or_translucent_maps_are_none_of_classes(tmp_path: Path) -> None:
    pixels = np.full((2, 3, 4), 7, np.uint8)
    for channel in (1, 3):
        odd = pixels.copy()
        odd[0, 0, channel] = 8
        path = save(tmp_path / "x.png", odd)
        with pytest.raises(InputError, match="one channel, not mode RGBA"):
            png.read_labels(path)
    path = save(tmp_path / "x.png", np.full((2, 3), 256, np.uint16))
    with pytest.raises(InputError, match="values go up to 256"):
        png.read_labels(path)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_damaged_maps(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.png"
    png.write_labels(path, np.arange(200).reshape(10, 20))
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no map", "empty": b""}[damage])
    with pytest.raises(InputError, match=r"x\.png"):
        png.read_labels(path)


def test_palette_maps_give_their_indices(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.new("P", (2, 1))
    image.putpalette([9] * 768)
    image.putpixel((1, 0), 5)
    image.save(tmp_path / "x.png")
    assert png.read_labels(tmp_path / "x.png").tolist() == [[0, 5]]


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("a.jpg", "a.png"),
        ("a.b.c.JPEG", "a.b.c.png"),
        ("entity_01_11580/x y.tar.png", "entity_01_11580/x y.tar.png"),
        ("no_suffix.v2", "no_suffix.v2.png"),
    ],
)
def test_map_names(file_name: str, name: str) -> None:
    assert map_name(file_name) == name


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "..\\a.jpg"])
def test_names_that_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    dataset = dataset_of(from_map([[1]], name=name))
    with pytest.raises(InputError, match="leads out"):
        write_panoptic(dataset, tmp_path / "d/p.json", tmp_path / "d/p")
    assert not (tmp_path / "d").exists()


def test_two_images_of_one_map() -> None:
    images = [ImageInfo(1, "a.jpg", 1, 1), ImageInfo(2, "A.png", 1, 1)]
    with pytest.raises(InputError, match=r"image 2 .*image 1's"):
        check_names(images, "x")


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("a.jpg a.png", ("a.jpg", "a.png")),
        ("my photo.v2.jpg my photo.v2.png", ("my photo.v2.jpg", "my photo.v2.png")),
        ("a.jpg b.jpg a.jpg b.png", ("a.jpg b.jpg", "a.jpg b.png")),
        ("d/é 図.JPG\tother.png", ("d/é 図.JPG", "other.png")),
    ],
)
def test_names_of_a_list(line: str, pair: tuple[str, str]) -> None:
    assert split_names(line, Path("l"), 1) == pair


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg a.jpg", "a.txt a.png", "x.jpg y.jpg z.png"])
def test_lines_that_name_no_pair(line: str) -> None:
    with pytest.raises(InputError, match=r"l: line 4: .* is not the name of an image"):
        split_names(line, Path("l"), 4)


def semantic(tmp_path: Path, pixels: Any, lines: str = "a.b.jpg a.b.png\n") -> EntityDataset:
    (tmp_path / "val.txt").write_text(lines, encoding="utf-8")
    save(tmp_path / "maps/a.b.png", np.asarray(pixels, np.uint8))
    return read_semantic(tmp_path / "val.txt", tmp_path / "maps")


def test_semantic_classes_are_not_split(tmp_path: Path) -> None:
    dataset = semantic(tmp_path, [[0, 255, 0], [149, 255, 0]], "\na.b.jpg a.b.png\r\n\n")
    assert dataset.images == (ImageInfo(1, "a.b.jpg", 2, 3),)
    assert [(a.category_id, a.area) for a in dataset.annotations(0)] == [(0, 3), (149, 1)]
    assert len(dataset.categories) == 150
    truth = dataset.ground_truth()
    assert truth.void is not None
    void = {"size": [2, 3], "counts": truth.void[0]}
    from entity_api import rle

    assert rle.decode(void).tolist() == [[False, True, False], [False, True, False]]


def test_semantic_faults(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.png: line 1 of val\.txt: the map cannot be"):
        semantic(tmp_path, [[1]], "a.b.jpg missing.png\n")
    dataset = semantic(tmp_path, np.arange(12).reshape(2, 2, 3))
    with pytest.raises(InputError, match=r"a\.b\.png.*not mode RGB"):
        dataset.annotations(0)
    (tmp_path / "maps/a.b.png").write_bytes(b"text")
    with pytest.raises(InputError, match="this is no PNG"):
        read_semantic(tmp_path / "val.txt", tmp_path / "maps")
    (tmp_path / "val.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_semantic(tmp_path / "val.txt", tmp_path / "maps")


def test_semantic_map_changed_behind_the_list(tmp_path: Path) -> None:
    dataset = semantic(tmp_path, [[1, 2]])
    save(tmp_path / "maps/a.b.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match=r"2 x 2 pixels .* not the image's 1 x 2"):
        dataset.annotations(0)


def test_categories_beyond_8_bits(tmp_path: Path) -> None:
    dataset = dataset_of(from_map([[1]], categories=(255,)))
    with pytest.raises(InputError, match=r"annotation 1: category 255 does not fit"):
        write_semantic(dataset, tmp_path / "l.txt", tmp_path / "m")


def test_cityscapes(tmp_path: Path) -> None:
    # 7 road, 0 void, two cars, a group of persons without numbers, 29 caravan (void).
    pixels = np.array([[7, 7, 0, 26000, 26001], [7, 24, 24, 29000, 1]], np.uint16)
    save(tmp_path / "aachen/aachen_1_2_gtFine_instanceIds.png", pixels)
    dataset = read_cityscapes(tmp_path)
    assert dataset.images[0].file_name == "aachen/aachen_1_2_leftImg8bit.png"
    found = {(a.category_id, a.area, a.iscrowd) for a in dataset.annotations(0)}
    assert found == {(7, 3, False), (24, 2, True), (26, 1, False)}
    assert len(dataset.annotations(0)) == 4
    assert len(dataset.categories) == len(CITYSCAPES) == 19
    assert [c.name for c in dataset.categories if c.type == "thing"][:2] == ["person", "rider"]


def test_ade20k(tmp_path: Path) -> None:
    pixels = np.array([[0, 3, 0, 3], [150, 3, 0, 3]], np.uint8)
    save(tmp_path / "ADE_val_1.png", pixels)
    by_class = read_ade20k(tmp_path)
    assert by_class.images[0].file_name == "ADE_val_1.jpg"
    assert [(a.category_id, a.area) for a in by_class.annotations(0)] == [(3, 4), (150, 1)]
    parts = read_ade20k(tmp_path, regions="connected")
    assert [(a.category_id, a.area) for a in parts.annotations(0)] == [(3, 2), (3, 2), (150, 1)]
    ids = [a.id for _, rows in parts for a in rows]
    assert len(set(ids)) == 3
    with pytest.raises(ValueError, match="regions"):
        read_ade20k(tmp_path, regions="islands")  # type: ignore[arg-type]


def test_folders_without_maps(tmp_path: Path) -> None:
    for reader in (read_ade20k, read_cityscapes, read_id_png):
        with pytest.raises(InputError, match=r"no file in it ends in"):
            reader(tmp_path)
        with pytest.raises(InputError, match="no such folder"):
            reader(tmp_path / "nowhere")


def test_npz_faults(tmp_path: Path) -> None:
    write_npz(dataset_of(from_map([[1, 2]])), tmp_path)
    index = tmp_path / "annotations.json"
    text = index.read_text()
    index.write_text(text.replace('"value":1', '"value":2'))
    with pytest.raises(InputError, match="holds 2 masks"):
        list(read_npz(tmp_path))
    index.write_text(text)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:50])
    with pytest.raises(InputError, match=r"a\.npz.*no file of masks"):
        list(read_npz(tmp_path))
    index.write_text(text.replace('"task":"entity"', '"task":"other"'))
    with pytest.raises(InputError, match="'other' is none of"):
        read_npz(tmp_path)


@pytest.mark.parametrize("side", [1000, 60_000])
def test_a_head_that_promises_what_the_file_cannot_hold_is_refused(tmp_path, side):
    path = tmp_path / "a.png"
    head = struct.pack(">II5B", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head)
    with pytest.raises(InputError, match=f"a.png: .*{side} x {side} pixels"):
        png.png_size(path)
