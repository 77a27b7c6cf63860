"""Kinds of errors and their costs on images whose answer can be seen."""

import json
import math

import numpy as np
import pytest

from entity_api import EvalParams, evaluate, rle
from entityseg_bench import cli
from entityseg_bench.errors import error_record, find_errors
from entityseg_bench.errors.costs import Oracle
from entityseg_bench.errors.judgements import Judgements
from entityseg_bench.errors.kinds import FOUND, KINDS, NONE
from entityseg_bench.errors.score_quality import best_point, calibrate, operating_points
from entityseg_bench.errors.sorting import sort_errors
from entityseg_bench.errors.tables import error_table
from entityseg_bench.score import evaluate_files

SIDE = 40


def box(x, y, width, height):
    """Draw a filled box on a canvas of SIDE x SIDE."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + height, x : x + width] = True
    return mask


def write(folder, images, categories=(1,)):
    """Write images, each (entities, [(mask, score), ...]), as two files.

    An entity is a mask, or (mask, changes to its record).
    """
    gt = {"images": [], "annotations": [], "categories": []}
    gt["categories"] = [{"id": k, "name": f"kind {k}"} for k in categories]
    predictions = []
    for image_id, (entities, guesses) in enumerate(images, start=1):
        gt["images"].append({"id": image_id, "height": SIDE, "width": SIDE, "file_name": "a.jpg"})
        for entity in entities:
            mask, changes = entity if isinstance(entity, tuple) else (entity, {})
            record = {"id": len(gt["annotations"]) + 1, "image_id": image_id, "category_id": 1}
            gt["annotations"].append(record | {"segmentation": rle.encode(mask)} | changes)
        for mask, score in guesses:
            record = {"image_id": image_id, "category_id": 1, "score": score}
            predictions.append(record | {"segmentation": rle.encode(mask)})
    paths = folder / "gt.json", folder / "pred.json"
    for path, content in zip(paths, (gt, predictions), strict=True):
        path.write_text(json.dumps(content))
    return paths


def judge(folder, images, overlaps_removed=True, **changes):
    return find_errors(evaluate_files(*write(folder, images)), overlaps_removed, **changes)


def costs_of(report):
    return {kind: report.costs[kind].cost for kind in KINDS if report.costs[kind].cost}


# One entity is found, at the highest score, in all of these.
RIGHT = box(0, 0, 10, 10)


def test_missed(tmp_path):
    report = judge(tmp_path, [([RIGHT, box(20, 20, 9, 9)], [(RIGHT, 0.9)])])
    assert report.entity_kind.tolist() == ["found", "missed"]
    assert report.prediction_kind.tolist() == ["found"]
    # Precision is 1 up to a recall of one half: 51 of the 101 recall points.
    assert report.ap == pytest.approx(51 / 101)
    assert costs_of(report) == pytest.approx({"missed": 50 / 101})
    assert report.costs["false_negatives"].cost == pytest.approx(50 / 101)
    assert report.costs["missed"].n_entities50 == 1


def test_spurious(tmp_path):
    report = judge(tmp_path, [([RIGHT], [(RIGHT, 0.5), (box(20, 20, 9, 9), 0.9)])])
    assert report.prediction_kind.tolist() == ["found", "spurious"]
    assert costs_of(report) == pytest.approx({"spurious": 0.5})
    assert report.costs["false_positives"].cost50 == pytest.approx(0.5)
    assert report.costs["spurious"].n_predictions == 1


@pytest.mark.parametrize("overlaps_removed", [True, False])
def test_duplicate_also_where_little_is_left_of_it(tmp_path, overlaps_removed):
    second = box(20, 20, 10, 10)
    again = box(0, 0, 10, 11)
    image = [RIGHT, second], [(RIGHT, 0.9), (again, 0.8), (second, 0.7)]
    report = judge(tmp_path, [image], overlaps_removed)
    assert report.prediction_kind.tolist() == ["found", "duplicate", "found"]
    assert report.prediction_iou[1] == pytest.approx(0 if overlaps_removed else 10 / 11)
    # Up to a recall of one half precision is 1, beyond it 2 / 3. At IoU .95 `again` would not have
    # reached: what is wrong with it then is something else.
    cost50 = 50 / 101 / 3
    assert report.costs["duplicate"].cost50 == pytest.approx(cost50)
    assert report.costs["duplicate"].cost == pytest.approx(cost50 * 0.9)
    assert report.costs["duplicate"].n_predictions == pytest.approx(0.9)


def test_localisation(tmp_path):
    # Half of each box is shared: IoU 1/3.
    report = judge(tmp_path, [([RIGHT], [(box(5, 0, 10, 10), 0.9)])])
    assert report.prediction_kind.tolist() == ["localisation"]
    assert report.entity_kind.tolist() == ["localisation"]
    assert report.prediction_iou[0] == pytest.approx(1 / 3)
    assert costs_of(report) == pytest.approx({"localisation": 1})


def test_second_localisation_of_an_entity_is_taken_away(tmp_path):
    image = [RIGHT], [(box(5, 0, 10, 10), 0.5), (box(0, 5, 10, 10), 0.9)]
    report = judge(tmp_path, [image], overlaps_removed=False)
    assert report.costs["localisation"].n_predictions50 == 2
    assert costs_of(report) == pytest.approx({"localisation": 1})


def test_merged(tmp_path):
    left, right = box(0, 0, 10, 10), box(10, 0, 10, 10)
    report = judge(tmp_path, [([left, right], [(box(0, 0, 20, 10), 0.9)])])
    # IoU with each is just 0.5, so one is found at that threshold only.
    assert report.prediction_kind.tolist() == ["found"]
    assert report.costs["merged"].n_predictions == pytest.approx(0.9)
    assert report.costs["merged"].cost == pytest.approx(0.9)
    assert report.costs["missed"].cost50 == pytest.approx(50 / 101)
    three = [*(box(10 * k, 0, 10, 10) for k in range(3)), box(0, 30, 10, 10)]
    image = three, [(box(0, 0, 30, 10), 0.9), (three[3], 0.8)]
    report = judge(tmp_path, [image])
    assert report.prediction_kind.tolist() == ["merged", "found"]
    assert report.entity_kind.tolist() == ["merged"] * 3 + ["found"]
    # Recall 1/4 at precision 1/2; with three masks in place of one, all of 4 are found.
    assert report.ap == pytest.approx(26 / 101 / 2)
    assert costs_of(report) == pytest.approx({"merged": 1 - 26 / 101 / 2})


def test_split(tmp_path):
    pieces = [box(4 * k, 0, 4, 10) for k in range(3)]
    image = [box(0, 0, 12, 10)], [(piece, 0.5 + 0.1 * k) for k, piece in enumerate(pieces)]
    report = judge(tmp_path, [image])
    assert report.prediction_kind.tolist() == ["split"] * 3
    assert report.entity_kind.tolist() == ["split"]
    assert costs_of(report) == pytest.approx({"split": 1})
    assert report.costs["split"].n_predictions == 3


def test_boundary_is_what_fails_high_thresholds_by_an_outline(tmp_path):
    # One pixel too wide all around: IoU 400 / 484 = 0.826.
    report = judge(tmp_path, [([box(5, 5, 20, 20)], [(box(4, 4, 22, 22), 0.9)])])
    assert report.prediction_kind.tolist() == ["found"]
    assert report.costs["boundary"].n_predictions == pytest.approx(0.3)
    assert costs_of(report) == pytest.approx({"boundary": 0.3})
    # As many pixels too many, but in one place.
    wide = box(5, 5, 20, 20) | box(25, 5, 4, 21)
    report = judge(tmp_path, [([box(5, 5, 20, 20)], [(wide, 0.9)])])
    assert costs_of(report) == pytest.approx({"localisation": 0.3})


def test_costs_do_not_add_up(tmp_path):
    # A wrong one ranks first, and one of two is missed: each corrected alone, and both.
    image = [RIGHT, box(20, 20, 9, 9)], [(box(30, 0, 5, 5), 0.9), (RIGHT, 0.8)]
    report = judge(tmp_path, [image])
    assert report.ap == pytest.approx(51 / 101 / 2)
    assert report.costs["spurious"].cost == pytest.approx(51 / 101 / 2)
    assert report.costs["missed"].cost == pytest.approx(1 / 2 - 51 / 101 / 2)
    assert report.ap + sum(costs_of(report).values()) < 1


def test_crowds_and_what_lies_in_them_have_no_kind(tmp_path):
    crowd = (box(20, 0, 20, 20), {"iscrowd": 1})
    report = judge(tmp_path, [([RIGHT, crowd], [(RIGHT, 0.9), (box(22, 2, 5, 5), 0.8)])])
    assert report.entity_kind.tolist() == ["found", ""]
    assert report.prediction_kind.tolist() == ["found", ""]
    assert report.ap == pytest.approx(1)


def test_everything_missed_leaves_no_cost_to_tell(tmp_path):
    report = judge(tmp_path, [([RIGHT], []), ([], [(RIGHT, 0.5)])])
    assert report.ap == 0
    assert math.isnan(report.costs["missed"].cost)
    assert report.costs["spurious"].cost == 0
    assert error_record(report)["costs"]["missed"]["cost"] is None


def test_sizes_and_crowdedness_divide_the_errors(tmp_path):
    # 39 x 30 = 1170 pixels are medium; 81 are small.
    images = [
        ([box(0, 0, 39, 30), box(0, 31, 9, 9)], [(box(20, 31, 9, 9), 0.9)]),
        ([box(3 * k, 0, 2, 2) for k in range(12)], []),
    ]
    report = judge(tmp_path, images)
    missed = {label: own["missed"].n_entities50 for label, own in report.by_size.items()}
    assert missed == {"small": 13, "medium": 1, "large": 0}
    spurious = {label: own["spurious"].n_predictions50 for label, own in report.by_size.items()}
    assert spurious == {"small": 1, "medium": 0, "large": 0}
    missed = {label: own["missed"].n_entities50 for label, own in report.by_crowdedness.items()}
    assert missed == {"1-10": 2, "11-20": 12, "21-30": 0, "31+": 0}


def scenes(rng, n_images):
    """Draw boxes and shaken, cut, joined and invented ones as predictions, with distinct scores."""
    images = []
    for _ in range(n_images):
        entities = [box(*rng.integers(0, 28, 2), *rng.integers(4, 14, 2)) for _ in range(5)]
        guesses = [np.roll(entity, rng.integers(-4, 5, 2), (0, 1)) for entity in entities]
        guesses += [box(*rng.integers(0, 28, 2), *rng.integers(4, 14, 2)) for _ in range(3)]
        guesses += [entities[0] | entities[1], entities[2] & box(0, 0, 20, 40), entities[3]]
        entities.append(box(28, 28, 12, 12))
        guesses += [box(28 + 4 * k, 28, 4, 12) for k in range(3)]
        images.append((entities, [(guess, float(rng.random())) for guess in guesses]))
    return images


@pytest.mark.parametrize("overlaps_removed", [True, False])
def test_every_prediction_and_entity_has_a_kind_and_ap_is_the_results_own(
    tmp_path, overlaps_removed
):
    scoring = evaluate_files(*write(tmp_path, scenes(np.random.default_rng(0), 20)))
    gt, dt, result = scoring.gt.ground_truth(), scoring.dt.detections(), scoring.result
    assert result.metrics["AP"] != result.metrics["APe"]
    found = sort_errors(gt, dt, result, overlaps_removed)
    assert (found.kind != NONE).all()
    assert (found.entity_kind != NONE).all()
    occurring = {KINDS[k] for k in np.unique(found.kind) if k != FOUND}
    assert occurring == set(KINDS) - {"missed"}
    assert ((found.kind == FOUND).sum(axis=1) == (found.entity_kind == FOUND).sum(axis=1)).all()
    oracle = Oracle(Judgements.of(scoring, overlaps_removed, found))
    name = "APe" if overlaps_removed else "AP"
    assert oracle.base.mean() == pytest.approx(result.metrics[name], abs=1e-15)
    assert oracle.base[0] == result.metrics[f"{name}50"]
    corrected = [oracle.corrected(0, kind, oracle.everything) for kind in KINDS]
    assert min(corrected) >= oracle.base[0]


@pytest.mark.parametrize("kind", ["missed", "spurious", "duplicate", "localisation", "split"])
@pytest.mark.parametrize("seed", range(3))
def test_mending_equals_scoring_files_in_which_it_is_mended(tmp_path, kind, seed):
    # At one threshold, overlaps left: then no corrected prediction changes the match of another.
    params = EvalParams(iou_thrs=(0.5,), remove_overlaps=False)
    paths = write(tmp_path, scenes(np.random.default_rng(seed), 10))
    scoring = evaluate_files(*paths, params)
    report = find_errors(scoring, overlaps_removed=False)
    gt, predictions = (json.loads(path.read_text()) for path in paths)
    wrong = np.flatnonzero(report.prediction_kind == kind)
    entities = np.flatnonzero(report.entity_kind != "found")
    assert len(wrong) or kind == "missed"
    if kind == "missed":
        gone = np.flatnonzero(report.entity_kind == "missed")
        gt["annotations"] = [r for k, r in enumerate(gt["annotations"]) if k not in gone]
        assert len(gone)
    masks = [rle.decode(r["segmentation"]) for r in gt["annotations"]]
    free = set(entities.tolist())
    for k in sorted(wrong.tolist(), key=lambda k: -predictions[k]["score"]):
        own = rle.decode(predictions[k]["segmentation"])
        near = {
            g: (own & mask).sum() / (own | mask).sum()
            for g, mask in enumerate(masks)
            if gt["annotations"][g]["image_id"] == predictions[k]["image_id"]
        }
        target = max(near, key=lambda g: near[g])
        if kind == "split":
            inside = {g: (own & masks[g]).sum() / own.sum() for g in near}
            split = [g for g in near if report.entity_kind[g] == "split" and inside[g] >= 0.5]
            target = split[0]
        if kind in ("localisation", "split") and target in free:
            free.remove(target)
            predictions[k]["segmentation"] = rle.encode(masks[target])
        else:
            predictions[k] = None
    corrected = evaluate(gt, [r for r in predictions if r is not None], params).metrics["AP"]
    assert report.ap + report.costs[kind].cost == pytest.approx(corrected, abs=1e-12)


def test_operating_points_and_the_best():
    scores = np.array([0.9, 0.8, 0.8, 0.6, 0.3])
    right = np.array([True, False, True, True, False])
    points = operating_points(scores, right, 4, [0.95, 0.8, 0.0])
    assert [(p.tp, p.fp, p.fn) for p in points] == [(0, 0, 4), (2, 1, 2), (3, 2, 1)]
    assert math.isnan(points[0].precision)
    assert points[0].f1 == 0
    assert points[1].precision == pytest.approx(2 / 3)
    assert points[1].recall == 1 / 2
    assert points[1].f1 == pytest.approx(4 / 7)
    best = best_point(scores, right, 4)
    assert (best.score, best.tp, best.fp, best.f1) == (0.6, 3, 1, 0.75)
    assert best_point(np.zeros(0), np.zeros(0, bool), 4) is None


def test_calibration_by_hand():
    scores = np.array([0.15, 0.15, 0.95, 0.95, 1.0])
    right = np.array([False, False, True, True, True])
    got = calibrate(scores, right, iou=np.array([0.0, 0.2, 0.9, 0.9, 0.6]))
    assert [own.n for own in got.bins] == [0, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    assert got.bins[9].score == pytest.approx(2.9 / 3)
    assert got.bins[9].iou == pytest.approx(0.8)
    assert got.ece_tp == pytest.approx((2 * 0.15 + 3 * (1 - 2.9 / 3)) / 5)
    assert got.ece_iou == pytest.approx((2 * 0.05 + 3 * (2.9 / 3 - 0.8)) / 5)
    logits = calibrate(np.array([-4.0, 6.0]), np.array([False, True]), np.zeros(2))
    assert (logits.bins[0].low, logits.bins[0].n, logits.bins[9].n) == (-4, 1, 1)
    assert math.isnan(logits.ece_tp)
    assert math.isnan(calibrate(np.zeros(0), np.zeros(0, bool), np.zeros(0)).ece_tp)


def test_recall_of_categories(tmp_path):
    others = [(box(20, 10 * k, 8, 8), {"category_id": 2}) for k in range(2)]
    crowd = (box(30, 30, 8, 8), {"category_id": 3, "iscrowd": 1})
    image = [RIGHT, *others, crowd], [(RIGHT, 0.9), (box(20, 0, 8, 6), 0.8)]
    report = find_errors(evaluate_files(*write(tmp_path, [image], categories=(1, 2, 3))))
    rows = [(row.category_id, row.n, row.recall50, row.recall) for row in report.categories]
    # The second category's found one has IoU 3/4: 6 of 10 thresholds, of 2 entities.
    assert rows == [(2, 2, 0.5, pytest.approx(0.3)), (1, 1, 1.0, 1.0)]
    assert report.categories[0].name == "kind 2"


def test_results_that_the_kinds_do_not_describe_are_refused(tmp_path):
    paths = write(tmp_path, [([RIGHT], [(RIGHT, 0.9)])])
    for changes, what in (
        ({"class_aware": True}, "class-agnostic"),
        ({"keep_matches": False}, "keep_matches"),
        ({"iou_thrs": (0.75,)}, "IoU 0.5"),
    ):
        with pytest.raises(ValueError, match=what):
            find_errors(evaluate_files(*paths, EvalParams(**changes)))


def test_command_prints_what_the_json_says(tmp_path, capsys):
    gt, pred = write(tmp_path, scenes(np.random.default_rng(1), 6))
    out = tmp_path / "errors.json"
    assert cli.main(["errors", str(gt), str(pred), "--json", str(out), "--quiet"]) == 0
    text = capsys.readouterr().out
    record = json.loads(out.read_text())
    report = find_errors(evaluate_files(gt, pred))
    assert text.rstrip() == error_table(report)
    assert record["costs"]["merged"]["cost"] == report.costs["merged"].cost
    assert f"AP^e {100 * record['ap']:.2f}" in text
    assert record["overlaps_removed"] is True
    assert len(record["files"]["predictions"]["sha256"]) == 64
    assert cli.main(["errors", str(gt), str(pred), "--as-submitted", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("AP ")
    assert cli.main(["errors", str(gt), str(pred), "--scores", "0.5,x"]) == 2
    assert "could not convert" in capsys.readouterr().err
