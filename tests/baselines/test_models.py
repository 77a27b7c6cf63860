"""The networks against naive versions, and what surrounds them: precision, compilation, export."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines import build_model
from baselines.backbones.hornet import _GlobalLocalFilter
from baselines.backbones.swin import Swin, relative_position_index
from baselines.config import HorNetConfig, ModelConfig, ResNetConfig, SwinConfig
from baselines.modeling.layers import (
    CrossAttention,
    DropPath,
    by_rows,
    row_products,
    sine_position,
)
from baselines.modeling.linear import Linear, in_one_pass, linear

SWIN = SwinConfig(embed_dim=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8), window_size=4)
HORNET = HorNetConfig(base_dim=16, depths=(1, 1, 1, 1), drop_path_rate=0)
RESNET = ResNetConfig(blocks=(1, 1, 1, 1), stem_channels=8, res2_channels=32, width=8)
MASK2FORMER = ModelConfig(
    backbone=SWIN,
    num_queries=12,
    hidden_dim=64,
    mask_dim=64,
    encoder_layers=1,
    encoder_ffn_dim=96,
    decoder_layers=4,
    decoder_ffn_dim=128,
    fusion_ffn_dim=128,
)
CROPFORMER = replace(MASK2FORMER, num_views=5)
BOTH = pytest.mark.parametrize(
    "config", [MASK2FORMER, CROPFORMER], ids=["mask2former", "cropformer"]
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images_for(config, batch=2, height=64, width=96):
    return torch.randn(batch, config.num_views, 3, height, width)


@pytest.mark.parametrize("backbone", [SWIN, HORNET, RESNET], ids=["swin", "hornet", "resnet"])
@torch.no_grad()
def test_backbone_strides_and_batches(backbone):
    model = build_model(replace(MASK2FORMER, backbone=backbone)).eval()
    images = torch.randn(2, 3, 96, 160)
    features = model.backbone(images)
    for index, (name, channels) in enumerate(zip(features, backbone.channels, strict=True)):
        stride = 4 * 2**index
        assert name == f"res{index + 2}"
        assert features[name].shape == (2, channels, 96 // stride, 160 // stride)
        alone = model.backbone(images[1:])[name]
        torch.testing.assert_close(features[name][1:], alone, atol=1e-5, rtol=1e-5)


@BOTH
@torch.no_grad()
def test_output_layout(config):
    views = config.num_views
    model = build_model(config).eval()
    images = images_for(config)
    outputs = model(images, aux=True)
    assert outputs["pred_logits"].shape == (2, 12, 2)
    assert outputs["pred_masks"].shape == (2, 12, views, 16, 24)
    assert len(outputs["aux_outputs"]) == 4
    assert ("view_outputs" in outputs) == (views > 1)
    if views > 1:
        alone = outputs["view_outputs"]
        assert alone["pred_logits"].shape == (2, views, 12, 2)
        assert alone["pred_masks"].shape == (2, views, 12, 16, 24)
        assert len(alone["aux_outputs"]) == 4
    plain = model(images)
    assert plain.keys() == {"pred_logits", "pred_masks"}
    for key in plain:
        torch.testing.assert_close(plain[key], outputs[key], atol=1e-5, rtol=1e-5)
    assert "aux_outputs" in model.train()(images)


@torch.no_grad()
def test_cropformer_begins_as_mask2former():
    cropformer, mask2former = build_model(CROPFORMER).eval(), build_model(MASK2FORMER).eval()
    mask2former.load_state_dict(cropformer.state_dict(), strict=False)
    images = images_for(CROPFORMER, batch=1)
    alone = cropformer(images, aux=True)["view_outputs"]
    want = mask2former(images[0])
    torch.testing.assert_close(alone["pred_logits"][0], want["pred_logits"], atol=1e-5, rtol=0)
    want = want["pred_masks"].squeeze(2)
    torch.testing.assert_close(alone["pred_masks"][0], want, atol=1e-4, rtol=0)


@torch.no_grad()
def test_four_dimensions_are_one_view():
    model = build_model(MASK2FORMER).eval()
    images = images_for(MASK2FORMER)
    assert torch.equal(model(images[:, 0])["pred_masks"], model(images)["pred_masks"])


def test_bad_input_is_refused():
    model = build_model(MASK2FORMER)
    with pytest.raises(ValueError, match="takes one view, not 2"):
        model(torch.zeros(1, 2, 3, 64, 64))
    with pytest.raises(ValueError, match="70 x 64 are not multiples of 32"):
        model(torch.zeros(1, 3, 70, 64))
    with pytest.raises(ValueError, match=r"must be \(B, V, 3, H, W\)"):
        model(torch.zeros(3, 64, 64))


@BOTH
def test_every_parameter_gets_a_gradient(config):
    config = replace(config, backbone=replace(SWIN, drop_path_rate=0.0))
    model = build_model(config).train()
    outputs = model(images_for(config, batch=1))
    passes = [outputs, outputs["view_outputs"]] if "view_outputs" in outputs else [outputs]
    for output in (output for each in passes for output in (each, *each["aux_outputs"])):
        loss = output["pred_logits"].square().mean() + output["pred_masks"].square().mean()
        loss.backward(retain_graph=True)
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in model.parameters())


@BOTH
@torch.no_grad()
def test_bfloat16(config):
    model = build_model(config).eval()
    images = images_for(config, batch=1)
    want = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(images)
    pure = model.bfloat16()(images.bfloat16())
    for got in (mixed, pure):
        for key, tensor in want.items():
            error = (got[key].float() - tensor).square().mean().sqrt()
            assert error < 0.1 * tensor.square().mean().sqrt(), key


@torch.no_grad()
def test_compile_in_one_graph():
    # CropFormer holds everything that Mask2Former has; one layer of each kind keeps tracing short.
    config = replace(CROPFORMER, decoder_layers=1)
    model = build_model(config).eval()
    images = images_for(config, batch=1)
    got = torch.compile(model, fullgraph=True, backend="aot_eager")(images)
    for key, want in model(images).items():
        torch.testing.assert_close(got[key], want, atol=1e-4, rtol=1e-4)


@BOTH
def test_forward_has_no_graph_break(config):
    config = replace(config, decoder_layers=1)
    model = build_model(config).train()
    images = images_for(config, batch=1)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.manual_seed(0)
    got = compiled(images)
    torch.manual_seed(0)
    want = model(images)
    torch.testing.assert_close(got["pred_masks"], want["pred_masks"], atol=1e-4, rtol=1e-4)
    assert got["pred_logits"].requires_grad


@BOTH
@torch.no_grad()
def test_exported_program(config):
    config = replace(config, decoder_layers=1)
    model = build_model(config).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        model, (images_for(config),), dynamic_shapes={"images": {0: batch}}
    ).module()
    images = images_for(config, batch=3)
    got = program(images)
    for key, want in model(images).items():
        torch.testing.assert_close(got[key], want, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_masked_attention_is_torchs():
    layer = CrossAttention(32, heads=4).eval()
    naive = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    naive.load_state_dict(layer.multihead_attn.state_dict())
    x, position = torch.randn(2, 5, 32), torch.randn(5, 32)
    key, value = torch.randn(2, 9, 32), torch.randn(2, 9, 32)
    attend = torch.rand(2, 5, 9) > 0.4
    attend[..., 0] = True
    masked = ~attend.repeat_interleave(4, dim=0)
    found, _ = naive(x + position, key, value, attn_mask=masked)
    want = layer.norm(x + found)
    torch.testing.assert_close(layer(x, position, key, value, attend), want, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_query_without_a_mask_looks_everywhere():
    decoder = build_model(MASK2FORMER).eval().sem_seg_head["predictor"]
    # With no features no mask has a logit of 0 or more but for this bias, the same everywhere.
    features = torch.ones(1, 64, 16, 24)
    last = decoder.mask_embed.layers[-1]
    last.weight.zero_()
    levels = [torch.randn(1, 64, *size) for size in ((2, 3), (4, 6), (8, 12))]
    results = []
    for bias in (-1.0, 1.0):
        last.bias.fill_(bias)
        results.append(decoder(features, levels, views=1, aux=False)["pred_logits"])
    assert torch.equal(*results)


@torch.no_grad()
def test_masks_resized_as_features_are_masks_resized():
    queries, features = torch.randn(1, 20, 64), torch.randn(1, 64, 16, 24)
    for size in ((2, 3), (4, 6), (8, 12)):
        masks = torch.einsum("bqc,bchw->bqhw", queries, features)
        want = F.interpolate(masks, size, mode="bilinear")
        small = F.interpolate(features, size, mode="bilinear")
        got = torch.einsum("bqc,bchw->bqhw", queries, small)
        torch.testing.assert_close(got, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
def test_shifted_windows_against_every_pair_of_tokens(grad):
    """Attention in shifted windows = attention over all tokens, masked to those of one window."""
    window, shift, height, width, dim = 4, 2, 6, 10, 16
    block = Swin(replace(SWIN, depths=(2, 1, 1, 1))).eval().layers[0].blocks[1]
    assert block.shift == shift
    x = torch.randn(2, height, width, dim)
    with torch.set_grad_enabled(grad):
        both = block._attend(x, block.shifted_windows(x))
    for image, got in zip(x, both, strict=True):
        check_shifted(block, image, got, window, shift)


@torch.no_grad()
def check_shifted(block, x, got, window, shift):
    """Compare one image with attention over all its tokens."""
    height, width, dim = x.shape

    padded = F.pad(x, (0, 0, 0, 2, 0, 2))  # to 8 x 12
    row, col = torch.meshgrid(torch.arange(8), torch.arange(12), indexing="ij")
    row, col = row.flatten(), col.flatten()
    # The windows of the shifted image; the image's border splits those that wrap round.
    group = ((row + shift) // window) * 10 + (col + shift) // window
    same = group[:, None] == group
    attn, tokens = block.attn, padded.flatten(0, 1)
    q, k, v = attn.qkv(tokens).view(96, 3, 1, dim).permute(1, 2, 0, 3)
    table = attn.relative_position_bias_table.view(7, 7)
    offset = [(p[:, None] - p).clamp(-3, 3) + 3 for p in (row, col)]
    logits = (q @ k.transpose(1, 2)) / dim**0.5 + table[offset[0], offset[1]]
    out = logits.masked_fill(~same, -torch.inf).softmax(-1) @ v
    want = attn.proj(out[0]).view(8, 12, dim)[:height, :width]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_products_of_rows_are_the_same_one_by_one():
    x, y = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    want = torch.einsum("bqc,bkc->bqk", x, y)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(row_products(x, y), want, atol=1e-5, rtol=0)


def test_relative_position_index():
    assert relative_position_index(2).tolist() == [
        [4, 3, 1, 0],
        [5, 4, 2, 1],
        [7, 6, 4, 3],
        [8, 7, 5, 4],
    ]


@torch.no_grad()
def test_global_filter_of_ones_changes_nothing():
    module = _GlobalLocalFilter(8, (6, 4))
    module.complex_weight.copy_(torch.tensor([1.0, 0.0]))
    x = torch.randn(2, 4, 10, 14)
    torch.testing.assert_close(module._filter(x), x, atol=1e-5, rtol=0)


def test_position_literal():
    """One row of two pixels, four channels: y is 2 pi at its one place, x is pi and 2 pi."""
    position = sine_position(1, 2, 4, torch.device("cpu"))
    want = [[0.0, 1.0, 0.0, -1.0], [0.0, 1.0, 0.0, 1.0]]
    torch.testing.assert_close(position, torch.tensor(want), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("one_pass", [True, False])
def test_by_rows_changes_nothing(one_pass, monkeypatch):
    monkeypatch.setattr("baselines.modeling.layers.in_one_pass", lambda dtype: one_pass)
    linear, x, seen = nn.Linear(8, 4), torch.randn(3, 50, 8), []
    got = by_rows(lambda rows: seen.append(rows.numel() // 8) or linear(rows), x, width=2**20 // 7)
    assert seen == ([150] if one_pass else [*[7] * 21, 3])
    seen.clear()
    by_rows(lambda rows: seen.append(rows.numel() // 8) or linear(rows), x, width=2**25 // 60)
    assert seen == ([60, 60, 30] if one_pass else [1] * 150)
    torch.testing.assert_close(got, linear(x))
    assert by_rows(linear, x[:0], width=8).shape == (0, 50, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_linear_layers_are_pytorchs(activation, bias, dtype):
    """At inference, where bias and activation may be part of the product, and in training."""
    layer = Linear(24, 40, bias=bias, activation=activation).to(dtype)
    plain = nn.Linear(24, 40, bias=bias).double()
    plain.load_state_dict(layer.state_dict())
    exact = {"none": lambda y: y, "relu": F.relu, "gelu": F.gelu}[activation]
    x = torch.randn(3, 7, 24).to(dtype)
    loose = {"rtol": 2**-6, "atol": 1e-2} if dtype == torch.bfloat16 else {}
    # In any strides, of a single row, of none.
    for rows in (x, x.transpose(0, 1), x[:, ::2], x[0, 0], x[:0]):
        want = exact(plain(rows.double())).to(dtype)
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                torch.testing.assert_close(layer(rows), want, **loose)
    layer(x).sum().backward()
    assert layer.weight.grad is not None


@torch.no_grad()
def test_what_stands_for_a_tensor_has_its_own_products():
    class Doubled(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            plain = [x.as_subclass(torch.Tensor) if isinstance(x, cls) else x for x in args]
            found = function(*plain, **(kwargs or {}))
            return found * 2 if function is F.linear else found

    x, weight = torch.randn(5, 8), torch.randn(4, 8)
    want = linear(x, weight, None) * 2
    torch.testing.assert_close(linear(x, weight.as_subclass(Doubled), None), want)
    torch.testing.assert_close(linear(x.as_subclass(Doubled), weight, None), want)


def test_what_onednn_does_not_serve_is_pytorchs(monkeypatch):
    """On other processors, and in dtypes that oneDNN lacks."""
    assert not in_one_pass(torch.float64)
    layer, x = Linear(8, 4, activation="gelu"), torch.randn(5, 8)
    monkeypatch.setattr("baselines.modeling.linear.in_one_pass", lambda dtype: False)
    with torch.no_grad():
        assert torch.equal(layer(x), F.gelu(F.linear(x, layer.weight, layer.bias)))


def test_drop_path():
    drop = DropPath(0.5)
    dropped = drop.train()(torch.ones(1000, 3))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == dropped[:, :1]).all()
    assert torch.equal(drop.eval()(torch.ones(2, 3)), torch.ones(2, 3))
