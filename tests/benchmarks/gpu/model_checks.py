"""Whether the models give the right outputs on a device, before `bench_models.py` times them."""

import copy
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from baselines import build_model
from baselines.crops import ViewLayout, corner_boxes_xyxy, plan_views
from baselines.original import config_from_detectron2, read_yaml

# The tests on a CPU judge bfloat16 by the same bounds.
sys.path.append(str(Path(__file__).resolve().parents[2] / "setups"))
from owner_bounds import Errors, Output, impossible_pixels, owners, rounding_errors

__all__ = ["check"]

GOLDEN = Path(__file__).resolve().parents[4] / "shared/golden/tiny"
NAMES = ("m2f_swin", "m2f_hornet", "cropformer_swin")
CLASS_TOLERANCE, MASK_TOLERANCE = 1e-4, 1e-3


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
            want = Output(
                torch.from_numpy(golden["d3." * crops + "pred_logits"])[0],
                torch.from_numpy(golden["d3." * crops + "pred_masks"])[0],
            )
            if not crops:
                want = want._replace(masks=want.masks[:, None])
            images = torch.from_numpy(golden["backbone_in"])
            images = images.unflatten(0, (-1, model.config.num_views))[:1]
            layout = _layout(golden, crops)
            verdicts.append(_judge(f"{name} {case}", model, images, want, layout))
    return all(verdicts)


@torch.inference_mode()
def _judge(
    name: str, model: nn.Module, images: torch.Tensor, want: Output, layout: ViewLayout
) -> bool:
    """Compare the logits in float32, and which query owns a pixel in float32 and bfloat16.

    Args:
        name: what is printed.
        model: the model in float32, on the device.
        images: (1, V, 3, H, W) float32, on the CPU.
        want: the right output, on the CPU.
        layout: of the views.
    """
    device = next(model.parameters()).device
    found = _run(model, images.to(device))
    errors = [float((f.cpu() - w).abs().max()) for f, w in zip(found, want, strict=True)]
    # The confidence is a difference of two class logits.
    exact = Errors(
        torch.tensor(2 * CLASS_TOLERANCE), torch.full(want.masks.shape[:2], MASK_TOLERANCE)
    )
    rounded = rounding_errors(model, images.to(device), Output(*(w.to(device) for w in want)))
    rounded = Errors(*(error.cpu() for error in rounded))
    halves = _run(copy.deepcopy(model).bfloat16(), images.to(device, torch.bfloat16))
    impossible = [
        int(impossible_pixels(owners(output, layout).cpu(), want, bounds, layout).sum())
        for output, bounds in ((found, exact), (halves, rounded))
    ]
    good = errors[0] <= CLASS_TOLERANCE and errors[1] <= MASK_TOLERANCE and not any(impossible)
    print(
        f"{name:20} float32: classes {errors[0]:.1e}, masks {errors[1]:.1e}, pixels out of bounds "
        f"{impossible[0]}; bfloat16: pixels out of bounds {impossible[1]}  "
        f"{'ok' if good else 'WRONG'}"
    )
    return good


def _run(model: nn.Module, images: torch.Tensor) -> Output:
    outputs = model(images)
    return Output(outputs["pred_logits"][0], outputs["pred_masks"][0])


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
        want = _run(model, images)
    return _judge("random CropFormer", model.to(device), images, want, layout)
