import numpy as np
from numpy.typing import NDArray

from entity_api._codes import Codes

class Records:
    n: int
    end: int
    codes: Codes
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    ids: NDArray[np.int64] | None
    scores: NDArray[np.float64]
    areas: NDArray[np.float64]
    iscrowd: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    places: NDArray[np.int64]

def scan(data: bytes, start: int, predictions: bool) -> Records | None: ...
def index(data: bytes, start: int) -> tuple[Records, int, bool]: ...
