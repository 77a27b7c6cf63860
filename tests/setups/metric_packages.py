"""Score a scene with one of the field's packages, on pycocotools or with this package in its place.

``python metric_packages.py PACKAGE {theirs,ours}`` prints the package's numbers as JSON. It runs in
a process of its own, since the place is taken once and for all.
"""

import contextlib
import importlib.util
import io
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from coco_faces import only, scene

KINDS = "bbox", "segm"


def declare_operators():
    """Let a torchvision that is compiled for another torch be imported.

    Its compiled operators are missing then, and none of them is asked for here: they are declared.
    """
    import torch

    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    text = (folder / "_meta_registrations.py").read_text(encoding="utf-8")
    names = set(re.findall(r'(?:register_meta\(|register_fake\()"(?:torchvision::)?(\w+)"', text))
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(names):
        library.define(f"{name}(Tensor input) -> Tensor")
    # As long as the process lives.
    vars(torch)["declared_for_tests"] = library


def torchmetrics(dataset, results, decode):
    """Mean average precision with all that it can give, of boxes and masks."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        declare_operators()
    from torchmetrics.detection import MeanAveragePrecision

    def side(records):
        return {
            "boxes": torch.tensor([r["bbox"] for r in records]).reshape(-1, 4),
            "masks": torch.tensor(
                np.array([decode(r["segmentation"]) for r in records]), dtype=bool
            ),
            "labels": torch.tensor([r["category_id"] for r in records], dtype=int),
            "scores": torch.tensor([r.get("score", 0.0) for r in records]),
            "iscrowd": torch.tensor([r.get("iscrowd", 0) for r in records], dtype=int),
        }

    sides = [
        [side([r for r in records if r["image_id"] == image["id"]]) for image in dataset["images"]]
        for records in (results, dataset["annotations"])
    ]
    found = {}
    for kind in KINDS:
        metric = MeanAveragePrecision(
            "xywh", kind, class_metrics=True, extended_summary=True, backend="pycocotools"
        )
        metric.update(*sides)
        for name, value in metric.compute().items():
            values = {str(k): v for k, v in value.items()} if isinstance(value, dict) else value
            found[f"{kind} {name}"] = (
                {k: np.asarray(v).tolist() for k, v in values.items()}
                if isinstance(values, dict)
                else values.tolist()
            )
    return found


def tidecv(dataset, results, decode):
    """Losses of average precision by kind of error."""
    from tidecv import TIDE, datasets

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        gt, dt = Path(folder, "gt.json"), Path(folder, "dt.json")
        gt.write_text(json.dumps(dataset), encoding="utf-8")
        dt.write_text(json.dumps(results), encoding="utf-8")
        for kind, mode in (("bbox", TIDE.BOX), ("segm", TIDE.MASK)):
            tide = TIDE()
            tide.evaluate(datasets.COCO(str(gt)), datasets.COCOResult(str(dt)), mode=mode)
            found[kind] = [tide.get_all_errors(), {k: r.ap for k, r in tide.runs.items()}]
    return found


def lvis(dataset, results, decode):
    """Average precision of a federated data set: rare, common and frequent categories."""
    # The last release is of 2020, before numpy dropped the name.
    vars(np)["float"] = float
    from lvis import LVIS, LVISEval, LVISResults

    for idx, category in enumerate(dataset["categories"]):
        category |= {"frequency": "rcf"[idx % 3], "image_count": 3, "instance_count": 9}
    for image in dataset["images"]:
        image |= {"neg_category_ids": [1, 2, 3], "not_exhaustive_category_ids": []}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "gt.json")
        path.write_text(json.dumps(dataset), encoding="utf-8")
        for kind in KINDS:
            gt = LVIS(str(path))
            records = only(results, "bbox" if kind == "bbox" else "segmentation")
            scoring = LVISEval(gt, LVISResults(gt, records), kind)
            scoring.run()
            found[kind] = dict(scoring.get_results())
    return found


def main(package, face):
    dataset, results = scene(31, n_images=8)
    if face == "ours":
        import entity_api

        entity_api.init_as_pycocotools()
    from pycocotools import mask

    assert mask.__name__.startswith("entity_api" if face == "ours" else "pycocotools")
    with contextlib.redirect_stdout(io.StringIO()):
        found = globals()[package](dataset, results, mask.decode)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
