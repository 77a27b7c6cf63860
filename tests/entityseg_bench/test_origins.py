"""A record that cannot be read is named by its place in its file, whatever table it is in."""

import json

import numpy as np
import pytest

from entityseg_bench import formats
from entityseg_bench.io import InputError
from entityseg_bench.selection import rows_of, take

N_IMAGES = 4
BAD = 5


@pytest.fixture
def table(tmp_path):
    """Annotations, two an image, of which one has a code that ends too early."""
    images = [
        {"id": 7 * k, "file_name": f"{k}.jpg", "height": 4, "width": 4} for k in range(N_IMAGES)
    ]
    annotations = [
        {
            "id": 100 + k,
            "image_id": 7 * (k // 2),
            "category_id": 1,
            "iscrowd": 0,
            "area": 2,
            "bbox": [0, 0, 1, 2],
            "segmentation": {"size": [4, 4], "counts": [0, 2, 13 if k == BAD else 14]},
        }
        for k in range(2 * N_IMAGES)
    ]
    path = tmp_path / "gt.json"
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return formats.open(path).segments.read()


def refused(table):
    with pytest.raises(InputError) as found:
        [table.rle(idx) for idx in range(len(table))]
    return str(found.value)


def test_rows_keep_their_names(table):
    whole = refused(table)
    assert f"gt.json: record {BAD}, id {100 + BAD} (image_id 14): run-length" in whole
    picked = rows_of(table, np.array([7, BAD, 0]))
    assert refused(picked) == whole
    assert refused(rows_of(picked, np.array([1]))) == whole
    assert refused(take(table, np.array([2]))) == whole
    assert [picked.where(idx).partition(",")[0] for idx in range(3)] == [
        "record 7",
        f"record {BAD}",
        "record 0",
    ]
