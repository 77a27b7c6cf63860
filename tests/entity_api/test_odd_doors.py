"""Values of any kind at the doors of Python: an answer, or a ValueError that says what is wrong."""

import numpy as np
import pytest

from entity_api import EvalParams, evaluate, rle
from entity_api.state import EvalState

ODD = (
    None, True, -1, 1.5, float("nan"), float("inf"), 10**30, "", "x", b"x", [], {}, [[]], [None],
    {1}, object(), np.zeros(0), np.array(["a"]), np.array([None], object), 1j, range(3),
    np.datetime64("2020"), "\ud800", [float("nan")] * 4, 2**64, np.zeros((3, 3, 3)),
)  # fmt: skip
MASK = rle.encode(np.pad(np.ones((2, 3), bool), 2))
GT = {
    "images": [{"id": 1, "height": 6, "width": 7}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": MASK}],
    "categories": [{"id": 1, "name": "a"}],
}
DT = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": MASK}]
SETTINGS = (
    "iou_thrs", "rec_thrs", "max_dets", "ap_max_det", "area_ranges", "overlap_rule", "iou_type",
    "threads",
)  # fmt: skip
DOORS = {
    "annotations": lambda odd: evaluate(odd, DT),
    "predictions": lambda odd: evaluate(GT, odd),
    **{
        f"{key} of a prediction": (lambda odd, k=key: evaluate(GT, [{**DT[0], k: odd}]))
        for key in DT[0]
    },
    **{
        f"{key} of an image": (
            lambda odd, k=key: evaluate({**GT, "images": [{**GT["images"][0], k: odd}]}, DT)
        )
        for key in GT["images"][0]
    },
    **{name: (lambda odd, k=name: evaluate(GT, DT, EvalParams(**{k: odd}))) for name in SETTINGS},
    "a code": rle.decode,
    "codes": lambda odd: rle.merge([odd, odd]),
    "a size": lambda odd: rle.area({**MASK, "size": odd}),
    "counts": lambda odd: rle.bbox({**MASK, "counts": odd}),
    "ids to paint": lambda odd: rle.paint_id_map([MASK], odd, 6, 7),
    "ids of a state": lambda odd: EvalState.of(evaluate(GT, DT), [odd, odd]),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("door", DOORS)
def test_odd_values(door):
    refused = 0
    for odd in ODD:
        try:
            DOORS[door](odd)
        except (ValueError, FileNotFoundError, IsADirectoryError):
            refused += 1
    assert refused > len(ODD) // 3
