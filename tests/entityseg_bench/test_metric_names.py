"""One list of metrics: an entry more is measured, resampled and printed everywhere."""

import numpy as np
import pytest

from entity_api import evaluate, names, result, rle
from entityseg_bench.resampling import measures, resampled_metrics


def sides() -> tuple[dict, list[dict]]:
    """Make six images with shifted predictions."""
    gt: dict = {"images": [], "annotations": []}
    found = []
    for k in range(6):
        gt["images"].append({"id": k, "file_name": f"{k}.png", "height": 40, "width": 60})
        for left in (2, 32):
            mask = np.zeros((40, 60), bool)
            mask[4:36, left : left + 22] = True
            row = {"image_id": k, "category_id": 0}
            number = len(gt["annotations"]) + 1
            gt["annotations"].append({**row, "id": number, "segmentation": rle.encode(mask)})
            moved = rle.encode(np.roll(mask, k + left // 16, axis=1))
            found.append({**row, "segmentation": moved, "score": 1 - number / 20})
    return gt, found


def test_a_metric_that_is_added_to_the_list_is_measured_everywhere(monkeypatch):
    """AP60, by one entry."""
    usual = names.averages

    def more(labels, max_dets, mark=""):
        return {**usual(labels, max_dets, mark), f"AP{mark}60": names.Average("AP", iou_thr=0.6)}

    monkeypatch.setattr(result, "averages", more)
    monkeypatch.setattr(measures, "averages", more)
    gt, dt = sides()
    found = evaluate(gt, dt)
    assert found.params.iou_thrs[2] == pytest.approx(0.6)
    assert found.metrics["AP60"] == found.precision[2, :, 0, -1].mean()
    assert found.metrics["AP75"] < found.metrics["AP60"] < found.metrics["AP50"]
    scores = np.array([row["score"] for row in dt])
    once = resampled_metrics(found, scores, np.ones((1, 6), np.int64))
    for name in ("AP60", "APe60"):
        assert once[name][0] == pytest.approx(found.metrics[name], abs=1e-12)
    assert f"{100 * found.metrics['AP60']:.2f}" in str(found)
