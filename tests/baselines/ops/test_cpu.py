"""Deformable attention on a CPU: the compiled kernel against the definitions."""

import pytest
import torch

from baselines.ops import _deformable as kernel
from baselines.ops import (
    cpu,
    deformable_attention_definition,
    deformable_attention_from_offsets_definition,
    fused,
)
from baselines.ops.load import ENVIRONMENT

SHAPES = [(3, 4), (2, 5), (1, 1)]
FLAT = [side for shape in SHAPES for side in shape]
# What float32 loses, and a bfloat16 that is rounded the other way.
TOLERANCES = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2**-7, "atol": 1e-5},
}


@pytest.fixture
def calls(monkeypatch):
    """Count how often the kernel is called."""
    found = []

    def attend(*arguments):
        found.append(arguments)
        kernel.attend(*arguments)

    monkeypatch.setattr(cpu, "_deformable", type("Counted", (), {"attend": staticmethod(attend)}))
    return found


def drawn(dtype, channels, *, batch=2, queries=7, heads=2, points=2, reference=None, seed=0):
    """Draw value, reference points, offsets (many lead outside) and logits for SHAPES."""
    rng = torch.Generator().manual_seed(seed)
    area = sum(height * width for height, width in SHAPES)
    size = (batch, queries, heads, len(SHAPES), points)
    value = torch.randn(batch, area, heads, channels, generator=rng).to(dtype)
    reference = torch.rand(reference or (1, queries, 1, 1, 1, 2), generator=rng)
    offsets = (torch.randn(*size, 2, generator=rng) * 2).to(dtype)
    return value, reference, offsets, (torch.randn(size, generator=rng) * 2).to(dtype)


def exact(inputs):
    return [tensor.double() for tensor in inputs]


