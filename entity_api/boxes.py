"""Box IoU, for box AP."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["iou_of_boxes"]


def iou_of_boxes(
    dt: NDArray[np.float64], gt: NDArray[np.float64], iscrowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Compute the IoU of each dt box with each gt box; crowds count as in `rle.iou`."""
    dt, gt = dt.reshape(-1, 4)[:, None], gt.reshape(-1, 4)[None]
    width, height = (
        np.minimum(dt[..., axis] + dt[..., axis + 2], gt[..., axis] + gt[..., axis + 2])
        - np.maximum(dt[..., axis], gt[..., axis])
        for axis in (0, 1)
    )
    common = np.where((width > 0) & (height > 0), width * height, 0.0)
    dt_area, gt_area = dt[..., 2] * dt[..., 3], gt[..., 2] * gt[..., 3]
    union = np.where(iscrowd, dt_area, dt_area + gt_area - common)
    return common / np.where(common > 0, union, 1.0)
