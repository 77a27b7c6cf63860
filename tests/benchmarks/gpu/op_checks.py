"""Is the deformable attention operator right on this device? Everything is held against float64."""

import threading
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from baselines.ops import (
    deformable_attention,
    deformable_attention_definition,
    deformable_attention_from_offsets,
    deformable_attention_from_offsets_definition,
)

__all__ = ["VIEW", "check", "draw"]

Shapes = list[tuple[int, int]]
VIEW: Shapes = [(25, 42), (50, 84), (100, 168)]  # one view of 800 x 1333
ODD: Shapes = [(3, 4), (9, 13), (1, 1)]
# Of the largest value of the result; 16 bits round the result once.
ROUNDING = {torch.float32: 2e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}


def draw(
    device: torch.device,
    shapes: Shapes,
    batch: int,
    queries: int | None,
    dtype: torch.dtype,
    heads: int = 8,
    channels: int = 32,
    pixels: float | None = None,
) -> tuple[Tensor, ...]:
    """Draw value, reference points, offsets in pixels and logits, 4 points a level.

    Args:
        device: where.
        shapes: levels.
        batch: B.
        queries: Q; None: a query at every pixel.
        dtype: of value.
        heads: H.
        channels: C.
        pixels: standard deviation of the offsets; None: locations uniform in [-0.5, 1.5].
    """
    rng = torch.Generator(device).manual_seed(0)
    area = sum(height * width for height, width in shapes)
    if queries is None and pixels is not None:
        reference = torch.cat([_centres(*shape, device) for shape in shapes])
    else:
        # Off pixel centres: from there whole pixels lead to others, where there is no slope.
        reference = torch.rand(queries or area, 2, generator=rng, device=device)
    size = (batch, len(reference), heads, len(shapes), 4)
    value = torch.randn(batch, area, heads, channels, generator=rng, device=device).to(dtype)
    if pixels is None:
        sides = torch.tensor([(width, height) for height, width in shapes], device=device)
        places = torch.rand(*size, 2, generator=rng, device=device) * 2 - 0.5
        offsets = (places - reference[None, :, None, None, None]) * sides[:, None]
    else:
        offsets = torch.randn(*size, 2, generator=rng, device=device) * pixels
    logits = torch.randn(size, generator=rng, device=device)
    return value, reference[None, :, None, None, None], offsets, logits


def _centres(height: int, width: int, device: torch.device) -> Tensor:
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).flatten(0, 1)


def on_locations(inputs: tuple[Tensor, ...], shapes: Shapes) -> tuple[Tensor, ...]:
    """Turn references, offsets and logits into locations and weights, float32."""
    value, reference, offsets, logits = inputs
    sides = torch.tensor([(w, h) for h, w in shapes], device=value.device)
    locations = reference + offsets.float() / sides[:, None]
    return value, locations, logits.float().flatten(3).softmax(-1).view(logits.shape)


def differences(
    function: Callable[..., Tensor],
    definition: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    shapes: Shapes,
) -> Iterator[tuple[str, float]]:
    """Yield the error of output and gradients, as a part of what rounding allows."""
    ours = [tensor.detach().requires_grad_() for tensor in inputs]
    out = function(*ours, shapes)
    grad = torch.randn_like(out)
    theirs = [tensor.detach().double().requires_grad_() for tensor in inputs]
    want = definition(*theirs, shapes)
    got = (out, *torch.autograd.grad(out, ours, grad))
    exact = (want, *torch.autograd.grad(want, theirs, grad.double()))
    kinds = [tensor.dtype for tensor in got]
    if len(inputs) == 4:
        kinds[2] = kinds[3]  # the gradient of references is made of that of offsets
    names = ("out", *(f"gradient {i}" for i in range(len(inputs))))
    for name, kind, a, b in zip(names, kinds, got, exact, strict=True):
        largest = b.abs().max().clamp(min=1e-30)
        yield name, ((a.double() - b).abs().max() / largest / ROUNDING[kind]).item()