@pytest.mark.parametrize("dtype", cpu.SERVED)
@pytest.mark.parametrize("channels", [1, 3, 8, 31, 32, 33, 64, 100])
def test_equals_the_definition_of_the_fused_operator(dtype, channels, calls):
    inputs = drawn(dtype, channels)
    got = cpu.fused_forward(*inputs, FLAT)
    assert len(calls) == 1 and got.dtype == dtype
    want = deformable_attention_from_offsets_definition(*exact(inputs), SHAPES)
    torch.testing.assert_close(got, want.to(dtype), **TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", cpu.SERVED)
@pytest.mark.parametrize("channels", [3, 32])
def test_equals_the_definition_of_the_operator_on_locations(dtype, channels, calls):
    value, _, offsets, _ = drawn(dtype, channels)
    locations = offsets.float() / 2 + 0.5
    weights = torch.rand(locations.shape[:-1], generator=torch.Generator().manual_seed(1))
    got = cpu.forward(value, locations, weights, FLAT)
    assert len(calls) == 1 and got.dtype == dtype
    want = deformable_attention_definition(*exact((value, locations, weights)), SHAPES)
    torch.testing.assert_close(got, want.to(dtype), **TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", cpu.SERVED)
@pytest.mark.parametrize("by_16", sorted({False, kernel.HAS_16}))
def test_any_registers_equal_the_definition(dtype, by_16, monkeypatch):
    inputs = drawn(dtype, 100)

    def attend(*arguments):
        kernel.attend(*arguments, by_16)

    monkeypatch.setattr(cpu, "_deformable", type("Chosen", (), {"attend": staticmethod(attend)}))
    want = deformable_attention_from_offsets_definition(*exact(inputs), SHAPES)
    got = cpu.fused_forward(*inputs, FLAT)
    torch.testing.assert_close(got, want.to(dtype), **TOLERANCES[dtype])


@pytest.mark.parametrize("reference", [(2, 7, 2, 3, 2, 2), (1, 1, 1, 3, 1, 2), (2, 1, 2, 1, 2, 2)])
def test_reference_points_are_broadcast(reference):
    inputs = drawn(torch.float32, 4, reference=reference)
    want = deformable_attention_from_offsets_definition(*exact(inputs), SHAPES)
    got = cpu.fused_forward(*inputs, FLAT)
    torch.testing.assert_close(got, want.float(), **TOLERANCES[torch.float32])


def test_places_on_centres_edges_and_nowhere():
    """A 2 x 3 level of one channel; what lies half outside counts half."""
    value = torch.tensor([1.0, 2, 3, 4, 5, 6]).view(1, 6, 1, 1)
    nan, inf = float("nan"), float("inf")
    places = {
        (0.5, 0.5): 1, (2.5, 1.5): 6, (1.0, 0.5): 1.5, (1.5, 1.0): 3.5, (0.0, 0.5): 0.5,
        (-0.5, 0.5): 0, (3.0, 1.5): 3, (3.5, 1.5): 0, (0.5, 2.0): 2, (0.5, -0.5): 0,
        (1e30, 0.5): 0, (-1e30, 0.5): 0, (nan, 0.5): 0, (0.5, nan): 0, (inf, 0.5): 0,
        (0.5, -inf): 0,
    }  # fmt: skip
    at = torch.tensor(list(places)) / torch.tensor([3.0, 2.0])
    locations = at.view(1, len(places), 1, 1, 1, 2)
    got = cpu.forward(value, locations, torch.ones(1, len(places), 1, 1, 1), [2, 3])
    torch.testing.assert_close(got.flatten(), torch.tensor([float(v) for v in places.values()]))


def test_values_that_are_no_numbers_stay_where_they_are():
    """A sample beside such a pixel does not read it."""
    value = torch.tensor([1.0, float("nan"), 3.0]).view(1, 3, 1, 1).expand(1, 3, 1, 32)
    locations = torch.tensor([[0.5 / 3, 0.5], [0.9 / 3, 0.5], [2.9 / 3, 0.5]]).view(
        1, 3, 1, 1, 1, 2
    )
    for dtype in cpu.SERVED:
        got = cpu.forward(value.to(dtype), locations, torch.ones(1, 3, 1, 1, 1), [1, 3])
        assert got.isnan().any(2).tolist() == [[True, True, False]]
    # The first one's neighbour has no weight, and what is no number times nothing is none.
    want = deformable_attention_definition(
        value.double(), locations.double(), torch.ones(1, 3, 1, 1, 1).double(), [(1, 3)]
    )
    assert torch.equal(want.isnan(), got.isnan())


@pytest.mark.parametrize("dtype", cpu.SERVED)
def test_the_threads_change_nothing(dtype, monkeypatch, calls):
    monkeypatch.setattr(cpu, "_HEADS_AT_ONCE", 16)
    inputs = drawn(dtype, 32, queries=101)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        calls.clear()
        found.append(cpu.fused_forward(*inputs, FLAT))
        assert len(calls) == (1 if threads == 1 else 4 * threads)
    assert all(torch.equal(found[0], one) for one in found[1:])


def test_what_is_strided_empty_or_mixed():
    value, reference, offsets, logits = drawn(torch.float32, 32)
    want = cpu.fused_forward(value, reference, offsets, logits, FLAT)
    strided = value.transpose(1, 2).contiguous().transpose(1, 2)
    turned = offsets.transpose(1, 3).contiguous().transpose(1, 3)
    assert torch.equal(cpu.fused_forward(strided, reference, turned, logits, FLAT), want)
    empty = cpu.fused_forward(value, reference[:, :0], offsets[:, :0], logits[:, :0], FLAT)
    assert empty.shape == (2, 0, 64)
    # As under autocast: values and what the layers give in other dtypes.
    halves = offsets.bfloat16(), logits.bfloat16()
    got = cpu.fused_forward(value, reference, *halves, FLAT)
    same = cpu.fused_forward(value, reference, *(half.float() for half in halves), FLAT)
    assert torch.equal(got, same)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_dtypes_are_the_definitions(dtype, calls):
    inputs = [tensor.to(dtype) for tensor in drawn(torch.float32, 4)]
    inputs[1] = inputs[1].to(torch.promote_types(dtype, torch.float32))
    got = cpu.fused_forward(*inputs, FLAT)
    assert not calls
    assert torch.equal(got, fused.forward(*inputs, FLAT))


def test_the_definition_can_be_asked_for(monkeypatch, calls):
    inputs = drawn(torch.float32, 4)
    monkeypatch.setenv(ENVIRONMENT, "definition")
    assert torch.equal(cpu.fused_forward(*inputs, FLAT), fused.forward(*inputs, FLAT))
    value, _, offsets, logits = inputs
    cpu.forward(value, offsets, logits, FLAT)
    assert not calls
    assert cpu.info() == "definition (PyTorch)"


def test_the_operators_run_it(calls):
    inputs = drawn(torch.float32, 4)
    torch.ops.entityseg.deformable_attention_fused(*inputs, FLAT)
    value, _, offsets, logits = inputs
    torch.ops.entityseg.deformable_attention(value, offsets, logits, FLAT)
    assert len(calls) == 2


def test_gradients_are_those_of_the_definition():
    inputs = [tensor.requires_grad_() for tensor in drawn(torch.float32, 4)]
    got = torch.ops.entityseg.deformable_attention_fused(*inputs, FLAT)
    grads = torch.autograd.grad(got.square().sum(), inputs)
    want = deformable_attention_from_offsets_definition(*inputs, SHAPES)
    for one, other in zip(grads, torch.autograd.grad(want.square().sum(), inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("wrong", ["levels", "offsets", "area"])
def test_what_does_not_fit_is_refused(wrong, calls):
    value, reference, offsets, logits = drawn(torch.float32, 4)
    shapes = {"levels": FLAT[:4], "offsets": FLAT, "area": [3, 4, 2, 5, 1, 2]}[wrong]
    offsets = offsets[:, :-1] if wrong == "offsets" else offsets
    with pytest.raises(ValueError, match="deformable_attention: "):
        cpu.fused_forward(value, reference, offsets, logits, shapes)
    assert not calls
