"""bfloat16: masks change where rounding can change them, and no number becomes float32 again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from owner_bounds import Errors, Output, impossible_pixels, observe, owners, rounding_errors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from baselines import build_model
from baselines.config import ModelConfig, SwinConfig
from baselines.crops import ViewLayout, inference_layout
from baselines.modeling import constants
from baselines.predictor import Predictor, precision_of
from baselines.recompute import recompute_activations
from entity_api import rle

TINY = ModelConfig(
    backbone=SwinConfig(embed_dim=24, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8)),
    num_queries=12,
    hidden_dim=64,
    mask_dim=64,
    encoder_layers=1,
    encoder_ffn_dim=64,
    decoder_layers=2,
    decoder_ffn_dim=64,
    fusion_ffn_dim=64,
    min_size_test=64,
    max_size_test=96,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Run on one thread: these models are too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(config):
    torch.manual_seed(0)
    return build_model(config)


def golden_model(folder):
    """Build a golden tiny model, with its weights."""
    yaml = pytest.importorskip("yaml")
    from baselines.original import config_from_detectron2

    model = build_model(config_from_detectron2(yaml.unsafe_load((folder / "cfg.yaml").read_text())))
    weights = np.load(folder / "weights.npz")
    state = {key: torch.from_numpy(weights[key]) for key in weights.files}
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith("criterion")})
    return model.eval()


def golden_case(config, golden):
    """Give the first image of a golden case, the original's output for it, and its layout."""
    if config.num_views > 1:
        layout = inference_layout(*golden["image_orig_rgb"].shape[:2], config)
        classes, masks = golden["d3.pred_logits"][0], golden["d3.pred_masks"][0]
    else:
        height, width = golden["out_hw0"].tolist()
        view, padded = golden["image0"].shape[:2], golden["backbone_in"].shape[-2:]
        layout = ViewLayout((height, width), ((0, 0, width, height),), (view,), tuple(padded))
        classes, masks = golden["pred_logits"][0], golden["pred_masks"][0][:, None]
    images = torch.from_numpy(golden["backbone_in"]).unflatten(0, (-1, config.num_views))[:1]
    return images, Output(torch.from_numpy(classes), torch.from_numpy(masks)), layout


@pytest.mark.parametrize("case", "AB")
@pytest.mark.parametrize("name", ["m2f_swin", "m2f_hornet", "cropformer_swin"])
def test_golden_masks(shared, name, case):
    """Where a pixel has another owner than the original's, the float32 margins are that small."""
    folder = shared / "golden/tiny" / name
    model, golden = golden_model(folder), np.load(folder / f"case_{case}.npz")
    images, want, layout = golden_case(model.config, golden)
    errors = rounding_errors(model, images, want)

    def owners_in_bfloat16(model):
        outputs = Predictor(model=model, precision="bfloat16")._run(images)
        assert outputs["pred_masks"].dtype == torch.bfloat16
        return owners(Output(outputs["pred_logits"][0], outputs["pred_masks"][0]), layout)

    assert not impossible_pixels(owners_in_bfloat16(model), want, errors, layout).any()
    # An embedding that is left out is no rounding, and the bounds do not take it for one.
    torch.nn.init.zeros_(model.sem_seg_head["predictor"].level_embed.weight)
    assert impossible_pixels(owners_in_bfloat16(model), want, errors, layout).any()


def check_masks(model, image, precision, dtype):
    """Check that masks differ from those of float32 only where the precision can change them.

    Returns:
        What was found in that precision, and in float32.
    """
    found = observe(Predictor(model=model, precision=precision), image)
    want = observe(Predictor(model=model), image)
    errors = rounding_errors(model, want.images, want.output, dtype=dtype)
    assert not impossible_pixels(
        owners(found.output, want.layout), want.output, errors, want.layout
    ).any()
    return found.entities, want.entities


class TestBounds:
    """Two queries on four pixels in a row; the first is surer."""

    layout = ViewLayout((1, 4), ((0, 0, 4, 1),), ((1, 4),), (1, 4))
    masks = torch.tensor([[-2.0, -0.1, 0.2, 2.0], [1.0, 1.0, 1.0, 1.0]])[:, None, None]
    output = Output(torch.tensor([[3.0, 0.0], [1.0, 0.0]]), masks)

    def impossible(self, owner, confidence, masks):
        errors = Errors(torch.tensor(confidence), torch.full((2, 1), masks))
        pixels = impossible_pixels(torch.tensor([owner]), self.output, errors, self.layout)
        return pixels[0].tolist()

    def test_owners(self):
        assert owners(self.output, self.layout).tolist() == [[1, 1, 0, 0]]

    def test_without_error_the_owner_is_certain(self):
        assert self.impossible([1, 1, 0, 0], 0.0, 0.0) == [False] * 4
        assert self.impossible([0, 0, 1, 1], 0.0, 0.0) == [True] * 4
        assert self.impossible([-1] * 4, 0.0, 0.0) == [True] * 4

    def test_near_the_threshold_either_may_own(self):
        assert self.impossible([0, 0, 1, 1], 0.0, 0.5) == [True, False, False, True]

    def test_of_like_confidence_either_may_own_what_both_hold(self):
        assert self.impossible([1] * 4, 0.9, 0.0) == [False, False, True, True]
        assert self.impossible([1] * 4, 1.1, 0.0) == [False] * 4

    def test_no_owner_where_all_may_let_go(self):
        assert self.impossible([-1] * 4, 0.0, 0.5) == [True] * 4
        assert self.impossible([-1] * 4, 0.0, 1.5) == [False, False, False, True]