def check(device: torch.device) -> bool:
    """Run every check, print what fails, and say whether all is right."""
    failed = 0
    count = 0
    for what, run in _checks(device):
        count += 1
        try:
            problem = run()
        except (RuntimeError, ValueError, AssertionError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            failed += 1
            print(f"WRONG  {what}: {problem}")
    print(f"{count - failed} of {count} checks of the operator are right")
    return not failed


def _checks(device: torch.device) -> Iterator[tuple[str, Callable[[], str | None]]]:
    for dtype in ROUNDING:
        for channels in (8, 16, 32, 64):
            for batch, queries in ((1, None), (2, 37), (3, 100), (8, None)):
                inputs = draw(device, ODD, batch, queries, dtype, 3, channels)
                what = f"{dtype}, {channels} channels, B {batch}, Q {queries}"
                yield what, lambda i=inputs, d=dtype: _equal(i, ODD, d)
    large = VIEW if device.type == "cuda" else ODD
    for dtype in ROUNDING:
        inputs = draw(device, large, 1, None, dtype)
        yield f"a view, {dtype}", lambda i=inputs, d=dtype: _equal(i, large, d)
    yield "exactly 0 and 1, and half a pixel off", lambda: _edges(device)
    yield "places that are not numbers", lambda: _nowhere(device)
    yield "no queries", lambda: _no_queries(device)
    yield "strided input", lambda: _strided(device)
    if device.type == "cuda":
        yield "more than 2^31 values", lambda: _huge(device)
        yield "another stream", lambda: _other_stream(device)
        yield "a thread of its own", lambda: _other_thread(device)
        yield "captured into a graph", lambda: _captured(device)
        for index in range(1, torch.cuda.device_count()):
            other = torch.device("cuda", index)
            inputs = draw(other, ODD, 2, None, torch.float32)
            yield f"device {index}", lambda i=inputs: _equal(i, ODD, torch.float32)


def _equal(inputs: tuple[Tensor, ...], shapes: Shapes, dtype: torch.dtype) -> str | None:
    """Compare both operators; offsets and logits in float32 and, if narrower, in value's dtype."""
    cases = [(deformable_attention, deformable_attention_definition, on_locations(inputs, shapes))]
    value, reference, offsets, logits = inputs
    for kind in {torch.float32, dtype}:
        narrow = (value, reference, offsets.to(kind), logits.to(kind))
        fused = (deformable_attention_from_offsets, deformable_attention_from_offsets_definition)
        cases.append((*fused, narrow))
    for function, definition, arguments in cases:
        for name, part in differences(function, definition, arguments, shapes):
            if not part <= 1:
                return f"{function.__name__}, {name}: {part:.1f} times what rounding allows"
    return None


def _edges(device: torch.device) -> str | None:
    """All multiples of 1/16 in [-0.125, 1.125] on a level of 2 x 4."""
    steps = torch.arange(-2, 19, device=device) / 16
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).flatten(0, 1)
    locations = grid[None, :, None, None, None].contiguous()
    value = torch.randn(1, 8, 1, 8, device=device)
    arguments = (value, locations, torch.ones(locations.shape[:-1], device=device))
    out = deformable_attention(*arguments, [(2, 4)])
    want = deformable_attention_definition(*(a.double() for a in arguments), [(2, 4)])
    error = (out - want).abs().max().item()
    return None if error < 1e-5 else f"off by {error:.2e}"


def _nowhere(device: torch.device) -> str | None:
    value, locations, weights = on_locations(draw(device, ODD, 2, 9, torch.float32), ODD)
    for bad in (float("nan"), float("inf"), 1e30):
        locations[..., 1] = bad
        value[:] = 1e30
        arguments = [
            t.requires_grad_() for t in (value.clone(), locations.clone(), weights.clone())
        ]
        out = deformable_attention(*arguments, ODD)
        for tensor in (out, *torch.autograd.grad(out.sum(), arguments)):
            if tensor.count_nonzero():
                return f"{bad} gives something"
    return None


