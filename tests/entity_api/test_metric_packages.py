"""Real packages of the field give the same numbers with this package in pycocotools' place."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from coco_faces import OURS, load, only, quietly, scene

import entity_api

SETUPS = Path(__file__).parents[1] / "setups"
NEEDED = {"torchmetrics": ("torch", "torchvision", "torchmetrics"), "tidecv": ("tidecv",)}
NEEDED |= {"lvis": ("lvis",)}


def require(*modules):
    for name in modules:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def numbers(package, face):
    root = Path(entity_api.__file__).parents[1]
    paths = f"import sys; sys.path[:0] = [{str(SETUPS)!r}, {str(root)!r}]; "
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{paths}import metric_packages as m; m.main({package!r}, {face!r})",
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize("package", NEEDED)
def test_a_package_with_ours_under_it(package):
    require(*NEEDED[package])
    theirs = numbers(package, "theirs")
    assert len(theirs) > 200
    assert numbers(package, "ours") == theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_supervision_counts_alike(seed):
    """It has an implementation of its own, in single precision, of boxes without crowds."""
    require("supervision")
    import supervision
    from supervision.metrics import MeanAveragePrecision

    def side(records):
        boxes = np.array([r["bbox"] for r in records]).reshape(-1, 4)
        return supervision.Detections(
            xyxy=np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
            class_id=np.array([r["category_id"] for r in records], int),
            confidence=np.array([r.get("score", 1.0) for r in records]),
        )

    dataset, results = scene(seed, n_images=8, crowds=0, ties=False)
    metric = MeanAveragePrecision()
    for image in dataset["images"]:
        metric.update(
            *(
                side([r for r in records if r["image_id"] == image["id"]])
                for records in (results, dataset["annotations"])
            )
        )
    scoring = load(OURS, dataset, only(results, "bbox"), "bbox")
    for step in (scoring.evaluate, scoring.accumulate, scoring.summarize):
        quietly(step)
    found = metric.compute()
    expected = [found.map50_95, found.map50, found.map75]
    np.testing.assert_allclose(scoring.stats[:3], expected, rtol=1e-6)
