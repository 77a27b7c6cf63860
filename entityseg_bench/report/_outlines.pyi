import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

LONGEST_SIDE: int

def trace(
    masks: Runs,
    order: NDArray[np.int64],
    height: int,
    column_of: NDArray[np.int32],
    row_from: NDArray[np.int32],
    n_columns: int,
    tolerance: float,
) -> list[str]: ...