class Widened(TorchDispatchMode):
    """Collect the operators that make a float32 tensor, and how large it is."""

    def __init__(self):
        super().__init__()
        self.found = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float32:
                name = func.overloadpacket.__name__
                self.found[name] = max(self.found.get(name, 0), leaf.numel())
        return result


def test_nothing_is_widened_but_sampling_locations():
    config = replace(TINY, num_views=5)
    model = build(config).bfloat16().eval()
    images = torch.randn(1, 5, 3, 64, 96).bfloat16()
    with torch.no_grad():
        model(images)  # what depends on shapes only is computed once, in float32
        with Widened() as widened:
            model(images)
    tokens = 2 * 3 + 4 * 6 + 8 * 12
    # One view at a time: (x, y) for each of 8 heads x 3 levels x 4 points of each token.
    locations = tokens * 8 * 3 * 4 * 2
    assert max(widened.found.values()) <= locations, widened.found
    # All else is bfloat16: the mask features alone would be more.
    assert locations < 16 * 24 * config.mask_dim


@pytest.mark.parametrize("views", [1, 5])
def test_predictor_converts_a_copy(views):
    model = build(replace(TINY, num_views=views)).train()
    recompute_activations(model)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    predictor = Predictor(model=model, precision="bfloat16")
    assert {weight.dtype for weight in predictor.model.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.training
    found, _ = check_masks(model, image, "bfloat16", torch.bfloat16)
    # Nothing of the copy leads back: changing the model does not change what it predicts.
    torch.nn.init.zeros_(model.sem_seg_head["predictor"].query_feat.weight)
    assert predictor(image).segmentations == found.segmentations


def test_a_bfloat16_model_is_used_as_it_is():
    model = build(TINY).bfloat16()
    predictor = Predictor(model=model, precision="bfloat16")
    assert predictor.model is model
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert Predictor(model=model)(image).segmentations == predictor(image).segmentations
    assert rle.area(rle.merge(predictor(image).segmentations)) > 0


def test_float16_leaves_the_weights_alone():
    model = build(TINY)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert Predictor(model=model, precision="float16").model is model
    found, want = check_masks(model, image, "float16", torch.float16)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    # float16 was at work.
    assert found.scores.tolist() != want.scores.tolist()


def test_training_in_bfloat16_keeps_float32_weights_and_gradients():
    model = build(TINY).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(torch.randn(1, 3, 64, 96))
    assert outputs["pred_masks"].dtype == torch.bfloat16
    (outputs["pred_masks"].float().mean() + outputs["pred_logits"].float().mean()).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert all(gradient.isfinite().all() for gradient in gradients)


@torch.no_grad()
def test_bounds_leave_no_trace():
    """Positions are kept for all models of a process; randomly changed ones must not be."""
    model, images = build(TINY).eval(), torch.randn(1, 1, 3, 96, 160)
    constants._kept.clear()
    want = model(images)
    constants._kept.clear()
    rounding_errors(model, images, Output(want["pred_logits"][0], want["pred_masks"][0]), runs=1)
    torch.testing.assert_close(model(images), want, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("units", "found"),
    [((), "float32"), (("_is_avx512_bf16_supported",), "bfloat16"),
     (("_is_amx_tile_supported",), "bfloat16")],
)  # fmt: skip
def test_auto_is_what_the_processor_multiplies_in(units, found, monkeypatch):
    for unit in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, unit, lambda unit=unit: unit in units, raising=False)
    predictor = Predictor(model=build(TINY), precision="auto")
    assert predictor.precision == precision_of("auto", "cpu") == found
    assert str(next(predictor.model.parameters()).dtype) == f"torch.{found}"


@pytest.mark.parametrize("found", [True, False])
def test_auto_is_what_the_card_multiplies_in(found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: found)
    assert precision_of("auto", "cuda:1") == ("bfloat16" if found else "float32")
    assert precision_of("float16", "cuda:1") == "float16"
