import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

def inner_borders(
    masks: Runs, height: int, reach: int, rows: NDArray[np.int64] | None = None
) -> Runs: ...
def common_pixels(
    first: Runs,
    first_rows: NDArray[np.int64],
    second: Runs,
    second_rows: NDArray[np.int64],
) -> NDArray[np.int64]: ...
