import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

Flags = NDArray[np.uint8]

def within_reach(
    dt: Runs, gt: Runs, gt_crowd: Flags, least_iou: float
) -> tuple[NDArray[np.int64], Flags]: ...
