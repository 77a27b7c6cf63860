"""The CUDA source itself, run on the CPU, against the operator's definition in float64."""

import numpy as np
import pytest
import torch

from baselines.ops import (
    deformable_attention_definition,
    deformable_attention_from_offsets_definition,
    launch,
)

# Of the largest value of the result: float32 rounds sums of a few dozen terms, 16 bits the result.
ROUNDING = {torch.float32: 3e-6, torch.float16: 2**-10, torch.bfloat16: 2**-7}
LEVELS = [(3, 4), (9, 13), (1, 1)]  # neither side a multiple of a tile's 8; one of one pixel
DTYPES = list(ROUNDING)


def flat(shapes):
    return [side for shape in shapes for side in shape]


def sample(
    shapes=LEVELS, batch=2, queries=None, heads=2, channels=32, points=4, dtype=torch.float32
):
    """Draw value, locations in [-0.5, 1.5], weights and a gradient; None: a query a pixel."""
    rng = torch.Generator().manual_seed(batch * 1000 + channels)
    area = sum(height * width for height, width in shapes)
    queries = area if queries is None else queries
    size = (batch, queries, heads, len(shapes), points)
    value = torch.randn(batch, area, heads, channels, generator=rng).to(dtype)
    locations = torch.rand(*size, 2, generator=rng) * 2 - 0.5
    weights = torch.rand(*size, generator=rng)
    grad = torch.randn(batch, queries, heads * channels, generator=rng).to(dtype)
    return value, locations, weights, grad


def truth(function, inputs, grad, shapes):
    """Compute output and gradients in float64 from the definition."""
    inputs = [tensor.double().requires_grad_() for tensor in inputs]
    out = function(*inputs, shapes)
    return out.detach(), *torch.autograd.grad(out, inputs, grad.double())


def assert_near(got, want, dtype, what):
    assert torch.isfinite(got).all(), what
    # An empty result has no largest value; an all-zero one must be met exactly.
    size = want.abs().max() if want.numel() else 0
    error = (got.double() - want).abs().max() if want.numel() else 0
    assert error <= ROUNDING[dtype] * size, f"{what}: off by {error:.2e} of {size:.2e}"


def compare(emulator, shapes, value, locations, weights, grad):
    out = launch.forward(emulator, value, locations, weights, flat(shapes))
    grads = launch.backward(emulator, grad, value, locations, weights, flat(shapes))
    want = truth(deformable_attention_definition, (value, locations, weights), grad, shapes)
    assert out.dtype == grads[0].dtype == value.dtype
    assert_near(out, want[0], value.dtype, "out")
    assert_near(grads[0], want[1], value.dtype, "grad of value")
    assert_near(grads[1], want[2], torch.float32, "grad of locations")
    assert_near(grads[2], want[3], torch.float32, "grad of weights")


@pytest.mark.parametrize("dtype", DTYPES, ids=launch.DTYPES.get)
@pytest.mark.parametrize("channels", launch.CHANNELS)
@pytest.mark.parametrize("queries", [None, 37])
def test_every_kernel(emulator, dtype, channels, queries):
    compare(emulator, LEVELS, *sample(queries=queries, channels=channels, dtype=dtype))
    assert [name for name, _ in emulator.launched] == [
        f"{way}_{launch.DTYPES[dtype]}_{channels}" for way in ("forward", "backward")
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=launch.DTYPES.get)
def test_sixteen_bits_round_once(emulator, dtype):
    """Sums are float32's, rounded to the nearest at the end."""
    value, locations, weights, _ = sample(dtype=dtype)
    value[0] *= 2.0**-14 if dtype == torch.float16 else 1  # below float16's normal numbers, too
    arguments = (locations, weights, flat(LEVELS))
    out = launch.forward(emulator, value, *arguments)
    assert torch.equal(out, launch.forward(emulator, value.float(), *arguments).to(dtype))


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize(
    ("shapes", "heads", "points"),
    [([(1, 1)], 1, 1), ([(8, 8)], 8, 4), ([(2, 17), (16, 1), (1, 3), (5, 5)], 3, 5)],
)
def test_shapes(emulator, batch, shapes, heads, points):
    for queries in (None, 1, 6):
        inputs = sample(shapes, batch, queries, heads, channels=8, points=points)
        compare(emulator, shapes, *inputs)


