"""Whether the models give the right outputs on a device, before `bench_models.py` times them."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from baselines import build_model
from baselines.crops import ViewLayout, corner_boxes_xyxy, plan_views
from baselines.modeling.paste import MaskCanvas
from baselines.modeling.postprocess import disjoint_segments
from baselines.original import config_from_detectron2, read_yaml

__all__ = ["check"]

GOLDEN = Path(__file__).resolve().parents[4] / "shared/golden/tiny"
NAMES = ("m2f_swin", "m2f_hornet", "cropformer_swin")
CLASS_TOLERANCE, MASK_TOLERANCE, EQUAL_PIXELS = 1e-4, 1e-3, 0.995


def check(device: torch.device) -> bool:
    """Compare outputs on a device with the original's golden ones; prints and gives the verdict."""
    if not GOLDEN.is_dir():
        print("The golden data is not beside the checkout: outputs are compared with the CPU's.")
        return _check_against_cpu(device)
    verdicts = []
    for name in NAMES:
        model = _golden_model(GOLDEN / name).to(device)
        for case in "AB":
            golden = np.load(GOLDEN / name / f"case_{case}.npz")
            crops = model.config.num_views > 1
            want = [golden["d3." * crops + key] for key in ("pred_logits", "pred_masks")]
            images = torch.from_numpy(golden["backbone_in"]).unflatten(
                0, (-1, model.config.num_views)
            )
            masks = golden["inst.pred_masks" if crops else "inst0.pred_masks"]
            layout = _layout(golden, crops)
            verdicts.append(_judge(f"{name} {case}", model, images, want, layout, masks))
    return all(verdicts)


@torch.inference_mode()
def _judge(
    name: str,
    model: nn.Module,
    images: torch.Tensor,
    want: list[np.ndarray],
    layout: ViewLayout,
    masks: np.ndarray,
) -> bool:
    """Compare float32 logits, and the final masks (N, H, W) in float32 and bfloat16."""
    device = next(model.parameters()).device
    outputs = model(images.to(device))
    equal = [_equal_pixels(outputs, layout, masks)]
    errors = [
        np.abs(outputs[key].reshape(expected.shape).cpu().numpy() - expected).max()
        for key, expected in zip(("pred_logits", "pred_masks"), want, strict=True)
    ]
    outputs = copy.deepcopy(model).bfloat16()(images.to(device, torch.bfloat16))
    equal.append(_equal_pixels(outputs, layout, masks))
    good = errors[0] <= CLASS_TOLERANCE and errors[1] <= MASK_TOLERANCE and equal[0] == 1
    good = good and equal[1] >= EQUAL_PIXELS
    print(
        f"{name:20} float32: classes {errors[0]:.1e}, masks {errors[1]:.1e}, equal pixels "
        f"{equal[0]:.3%}; bfloat16: equal pixels {equal[1]:.3%}  {'ok' if good else 'WRONG'}"
    )
    return bool(good)


def _equal_pixels(outputs: dict, layout: ViewLayout, masks: np.ndarray) -> float:
    """Give the share of pixels, over the masks in order of rank, that are equal."""
    canvas = MaskCanvas(outputs["pred_masks"][0], layout)
    id_map = disjoint_segments(outputs["pred_logits"][0], canvas).id_map.cpu().numpy()
    found = id_map[None] == np.arange(1, len(masks) + 1)[:, None, None]
    return float((found == masks).mean())


def _golden_model(folder: Path) -> nn.Module:
    weights = np.load(folder / "weights.npz")
    state = {key: torch.from_numpy(weights[key]) for key in weights.files}
    model = build_model(config_from_detectron2(read_yaml(folder / "cfg.yaml")))
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith("criterion")})
    return model.eval()


def _layout(golden: dict[str, np.ndarray], crops: bool) -> ViewLayout:
    if crops:
        size = golden["image_orig_rgb"].shape[:2]
        boxes = corner_boxes_xyxy(*size, 0.7)
        return plan_views(*size, short_side=128, max_side=213, crop_boxes_xyxy=boxes)
    height, width = golden["out_hw0"].tolist()
    view, padded = golden["image0"].shape[:2], golden["backbone_in"].shape[-2:]
    return ViewLayout((height, width), ((0, 0, width, height),), (view,), tuple(padded))


def _check_against_cpu(device: torch.device) -> bool:
    """Compare a small CropFormer of random weights with itself in float32 on the CPU."""
    from model_subjects import Setting, build

    model = build("CropFormer Swin-T", Setting(torch.device("cpu"), small=True)).eval()
    layout = plan_views(
        90, 140, short_side=64, max_side=96, crop_boxes_xyxy=corner_boxes_xyxy(90, 140, 0.7)
    )
    torch.manual_seed(0)
    images = torch.randn(1, 5, 3, *layout.padded_size)
    with torch.inference_mode():
        outputs = model(images)
        canvas = MaskCanvas(outputs["pred_masks"][0], layout)
        segments = disjoint_segments(outputs["pred_logits"][0], canvas)
    numbers = np.arange(1, len(segments.scores) + 1)[:, None, None]
    masks = segments.id_map.numpy()[None] == numbers
    want = [outputs[key].numpy() for key in ("pred_logits", "pred_masks")]
    return _judge("random CropFormer", model.to(device), images, want, layout, masks)
