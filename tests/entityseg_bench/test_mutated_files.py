"""Files that are changed at random: each is scored, or refused in a sentence; nothing else."""

import copy
import json
import pickle
import random

import pytest
from odd_inputs import HEIGHT, WIDTH, results, save, scored, truth

from entityseg_bench.io import InputError
from entityseg_bench.validate import validate

VALUES = (
    None, True, False, 0, 1, -1, 1.5, 2.0, 1e308, float("nan"), float("inf"), 10**30, "", "1", "x",
    "1.0", "b'0'", [], {}, [[]], [1], [None], {"size": [12, 16], "counts": "0"}, {"a": 1},
    "pond_07.jpg", [[0, 0, 1, 1]], [[1, 1, 5, 5, 1, 5]], {"x": 1, "y": 2}, "\ud800",
)  # fmt: skip
NAMES = (
    "id", "score", "image", "annotations", "images", "x", "counts", "masks", "scores",
    "segments_info", "rle", "predictions",
)  # fmt: skip


def by_image():
    found = {}
    for row in results():
        record = {key: value for key, value in row.items() if key != "image_id"}
        found.setdefault(str(row["image_id"]), []).append(record)
    return found


def predictions():
    """Return the same masks in the forms of several tools."""
    image = {"image_id": 1, "file_name": "pond_07.jpg", "width": WIDTH, "height": HEIGHT}
    segments = [{"id": 1, "label_id": 1, "score": 0.5}]
    return [
        results(),
        {"predictions": results()},
        by_image(),
        list(by_image().values()),
        [{"image_id": key, "instances": rows} for key, rows in by_image().items()],
        {
            key: {"masks": [r["segmentation"] for r in rows], "scores": [r["score"] for r in rows]}
            for key, rows in by_image().items()
        },
        {"image": image, "annotations": results()},
        [{"image_id": 11, "segmentation": [[1] * WIDTH] * HEIGHT, "segments_info": segments}],
        {"annotations": [{"image_id": 11, "file_name": "a.jpg", "segments_info": segments}]},
        {key: [row[key] for row in results()] for key in results()[0]},
    ]


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value[:8])
    for key, part in items:
        yield from places(part, (*path, key))


def mutated(value, rng):
    """Change one to three places of a value: replaced, wrapped, removed, doubled."""
    value = [copy.deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        *path, key = rng.choice([path for path in places(value) if path])
        holder = value
        for part in path:
            holder = holder[part]
        deed = rng.choice(("odd", "odd", "odd", "list", "object", "gone", "twice"))
        if deed == "gone" and path:
            del holder[key]
        elif deed == "twice" and isinstance(holder, dict):
            holder[rng.choice(NAMES)] = copy.deepcopy(holder[key])
        elif deed == "list":
            holder[key] = [holder[key]]
        elif deed == "object":
            holder[key] = {rng.choice(NAMES): holder[key]}
        else:
            holder[key] = rng.choice(VALUES)
    return value[0]


@pytest.mark.parametrize("seed", range(4))
def test_scored_or_refused(seed, tmp_path):
    """By evaluate and by validate alike, and each refusal is a line."""
    rng = random.Random(seed)
    n_scored = n_refused = 0
    for _ in range(150):
        gt, dt = truth(), rng.choice(predictions())
        if rng.random() < 0.5:
            gt = mutated(gt if rng.random() < 0.8 else predictions()[6], rng)
        else:
            dt = mutated(dt, rng)
        gt_path = save(tmp_path / "gt.json", json.dumps(gt))
        dt_path = save(tmp_path / "pred.json", json.dumps(dt))
        if rng.random() < 0.2:
            dt_path = save(tmp_path / "pred.pth", pickle.dumps(dt))
        try:
            scored(gt_path, dt_path)
            fit = True
            n_scored += 1
        except InputError as error:
            fit = False
            n_refused += 1
            assert "\n" not in str(error)
            assert len(str(error)) < 700
        errors = [p for p in validate(gt_path, dt_path) if p.severity == "error"]
        assert bool(errors) != fit, (errors, gt, dt)
    assert min(n_scored, n_refused) > 10
