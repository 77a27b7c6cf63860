"""Check the models on a GPU, then time them beside transformers' Mask2Former and our definition.

    python tests/benchmarks/gpu/bench_models.py [--json FILE] [--samples 50]
    python tests/benchmarks/gpu/bench_models.py --device cpu --small   # only shows that it runs

First the golden outputs (or, where they are not beside the checkout, those of the CPU) must come
out: float32 within the tolerances, bfloat16 with 99.5 % of the final masks' pixels equal. Without
that nothing is timed. Weights are random. Every row is one image: median, 10th and 90th percentile
of the samples, and the peak of memory that tensors took. "x" is the time over that of
transformers' Mask2Former, run eagerly in the same precision in the same run.
"""

import argparse
import datetime
import gc
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from model_checks import check
from model_subjects import (
    PEER,
    Run,
    Setting,
    defined,
    inference,
    models,
    pixel_decoding,
    postprocessing,
    step,
)


@dataclass
class Row:
    """One line of the table; times in ms, memory in MB, None where there is none."""

    what: str
    model: str
    how: str
    median: float | None = None
    p10: float | None = None
    p90: float | None = None
    peak_mb: float | None = None
    ratio: float | None = None
    failure: str | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny models and images")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table here too")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was checked or measured.")
        return 0
    setting = Setting(device, args.small)
    # Float32 means float32: TensorFloat-32 keeps 10 bits.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if not check(device):
        print("The outputs are wrong: nothing is timed.")
        return 1
    about = describe(setting, args.samples)
    print(about)
    rows = list(measured(setting, args.samples))
    compare(rows)
    if args.json:
        text = json.dumps({"about": about, "rows": [asdict(row) for row in rows]}, indent=1)
        args.json.write_text(text)
    return 0


def describe(setting: Setting, samples: int) -> str:
    """Say what was measured on what."""
    cuda = setting.device.type == "cuda"
    name = torch.cuda.get_device_name(setting.device) if cuda else "CPU"
    height, width = setting.image_size
    return (
        f"{name}, PyTorch {torch.__version__}, {datetime.date.today()}, one image of {height} x "
        f"{width} ({'tiny' if setting.small else 'full'} models), {samples} samples"
    )


def cases(setting: Setting) -> Iterator[tuple[str, str, str, Run]]:
    """Yield (what, model, how, a function that prepares the run)."""
    full, half = torch.float32, torch.bfloat16
    for what, prepare in (("inference", inference), ("pixel decoder", pixel_decoding)):
        for name in (PEER, *models(setting)):
            for dtype, compiled in ((full, False), (half, False), (half, True)):
                how = f"{str(dtype)[6:]}, {'compiled' if compiled else 'eager'}"
                args = (name, setting, dtype, compiled)
                yield what, name, how, lambda f=prepare, a=args: f(*a)
                if name != PEER and dtype == half:
                    # The row is measured before the generator goes on, so within the context.
                    with defined():
                        yield what, name, f"{how}, definition", lambda f=prepare, a=args: f(*a)
            if name != PEER:
                yield (
                    what,
                    name,
                    "bfloat16, graph",
                    lambda f=prepare, n=name: f(n, setting, half, False),
                )
    for name in (PEER, *models(setting)):
        yield "training step", name, "bfloat16, eager", lambda n=name: step(n, setting)
    for views in (1, 5):
        height, width = setting.photograph
        what = f"postprocessing, {height} x {width}"
        yield what, f"{views} views", "float32, eager", lambda v=views: postprocessing(setting, v)


def measured(setting: Setting, samples: int) -> Iterator[Row]:
    """Measure every case; what cannot run is a row that says why."""
    print(f"{'':32}{'':26}{'':30}{'median':>10}{'p10':>10}{'p90':>10}{'images/s':>10}{'MB':>8}")
    for what, name, how, prepare in cases(setting):
        row = Row(what, name, how)
        torch.compiler.reset()
        try:
            measure(row, prepare, setting, samples)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            row.failure = str(error).strip().splitlines()[0][:100] or type(error).__name__
        gc.collect()
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
        print(line(row), flush=True)
        yield row


def measure(row: Row, prepare, setting: Setting, samples: int) -> None:
    """Fill a row with the times and the memory of one run."""
    learns = row.what == "training step"
    cuda = setting.device.type == "cuda"
    with torch.inference_mode(not learns), torch.set_grad_enabled(learns):
        run = prepare()
        if row.how.endswith("graph"):
            run = captured(run, cuda)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(1 if setting.small else 10):
            run()
        times = sorted(timed(run, cuda) for _ in range(samples))
    row.median = statistics.median(times)
    row.p10, row.p90 = times[len(times) // 10], times[-1 - len(times) // 10]
    if cuda:
        row.peak_mb = torch.cuda.max_memory_allocated() / 1e6


def timed(run: Run, cuda: bool) -> float:
    """Give the ms of one run, by events on a GPU and by the clock elsewhere."""
    if not cuda:
        began = time.perf_counter()
        run()
        return (time.perf_counter() - began) * 1e3
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def captured(run: Run, cuda: bool) -> Run:
    """Record a run as a CUDA graph and give its replay; elsewhere the run itself."""
    if not cuda:
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = run()
    # The graph writes to what its run gave, which must not be let go.
    return lambda: (graph.replay(), kept)


def line(row: Row) -> str:
    start = f"{row.what:32}{row.model:26}{row.how:30}"
    if row.failure:
        return f"{start}  could not run: {row.failure}"
    peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
    times = f"{row.median:10.2f}{row.p10:10.2f}{row.p90:10.2f}"
    return f"{start}{times}{1e3 / row.median:10.2f}{peak:>8}"


def compare(rows: list[Row]) -> None:
    """Set every row's ratio to transformers run eagerly in its precision, and print those."""
    peers = {(row.what, row.how): row.median for row in rows if row.model == PEER}
    print("\nTime over that of transformers' Mask2Former, run eagerly in the same precision:")
    for row in rows:
        peer = peers.get((row.what, f"{row.how.split(',')[0]}, eager"))
        if peer and row.median:
            row.ratio = row.median / peer
            print(f"{row.what:32}{row.model:26}{row.how:30}{row.ratio:8.2f} x")


if __name__ == "__main__":
    sys.exit(main())
