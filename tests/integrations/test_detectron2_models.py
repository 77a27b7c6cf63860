"""Our models as detectron2's meta-architectures: built from YAML, loaded, run, scored."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed: see docs/detectron2.md")

import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.engine import DefaultPredictor
from detectron2.modeling import META_ARCH_REGISTRY, build_model

import baselines
from baselines.checkpoint import load_weights
from baselines.images import read_image
from baselines.integrations.detectron2 import (
    CropFormer,
    EntityMapper,
    EntityPredictor,
    EntityTrainer,
    MaskFormer,
    add_entityseg_config,
    read_config,
)
from baselines.integrations.detectron2.mapper import inference_input
from baselines.original import config_from_detectron2, read_yaml
from baselines.predict import main as predict
from entity_api import rle
from entityseg_bench.formats import Inputs
from entityseg_bench.io import InputError
from entityseg_bench.score import evaluate_files

FILES = ("base", "cropformer", "instance", "panoptic", "semantic")
CPU = ("MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0)


def small(original, name, *opts):
    return read_config(original / f"{name}.yaml", [*CPU, *opts])


def seeded(cfg, factor=5.0):
    """Build our own model, surer of its classes than new ones are, so that they differ."""
    torch.manual_seed(0)
    model = baselines.build_model(config_from_detectron2(cfg)).eval()
    with torch.no_grad():
        for parameter in model.sem_seg_head["predictor"].class_embed.parameters():
            parameter.mul_(factor)
    return model


def save_published(path, model):
    """Write weights as the original's training leaves them."""
    constants = {"criterion.empty_weight": torch.ones(2)}
    torch.save({"model": {**model.state_dict(), **constants}, "iteration": 7}, path)
    return path


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_registry_knows_them():
    assert META_ARCH_REGISTRY.get("MaskFormer") is MaskFormer
    assert META_ARCH_REGISTRY.get("CropFormer") is CropFormer


def test_keys_are_added_without_changing_others():
    cfg = get_cfg()
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 7
    add_entityseg_config(cfg)
    add_entityseg_config(cfg)
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 7
    assert cfg.ENTITY.CROP_AREA_RATIO == 0.7
    assert cfg.MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD == 0.0
    assert cfg.SOLVER.POLY_LR_POWER == 0.9


def test_resolved_files_are_taken_whole(shared):
    """Every key of the original, the unused ones too, has its place and its value."""
    for path in sorted((shared / "golden/state_dicts").glob("*former_*.cfg.yaml")):
        assert yaml.safe_load(read_config(path).dump()) == read_yaml(path), path.name


