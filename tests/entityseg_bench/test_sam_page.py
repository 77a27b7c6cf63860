"""The blocks of docs/sam.md run, on what the programs returned (tests/data/generators)."""

import gzip
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from entityseg_bench import evaluate_files

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "generators"
PAGE = (ROOT / "docs" / "sam.md").read_text(encoding="utf-8")
SAM, PIPELINE, SEGMENTS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture
def images(tmp_path):
    """Give a folder of images, each of its name and size, that say which they are by a pixel."""
    folder = tmp_path / "images"
    for k, row in enumerate(json.loads((DATA / "gt.json").read_text("utf-8"))["images"]):
        path = folder / row["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((row["height"], row["width"], 3), 50 * k, np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")
    return folder


def written(name):
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


def run(block, images, **names):
    space = {"GT": DATA / "gt.json", "IMAGES": images, "json": json, **names}
    exec(compile(block, "docs/sam.md", "exec"), space)
    return space


def test_the_loop(images, capsys):
    found = list(written("binary_mask.json.gz").values())

    def generate(pixels):
        records = found[pixels[0, 0, 0] // 50]
        return [{**one, "segmentation": np.array(one["segmentation"], bool)} for one in records]

    metric = run(SAM, images, generator=SimpleNamespace(generate=generate))["metric"]
    assert metric.compute().metrics == evaluate_files(DATA / "gt.json", DATA / "amg_json").metrics
    assert "AP^e  overlaps removed          0.91" in capsys.readouterr().out


def test_the_pipeline(images):
    def pipe(image):
        k = image.getpixel((0, 0))[0] // 50
        with np.load(sorted(DATA.glob("mask_generation/*.npz"))[k]) as arrays:
            return {"masks": list(arrays["masks"]), "scores": arrays["scores"]}

    metric = run(PIPELINE, images, pipe=pipe, **_imported(images))["metric"]
    expected = evaluate_files(DATA / "gt.json", DATA / "mask_generation").metrics
    assert metric.compute().metrics == expected


def test_segments(images, tmp_path):
    of_file = written("mask2former_instance.json.gz")

    def postprocess(image):
        own = of_file[Path(image.file_name).name]
        return [{**own, "segmentation": np.array(own["segmentation"])}]

    space = run(SAM.partition("for ")[0], images)
    path = tmp_path / "found.json"
    run(SEGMENTS, images, metric=space["metric"], postprocess=postprocess, RESULTS=path)
    scored = evaluate_files(DATA / "gt.json", path).metrics
    expected = evaluate_files(DATA / "gt.json", DATA / "mask2former_instance.json.gz").metrics
    assert scored == pytest.approx(expected, nan_ok=True)


def _imported(images):
    """Return the names that the blocks before have made."""
    return {"EntityMetric": run(SAM.partition("metric =")[0], images)["EntityMetric"]}