@pytest.mark.parametrize("channels", launch.CHANNELS)
def test_large_blocks_in_memory_order(emulator, monkeypatch, channels):
    """Where there is work for every multiprocessor: here, that is for one."""
    monkeypatch.setattr(launch, "_ENOUGH_BLOCKS", 1)
    compare(emulator, LEVELS, *sample(queries=70, channels=channels))
    assert {grid.threads for _, grid in emulator.launched} == {256}


@pytest.mark.parametrize("queries", [None, 6])
def test_more_items_than_a_grid_has_rows(emulator, monkeypatch, queries):
    monkeypatch.setattr(launch, "_MOST_ROWS", 2)
    compare(emulator, LEVELS, *sample(batch=5, queries=queries, channels=8))
    assert {grid.down for _, grid in emulator.launched} == {2}


def test_more_levels_than_a_record_has_lanes_and_many_points(emulator):
    shapes = [(2, 3)] * 8
    compare(emulator, shapes, *sample(shapes, batch=1, queries=5, channels=16, points=9))


def test_literal(emulator):
    """One 2 x 2 level: a pixel centre, the middle, half a pixel outside, outside, not a number."""
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1).repeat(1, 1, 1, 8)
    places = [[0.25, 0.25], [0.5, 0.5], [0.0, 0.25], [-0.25, 0.5], [float("nan"), 0.5]]
    locations = torch.tensor(places).view(1, 5, 1, 1, 1, 2)
    out = launch.forward(emulator, value, locations, torch.ones(1, 5, 1, 1, 1), [2, 2])
    assert out.view(5, 8)[:, 0].tolist() == [1.0, 2.5, 0.5, 0.0, 0.0]
    assert torch.equal(out.view(5, 8), out.view(5, 8)[:, :1].expand(5, 8))


def test_exact_edges(emulator):
    """Locations at exactly 0 and 1, on pixel centres, and half a pixel off them either way."""
    shapes = [(2, 4), (1, 1)]
    value, _, _, _ = sample(shapes, batch=1, channels=8, heads=1)
    steps = torch.arange(-2, 19) / 16  # halves of pixels of width 4, and beyond
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).reshape(-1, 2)
    locations = grid[None, :, None, None, None].repeat(1, 1, 1, 2, 1, 1)
    weights = torch.ones(locations.shape[:-1])
    out = launch.forward(emulator, value, locations, weights, flat(shapes))
    want = deformable_attention_definition(value.double(), locations.double(), weights, shapes)
    assert_near(out, want, torch.float32, "out")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
def test_places_nowhere_give_zero_and_read_nothing(emulator, bad):
    value, locations, weights, grad = sample(batch=1, queries=3)
    locations[:, :, :, :, :, 1] = bad
    value[:] = float("inf")  # whatever is read shows
    out = launch.forward(emulator, value, locations, weights, flat(LEVELS))
    grads = launch.backward(emulator, grad, value, locations, weights, flat(LEVELS))
    for tensor in (out, *grads):
        assert torch.equal(tensor, torch.zeros_like(tensor))


def test_beyond_the_edge_nothing_is_read(emulator):
    """What is not a number beside a location, but a level further, does not reach it."""
    shapes = [(1, 2), (1, 2)]
    value = torch.tensor([1.0, 2.0, float("nan"), float("nan")]).view(1, 4, 1, 1).repeat(1, 1, 1, 8)
    locations = torch.tensor([1.0, 0.5]).expand(1, 1, 1, 2, 1, 2).clone()
    locations[:, :, :, 1] = -1.0
    out = launch.forward(emulator, value, locations, torch.ones(1, 1, 1, 2, 1), flat(shapes))
    assert out.tolist() == [[[1.0] * 8]]


