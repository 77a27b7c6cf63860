"""Check the deformable attention operator on a GPU, then time it beside PyTorch and transformers.

    python tests/benchmarks/gpu/bench_op.py [--samples 200] [--quick]
    python tests/benchmarks/gpu/bench_op.py --device cpu   # the checks alone: shows that they run

Contenders: the definition in PyTorch, eager and compiled; transformers' version; the operator on
locations; and the operator on offsets ("fused"), which does more: its rivals' row with the same
work is "glue + operator". Times are medians of samples taken with events, after 50 to warm up, with
the inputs still in the L2 cache and after it was overwritten; p10 and p90 are of the first. The
backward pass includes the zeroing of gradients. A limit is a time below which this card cannot do
it: bytes that must cross HBM at the rate of a copy measured in the same run, and, forward, sampled
bytes at 128 a clock and multiprocessor.
"""

import argparse
import datetime
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from op_checks import VIEW, check, draw, on_locations
from torch import Tensor

from baselines import ops

Run = Callable[[], object]
WARM_UP = 50


class Case(NamedTuple):
    """What is timed; pixels: standard deviation of the offsets, None uniform locations."""

    batch: int
    queries: int | None
    dtype: torch.dtype
    pixels: float | None = 2.0


class Card(NamedTuple):
    """What limits a kernel: bytes a second of HBM, and of all L1 caches."""

    hbm: float
    l1: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="two cases in place of all")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing measured")
        return 0
    print(ops.info())
    if not check(device):
        print("nothing is timed that is not right")
        return 1
    if device.type != "cuda":
        return 0
    card = limits_of(device, args.samples)
    describe(device, card, args.samples)
    for case in list(cases())[: 2 if args.quick else None]:
        for backward in (False, True):
            table(case, backward, device, card, args.samples)
    return 0


