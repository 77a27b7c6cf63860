"""Time the reference models on a CPU beside transformers' Mask2Former, and print the ratios.

    python tests/benchmarks/bench_models_cpu.py [--threads 2] [--rounds 3] [--size 800 1344]

Ours are timed in float32 and, where the processor multiplies in it, in bfloat16.

Each model runs in a process of its own, so that the peak of its memory is its own. Rounds take
turns between the models, and the best of each counts, so that what else the machine does weighs
less. A process runs its model once to warm up and then once more for the figures. Weights are
random.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

OURS = ("mask2former_swin_tiny_3x", "cropformer_swin_tiny_3x")
MODELS = ("transformers", *OURS, *(f"{name} bfloat16" for name in OURS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1344))
    parser.add_argument("--only", choices=MODELS, help="time one model here, print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args.threads, args.size)))
        return
    from baselines.predictor import precision_of

    names = MODELS if precision_of("auto", "cpu") == "bfloat16" else MODELS[:3]
    best: dict[str, dict[str, float]] = {}
    for _ in range(args.rounds):
        for name in names:
            found = in_a_process(name, args.threads, args.size)
            seen = best.get(name, found)
            best[name] = {key: min(seen[key], found[key]) for key in found}
    peer = best["transformers"]
    print(f"{'model':35}{'wall s':>8}{'CPU s':>8}{'peak GiB':>10}{'x wall':>8}{'x CPU':>8}")
    for name, row in best.items():
        ratios = row["wall"] / peer["wall"], row["cpu"] / peer["cpu"]
        figures = f"{row['wall']:8.2f}{row['cpu']:8.2f}{row['peak']:10.2f}"
        print(f"{name:35}{figures}{ratios[0]:8.2f}{ratios[1]:8.2f}")


def in_a_process(name: str, threads: int, size: tuple[int, int]) -> dict[str, float]:
    """Measure one model in a fresh process."""
    options = ["--only", name, "--threads", str(threads), "--size", *map(str, size)]
    command = [sys.executable, __file__, *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(name: str, threads: int, size: tuple[int, int]) -> dict[str, float]:
    """Measure one inference: wall and CPU seconds, and the process's peak memory in GiB."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    run = transformers_model(size) if name == "transformers" else our_model(name, size)
    with torch.inference_mode():
        run()
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"wall": wall, "cpu": cpu, "peak": peak}


def our_model(name: str, size: tuple[int, int]):
    import torch

    import baselines

    preset, _, dtype = name.partition(" ")
    model = baselines.build_model(preset).eval().to(getattr(torch, dtype or "float32"))
    images = torch.randn(1, model.config.num_views, 3, *size).to(next(model.parameters()))
    return lambda: model(images)


def transformers_model(size: tuple[int, int]):
    import torch
    import transformers

    from baselines.huggingface import config_to_transformers
    from baselines.presets import get_preset

    config = config_to_transformers(get_preset("mask2former_swin_tiny_3x").model)
    model = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    images = torch.randn(1, 3, *size)
    return lambda: model(pixel_values=images)


if __name__ == "__main__":
    main()