def test_no_queries_no_batch_no_positions(emulator):
    value, locations, weights, grad = sample(queries=4)
    for inputs in (
        (value, locations[:, :0], weights[:, :0], grad[:, :0]),
        (value[:0], locations[:0], weights[:0], grad[:0]),
    ):
        value_, *rest, grad_ = inputs
        out = launch.forward(emulator, value_, *rest, flat(LEVELS))
        assert out.shape == grad_.shape
        grads = launch.backward(emulator, grad_, value_, *rest, flat(LEVELS))
        for got, tensor in zip(grads, (value_, *rest), strict=True):
            assert torch.equal(got, torch.zeros_like(tensor))
    nothing = launch.forward(emulator, value[:, :0], locations, weights, [0, 4, 3, 0, 0, 0])
    assert torch.equal(nothing, torch.zeros_like(nothing))
    assert not emulator.launched


def test_strided_and_misaligned_inputs(emulator):
    value, locations, weights, grad = sample(queries=5)
    want = launch.forward(emulator, value, locations, weights, flat(LEVELS))
    shifted = torch.empty(value.numel() + 1)[1:].view_as(value).copy_(value)
    assert shifted.data_ptr() % 16
    strided = (
        shifted,
        locations.transpose(1, 2).contiguous().transpose(1, 2),
        weights.double(),
    )
    assert torch.equal(launch.forward(emulator, *strided, flat(LEVELS)), want)
    transposed = grad.transpose(1, 2).contiguous().transpose(1, 2)
    for got, expected in zip(
        launch.backward(emulator, transposed, *strided, flat(LEVELS)),
        launch.backward(emulator, grad, value, locations, weights, flat(LEVELS)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected.to(got.dtype))


def test_tiles_or_not_is_only_an_order(emulator):
    """As many queries as positions are taken in tiles of 8 x 8, one more in memory order."""
    value, locations, weights, _ = sample()
    tiled = launch.forward(emulator, value, locations, weights, flat(LEVELS))
    more = [torch.cat([tensor, tensor[:, :1]], dim=1) for tensor in (locations, weights)]
    plain = launch.forward(emulator, value, *more, flat(LEVELS))
    assert torch.equal(tiled, plain[:, :-1])


@pytest.mark.parametrize("channels", launch.CHANNELS)
def test_lanes_in_either_order(emulator, channels):
    """Lanes that wait for each other too little would read what is not written yet."""
    value, locations, weights, grad = sample(channels=channels)
    arguments = (value, locations, weights, flat(LEVELS))
    first = launch.forward(emulator, *arguments), *launch.backward(emulator, grad, *arguments)
    emulator.backwards = True
    second = launch.forward(emulator, *arguments), *launch.backward(emulator, grad, *arguments)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("case", ["a", "b"])
def test_golden(emulator, case, request, data):
    path = data / "baselines/msda_core_a.npz"
    if case == "b":
        path = request.getfixturevalue("shared") / "golden/msda/core_b.npz"
    golden = np.load(path)
    names = ("value", "sampling_locations", "attention_weights", "grad_output")
    value, locations, weights, grad = (torch.from_numpy(golden[name]).float() for name in names)
    channels = value.shape[3]
    # Case a has 2 channels a head, fewer than any kernel: zeros behind them change nothing.
    value = torch.nn.functional.pad(value, (0, 8 - channels))
    grad = torch.nn.functional.pad(grad.unflatten(2, (-1, channels)), (0, 8 - channels)).flatten(2)
    shapes = golden["spatial_shapes"].flatten().tolist()
    out = launch.forward(emulator, value, locations, weights, shapes)
    grads = launch.backward(emulator, grad, value, locations, weights, shapes)
    outputs = {
        "out": out.unflatten(2, (-1, 8))[..., :channels].flatten(2),
        "grad_value": grads[0][..., :channels],
        "grad_loc": grads[1],
        "grad_attn": grads[2],
    }
    for name, tensor in outputs.items():
        want = torch.from_numpy(golden[f"{name}_f64"])
        if case == "b" and name == "grad_loc":
            # Where a location lies on a pixel centre there is no slope: one sided in either way.
            place = locations * torch.tensor(golden["spatial_shapes"]).flip(1)[:, None] - 0.5
            smooth = (place - place.round()).abs().amin(-1, keepdim=True) > 1e-4
            tensor, want = tensor * smooth, want * smooth
            assert smooth.float().mean() > 0.99
        assert_near(tensor, want, torch.float32, name)


@pytest.mark.parametrize("dtype", DTYPES, ids=launch.DTYPES.get)
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("channels", launch.CHANNELS)
def test_from_offsets(emulator, dtype, narrow, channels):
    """Offsets and logits in the value's dtype or in float32, tiled and not."""
    kind = dtype if narrow else torch.float32
    for queries in (None, 7):
        value, locations, weights, grad = sample(queries=queries, channels=channels, dtype=dtype)
        reference = locations[:1, :, :1, :1, :1].contiguous()
        offsets = (locations * 6 - 3).to(kind)
        logits = (weights * 8 - 4).to(kind)
        arguments = (value, offsets, logits, flat(LEVELS), reference)
        out = launch.forward(emulator, *arguments)
        grads = launch.backward(emulator, grad, *arguments)
        want = truth(
            deformable_attention_from_offsets_definition,
            (value, reference, offsets, logits), grad, LEVELS,
        )  # fmt: skip
        assert grads[1].dtype == grads[2].dtype == kind
        assert_near(out, want[0], dtype, "out")
        assert_near(grads[0], want[1], dtype, "grad of value")
        assert_near(grads[1], want[3], kind, "grad of offsets")
        assert_near(grads[2], want[4], kind, "grad of logits")


@pytest.mark.parametrize("shape", [(2, 7, 2, 3, 4, 2), (1, 7, 2, 1, 1, 2), (2, 1, 1, 3, 1, 2)])
def test_references_broadcast(emulator, shape):
    value, locations, weights, _ = sample(queries=7)
    reference = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    arguments = (locations, weights, flat(LEVELS))
    got = launch.forward(emulator, value, *arguments, reference)
    want = launch.forward(emulator, value, *arguments, reference.expand(locations.shape).clone())
    assert torch.equal(got, want)
    inputs = [tensor.double() for tensor in (value, reference, locations, weights)]
    assert_near(
        got, deformable_attention_from_offsets_definition(*inputs, LEVELS), torch.float32, "out"
    )


def test_large_logits_and_no_logits_left(emulator):
    """A softmax neither overflows, nor hides that nothing is left of it."""
    value, locations, weights, _ = sample(queries=3)
    reference = torch.zeros(1, 1, 1, 1, 1, 2)
    logits = weights * 1e4
    logits[:, 1] = -float("inf")
    out = launch.forward(emulator, value, locations, logits, flat(LEVELS), reference)
    inputs = [tensor.double() for tensor in (value, reference, locations, logits)]
    want = deformable_attention_from_offsets_definition(*inputs, LEVELS)
    assert torch.isnan(out[:, 1]).all() and torch.isnan(want[:, 1]).all()
    assert_near(out[:, ::2], want[:, ::2], torch.float32, "out")


def test_what_no_kernel_serves():
    value, locations, _, _ = sample(queries=2)
    shapes = flat(LEVELS)
    assert launch.refusal(value, locations, shapes) is None
    assert "for values of float64" in launch.refusal(value.double(), locations, shapes)
    assert "3 channels a head" in launch.refusal(value[..., :3], locations, shapes)
    assert "locations in float64" in launch.refusal(value, locations.double(), shapes)
    assert "9 levels are more" in launch.refusal(value, locations, [1, 1] * 9)
    many = torch.empty(1, 2**28, 8, 1, 1, 2, device="meta")
    assert "exceed 2^31" in launch.refusal(value, many, [1, 1])


def test_the_emulation_notices_faults(emulator):
    """Arguments that lead outside are faults here, as they would be on a card."""
    value, locations, weights, grad = sample(queries=3)
    out = launch.forward(emulator, value, locations, weights, flat(LEVELS))
    assert out.isfinite().all()
    with pytest.raises(AssertionError, match="reads outside the arrays"):
        launch.forward(emulator, value[:, :-60], locations, weights, flat(LEVELS))
    with pytest.raises(AssertionError, match="outside"):
        launch.backward(emulator, grad, value[:, :-60], locations, weights, flat(LEVELS))