def cases() -> Iterator[Case]:
    """The grid of the design: batches, queries, dtypes, and how far offsets reach."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for batch in (1, 2, 4, 5):
            yield Case(batch, None, dtype)
        for queries in (100, 300, 900):
            yield Case(1, queries, dtype)
    for dtype in (torch.float32, torch.bfloat16):
        for pixels in (1.0, 4.0, None):
            yield Case(1, None, dtype, pixels)


def describe(device: torch.device, card: Card, samples: int) -> None:
    """Print what a reader needs to believe the tables."""
    name = torch.cuda.get_device_name(device)
    print(
        f"\n{datetime.date.today()}, {name}, PyTorch {torch.__version__}, `{' '.join(sys.argv)}`\n"
        f"{samples} samples; copy {card.hbm / 1e12:.2f} TB/s, L1 {card.l1 / 1e12:.1f} TB/s"
    )


def limits_of(device: torch.device, samples: int) -> Card:
    """Measure a copy of 1 GB; L1 from the number of multiprocessors and their clock."""
    source = torch.empty(2**28, device=device)
    target = torch.empty_like(source)
    median = statistics.median(timed(lambda: target.copy_(source), samples, None))
    properties = torch.cuda.get_device_properties(device)
    clock = getattr(properties, "clock_rate", 1_755_000) * 1e3  # kHz; an H100's where not told
    return Card(2 * source.nbytes / median, 128 * properties.multi_processor_count * clock)


def table(case: Case, backward: bool, device: torch.device, card: Card, samples: int) -> None:
    """Print the contenders of one case."""
    inputs = draw(device, VIEW, case.batch, case.queries, case.dtype, pixels=case.pixels)
    way = "backward" if backward else "forward"
    queries = inputs[2].shape[1]
    offsets = "uniform" if case.pixels is None else f"{case.pixels:g} px"
    print(f"\n**{way}, {case.dtype}, B {case.batch}, Q {queries}, offsets {offsets}**\n")
    print("| | warm us | p10 | p90 | cold us | times ours | of HBM | of L1 |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    hbm, l1 = least_bytes(inputs, backward)
    flush = torch.empty(2 * 128 * 2**20, dtype=torch.int8, device=device)
    rows = {}
    for name, run in contenders(inputs, backward):
        try:
            rows[name] = timed(run, samples, None), timed(run, samples, flush)
        except (RuntimeError, TypeError) as error:  # out of memory, or a peer that changed
            print(f"| {name} | failed: {str(error).splitlines()[0][:80]} |||||||")
    ours = statistics.median(rows["operator"][0]) if "operator" in rows else float("nan")
    for name, (warm, cold) in rows.items():
        median, tenths = statistics.median(warm), statistics.quantiles(warm, n=10)
        fractions = f"{hbm / card.hbm / median:.0%} | " + (
            "" if backward else f"{l1 / card.l1 / median:.0%}"
        )
        print(
            f"| {name} | {median * 1e6:.1f} | {tenths[0] * 1e6:.1f} | {tenths[-1] * 1e6:.1f} | "
            f"{statistics.median(cold) * 1e6:.1f} | {median / ours:.2f} | {fractions} |"
        )


def contenders(inputs: tuple[Tensor, ...], backward: bool) -> Iterator[tuple[str, Run]]:
    """Yield names and what to run; first what works on locations, then what works on offsets."""
    plain = on_locations(inputs, VIEW)
    definition = ops.deformable_attention_definition
    yield "definition, eager", runs(definition, plain, backward)
    torch._dynamo.reset()
    yield "definition, compiled", runs(torch.compile(definition, dynamic=False), plain, backward)
    yield "transformers", runs(transformers(), plain, backward)
    yield "operator", runs(ops.deformable_attention, plain, backward)
    narrow = (*inputs[:2], *(tensor.to(inputs[0].dtype) for tensor in inputs[2:]))

    def glued(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor, shapes) -> Tensor:
        return ops.deformable_attention(
            *on_locations((value, reference, offsets, logits), shapes), shapes
        )

    yield "glue + operator", runs(glued, narrow, backward)
    yield "fused", runs(ops.deformable_attention_from_offsets, narrow, backward)


def transformers() -> Callable[..., Tensor]:
    """Return transformers' function, with our order of arguments."""
    from transformers.models.mask2former.modeling_mask2former import (
        multi_scale_deformable_attention,
    )

    def run(value: Tensor, locations: Tensor, weights: Tensor, shapes) -> Tensor:
        kind = value.dtype  # it samples in the dtype of values, locations included
        return multi_scale_deformable_attention(value, shapes, locations.to(kind), weights.to(kind))

    return run


def runs(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], backward: bool) -> Run:
    """Close over the inputs; the backward pass alone is timed by repeating it on one graph."""
    if not backward:

        def forward() -> Tensor:
            with torch.no_grad():
                return function(*inputs, VIEW)

        return forward
    # A reference is no input of a gradient in the model.
    wanted = [i for i in range(len(inputs)) if len(inputs) == 3 or i != 1]
    leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(inputs)]
    out = function(*leaves, VIEW)
    grad = torch.randn_like(out)
    targets = [leaves[i] for i in wanted]
    return lambda: torch.autograd.grad(out, targets, grad, retain_graph=True)


def timed(run: Run, samples: int, flush: Tensor | None) -> list[float]:
    """Time runs in seconds, each between two events; flush: overwritten before each."""
    for _ in range(WARM_UP):
        run()
    pairs = []
    for _ in range(samples):
        if flush is not None:
            flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        pairs.append((start, end))
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1e3 for start, end in pairs]


def least_bytes(inputs: tuple[Tensor, ...], backward: bool) -> tuple[int, int]:
    """Return the bytes that must cross HBM (locations as float32), and those sampled from L1."""
    value, _, _, logits = inputs
    samples = logits.numel() * 3 * 4  # a location and a weight
    out = value.nbytes // value.shape[1] * logits.shape[1]
    sampled = logits.numel() * 4 * value.shape[3] * value.element_size()
    if not backward:
        return value.nbytes + samples + out, sampled
    # Read as forward, and the output's gradient; sums are zeroed, added to and given out.
    sums = value.numel() * 4 * (2 if value.element_size() == 4 else 3)
    return value.nbytes + 2 * samples + out + sums, sampled


if __name__ == "__main__":
    sys.exit(main())
