"""A verb that misses an optional library says which, and how to get it, in one sentence."""

import json
import sys

import pytest

from entity_api import rle
from entityseg_bench import cli
from entityseg_bench.download import hub
from entityseg_bench.io import InputError


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write a pair of files and an image into the folder in which the verbs run."""
    import numpy as np
    from PIL import Image

    mask = rle.encode(np.ones((4, 6), bool))
    row = {"image_id": 1, "category_id": 1, "segmentation": mask}
    gt = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}],
        "annotations": [{**row, "id": 1, "area": 24, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "entity"}],
    }
    for name, content in (("gt", gt), ("dt", [{**row, "score": 0.5}])):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)


CASES = {
    "compare": ("matplotlib", "compare gt.json dt.json dt.json --figures out --resamples 5"),
    "write parquet": ("pyarrow", "convert dt.json out.parquet --to parquet --gt gt.json"),
    "demo": ("skimage", "demo out"),
    "models": ("torch", "predict a.png --weights cropformer_tiny_demo --out out"),
    "ray": ("ray", "evaluate gt.json dt.json --engine ray --json r.json"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_named_with_the_command(case, files, monkeypatch, capsys):
    library, arguments = CASES[case]
    for name in [name for name in sys.modules if name.partition(".")[0] == "baselines"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert cli.main(arguments.split()) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert library in said
    assert f"pip install 'entityseg-bench[{cli.EXTRAS[library]}]'" in said


def test_the_hub_is_read_by_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'entityseg-bench\[hub\]'"):
        hub.list_files()
