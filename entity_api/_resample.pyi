import numpy as np
from numpy.typing import NDArray

def weighted_precision(
    weights: NDArray[np.int32],
    source: NDArray[np.int32],
    hits: NDArray[np.int32],
    hits_start: NDArray[np.int64],
    n_hits: NDArray[np.int64],
    ignored: NDArray[np.int32],
    ignored_start: NDArray[np.int64],
    n_ignored: NDArray[np.int64],
    needed: NDArray[np.int64],
    precision: NDArray[np.float64],
) -> None: ...