def _no_queries(device: torch.device) -> str | None:
    value, locations, weights = on_locations(draw(device, ODD, 2, 9, torch.float32), ODD)
    out = deformable_attention(value.requires_grad_(), locations[:, :0], weights[:, :0], ODD)
    out.sum().backward()
    fits = out.shape == (2, 0, 256) and not value.grad.count_nonzero()
    return None if fits else f"{tuple(out.shape)}"


def _strided(device: torch.device) -> str | None:
    value, locations, weights = on_locations(draw(device, ODD, 2, 9, torch.float32), ODD)
    want = deformable_attention(value, locations, weights, ODD)
    shifted = value.new_empty(value.numel() + 1)[1:].view_as(value).copy_(value)
    turned = locations.transpose(1, 2).contiguous().transpose(1, 2)
    got = deformable_attention(
        shifted, turned, weights.transpose(0, 1).clone().transpose(0, 1), ODD
    )
    return None if torch.equal(got, want) else "another result"


def _huge(device: torch.device) -> str | None:
    """The last item of a batch whose values number more than 2^31 equals that item alone."""
    free, _ = torch.cuda.mem_get_info(device)
    if free < 30e9:
        print(f"not run: more than 2^31 values (30 GB are needed, {free / 1e9:.0f} are free)")
        return None
    value, locations, weights = on_locations(
        draw(device, VIEW, 1, 64, torch.bfloat16, pixels=2.0), VIEW
    )
    batch = 2**31 // value.numel() + 2
    many = value.new_zeros(batch, *value.shape[1:])
    many[-1] = value[0]
    spread = (
        locations.expand(batch, *locations.shape[1:]),
        weights.expand(batch, *weights.shape[1:]),
    )
    many.requires_grad_(), value.requires_grad_()
    out = deformable_attention(many, *spread, VIEW)
    alone = deformable_attention(value, locations, weights, VIEW)
    (grads,) = torch.autograd.grad(out.float().sum(), many)
    (grad,) = torch.autograd.grad(alone.float().sum(), value)
    same = torch.equal(out[-1], alone[0]) and not out[:-1].count_nonzero()
    near = torch.allclose(grads[-1].float(), grad[0].float(), rtol=2**-6, atol=1e-3)
    return None if same and near else "the last item differs"


def _other_stream(device: torch.device) -> str | None:
    inputs = draw(device, ODD, 2, None, torch.float32)
    want = deformable_attention_from_offsets(*inputs, ODD)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)  # the operator must wait for it, in its stream
        late = inputs[0] * 1
        got = deformable_attention_from_offsets(late, *inputs[1:], ODD)
    stream.synchronize()
    return None if torch.equal(got, want) else "another result"


def _other_thread(device: torch.device) -> str | None:
    inputs = draw(device, ODD, 2, None, torch.float32)
    want = deformable_attention_from_offsets(*inputs, ODD)
    results: list[Tensor] = []
    thread = threading.Thread(
        target=lambda: results.append(deformable_attention_from_offsets(*inputs, ODD))
    )
    thread.start()
    thread.join()
    return None if results and torch.equal(results[0], want) else "no or another result"


def _captured(device: torch.device) -> str | None:
    """Forward and backward, replayed on other numbers."""
    first, second = (draw(device, ODD, 2, queries, torch.float32) for queries in (None, None))
    still = [tensor.clone().requires_grad_() for tensor in first]
    second[0].mul_(3)

    def step() -> tuple[Tensor, ...]:
        out = deformable_attention_from_offsets(*still, ODD)
        return out, *torch.autograd.grad(out.sum(), still[:1])

    warm = torch.cuda.Stream(device)
    with torch.cuda.stream(warm):
        step()
    warm.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()
    with torch.no_grad():
        still[0].copy_(second[0])
    graph.replay()
    torch.cuda.synchronize(device)
    same = torch.equal(kept[0], step()[0])
    return None if same else "a replay gives another result"
