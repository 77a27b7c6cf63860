import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

class Near:
    n: int
    def rows(self) -> list[list[tuple[int, float]]]: ...

def near(
    dt: Runs,
    gt: Runs,
    gt_crowd: NDArray[np.uint8],
    height: int,
    least_iou: float,
    dt_group: NDArray[np.int64],
    gt_group: NDArray[np.int64],
) -> Near: ...
def of_dense(
    iou: NDArray[np.float64],
    least_iou: float,
    dt_group: NDArray[np.int64],
    gt_group: NDArray[np.int64],
) -> Near: ...
def common(dt: Runs, gt: Runs, height: int) -> NDArray[np.int64]: ...
