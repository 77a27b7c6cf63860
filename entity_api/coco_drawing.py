"""Draw annotations on matplotlib's current axes, as ``COCO.showAnns`` of pycocotools does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["show"]

Colour = tuple[float, float, float]
# Every crowd has the same one, that of COCO's own pictures.
CROWD_COLOUR: Colour = (2 / 255, 166 / 255, 101 / 255)


def show(
    anns: Sequence[dict[str, Any]],
    mask_of: Callable[[dict[str, Any]], Any],
    skeletons: Mapping[int, Any],
    draw_bbox: bool = False,
) -> None:
    """Draw masks, keypoints and boxes; captions are printed.

    Args:
        anns: At least one; the first says what all are.
        mask_of: Returns the mask (H, W) of an annotation.
        skeletons: Category id -> limbs, as pairs of keypoints counted from 1.
        draw_bbox: Draw boxes, too.

    Raises:
        ValueError: Annotations with nothing to show.
    """
    if "segmentation" not in anns[0] and "keypoints" not in anns[0]:
        if "caption" not in anns[0]:
            raise ValueError("annotations to show have a segmentation, keypoints or a caption")
        for ann in anns:
            print(ann["caption"])
        return
    import matplotlib.pyplot as plt
    from matplotlib.collections import PatchCollection

    axes = plt.gca()
    axes.set_autoscale_on(False)
    rng = np.random.default_rng()
    outlines: list[Any] = []
    colours: list[Colour] = []
    for ann in anns:
        red, green, blue = rng.uniform(0.4, 1, 3).tolist()
        colour = red, green, blue
        own = _outlines(ann, draw_bbox)
        outlines += own
        colours += [colour] * len(own)
        if isinstance(ann.get("segmentation"), dict):
            _paint(axes, mask_of(ann), CROWD_COLOUR if ann.get("iscrowd") else colour)
        if isinstance(ann.get("keypoints"), list):
            _join(axes, skeletons[ann["category_id"]], ann["keypoints"], colour)
    filled = PatchCollection(outlines, facecolor=colours, linewidths=0, alpha=0.4)
    axes.add_collection(filled)
    axes.add_collection(PatchCollection(outlines, facecolor="none", edgecolors=colours))


def _outlines(ann: dict[str, Any], draw_bbox: bool) -> list[Any]:
    """Return the polygons of an annotation, and its box if wanted, as patches."""
    from matplotlib.patches import Polygon

    segmentation = ann.get("segmentation")
    polygons = list(segmentation) if isinstance(segmentation, list) else []
    if draw_bbox:
        x, y, width, height = ann["bbox"]
        polygons.append([x, y, x, y + height, x + width, y + height, x + width, y])
    return [Polygon(np.reshape(polygon, (-1, 2))) for polygon in polygons]


def _paint(axes: Any, mask: Any, colour: Colour) -> None:
    """Lay a half transparent mask (H, W) over the picture."""
    picture = np.empty((*mask.shape, 4))
    picture[..., :3] = colour
    picture[..., 3] = mask * 0.5
    axes.imshow(picture)


def _join(axes: Any, skeleton: Sequence[Any], keypoints: Sequence[float], colour: Colour) -> None:
    """Draw the limbs whose two ends are labelled, and the points: visible ones without a rim."""
    x, y, visible = np.reshape(keypoints, (-1, 3)).T
    for limb in np.array(skeleton, int).reshape(-1, 2) - 1:
        if (visible[limb] > 0).all():
            axes.plot(x[limb], y[limb], linewidth=3, color=colour)
    for shown, rim in ((visible > 0, "black"), (visible > 1, colour)):
        axes.plot(
            x[shown], y[shown], "o", markersize=8, markerfacecolor=colour, markeredgecolor=rim
        )