def test_reading_runs_nothing(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("SEED: !!python/object/apply:os.getpid []\n", encoding="utf-8")
    with pytest.raises(InputError, match="would run code"):
        read_config(path)
    path.write_text("MODEL: {MASK_FORMR: {NHEADS: 1}}\n", encoding="utf-8")
    with pytest.raises(KeyError, match="MASK_FORMR"):
        read_config(path)


def test_published_names_and_shapes(shared):
    """The full models, built by detectron2 from every file of the original."""
    for path in sorted((shared / "golden/state_dicts").glob("*former_*.cfg.yaml")):
        expected = json.loads(Path(str(path).replace(".cfg.yaml", ".json")).read_text())
        expected = {
            name: shape
            for name, shape in expected["state_dict"].items()
            if not name.startswith("criterion")
        }
        with torch.device("meta"):
            cfg = read_config(path)
            model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
        assert {k: list(v.shape) for k, v in model.state_dict().items()} == expected, path.name


@pytest.mark.parametrize("name", FILES)
def test_scores_are_those_of_our_own_path(registered, demo, original, tmp_path, name):
    """From YAML to metrics: by detectron2, and by ``baselines.predict`` and our evaluation."""
    cfg = small(original, name, "OUTPUT_DIR", str(tmp_path / "theirs"))
    weights = save_published(tmp_path / "weights.pth", seeded(cfg))
    model = EntityTrainer.build_model(cfg)
    DetectionCheckpointer(model).load(str(weights))
    results = EntityTrainer.test(cfg, model)

    theirs, ours = tmp_path / "theirs/inference", tmp_path / "ours"
    file = str(original / f"{name}.yaml")
    arguments = ["--config-file", file, "--weights", str(weights), "--images", str(demo)]
    assert predict([*arguments, "--split", "val", "--out", str(ours), "--device", "cpu"]) == 0
    task = model.config.task
    path = ours / {"semantic": "semantic", "panoptic": "panoptic.json"}.get(task, "results.json")
    maps = ours / "panoptic" if task == "panoptic" else None
    scoring = evaluate_files(demo, path, inputs=Inputs(task, "val", pred_maps=maps))

    assert same_predictions(task, theirs, ours) > 0
    metrics = {name: 100 * value for name, value in scoring.result.metrics.items()}
    group = results["segm" if task == "entity" else "entity"]
    assert group == pytest.approx(metrics, rel=0, abs=0, nan_ok=True)
    if scoring.own is not None:
        (own,) = (row for key, row in results.items() if key != "entity")
        for key, value in scoring.own.groups["all"].items():
            assert key == "n" or own[key] == pytest.approx(100 * value, rel=0, abs=0, nan_ok=True)


def same_predictions(task, theirs, ours):
    """Compare prediction files, and give how many predictions there are."""
    if task == "semantic":
        paths = sorted(path.relative_to(ours / task) for path in (ours / task).rglob("*.png"))
        for path in paths:
            assert (theirs / task / path).read_bytes() == (ours / task / path).read_bytes()
        return len(paths)
    if task == "panoptic":
        mine, other = (
            json.loads(path.read_text())["annotations"]
            for path in (ours / "panoptic.json", theirs / "predictions.json")
        )
        for a, b in zip(mine, other, strict=True):
            assert (a["image_id"], a["file_name"]) == (b["image_id"], b["file_name"])
            for x, y in zip(a["segments_info"], b["segments_info"], strict=True):
                assert all(x[key] == y[key] for key in ("id", "category_id", "score"))
            name = a["file_name"]
            assert (theirs / task / name).read_bytes() == (ours / task / name).read_bytes()
        return sum(len(row["segments_info"]) for row in mine)
    mine, other = (
        json.loads(path.read_text())
        for path in (ours / "results.json", theirs / "coco_instances_results.json")
    )
    keys = ["image_id", "score", "segmentation", "bbox"]
    keys += ["category_id"] if task == "instance" else []
    for a, b in zip(mine, other, strict=True):
        assert all(a[key] == b[key] for key in keys)
    return len(mine)


def golden_model(shared, name):
    """Build a tiny model of the original through detectron2, with its golden weights."""
    folder = shared / "golden/tiny"
    cfg = read_config(folder / name / "cfg.yaml", ["MODEL.DEVICE", "cpu"])
    weights = folder / ("m2f_r50_instance" if "r50" in name else name) / "weights.npz"
    state = {key: torch.from_numpy(value) for key, value in np.load(weights).items()}
    model = build_model(cfg).eval()
    model.load_state_dict(state)
    return model


def golden_inputs(golden, case):
    """Make the batched inputs that the original was given."""
    inputs = []
    for i in range(2 if case == "C" else 1):
        height, width = golden[f"out_hw{i}"].tolist()
        image = torch.from_numpy(golden[f"image{i}"].transpose(2, 0, 1).copy())
        inputs.append({"image": image, "height": height, "width": width})
    return inputs


@torch.no_grad()
@pytest.mark.parametrize("case", "AB")
@pytest.mark.parametrize("name", ["m2f_swin", "m2f_hornet", "m2f_r50_instance"])
def test_instances_are_the_originals(shared, name, case):
    golden = np.load(shared / f"golden/tiny/{name}/case_{case}.npz")
    (output,) = golden_model(shared, name)(golden_inputs(golden, case))
    found = output["instances"]
    expected = golden["inst0.pred_masks"]
    # Only what can be seen is given here.
    shown = expected.any((1, 2))
    order = np.lexsort((golden["inst0.pred_classes"][shown], -golden["inst0.scores"][shown]))
    own = np.lexsort((found.pred_classes.numpy(), -found.scores.numpy()))
    masks = found.pred_masks.numpy()
    assert masks.shape == (shown.sum(), *expected.shape[1:])
    np.testing.assert_allclose(
        found.scores.numpy()[own], golden["inst0.scores"][shown][order], atol=1e-5
    )
    assert (masks[own] != expected[shown][order]).mean() < 1e-4
    if name == "m2f_r50_instance":
        np.testing.assert_array_equal(
            found.pred_classes.numpy()[own], golden["inst0.pred_classes"][shown][order]
        )


@torch.no_grad()
@pytest.mark.parametrize("case", "AB")
def test_cropformer_is_the_originals(shared, case):
    golden = np.load(shared / f"golden/tiny/cropformer_swin/case_{case}.npz")
    height, width = golden["image_orig_rgb"].shape[:2]
    given = {
        "image": torch.from_numpy(golden["image"]),
        "image_crop": torch.from_numpy(golden["image_crop"]),
        "crop_region": torch.from_numpy(golden["crop_region"]),
        "height": height,
        "width": width,
    }
    model = golden_model(shared, "cropformer_swin")
    found = model([given])[0]["instances"]
    shown = golden["inst.pred_masks"].any((1, 2))
    np.testing.assert_array_equal(found.pred_masks.numpy(), golden["inst.pred_masks"][shown])
    np.testing.assert_allclose(found.scores.numpy(), golden["inst.scores"][shown], atol=1e-5)
    views = inference_input(golden["image_orig_rgb"], model.config)
    np.testing.assert_array_equal(views["image"], golden["image"])
    np.testing.assert_array_equal(torch.stack(views["image_crop"]), golden["image_crop"])
    np.testing.assert_array_equal(views["crop_region"], golden["crop_region"])


@torch.no_grad()
def test_maps_are_the_originals(shared):
    golden = np.load(shared / "golden/tiny/m2f_r50_semantic/case_A.npz")
    (output,) = golden_model(shared, "m2f_r50_semantic")(golden_inputs(golden, "A"))
    np.testing.assert_allclose(output["sem_seg"].numpy(), golden["sem_seg0"], atol=1e-4)

    golden = np.load(shared / "golden/tiny/m2f_r50_panoptic/case_A.npz")
    model = golden_model(shared, "m2f_r50_panoptic")
    meta = json.loads((shared / "golden/tiny/m2f_r50_panoptic/meta.json").read_text())
    model.thing_class_idxs = frozenset(meta["thing_contiguous_ids_below_num_classes"])
    (output,) = model(golden_inputs(golden, "A"))
    ids, infos = output["panoptic_seg"]
    np.testing.assert_array_equal(ids.numpy(), golden["panoptic0.map"])
    expected = json.loads(str(golden["panoptic0.segments_info"]))
    keys = ("id", "isthing", "category_id")
    assert [{key: info[key] for key in keys} for info in infos] == expected


@torch.no_grad()
def test_images_of_a_batch_do_not_depend_on_each_other(shared):
    golden = np.load(shared / "golden/tiny/m2f_swin/case_C.npz")
    model = golden_model(shared, "m2f_swin")
    inputs = golden_inputs(golden, "C")
    for given, together in zip(inputs, model(inputs), strict=True):
        alone = model([given])[0]["instances"]
        assert torch.equal(alone.pred_masks, together["instances"].pred_masks)
        assert torch.equal(alone.scores, together["instances"].scores)


def check_found(found, image, predictor):
    """Compare with our own predictor, to the last digit."""
    entities = predictor(image)
    assert len(found) == len(entities) > 0
    for mask, own in zip(found.pred_masks.numpy(), entities.segmentations, strict=True):
        np.testing.assert_array_equal(mask, rle.decode(own))
    assert found.scores.tolist() == entities.scores.tolist()
    boxes = found.pred_boxes.tensor.numpy().copy()
    boxes[:, 2:] -= boxes[:, :2]
    np.testing.assert_array_equal(boxes, entities.bboxes)


@pytest.fixture
def photo(registered):
    path = DatasetCatalog.get("entityv2_entity_val_all")[0]["file_name"]
    return read_image(path)


def test_default_predictor(registered, original, photo, tmp_path):
    cfg = small(original, "base")
    model = seeded(cfg)
    cfg.MODEL.WEIGHTS = str(save_published(tmp_path / "weights.pth", model))
    own = baselines.Predictor(model=model)
    for kind in (DefaultPredictor, EntityPredictor):
        output = kind(cfg)(photo[:, :, ::-1])
        check_found(output["instances"], photo, own)


def test_cropformer_needs_the_image_at_its_own_size(registered, original, photo, tmp_path):
    cfg = small(original, "cropformer")
    model = seeded(cfg)
    cfg.MODEL.WEIGHTS = str(save_published(tmp_path / "weights.pth", model))
    output = EntityPredictor(cfg)(photo[:, :, ::-1])
    check_found(output["instances"], photo, baselines.Predictor(model=model))
    with pytest.raises(ValueError, match="EntityPredictor in place of DefaultPredictor"):
        DefaultPredictor(cfg)(photo[:, :, ::-1])


def test_detectron2s_own_mapper_does_for_mask2former(registered, original):
    cfg = small(original, "base")
    for row in DatasetCatalog.get("entityv2_entity_val_all"):
        theirs, ours = DatasetMapper(cfg, False)(row), EntityMapper(cfg, False)(row)
        assert torch.equal(theirs["image"], ours["image"])
        assert all(theirs[key] == ours[key] for key in ("image_id", "height", "width"))


@pytest.mark.parametrize("name", ["base", "cropformer"])
@pytest.mark.parametrize("kind", ["pth", "pkl"])
def test_checkpointer_loads_what_we_do(original, tmp_path, name, kind):
    cfg = small(original, name)
    source = seeded(cfg)
    path = tmp_path / f"weights.{kind}"
    if kind == "pth":
        save_published(path, source)
    else:
        arrays = {key: value.numpy() for key, value in source.state_dict().items()}
        with path.open("wb") as file:
            pickle.dump({"model": arrays, "__author__": "third_party"}, file)
    theirs, ours = build_model(cfg), baselines.build_model(config_from_detectron2(cfg))
    left = DetectionCheckpointer(theirs).load(str(path))
    load_weights(ours, path)
    assert left["iteration"] == 7 if kind == "pth" else left["__author__"] == "third_party"
    same_state(theirs, ours)
    same_state(theirs, source)


def test_a_converted_backbone(original, tmp_path):
    """As the original's tool leaves Swin: the authors' names, which detectron2 has to match."""
    cfg = small(original, "base")
    source = seeded(cfg)
    state = source.backbone.state_dict()
    with (tmp_path / "swin.pkl").open("wb") as file:
        pickle.dump({"model": state, "__author__": "x", "matching_heuristics": True}, file)
    torch.save({"model": state}, tmp_path / "swin.pth")
    theirs, ours = build_model(cfg), baselines.build_model(config_from_detectron2(cfg))
    ours.load_state_dict(theirs.state_dict())
    DetectionCheckpointer(theirs).load(str(tmp_path / "swin.pkl"))
    # Ours needs no conversion.
    load_weights(ours, tmp_path / "swin.pth", partial=True)
    same_state(theirs, ours)
    same_state(theirs.backbone, source.backbone)


def test_early_names(original, tmp_path):
    cfg = small(original, "base")
    source = seeded(cfg)
    state = {
        name.replace(".query_feat.", ".static_query."): value
        for name, value in source.state_dict().items()
    }
    torch.save({"model": state}, tmp_path / "early.pth")
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(tmp_path / "early.pth"))
    same_state(model, source)


def test_things_are_what_the_metadata_say(registered, original):
    cfg = small(original, "panoptic")
    model = build_model(cfg)
    numbers = MetadataCatalog.get("entityv2_panoptic_val").thing_dataset_id_to_contiguous_id
    assert model.thing_class_idxs == frozenset(numbers.values())
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN = ()
    assert build_model(cfg).thing_class_idxs == model.thing_class_idxs


def test_other_models_are_refused(original):
    cfg = small(original, "base", "MODEL.SWIN.APE", True)
    with pytest.raises(ValueError, match=r"MODEL.SWIN.APE is True"):
        build_model(cfg)


def test_infinite_weights_are_told(original, registered):
    cfg = small(original, "base")
    model = build_model(cfg).eval()
    with torch.no_grad():
        model.sem_seg_head["predictor"].class_embed.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="not finite"):
        model([{"image": torch.zeros(3, 64, 64), "height": 64, "width": 64}])
