import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

class Regions:
    members: list[tuple[int, ...]]
    def __init__(self, masks: Runs) -> None: ...
    def intersections(self, masks: Runs | Visible) -> NDArray[np.int64]: ...

class Visible:
    n: int
    crowded_px: int
    n_pairs: int
    def __init__(self, masks: Runs, order: NDArray[np.int32] | None = None) -> None: ...
    def areas(self) -> NDArray[np.int64]: ...
    def segments(self) -> tuple[NDArray[np.uint32], NDArray[np.int32]]: ...
