"""Tiny datasets for the tests of loading and converting."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entity_api import rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.types import Annotation, Category, ImageInfo

NAMES = ("a.jpg", "b.v1.2.jpg", "with space.png", "Ünïcode 図.jpeg", "sub/deep.tar.webp")
TABLE = [
    Category(3, "pipe", "tube", "thing", "管"),
    Category(7, "pipe", "tube", "thing"),
    Category(200, " sky", None, "stuff", extra={"color": [1, 2, 3]}),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's cache folder out of the tests."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ENTITYSEG_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a data set of all types, and itself in every other format; not to be changed."""
    from broken_files import write_all_types

    folder = tmp_path_factory.mktemp("whole")
    write_all_types(folder)
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a copy of it."""
    shutil.copytree(whole, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")


def from_map(
    pixels: Any,
    number: int = 1,
    first_id: int = 1,
    name: str = "a.jpg",
    categories: tuple[int, ...] = (3, 7, 200),
    **fields: Any,
) -> tuple[ImageInfo, list[Annotation]]:
    """Make an image and an annotation of each value but 0 of a map."""
    pixels = np.asarray(pixels)
    image = ImageInfo(number, name, *pixels.shape, fields.pop("image_extra", None))
    ids, masks = rle.encode_id_map(pixels.astype(np.int32))
    shown = [(k, mask) for k, mask in zip(ids.tolist(), masks, strict=True) if k]
    return image, [
        Annotation(
            id=first_id + n,
            image_id=number,
            category_id=categories[k % len(categories)],
            segmentation=mask,
            area=float(rle.area(mask)),
            bbox=tuple(rle.bbox(mask)),
            **fields,
        )
        for n, (k, mask) in enumerate(shown)
    ]


def dataset_of(*pairs: tuple[ImageInfo, list[Annotation]], **about: Any) -> EntityDataset:
    """Put images and their annotations together."""
    rows = [row for _, annotations in pairs for row in annotations]
    about = {"categories": TABLE, "info": {"info": {"year": 2023}}, **about}
    return EntityDataset([image for image, _ in pairs], rows, **about)


@st.composite
def datasets(draw: Callable[[Any], Any], **about: Any) -> EntityDataset:
    """Draw datasets of up to three images whose annotations are disjoint and not empty."""
    pairs, first_id = [], draw(st.integers(1, 300))
    for number, name in enumerate(draw(st.permutations(NAMES))[: draw(st.integers(0, 3))]):
        shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=7))
        pixels = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 5)))
        fields = {
            "iscrowd": draw(st.booleans()),
            "extra": draw(st.sampled_from([None, {"img_source": "x", "category_id_ori": 9}])),
            "image_extra": draw(st.sampled_from([None, {"url_flickr": "http://é"}])),
        }
        pair = from_map(pixels, number + 5, first_id, name, **fields)
        first_id += len(pair[1]) + draw(st.integers(0, 3))
        pairs.append(pair)
    return dataset_of(*pairs, **about)


def same(left: EntityDataset, right: EntityDataset) -> None:
    """Assert that two datasets hold the same."""
    assert left.images == right.images
    assert list(left) == list(right)
    assert left.categories == right.categories
    assert left.info == right.info


def coco(
    annotations: list[dict[str, Any]], images: list[dict[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    """Make COCO JSON about one 4 x 6 image, or the images given."""
    one = [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}]
    return {"images": one if images is None else images, "annotations": annotations, **more}


def record(**changes: Any) -> dict[str, Any]:
    """Make one annotation: rows 1 and 2 of columns 1 to 3 of a 4 x 6 image."""
    mask = np.zeros((4, 6), bool)
    mask[1:3, 1:4] = True
    return {
        "id": 1,
        "image_id": 1,
        "category_id": 3,
        "bbox": [1, 1, 3, 2],
        "area": 6,
        "iscrowd": 0,
        "segmentation": rle.encode(mask),
        **changes,
    }


def write(path: Path, content: Any) -> Path:
    """Write JSON, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def save_image(path: Path, height: int, width: int) -> Path:
    """Write a grey image."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 128, np.uint8)).save(path)
    return path
