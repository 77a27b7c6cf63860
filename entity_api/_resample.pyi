import numpy as np
from numpy.typing import NDArray

N_LANES: int

def weighted_precision(
    weights: NDArray[np.int32],
    source: NDArray[np.int32],
    event_start: NDArray[np.int64],
    event_thr: NDArray[np.int32],
    event_kind: NDArray[np.uint8],
    ties: NDArray[np.int64],
    outcome: NDArray[np.uint8],
    n_all: NDArray[np.int64],
    n_hits: NDArray[np.int64],
    n_ignored: NDArray[np.int64],
    needed: NDArray[np.int64],
    precision: NDArray[np.float64],
) -> None: ...
def image_precision(
    images: NDArray[np.int64],
    start: NDArray[np.int64],
    hits: NDArray[np.int64],
    wrong: NDArray[np.uint8],
    needed: NDArray[np.int64],
    precision: NDArray[np.float64],
) -> None: ...
