import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs

class Spans:
    apart: bool
    def __init__(self, masks: Runs, height: int = 1) -> None: ...
    def intersections(self, masks: Runs) -> NDArray[np.int64]: ...
