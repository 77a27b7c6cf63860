import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

class Regions:
    members: list[tuple[int, ...]]
    def __init__(self, masks: Runs) -> None: ...
    def intersections(self, masks: Runs) -> NDArray[np.int64]: ...

def count_pairs(masks: Runs) -> int: ...
