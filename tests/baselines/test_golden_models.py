"""The whole network against the original's outputs on seeded random weights."""

import numpy as np
import pytest
import torch
import yaml

from baselines import build_model
from baselines.modeling.decoder import _Fusion
from baselines.modeling.layers import sine_position, view_position
from baselines.original import config_from_detectron2

TINY = {
    "m2f_swin": "ABC",
    "m2f_hornet": "ABC",
    "m2f_r50_instance": "ABC",
    "m2f_r50_semantic": "A",
    "m2f_r50_panoptic": "A",
    "cropformer_swin": "AB",
}
CASES = [(name, case) for name, cases in TINY.items() for case in cases]
MASK_TOLERANCE, CLASS_TOLERANCE, FEATURE_TOLERANCE = 1e-3, 1e-4, 1e-4


@pytest.fixture(scope="module")
def load(shared):
    """Give a function from a tiny model's name to the model with its golden weights."""

    def load_model(name):
        folder = shared / "golden/tiny"
        # The R-50 models share one file of weights.
        weights = folder / ("m2f_r50_instance" if "r50" in name else name) / "weights.npz"
        config = config_from_detectron2(yaml.unsafe_load((folder / name / "cfg.yaml").read_text()))
        model = build_model(config).eval()
        state = {key: torch.from_numpy(value) for key, value in np.load(weights).items()}
        state = {k: v for k, v in state.items() if not k.startswith("criterion")}
        model.load_state_dict(state)
        return model

    return load_model


def intermediate(model, images):
    """Compute the features inside a model, under the names of the golden files."""
    features = model.backbone(images)
    decoder = model.sem_seg_head["pixel_decoder"]
    memory = []
    hook = decoder.transformer.register_forward_hook(lambda *call: memory.append(call[2]))
    mask_features, levels = decoder(features)
    hook.remove()
    named = {f"backbone.{name}": feature for name, feature in features.items()}
    named |= {f"pix.multi_scale.{i}": level for i, level in enumerate(levels)}
    named |= {"enc_memory": memory[0], "pix.mask_features": mask_features}
    return named | {"pix.transformer_encoder_features": levels[0]}


def predictions(model, images):
    """Compute all predictions of a model, under the names of the golden files."""
    views = model.config.num_views
    outputs = model(images.unflatten(0, (-1, views)), aux=True)
    if views == 1:
        return _named("", outputs, lambda masks: masks.squeeze(2))
    joint = _named("d3.", outputs, lambda masks: masks)
    alone = _named("d2.", outputs["view_outputs"], lambda masks: masks.flatten(0, 1))
    return joint | {k: v.flatten(0, 1) if "logits" in k else v for k, v in alone.items()}


def _named(prefix, outputs, masks):
    every = {"": outputs} | {f"aux{i}.": aux for i, aux in enumerate(outputs["aux_outputs"])}
    named = {}
    for name, prediction in every.items():
        named[f"{prefix}{name}pred_logits"] = prediction["pred_logits"]
        named[f"{prefix}{name}pred_masks"] = masks(prediction["pred_masks"])
    return named


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_tiny_model(shared, load, name, case):
    golden = np.load(shared / f"golden/tiny/{name}/case_{case}.npz")
    model = load(name)
    images = torch.from_numpy(golden["backbone_in"])
    computed = intermediate(model, images) | predictions(model, images)
    expected = {key for key in golden.files if key.startswith(("backbone.", "pix.", "enc_"))}
    expected |= {key for key in golden.files if key.endswith(("pred_logits", "pred_masks"))}
    expected = {key for key in expected if not key.startswith("inst")}
    assert expected <= computed.keys()
    for key in sorted(expected):
        tolerance = FEATURE_TOLERANCE
        if key.endswith("pred_masks"):
            tolerance = MASK_TOLERANCE
        elif key.endswith("pred_logits"):
            tolerance = CLASS_TOLERANCE
        np.testing.assert_allclose(computed[key], golden[key], 0, tolerance, err_msg=key)


@torch.no_grad()
def test_inference_predicts_what_aux_does(load, shared):
    golden = np.load(shared / "golden/tiny/cropformer_swin/case_B.npz")
    model = load("cropformer_swin")
    images = torch.from_numpy(golden["backbone_in"])[None]
    outputs = model(images)
    assert outputs.keys() == {"pred_logits", "pred_masks"}
    np.testing.assert_allclose(outputs["pred_masks"], golden["d3.pred_masks"], 0, MASK_TOLERANCE)


@torch.no_grad()
def test_fusion(data):
    golden = np.load(data / "baselines/cropformer_fusion.npz")
    fusion = _Fusion(64, heads=8, hidden=128)
    weights = [name for name in golden.files if name.startswith("weights.")]
    fusion.load_state_dict(
        {name.removeprefix("weights."): torch.from_numpy(golden[name]) for name in weights}
    )
    # The file holds (queries, views, channels).
    queries = torch.from_numpy(golden["make3d.output_2d_in"]).transpose(0, 1)[None]
    position = torch.from_numpy(golden["make3d.query_embed_3d"])[:, 0]
    fused = fusion(queries, position)[0]
    np.testing.assert_allclose(fused, golden["make3d.output_3d"][:, 0], atol=1e-5)


def test_positions(data):
    golden = np.load(data / "baselines/cropformer_fusion.npz")
    views, channels, height, width = golden["pe0.pos2d"].shape
    position = sine_position(height, width, channels, torch.device("cpu"))
    view = view_position(views, channels, torch.device("cpu"))
    flat = golden["pe0.pos2d"][0].reshape(channels, -1).T
    np.testing.assert_allclose(position, flat, atol=1e-6)
    joint = golden["pe0.pos3d"][0].reshape(views, channels, -1).transpose(0, 2, 1)
    np.testing.assert_allclose(position + view[:, None], joint, atol=2e-6)


@pytest.mark.parametrize("level", range(3))
def test_positions_of_every_level(shared, level):
    golden = np.load(shared / "golden/tiny/cropformer_swin/case_A.npz")
    joint = golden[f"pe{level}.pos3d"][0]
    views, channels, height, width = joint.shape
    position = sine_position(height, width, channels, torch.device("cpu"))
    position = position + view_position(views, channels, torch.device("cpu"))[:, None]
    want = joint.reshape(views, channels, -1).transpose(0, 2, 1)
    np.testing.assert_allclose(position, want, atol=2e-6)
