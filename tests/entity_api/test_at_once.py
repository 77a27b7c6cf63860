"""Python threads that work on the same tables at once find what each finds alone.

The kernels release the global lock, and where Python has none, all else runs at once as well.
"""

import contextlib
import dataclasses
import io
import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawn_sides import SIDE, drawn_sides

from entity_api import (
    COCO,
    COCOeval,
    Detections,
    EvalParams,
    EvalState,
    GroundTruth,
    boundary,
    evaluate,
    granularity,
    overlapping_pairs,
    panoptic,
    rle,
    semantic,
)

THREADS = 6
N_IMAGES = 60
TURNS = 2
# The masks are small: scored by boundaries or boxes they find another AP.
AP_DIFFERS = ("masks", "boundaries", "boxes", "small first")
# What a thread does first in a process: names are imported when they are first used.
FIRST = """
import sys, threading
import entity_api

names = [name for name in entity_api.__all__ if name != "init_as_pycocotools"]
barrier, found = threading.Barrier(8), []

def first():
    barrier.wait()
    found.append([getattr(entity_api, name) for name in names])

threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(found) == 8 and all(one == found[0] for one in found)
print(getattr(sys, "_is_gil_enabled", lambda: True)())
"""


@pytest.fixture(scope="module")
def sides():
    """Return the tables of both sides, and COCO's own objects."""
    truth, predictions = drawn_sides(N_IMAGES, crowds=True)
    gt = GroundTruth.from_coco(truth)
    with contextlib.redirect_stdout(io.StringIO()):
        face = COCO(truth)
        results = face.loadRes(predictions)
    return gt, Detections.from_coco(predictions, gt), face, results


def scored(**settings):
    """Return work that scores by these settings."""

    def work(gt, dt, face, results):
        # Tables of masks have no boxes.
        sides = (face, results) if settings.get("iou_type") == "bbox" else (gt, dt)
        result = evaluate(*sides, EvalParams(**settings))
        passes = [one for one in (result.submitted, result.disjoint) if one]
        parts = [dataclasses.astuple(part) for part in (result.overlap,) if part]
        return result.metrics, parts, [one.matches.outcome for one in passes]

    return work


def recalled(gt, dt, face, results):
    return granularity.granularity_recall(gt, evaluate(gt, dt)).metrics()


def as_states(gt, dt, face, results):
    whole = EvalState.of(evaluate(gt, dt), gt.image_ids)
    return EvalState.merge([whole]).finish().metrics


def as_pycocotools(gt, dt, face, results):
    own = COCOeval(face, results, "segm")
    own.evaluate()
    own.accumulate()
    return own.eval["precision"], own.ious


def of_masks(gt, dt, face, results):
    codes = [face.annToRLE(one) for one in face.loadAnns(face.getAnnIds())]
    again = [rle.encode(rle.decode(code)) for code in codes]
    return again, [boundary.boundary(code) for code in codes], overlapping_pairs(codes)


def of_maps(gt, dt, face, results):
    codes = [face.annToRLE(one) for one in face.loadAnns(face.getAnnIds())]
    ids = list(range(1, len(codes) + 1))
    one, other = (rle.paint_id_map(side, ids, SIDE, SIDE) for side in (codes, codes[::-1]))
    listed = [
        [{"id": int(k), "category_id": 1} for k in np.unique(each) if k] for each in (one, other)
    ]
    return (
        rle.encode_id_map(one),
        panoptic.tally(one, listed[0], other, listed[1]),
        semantic.count(one, other, len(ids) + 1, ignore=len(ids) + 1),
    )


WORKS = {
    "masks": scored(),
    "masks, in threads of its own": scored(threads=3),
    "class-aware": scored(class_aware=True, category_ids=[1, 2]),
    "boundaries": scored(iou_type="boundary"),
    "boxes": scored(iou_type="bbox"),
    "small first": scored(overlap_rule="small-first", max_dets=(1, 2)),
    "granularity": recalled,
    "states": as_states,
    "as pycocotools": as_pycocotools,
    "single masks": of_masks,
    "id maps": of_maps,
}


def test_all_at_once(sides):
    """Each thread begins with another work, so that all kinds meet all others."""
    names = list(WORKS)
    alone = {name: WORKS[name](*sides) for name in names}
    barrier = threading.Barrier(THREADS)

    def work(rank):
        barrier.wait(60)
        return {
            (turn, name): WORKS[name](*sides)
            for turn in range(TURNS)
            for name in names[2 * rank :] + names[: 2 * rank]
        }

    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(work, range(THREADS)):
            assert len(found) == TURNS * len(names)
            for (turn, name), one in found.items():
                np.testing.assert_equal(one, alone[name], f"{name}, turn {turn}")


def test_the_works_differ(sides):
    """What all threads find alike is no constant."""
    found = [str(work(*sides)[0]) for name, work in WORKS.items() if name in AP_DIFFERS]
    assert len(set(found)) == len(AP_DIFFERS)


def test_names_are_first_used_at_once():
    """Also: no module turns the global lock on where Python runs without it."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", FIRST], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    has_lock = not sysconfig.get_config_var("Py_GIL_DISABLED")
    assert done.stdout.split() == [str(has_lock).encode()]
