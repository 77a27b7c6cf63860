from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api._codes import Codes

class CountsError(ValueError):
    idx: int
    code: int
    position: int
    pixels: int

class Runs:
    n: int
    pixels: int
    def __init__(
        self,
        counts: list[Any] | Codes,
        pixels: int,
        rows: NDArray[np.int64] | None = None,
        height: int = 0,
    ) -> None: ...
    def row_ranges(self) -> NDArray[np.int64] | None: ...
    def areas(self) -> NDArray[np.int64]: ...
    def bounds_of(self, idx: int) -> NDArray[np.uint32]: ...

def compress(bounds: NDArray[np.uint32], pixels: int) -> bytes: ...
def compress_counts(counts: NDArray[np.int64]) -> bytes: ...
def map_runs(values: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.uint32]]: ...
def paint(masks: Runs, values: NDArray[np.int32], canvas: NDArray[Any]) -> None: ...
