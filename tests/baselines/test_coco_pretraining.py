"""Training on COCO-Entity first, then on EntitySeg: COCO's panoptic files to the second weights."""

import json

import pytest
from drawn_coco import write_coco
from training_runs import command, losses

from baselines.presets import get_preset
from baselines.train import main
from entityseg_bench import cli
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def coco(shared, tmp_path_factory):
    """Return datasets/coco, the entities made of its panoptic annotations."""
    root = tmp_path_factory.mktemp("datasets") / "coco"
    write_coco(shared / "realdata/coco100/instances_val2014_100.json", root, 8, 2)
    for split in ("train", "val"):
        source, target = (
            root / f"annotations/{kind}_{split}2017.json" for kind in ("panoptic", "entity")
        )
        assert cli.main(["convert", str(source), str(target), "--to", "coco-entity"]) == 0
    return root


def test_the_entities_are_the_segments_but_crowds(coco):
    for split in ("train", "val"):
        panoptic = json.loads((coco / f"annotations/panoptic_{split}2017.json").read_bytes())
        segments = [s for row in panoptic["annotations"] for s in row["segments_info"]]
        dataset = EntityDataset.open(coco, "entity", split)
        assert len(dataset) == len(panoptic["images"])
        assert len(dataset.records) == sum(not s["iscrowd"] for s in segments)
        folders = {dataset.image_path(image).parent for image in dataset.images}
        assert folders == {coco / f"{split}2017"}
        if split == "train":
            assert any(s["iscrowd"] for s in segments)


def test_pretraining_goes_on_and_its_weights_are_tuned(coco, tmp_path):
    """The last two of four steps are those of a run that begins with the checkpoint before them."""
    whole, later, tuned = (tmp_path / name for name in ("whole", "later", "tuned"))
    steps = ["train.steps=4", "train.batch_size=2", "train.checkpoint_every=2"]
    assert main(command(coco, whole, *steps)) == 0
    checkpoint = min((whole / "checkpoints").iterdir())
    assert main(command(coco, later, *steps, extra=["--resume", str(checkpoint)])) == 0
    assert losses(later) == {step: losses(whole)[step] for step in (3, 4)}
    write_demo(tmp_path / "entityseg", 8, 0, (60, 90))
    start = ["--weights", str(whole / "model.safetensors")]
    settings = ["train.steps=1", "train.batch_size=1"]
    assert main(command(tmp_path / "entityseg", tuned, *settings, extra=start)) == 0


@pytest.mark.parametrize("name", ["R_50", "swin_tiny", "swin_large", "hornet"])
def test_the_presets_are_those_that_entityseg_starts_from(name):
    """50 epochs of 118,287 images, in steps of 16; the network is that of the 3x or 1x preset."""
    preset = get_preset(f"mask2former_{name}_coco_entity")
    after = get_preset(f"mask2former_{name}_{'1x' if name == 'R_50' else '3x'}")
    assert preset.is_recipe and preset.model == after.model
    assert preset.train.augment == after.train.augment
    epochs = preset.train.steps * preset.train.batch_size / 118_287
    assert 49.5 < epochs < 50.5
