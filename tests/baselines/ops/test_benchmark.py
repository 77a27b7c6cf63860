"""The operator's benchmark for GPUs: its checks pass and its contenders run, on a CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks/gpu"
SHAPES = [(3, 4), (5, 2)]


def run(*arguments):
    command = [sys.executable, str(FOLDER / "bench_op.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def bench_op(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    import bench_op
    import op_checks

    for module in (bench_op, op_checks):
        monkeypatch.setattr(module, "VIEW", SHAPES)
    return bench_op


@pytest.mark.skipif(torch.cuda.is_available(), reason="says something only where there is no GPU")
def test_without_a_gpu_it_says_that_nothing_was_measured():
    done = run()
    assert (done.returncode, done.stdout) == (0, "no CUDA device here: nothing measured\n")


def test_its_checks_pass():
    done = run("--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "55 of 55 checks of the operator are right" in done.stdout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backward", [False, True])
def test_contenders_compute_the_same(bench_op, dtype, backward):
    pytest.importorskip("transformers")
    inputs = bench_op.draw(torch.device("cpu"), SHAPES, 2, None, dtype, pixels=2.0)
    results = {}
    for name, contender in bench_op.contenders(inputs, backward):
        torch.manual_seed(0)
        results[name] = contender()
    assert len(results) == 6
    if not backward:
        for name, out in results.items():
            # transformers samples at locations in the values' dtype.
            loose = dtype == torch.bfloat16
            tolerance = {"rtol": 0.1, "atol": 0.3} if loose else {"rtol": 1e-4, "atol": 1e-5}
            torch.testing.assert_close(out, results["operator"], **tolerance, msg=name)


def test_least_bytes(bench_op):
    inputs = bench_op.draw(torch.device("cpu"), SHAPES, 2, None, torch.float32, pixels=2.0)
    values = outputs = 2 * 22 * 8 * 32 * 4
    samples = 2 * 22 * 8 * 2 * 4 * 3 * 4
    sampled = 2 * 22 * 8 * 2 * 4 * 4 * 32 * 4
    assert bench_op.least_bytes(inputs, False) == (values + samples + outputs, sampled)
    sums = 2 * values  # zeroed, and added to
    backward = values + 2 * samples + outputs + sums
    assert bench_op.least_bytes(inputs, True) == (backward, sampled)
