"""What `bench_models.py` times: our models, their definition, and transformers' Mask2Former."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from unittest import mock

import torch
from torch import Tensor, nn

from baselines import build_model, ops
from baselines.config import ModelConfig, SwinConfig
from baselines.crops import corner_boxes_xyxy, plan_views
from baselines.huggingface import config_to_transformers
from baselines.modeling import pixel_decoder
from baselines.modeling.criterion import Criterion, Target
from baselines.modeling.paste import MaskCanvas
from baselines.modeling.point_sampling import RandomPoints
from baselines.modeling.postprocess import disjoint_segments
from baselines.presets import get_preset

__all__ = ["Setting", "defined", "inference", "models", "pixel_decoding", "postprocessing", "step"]

Run = Callable[[], object]
PEER = "transformers Mask2Former"
SMALL = {
    "backbone": SwinConfig(embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
    "num_queries": 10,
    "hidden_dim": 64,
    "mask_dim": 64,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "fusion_ffn_dim": 64,
}
PRESETS = {
    "Mask2Former Swin-T": "mask2former_swin_tiny_3x",
    "CropFormer Swin-T": "cropformer_swin_tiny_3x",
    "CropFormer Swin-L": "cropformer_swin_large_3x",
}


@dataclass(frozen=True)
class Setting:
    """Sizes and device of a run of the benchmark.

    Attributes:
        device: Where everything runs.
        small: Tiny models and images, to show that the code works.
    """

    device: torch.device
    small: bool

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the models' input: 800 x 1333 padded to multiples of 32."""
        return (64, 96) if self.small else (800, 1344)

    @property
    def photograph(self) -> tuple[int, int]:
        """(height, width) of the image that masks are pasted into: 24 megapixels."""
        return (200, 300) if self.small else (4000, 6000)

    def images(self, views: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw one normalised image of some views."""
        return torch.randn(1, views, 3, *self.image_size, device=self.device, dtype=dtype)


def models(setting: Setting) -> list[str]:
    """Give the names of the models to time; a small CropFormer holds all that there is."""
    return ["CropFormer Swin-T"] if setting.small else list(PRESETS)


def config_of(name: str, setting: Setting) -> ModelConfig:
    """Give the configuration of one of our models; transformers' is our Mask2Former's."""
    config = get_preset(PRESETS["Mask2Former Swin-T" if name == PEER else name]).model
    return replace(config, **SMALL) if setting.small else config


@contextlib.contextmanager
def defined() -> Iterator[None]:
    """Let models use the definition of deformable attention in PyTorch, not the operator."""
    names = ("deformable_attention", "deformable_attention_from_offsets")
    with contextlib.ExitStack() as stack:
        for name in names:
            if hasattr(pixel_decoder, name):
                definition = getattr(ops, f"{name}_definition")
                stack.enter_context(mock.patch.object(pixel_decoder, name, definition))
        yield


def build(name: str, setting: Setting) -> nn.Module:
    """Build a model of random weights, the same each time: ours, or transformers'."""
    torch.manual_seed(0)
    if name == PEER:
        import transformers

        theirs = config_to_transformers(config_of(name, setting))
        return transformers.Mask2FormerForUniversalSegmentation(theirs).to(setting.device)
    return build_model(config_of(name, setting)).to(setting.device)


def inference(name: str, setting: Setting, dtype: torch.dtype, compiled: bool) -> Run:
    """Make one inference of one image, with all its views."""
    model = build(name, setting).eval().to(dtype)
    if name == PEER:
        pixels = setting.images(1, dtype)[:, 0]
        call = _compiled(model, setting, whole=False) if compiled else model
        return lambda: call(pixel_values=pixels)
    images = setting.images(model.config.num_views, dtype)
    call = _compiled(model, setting, whole=True) if compiled else model
    return lambda: call(images)


def pixel_decoding(name: str, setting: Setting, dtype: torch.dtype, compiled: bool) -> Run:
    """Make one run of the pixel decoder alone, on random features of all views."""
    model = build(name, setting).eval().to(dtype)
    config = config_of(name, setting)
    height, width = setting.image_size
    features = {
        f"res{k + 2}": torch.randn(
            config.num_views,
            channels,
            height // 4 // 2**k,
            width // 4 // 2**k,
            device=setting.device,
            dtype=dtype,
        )
        for k, channels in enumerate(config.backbone.channels)
    }
    if name == PEER:
        decoder, given = model.model.pixel_level_module.decoder, list(features.values())
    else:
        decoder, given = model.sem_seg_head["pixel_decoder"], features
    call = _compiled(decoder, setting, whole=name != PEER) if compiled else decoder
    return lambda: call(given)


def step(name: str, setting: Setting) -> Run:
    """Make one training step of one image under bfloat16 autocast: forward, loss, backward, AdamW.

    Twenty entities; a CropFormer sees the image and one crop, as it is trained.
    """
    model = build(name, setting).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    views = 1 if name == PEER or model.config.num_views == 1 else 2
    images = setting.images(views)
    masks = torch.rand(20, views, *setting.image_size) > 0.7
    target = Target(torch.zeros(20, dtype=torch.int64), masks).to(setting.device)
    loss_of = _their_loss if name == PEER else _our_loss

    def run() -> None:
        with torch.autocast(setting.device.type, torch.bfloat16):
            loss = loss_of(model, images, target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def _our_loss(model: nn.Module, images: Tensor, target: Target) -> Tensor:
    outputs = model(images)
    with torch.autocast(images.device.type, enabled=False):
        points, view_points = (
            RandomPoints(list(range(count)), 12_544, 3.0, 0.75, images.device)
            for count in (1, images.shape[1])
        )
        return sum(Criterion()(outputs, [target], points, view_points).values())


def _their_loss(model: nn.Module, images: Tensor, target: Target) -> Tensor:
    masks = target.masks[:, 0].float()
    return model(pixel_values=images[:, 0], mask_labels=[masks], class_labels=[target.labels]).loss


def postprocessing(setting: Setting, views: int) -> Run:
    """Make segments of a photograph, as run-length codes, from low-resolution logits."""
    height, width = setting.photograph
    boxes = corner_boxes_xyxy(height, width, 0.7) if views > 1 else ()
    short, long = (64, 96) if setting.small else (800, 1333)
    layout = plan_views(height, width, short_side=short, max_side=long, crop_boxes_xyxy=boxes)
    queries = 10 if setting.small else 100
    torch.manual_seed(0)
    coarse = torch.randn(queries * views, 1, 12, 16, device=setting.device) * 4 - 5
    size = [side // 4 for side in layout.padded_size]
    masks = nn.functional.interpolate(coarse, size, mode="bicubic").bfloat16()
    masks = masks.view(queries, views, *size)
    logits = torch.randn(queries, 2, device=setting.device)

    def run() -> int:
        segments = disjoint_segments(logits, MaskCanvas(masks, layout))
        return len(segments.encode()[1])

    return run


def _compiled(module: nn.Module, setting: Setting, whole: bool) -> Callable[..., object]:
    # Compiling for a CPU takes minutes and is not what is to be measured.
    backend = "inductor" if setting.device.type == "cuda" else "eager"
    return torch.compile(module, fullgraph=whole, backend=backend, dynamic=False)
