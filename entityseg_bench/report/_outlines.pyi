import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

LONGEST_SIDE: int

def sample(
    masks: Runs,
    order: NDArray[np.int64],
    height: int,
    column_of: NDArray[np.int64],
    row_from: NDArray[np.int64],
    owner: NDArray[np.int32],
) -> None: ...
def trace(owner: NDArray[np.int32], n: int, tolerance: float) -> list[str]: ...
