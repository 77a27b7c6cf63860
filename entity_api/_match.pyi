from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api._near import Near

class Target:
    def __init__(
        self,
        iou_thrs: NDArray[np.float64],
        area_ranges: NDArray[np.float64],
        outcome: NDArray[np.int8],
        dt_gt: NDArray[np.int32],
        gt_dt: NDArray[np.int32],
        gt_ignored: NDArray[np.uint8],
        unmatched: NDArray[np.int8],
    ) -> None: ...
    def settle(self) -> None: ...

def match_image(
    near: Near,
    target: Target,
    columns: NDArray[np.int64],
    dt_records: NDArray[np.int64],
    gt_records: NDArray[np.int64],
    dt_area: NDArray[np.float64],
    gt_area: NDArray[np.float64],
    gt_crowd: NDArray[np.uint8],
    gt_group: NDArray[np.int64],
) -> None: ...
def add_to_curve(
    outcome: NDArray[np.int8],
    order: NDArray[np.int64],
    score: NDArray[np.float64],
    n_gt: int,
    rec_thrs: NDArray[np.float64],
    counts: NDArray[np.int64],
    precision: NDArray[Any],
    score_at: NDArray[Any],
) -> None: ...
