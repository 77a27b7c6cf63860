import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

Flags = NDArray[np.uint8]

class Regions:
    members: list[tuple[int, ...]]
    def __init__(self, masks: Runs, wanted: Flags | None = None) -> None: ...
    def intersections(
        self, masks: Runs, needed_px: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]: ...
