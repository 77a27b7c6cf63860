"""What people show others with: lists of images, binary masks, images through turbulent air."""

import json
import zlib

import numpy as np
import pytest
from PIL import Image

from baselines.images import read_image
from baselines.pictures import list_pictures
from baselines.predict import main
from baselines.predictor import Predictor
from entity_api import rle
from entityseg_bench.io import InputError
from entityseg_bench.turbulence import Air, distort

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = "mask2former_tiny_demo"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize((90, 60), Image.Resampling.BICUBIC).save(folder / name)
    return folder


def predict(*args) -> int:
    return main([str(arg) for arg in ("--weights", TINY, *args)])


def test_a_list_names_images_beside_it_and_elsewhere(tmp_path, pictures):
    listed = tmp_path / "list.txt"
    listed.write_text(f"pictures/b.jpg\n\n{pictures / 'a.png'}\n", encoding="utf-8-sig")
    found = list_pictures(listed)
    assert [picture.file_name for picture in found] == ["pictures/b.jpg", "a.png"]
    assert [picture.path.name for picture in found] == ["b.jpg", "a.png"]
    listed.write_text("a.png\nb.jpg\n")
    assert [p.path for p in list_pictures(listed, pictures)] == [
        pictures / "a.png", pictures / "b.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "is empty"), ("a.png\nno.png", "line 2: there is no image no.png"),
     ("a.png\na.png", "line 2: the image a.png stands twice")],
)  # fmt: skip
def test_what_is_wrong_with_a_list_is_said(pictures, text, sentence):
    (pictures / "list.txt").write_text(text)
    with pytest.raises(InputError, match=sentence):
        list_pictures(pictures / "list.txt")


def test_binary_masks_are_the_predictions(tmp_path, pictures):
    out = tmp_path / "out"
    args = ("--images", pictures, "--out", out, "--threshold", 0.1)
    assert predict(*args, "--write", "json", "binary") == 0
    records = json.loads((out / "results.json").read_bytes())
    assert records
    for name in ("a.png", "b.jpg"):
        expected = [rle.decode(r["segmentation"]) for r in records if r["image_id"] == name]
        stem = name.partition(".")[0]
        whole = np.asarray(Image.open(out / "binary" / f"{stem}.png"))
        assert whole.dtype == np.uint8 and set(np.unique(whole)) <= {0, 255}
        found = sorted((out / "binary" / stem).iterdir())
        assert len(found) == len(expected)
        for path, mask in zip(found, expected, strict=True):
            assert np.array_equal(np.asarray(Image.open(path)) == 255, mask)
        assert np.array_equal(whole == 255, np.any([np.zeros((60, 90), bool), *expected], axis=0))


def test_a_distance_distorts_before_the_model(tmp_path, pictures):
    out = tmp_path / "far.json"
    args = ("--images", pictures / "a.png", "--out")
    assert predict(*args, out, "--distance", 200) == 0

    seen = distort(read_image(pictures / "a.png"), Air(200.0), zlib.crc32(b"a.png"))
    expected = [p.segmentation for p in Predictor(weights=TINY)(seen).predictions("a.png")]
    assert [r["segmentation"] for r in json.loads(out.read_bytes())] == expected
    assert predict(*args, tmp_path / "near.json", "--distance", 0) == 0
    assert predict(*args, tmp_path / "plain.json") == 0
    assert (tmp_path / "near.json").read_bytes() == (tmp_path / "plain.json").read_bytes()


def test_an_impossible_distance_is_said(tmp_path, pictures, capsys):
    assert predict("--images", pictures, "--out", tmp_path / "o.json", "--distance", -1) == 2
    assert "distance -1.0 must be 0 m or more" in capsys.readouterr().err
