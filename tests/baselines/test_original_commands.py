"""The demo commands of the original's README, typed as they stand but for program and paths."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import build

from baselines.checkpoint import save_checkpoint
from baselines.original import read_original
from baselines.original.commands import translate_demo
from baselines.predict import main
from entityseg_bench.io import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tmp_path, data):
    """Lay out a configuration, its weights at random, images and a list of them."""
    config = data / "original/cropformer.yaml"
    model = read_original(config, training=False).model
    save_checkpoint(tmp_path / "model_final.pth", build(model), model)
    (tmp_path / "100m_crop_sample").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg"):
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "100m_crop_sample" / name)
    lines = [str(path) for path in sorted((tmp_path / "100m_crop_sample").iterdir())]
    (tmp_path / "100m_crop_sample.txt").write_text("\n".join(lines))
    return {"CONFIG": str(config), "DIR": str(tmp_path)}


def typed(place, text):
    """Fill in the paths; a pattern in quotes stays one, another is expanded as a shell does."""
    words = []
    for word in text.split():
        for key, path in place.items():
            word = word.replace(key, path)
        if "*" in word and not word.startswith("'"):
            folder, _, pattern = word.rpartition("/")
            words += sorted(map(str, Path(folder).glob(pattern)))
        else:
            words.append(word.strip("'"))
    return words


@pytest.mark.parametrize(
    "command",
    [
        "--config-file CONFIG --input DIR/100m_crop_sample/*.jpg --output DIR/100m_vis/ "
        "--opts MODEL.WEIGHTS DIR/model_final.pth",
        "--config-file CONFIG --input DIR/100m_crop_sample/*.jp* --output DIR/100m_vis "
        "--opts MODEL.WEIGHTS DIR/model_final.pth",
        "--config-file CONFIG --input 'DIR/100m_crop_sample/*.jpg' --output DIR/100m_vis/ "
        "--opts MODEL.WEIGHTS DIR/model_final.pth",
        "--config-file CONFIG --input DIR/100m_crop_sample.txt --output DIR/100m_vis/ "
        "--thread-id 0 --thread-num 1 --opts MODEL.WEIGHTS DIR/model_final.pth",
        "--config-file CONFIG --input DIR/100m_crop_sample --output DIR/100m_vis "
        "MODEL.WEIGHTS DIR/model_final.pth MODEL.CONDINST.MASK_BRANCH.USE_MASK_RESCORE True",
    ],
)
def test_each_command_draws_every_image(place, tmp_path, capsys, command):
    assert main(typed(place, command)) == 0, capsys.readouterr().err
    drawn = sorted(path.name for path in (tmp_path / "100m_vis/drawings").rglob("*.png"))
    assert drawn == ["a.png", "b.png"]
    is_rescored = "MODEL.CONDINST" in command
    assert ("of another model, and passed over" in capsys.readouterr().err) == is_rescored


def test_the_binary_masks_of_the_other_script(place, tmp_path):
    command = (
        "--config-file CONFIG --input DIR/100m_crop_sample.txt --output DIR/out "
        "--write binary --opts MODEL.WEIGHTS DIR/model_final.pth"
    )
    assert main(typed(place, command)) == 0
    assert {path.name for path in (tmp_path / "out/binary").glob("*.png")} == {"a.png", "b.png"}


def test_keys_and_values_change_the_file(place, tmp_path):
    command = (
        "--config-file CONFIG --input DIR/100m_crop_sample --output DIR/out --opts "
        "MODEL.WEIGHTS DIR/w.pth INPUT.MIN_SIZE_TEST 48 MODEL.DEVICE cpu "
        "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD 0.7"
    )
    translated = translate_demo(typed(place, command))
    config = translated[1]
    assert translated[translated.index("--device") + 1] == "cpu"
    assert config == str(tmp_path / "out/config_given.yaml")
    changed = read_original(config, training=False).model
    plain = read_original(place["CONFIG"], training=False).model
    assert changed.min_size_test == 48 != plain.min_size_test
    assert changed.panoptic_overlap_threshold == 0.7
    typed_wrong = command.replace("48", "tall")
    with pytest.raises(InputError, match=r"INPUT\.MIN_SIZE_TEST is 'tall'"):
        read_original(translate_demo(typed(place, typed_wrong))[1], training=False)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("--opts MODEL.WEIGHT w.pth", "unknown keys: MODEL.WEIGHT"),
        ("--opts MODEL.WEIGHTS", "do not come in pairs"),
        ("", "no weights are named"),
        ("--thread-num 4 --opts MODEL.WEIGHTS w.pth", "torchrun --nproc-per-node 4"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(more, sentence, capsys):
    argv = ["--config-file", "c.yaml", "--input", "a.jpg", "--output", "out", *more.split()]
    with pytest.raises(ValueError, match=sentence):
        translate_demo(argv)
    assert main(argv) == 2
    assert sentence in capsys.readouterr().err
