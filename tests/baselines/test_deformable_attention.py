"""Deformable attention: the operator against its definition, literals and golden data."""

import numpy as np
import pytest
import torch
from operator_checks import opcheck

from baselines.modeling.pixel_decoder import DeformableAttention
from baselines.ops import deformable_attention, deformable_attention_definition

SHAPES = [(3, 4), (2, 5), (1, 1)]


def sample(batch=2, queries=5, heads=2, channels=3, points=2, dtype=torch.float64, seed=0):
    """Draw value, locations (most out of range) and weights for SHAPES."""
    rng = torch.Generator().manual_seed(seed)
    area = sum(height * width for height, width in SHAPES)
    value = torch.randn(batch, area, heads, channels, generator=rng, dtype=dtype)
    size = (batch, queries, heads, len(SHAPES), points)
    locations = torch.rand(*size, 2, generator=rng, dtype=dtype) * 4 - 1.5
    weights = torch.rand(*size, generator=rng, dtype=dtype)
    return value, locations, weights


def test_literal():
    """One 2 x 2 level: a pixel centre, the middle, half a pixel outside, outside, not a number."""
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    places = [[0.25, 0.25], [0.5, 0.5], [0.0, 0.25], [-0.25, 0.5], [float("nan"), 0.5]]
    locations = torch.tensor(places).view(1, 5, 1, 1, 1, 2)
    out = deformable_attention(value, locations, torch.ones(1, 5, 1, 1, 1), [(2, 2)])
    assert out.flatten().tolist() == [1.0, 2.5, 0.5, 0.0, 0.0]


@pytest.mark.parametrize("case", ["a", "b"])
def test_golden_core(case, request, data):
    if case == "a":
        golden = np.load(data / "baselines/msda_core_a.npz")
    else:
        golden = np.load(request.getfixturevalue("shared") / "golden/msda/core_b.npz")
    names = ("value", "sampling_locations", "attention_weights")
    shapes = [tuple(shape) for shape in golden["spatial_shapes"].tolist()]
    for dtype, suffix, tolerance in ((torch.float64, "f64", 1e-12), (torch.float32, "f32", 1e-5)):
        inputs = [torch.from_numpy(golden[name]).to(dtype).requires_grad_() for name in names]
        out = deformable_attention(*inputs, shapes)
        grads = torch.autograd.grad(out, inputs, torch.from_numpy(golden["grad_output"]).to(dtype))
        outputs = {"out": out}
        outputs |= zip(("grad_value", "grad_loc", "grad_attn"), grads, strict=True)
        if case == "b" and dtype == torch.float32:
            del outputs["grad_loc"]  # one location lies on a pixel centre, where there is no slope
        for name, tensor in outputs.items():
            want = golden[f"{name}_{suffix}"]
            np.testing.assert_allclose(tensor.detach(), want, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("masked", [False, True])
def test_golden_module(shared, masked):
    golden = np.load(shared / "golden/msda/module.npz")
    module = DeformableAttention(64, heads=8, levels=3, points=4).double()
    fresh = module.sampling_offsets.bias.detach()
    np.testing.assert_allclose(fresh, golden["init.sampling_offsets.bias"], atol=1e-6)
    names = [name for name in golden.files if name.startswith("w.")]
    module.load_state_dict({name[2:]: torch.from_numpy(golden[name]) for name in names})
    query, x = (
        torch.from_numpy(golden[name]).requires_grad_() for name in ("query", "input_flatten")
    )
    reference = torch.from_numpy(golden["reference_points"])[:, :, None, :, None]
    mask = torch.from_numpy(golden["padding_mask"]) if masked else None
    shapes = [tuple(shape) for shape in golden["spatial_shapes"].tolist()]
    out = module(query, reference, x, shapes, mask)
    grads = torch.autograd.grad(out.square().sum(), (query, x))
    case = "mask" if masked else "nomask"
    outputs = {"out": out, "grad_query_sqsum": grads[0], "grad_input_sqsum": grads[1]}
    for name, tensor in outputs.items():
        np.testing.assert_allclose(tensor.detach(), golden[f"{case}.{name}"], atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("queries", [1, 5, 2100])
def test_equals_definition(dtype, queries):
    inputs = sample(queries=queries, dtype=dtype)
    want = deformable_attention_definition(*inputs, SHAPES)
    torch.testing.assert_close(deformable_attention(*inputs, SHAPES), want)


def test_strided_input_and_no_queries():
    value, locations, weights = sample()
    strided = value.transpose(1, 2).contiguous().transpose(1, 2)
    want = deformable_attention(value, locations, weights, SHAPES)
    assert torch.equal(deformable_attention(strided, locations, weights, SHAPES), want)
    empty = deformable_attention(value, locations[:, :0], weights[:, :0], SHAPES)
    assert empty.shape == (2, 0, 6)


def test_half_precision_values_lose_only_their_own_rounding():
    value, locations, weights = sample(channels=32, dtype=torch.float32)
    half = value.bfloat16()
    out = deformable_attention(half, locations, weights, SHAPES)
    want = deformable_attention_definition(half.double(), locations, weights, SHAPES)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, want.bfloat16(), rtol=2**-7, atol=1e-6)


def test_gradients():
    inputs = [tensor.requires_grad_() for tensor in sample()]
    assert torch.autograd.gradcheck(lambda *x: deformable_attention(*x, SHAPES), inputs)


def test_opcheck():
    inputs = [tensor.requires_grad_() for tensor in sample()]
    flat = [side for shape in SHAPES for side in shape]
    opcheck(torch.ops.entityseg.deformable_attention.default, (*inputs, flat))
    grad = torch.ones(2, 5, 6, dtype=torch.float64)
    detached = [tensor.detach() for tensor in inputs]
    opcheck(torch.ops.entityseg.deformable_attention_backward.default, (grad, *detached, flat))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="hold 16 positions, but value has 23"):
        deformable_attention(*sample(), [(3, 4), (2, 2)])


def test_export_with_dynamic_batch_and_queries():
    class Operator(torch.nn.Module):
        def forward(self, value, locations, weights):
            return deformable_attention(value, locations, weights, SHAPES)

    batch, queries = torch.export.Dim("batch", min=1), torch.export.Dim("queries", min=1)
    dynamic = ({0: batch}, {0: batch, 1: queries}, {0: batch, 1: queries})
    program = torch.export.export(Operator(), sample(), dynamic_shapes=dynamic).module()
    inputs = sample(batch=3, queries=7, seed=1)
    assert torch.equal(program(*inputs), deformable_attention(*inputs, SHAPES))


def test_compile_in_one_graph():
    def run(value, locations, weights):
        return deformable_attention(value * 2, locations, weights, SHAPES).relu()

    inputs = sample()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*inputs), run(*inputs))
