import numpy as np
from numpy.typing import NDArray

from entity_api._codes import Codes
from entity_api._match import Target

class Side:
    def __init__(
        self,
        codes: Codes,
        order: NDArray[np.int64],
        starts: NDArray[np.int64],
        groups: NDArray[np.int64],
        areas: NDArray[np.float64] | None = None,
        crowd: NDArray[np.uint8] | None = None,
    ) -> None: ...

class Removal:
    def __init__(
        self,
        target: Target,
        columns: NDArray[np.int64],
        max_det: int,
        rule: int,
        hidden: NDArray[np.uint8],
        overlap: NDArray[np.int64],
        count_pairs: bool,
    ) -> None: ...

class Images:
    def __init__(
        self,
        sizes: NDArray[np.int64],
        place: NDArray[np.int64],
        gt: Side,
        dt: Side,
        columns: NDArray[np.int64],
        target: Target,
        removal: Removal | None,
        least_iou: float,
    ) -> None: ...
    def match(self, images: NDArray[np.int64]) -> int: ...
