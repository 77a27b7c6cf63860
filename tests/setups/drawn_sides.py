"""Ground truth and predictions of boxes, drawn at random, as COCO has them."""

import numpy as np
from drawn_boxes import draw_box

from entity_api import rle

__all__ = ["SIDE", "drawn_sides"]

SIDE = 32


def drawn_sides(n_images, crowds=False):
    """Return the ground truth and the predictions of so many images of (SIDE, SIDE).

    Some images have no annotations, and then no predictions; with ``crowds`` each third annotation
    of an image is one.
    """
    rng = np.random.default_rng(0)
    images, annotations, predictions = [], [], []
    for image_id in range(n_images):
        image = {"id": image_id, "file_name": f"{image_id}.jpg", "height": SIDE, "width": SIDE}
        images.append(image)
        for k in range(int(rng.integers(0, 4))):
            shared = {"image_id": image_id, "category_id": 1}
            code = rle.encode(draw_box(rng, SIDE, 18))
            record = {"id": 10 * image_id + k + 1, "iscrowd": int(crowds and k == 2)}
            record |= {"segmentation": code, "area": rle.area(code), "bbox": rle.bbox(code)}
            annotations.append(shared | record)
            moved = np.roll(rle.decode(code), rng.integers(-2, 3, 2), (0, 1))
            for guess in (moved, draw_box(rng, SIDE, 18)):
                # Few scores, so that many are equal and the order of the file decides.
                score = {"score": round(float(rng.random()), 1)}
                predictions.append(shared | {"segmentation": rle.encode(guess)} | score)
    categories = [{"id": 1, "name": "entity"}]
    return {"images": images, "annotations": annotations, "categories": categories}, predictions
