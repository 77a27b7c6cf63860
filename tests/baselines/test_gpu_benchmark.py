"""The benchmark of the models on GPUs runs, on a CPU and on tiny models, in all its parts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks/gpu"


def run(*args):
    command = [sys.executable, str(FOLDER / "bench_models.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says something only where there is no GPU")
def test_without_a_gpu_it_says_that_nothing_was_measured():
    done = run()
    assert done.returncode == 0, done.stderr
    assert "nothing was checked or measured" in done.stdout


def test_every_case_runs(tmp_path):
    pytest.importorskip("transformers")
    done = run("--device", "cpu", "--small", "--samples", 1, "--json", tmp_path / "rows.json")
    assert done.returncode == 0, done.stderr
    assert "WRONG" not in done.stdout
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["failure"] for row in rows} == {None}
    assert all(row["median"] > 0 for row in rows)
    kinds = {(row["what"].split(",")[0], row["how"]) for row in rows}
    for what in ("inference", "pixel decoder"):
        assert {how for kind, how in kinds if kind == what} == {
            "float32, eager",
            "bfloat16, eager",
            "bfloat16, eager, definition",
            "bfloat16, compiled",
            "bfloat16, compiled, definition",
            "bfloat16, graph",
        }
    assert {"training step", "postprocessing"} <= {kind for kind, _ in kinds}


def test_wrong_outputs_are_found(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    import model_checks

    monkeypatch.setattr(model_checks, "GOLDEN", FOLDER / "none")
    assert model_checks.check(torch.device("cpu"))

    def judge(name, model, *rest):
        torch.nn.init.zeros_(model.sem_seg_head["predictor"].level_embed.weight)
        return original(name, model, *rest)

    original = model_checks._judge
    monkeypatch.setattr(model_checks, "_judge", judge)
    assert not model_checks.check(torch.device("cpu"))
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="the script is one of bash")
@pytest.mark.parametrize("broken", ["nothing", "bench_op.py"])
def test_one_command_runs_all_steps_and_says_if_one_failed(tmp_path, broken):
    """A played Python stands in, which only prints its arguments, or fails at one script."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "ran $*"\ncase "$*" in *{broken}*) exit 3;; esac\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(FOLDER / "run_all.sh"), "--dry-run", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    failed = broken != "nothing"
    assert done.returncode == failed, done.stderr
    assert ("op: FAILED" in done.stdout) == failed
    assert "models: ok" in done.stdout
    report = (tmp_path / "out/report.md").read_text()
    assert report.count("ran ") == 3 and "bench_models.py --device cpu --small" in report
