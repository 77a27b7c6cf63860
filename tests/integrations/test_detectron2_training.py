"""Training our models by detectron2's engine."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed: see docs/detectron2.md")

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.engine import default_argument_parser
from detectron2.modeling import build_model
from detectron2.structures import PolygonMasks
from detectron2.utils import comm

import baselines
from baselines.checkpoint import load_weights
from baselines.crops import corner_boxes_xyxy
from baselines.images import read_image
from baselines.integrations.detectron2 import EntityMapper, EntityTrainer, read_config
from baselines.integrations.detectron2.train_net import main
from baselines.modeling.criterion import Criterion, Target
from baselines.modeling.mask2former import Mask2Former
from baselines.modeling.point_sampling import RandomPoints
from baselines.original import config_from_detectron2, loss_from_detectron2, train_from_detectron2
from baselines.solver import parameter_groups
from entity_api import rle
from entityseg_bench.integrations.detectron2 import open_registered

CPU = ("MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0)
FILES = ("base", "cropformer", "instance", "panoptic", "semantic")


def small(original, name, *opts):
    return read_config(original / f"{name}.yaml", [*CPU, *opts])


def batch_of(cfg, size=2):
    """Map the first training images of a configuration."""
    np.random.seed(0)  # noqa: NPY002
    mapper = EntityMapper(cfg)
    rows = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    return [mapper(row) for row in rows[:size]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", FILES)
def test_a_few_steps(registered, original, tmp_path, name):
    cfg = small(original, name, "OUTPUT_DIR", str(tmp_path), "TEST.EVAL_PERIOD", 3)
    trainer = EntityTrainer(cfg)
    trainer.resume_or_load(resume=False)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    after = trainer.model.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) > len(before) / 2
    rows = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    (row,) = (row for row in rows if "total_loss" in row)
    losses = {key: value for key, value in row.items() if key.startswith("loss_")}
    assert len(losses) == (18 if name == "cropformer" else 9)
    assert all(np.isfinite(value) for value in losses.values())
    assert trainer._last_eval_results
    again = build_model(cfg)
    state = DetectionCheckpointer(again, str(tmp_path)).resume_or_load("", resume=True)
    assert state["iteration"] == 2
    assert all(torch.equal(v, after[k]) for k, v in again.state_dict().items())
    # What detectron2 leaves behind is a file of published weights to us.
    ours = baselines.build_model(config_from_detectron2(cfg))
    load_weights(ours, tmp_path / "model_final.pth")
    assert all(torch.equal(v, after[k]) for k, v in ours.state_dict().items())


def test_several_data_sets_have_folders_of_their_own(registered, original, tmp_path):
    names = ("entityv2_entity_val_all", "entityv2_entity_val_01")
    cfg = small(original, "base", "OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", names)
    results = EntityTrainer.test(cfg, build_model(cfg))
    assert set(results) == set(names)
    for name in names:
        assert (tmp_path / "inference" / name / "entityseg_result.json").is_file()


# detectron2's boxes do not know NumPy 2, and its flipped masks are read-only.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("name", ["base", "instance"])
def test_detectron2s_own_mapper_trains_mask2former(registered, original, name):
    cfg = small(original, name, "MODEL.MASK_ON", True)
    mapper = DatasetMapper(cfg, True)
    rows = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    losses = build_model(cfg).train()([mapper(row) for row in rows[:2]])
    assert all(loss.isfinite() for loss in losses.values())


def test_two_processes_score_together(demo, original, tmp_path):
    """Predictions are gathered from both, and the metrics are those of one."""
    # Processes have seeds of their own, so that new weights would differ.
    weights = tmp_path / "weights.pth"
    torch.save(build_model(small(original, "cropformer")).state_dict(), weights)
    results = []
    for number in (1, 2):
        out = tmp_path / str(number)
        command = [
            sys.executable, "-W", "ignore", "-m", "baselines.integrations.detectron2.train_net",
            "--data", demo, "--config-file", original / "cropformer.yaml", "--eval-only",
            "--num-gpus", number, *CPU, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", out,
        ]  # fmt: skip
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found = json.loads((out / "inference/entityseg_result.json").read_text())
        rows = json.loads((out / "inference/coco_instances_results.json").read_text())
        results.append((found["metrics"], rows))
    assert results[0] == results[1]
    assert len(results[0][1]) > 0


def test_names_of_the_losses(registered, original):
    model = build_model(small(original, "base")).train()
    assert set(model(batch_of(small(original, "base")))) == {
        f"loss_{kind}{layer}" for kind in ("ce", "mask", "dice") for layer in ("", "_0", "_1")
    }
    model = build_model(small(original, "cropformer")).train()
    assert set(model(batch_of(small(original, "cropformer")))) == {
        f"loss_{kind}{layer}_{view}"
        for kind in ("ce", "mask", "dice")
        for layer in ("", "_0", "_1")
        for view in ("2d", "3d")
    }


@pytest.mark.parametrize("name", FILES)
def test_losses_are_the_criterions(registered, original, name):
    """The same images and masks, stacked by hand."""
    cfg = small(original, name)
    batch = batch_of(cfg)
    model = build_model(cfg).train()
    torch.manual_seed(3)
    found = model(batch)

    config = model.config
    views = [[given["image"], *given["image_crop"]] for given in batch]
    height, width = (
        -(-max(view.shape[axis] for own in views for view in own) // 32) * 32 for axis in (1, 2)
    )
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.pixel_mean, config.pixel_std))
    images = torch.zeros(len(batch), len(views[0]), 3, height, width)
    targets = []
    for b, given in enumerate(batch):
        parts = [given["instances"], *given["instances_crop"]]
        labels = parts[0].gt_classes * (config.task != "entity")
        masks = torch.zeros(len(labels), len(parts), height, width, dtype=torch.bool)
        for v, (view, part) in enumerate(zip(views[b], parts, strict=True)):
            images[b, v, :, : view.shape[1], : view.shape[2]] = (view.float() - mean) / std
            masks[:, v, : view.shape[1], : view.shape[2]] = part.gt_masks.tensor
        targets.append(Target(labels, masks))
    torch.manual_seed(3)
    loss = loss_from_detectron2(cfg)
    outputs = Mask2Former.forward(model, images)
    points = [
        RandomPoints(
            torch.randint(2**62, (n,)).tolist(), loss.num_points, loss.oversample, loss.importance,
            "cpu",
        )
        for n in (len(batch), len(batch) * len(views[0]))
    ]  # fmt: skip
    expected = Criterion(loss)(outputs, targets, *points)
    assert sum(found.values()).item() == pytest.approx(sum(expected.values()).item(), rel=1e-5)
    assert len(found) == len(expected)


def test_totals_over_processes(registered, original, monkeypatch):
    """Two processes with the same images: each divides by its half of twice as many."""
    cfg = small(original, "cropformer")
    model, batch = build_model(cfg).train(), batch_of(cfg)
    torch.manual_seed(3)
    alone = model(batch)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda row: row.mul_(2))
    torch.manual_seed(3)
    for name, value in model(batch).items():
        assert value.item() == pytest.approx(alone[name].item(), rel=1e-5)


def test_what_the_mapper_shows(registered, original):
    """Without chance, views and masks are those of the image, resized."""
    opts = ("INPUT.RANDOM_FLIP", "none", "INPUT.MIN_SIZE_TRAIN", (48,))
    cfg = small(original, "cropformer", *opts)
    dataset = open_registered("entityv2_entity_train_01")
    rows = DatasetCatalog.get("entityv2_entity_train_01")
    for (image, annotations), row in zip(dataset, rows, strict=True):
        given = EntityMapper(cfg)(row)
        pixels = read_image(row["file_name"])
        assert min(given["image"].shape[1:]) == 48
        assert len(given["image_crop"]) == len(given["instances_crop"]) == 1
        masks = given["instances"].gt_masks.tensor.numpy()
        shown = [a for a in annotations if not a.iscrowd]
        assert len(masks) <= len(shown)
        # The mean colour under a mask hardly changes when both are resized alike.
        largest = max(range(len(masks)), key=lambda n: masks[n].sum())
        seen = given["image"].numpy()[:, masks[largest]].mean(1)
        means = [pixels[rle.decode(a.segmentation)].mean(0) for a in shown]
        assert min(np.abs(mean - seen).max() for mean in means) < 6
        boxes = corner_boxes_xyxy(image.height, image.width, 0.7)
        corners = [pixels[y0:y1, x0:x1].mean((0, 1)) for x0, y0, x1, y1 in boxes]
        crop = given["image_crop"][0].numpy().mean((1, 2))
        assert min(np.abs(corner - crop).max() for corner in corners) < 2


@pytest.mark.parametrize("name", ["semantic", "panoptic"])
def test_truth_out_of_maps(registered, original, name):
    """Masks of maps are those of the data set; a window as large as the image shows all of it."""
    cfg = small(original, name, "INPUT.RANDOM_FLIP", "none")
    cfg.INPUT.DATASET_MAPPER_NAME = "mask_former_semantic"
    cfg.INPUT.CROP.ENABLED = False
    cfg.INPUT.COLOR_AUG_SSD = False
    (train,) = cfg.DATASETS.TRAIN
    dataset = open_registered(train)
    for (image, annotations), row in zip(dataset, DatasetCatalog.get(train), strict=True):
        cfg.INPUT.MIN_SIZE_TRAIN = (min(image.height, image.width),)
        found = EntityMapper(cfg)(row)["instances"]
        shown = [a for a in annotations if not a.iscrowd]
        at = {category.id: idx for idx, category in enumerate(dataset.categories)}
        pairs = sorted((at[a.category_id], rle.area(a.segmentation)) for a in shown)
        areas = found.gt_masks.tensor.sum((1, 2)).tolist()
        assert sorted(zip(found.gt_classes.tolist(), areas, strict=True)) == pairs


def test_no_truth_no_training(registered, original):
    row = DatasetCatalog.get("entityv2_entity_train_01")[0]
    del row["annotations"]
    with pytest.raises(ValueError, match=r"\.jpg: this dictionary has no ground truth"):
        EntityMapper(small(original, "base"))(row)


def test_grey_canvas(registered, original):
    cfg = small(original, "base", "INPUT.MAX_SCALE", 0.8, "INPUT.RANDOM_FLIP", "none")
    (given,) = batch_of(cfg, 1)
    assert given["image"].shape == (3, 96, 96)
    assert set(given["image"][:, -1, -1].tolist()) == {128}
    assert not given["instances"].gt_masks.tensor[:, -1, -1].any()


def test_optimizer(registered, original):
    cfg = small(original, "base")
    model = build_model(cfg)
    optimizer = EntityTrainer.build_optimizer(cfg, model)
    config = train_from_detectron2(cfg)
    expected = parameter_groups(model, config)
    got = [(g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups]
    assert got == [(g["lr"], g["weight_decay"], len(g["params"])) for g in expected]
    assert {lr for lr, _, _ in got} == {1e-3, 1e-4}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    norms = [p.grad.norm() for p in model.parameters()]
    assert torch.stack(norms).norm().item() == pytest.approx(0.01, rel=1e-3)
    scheduler = EntityTrainer.build_lr_scheduler(cfg, optimizer)
    assert scheduler.get_last_lr()[0] == pytest.approx(got[0][0])


def test_polygons_are_refused_with_advice(registered, original):
    cfg = small(original, "base")
    (given,) = batch_of(cfg, 1)
    given["instances"].remove("gt_masks")
    given["instances"].gt_masks = PolygonMasks([[]] * len(given["instances"]))
    with pytest.raises(ValueError, match=r"set INPUT\.MASK_FORMAT bitmask"):
        build_model(cfg).train()([given])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
# detectron2 leaves the configuration file open.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_script(registered, demo, original, tmp_path):
    """As the original's: train, then score what was trained."""
    parser = default_argument_parser()
    parser.add_argument("--data")
    file = ["--data", str(demo), "--config-file", str(original / "base.yaml")]
    options = [*map(str, CPU), "OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_ITER", "2"]
    main(parser.parse_args([*file, *options]))
    assert (tmp_path / "model_final.pth").is_file()
    weights = ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    results = main(parser.parse_args([*file, "--eval-only", *options, *weights]))
    assert set(results) == {"segm"}
    saved = tmp_path / "inference/entityseg_result.json"
    assert results["segm"]["APe"] == 100 * json.loads(saved.read_text())["metrics"]["APe"]
