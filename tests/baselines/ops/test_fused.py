"""Deformable attention from offsets and logits: the operator in PyTorch."""

import pytest
import torch
from operator_checks import opcheck

from baselines.ops import (
    deformable_attention,
    deformable_attention_from_offsets,
    deformable_attention_from_offsets_definition,
)

SHAPES = [(3, 4), (2, 5), (1, 1)]
FLAT = [side for shape in SHAPES for side in shape]


def sample(queries=5, dtype=torch.float64, reference=None, seed=0):
    """Draw value, reference points, offsets (many lead outside) and logits for SHAPES."""
    rng = torch.Generator().manual_seed(seed)
    batch, heads, channels, points = 2, 2, 3, 2
    area = sum(height * width for height, width in SHAPES)
    size = (batch, queries, heads, len(SHAPES), points)
    value = torch.randn(batch, area, heads, channels, generator=rng, dtype=dtype)
    reference = torch.rand(reference or (1, queries, 1, 1, 1, 2), generator=rng, dtype=dtype)
    offsets = torch.randn(*size, 2, generator=rng, dtype=dtype) * 2
    logits = torch.randn(size, generator=rng, dtype=dtype) * 2
    return value, reference, offsets, logits


def test_literal():
    """A 2 x 4 level of one channel; from its middle, half a pixel up and one and a half right."""
    value = torch.arange(8.0).view(1, 8, 1, 1)
    reference = torch.full((1, 1, 1, 1, 1, 2), 0.5)
    offsets = torch.tensor([[1.5, -0.5], [-100.0, 0.0]]).view(1, 1, 1, 1, 2, 2)
    logits = torch.tensor([0.0, 0.0]).view(1, 1, 1, 1, 2)
    out = deformable_attention_from_offsets(value, reference, offsets, logits, [(2, 4)])
    assert out.item() == 1.5  # half the weight on pixel (0, 3), half on nothing


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("reference", [None, (2, 5, 2, 3, 2, 2), (1, 1, 1, 3, 1, 2)])
def test_equals_definition(dtype, reference):
    inputs = sample(dtype=dtype, reference=reference)
    want = deformable_attention_from_offsets_definition(*inputs, SHAPES)
    torch.testing.assert_close(deformable_attention_from_offsets(*inputs, SHAPES), want)


def test_equals_the_operator_on_locations():
    value, reference, offsets, logits = sample()
    size = torch.tensor([(width, height) for height, width in SHAPES])
    locations = reference + offsets / size[:, None]
    weights = logits.flatten(3).softmax(-1).view_as(logits)
    want = deformable_attention(value, locations, weights, SHAPES)
    got = deformable_attention_from_offsets(value, reference, offsets, logits, SHAPES)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("reference", [None, (2, 1, 2, 1, 2, 2)])
def test_gradients(reference):
    inputs = [tensor.requires_grad_() for tensor in sample(reference=reference)]
    assert torch.autograd.gradcheck(
        lambda *x: deformable_attention_from_offsets(*x, SHAPES), inputs
    )


def test_gradients_of_references_only_where_wanted():
    value, reference, offsets, logits = sample()
    offsets.requires_grad_()
    deformable_attention_from_offsets(value, reference, offsets, logits, SHAPES).sum().backward()
    assert offsets.grad is not None and reference.grad is None


def test_opcheck():
    inputs = [tensor.requires_grad_() for tensor in sample()]
    opcheck(torch.ops.entityseg.deformable_attention_fused.default, (*inputs, FLAT))
    grad = torch.ones(2, 5, 6, dtype=torch.float64)
    detached = [tensor.detach() for tensor in inputs]
    opcheck(
        torch.ops.entityseg.deformable_attention_fused_backward.default, (grad, *detached, FLAT)
    )


def test_compile_in_one_graph():
    def run(*inputs):
        return deformable_attention_from_offsets(*inputs, SHAPES).relu()

    inputs = sample()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*inputs), run(*inputs))


def test_export_with_dynamic_batch_and_queries():
    class Operator(torch.nn.Module):
        def forward(self, *inputs):
            return deformable_attention_from_offsets(*inputs, SHAPES)

    batch, queries = torch.export.Dim("batch", min=1), torch.export.Dim("queries", min=1)
    dynamic = (({0: batch}, {1: queries}, {0: batch, 1: queries}, {0: batch, 1: queries}),)
    program = torch.export.export(Operator(), sample(), dynamic_shapes=dynamic).module()
    value, reference, offsets, logits = sample(queries=7, seed=1)
    inputs = (value[:1], reference, offsets[:1], logits[:1])
    assert torch.equal(program(*inputs), deformable_attention_from_offsets(*inputs, SHAPES))


def test_autocast_leaves_locations_in_float32():
    """Values, offsets and logits come in 16 bits from linear layers; references stay as they are.

    Computed in bfloat16, a location at the far end of a wide level would be off by half a pixel.
    """
    width = 200
    value = torch.arange(float(width)).view(1, width, 1, 1).bfloat16()
    reference = torch.full((1, 1, 1, 1, 1, 2), 0.5)
    reference[..., 0] = 150.5 / width
    offsets, logits = torch.tensor([[2.5, 0.0]]).view(1, 1, 1, 1, 1, 2), torch.zeros(1, 1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        out = deformable_attention_from_offsets(
            value, reference, offsets.bfloat16(), logits.bfloat16(), [(1, width)]
        )
        plain = deformable_attention(
            value, reference + offsets / width, torch.ones(1, 1, 1, 1, 1), [(1, width)]
        )
    # Pixels 152 and 153 are 152 and 153 in bfloat16; 152.5 is not, and rounds to even.
    assert out.dtype == plain.dtype == torch.bfloat16
    assert out.item() == plain.item() == 152.0


def test_wrong_shapes_are_refused():
    value, reference, offsets, logits = sample()
    with pytest.raises(ValueError, match="offsets must be shaped"):
        deformable_attention_from_offsets(value, reference, offsets, logits[:, :, 0], SHAPES)
    with pytest.raises(ValueError, match="reference likewise"):
        deformable_attention_from_offsets(value, reference[0], offsets, logits, SHAPES)
    with pytest.raises(ValueError, match=r"must be .B, S, H, C."):
        deformable_attention_from_offsets(value[:1], reference, offsets, logits, SHAPES)
    with pytest.raises(ValueError, match="3 levels, but 2 shapes"):
        deformable_attention_from_offsets(value, reference, offsets, logits, SHAPES[:2])
    with pytest.raises(ValueError, match="hold 16 positions, but value has 23"):
        deformable_attention_from_offsets(
            value, reference, offsets[:, :, :, :2], logits[:, :, :, :2], [(3, 4), (2, 2)]
        )
