"""The small case that kernels must pass before a model relies on them."""

import pytest
import torch

from baselines.ops import launch, trial

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", launch.DTYPES)
@pytest.mark.parametrize("channels", launch.CHANNELS)
def test_the_kernels_pass(emulator, dtype, channels):
    assert trial.disagreement(emulator, dtype, channels, CPU) is None
    assert len(emulator.launched) == 2


class Broken:
    """Kernels that do nothing in one of the two passes."""

    def __init__(self, emulator, silent):
        self._emulator, self._silent = emulator, silent

    def launch(self, name, grid, arguments, device):
        if not name.startswith(self._silent):
            self._emulator.launch(name, grid, arguments, device)


@pytest.mark.parametrize(("silent", "named"), [("forward", "out"), ("backward", "gradient")])
def test_broken_kernels_do_not_pass(emulator, monkeypatch, silent, named):
    for make in ("empty", "empty_like"):  # so that what nobody wrote is no chance of memory
        monkeypatch.setattr(torch, make, getattr(torch, make.replace("empty", "zeros")))
    found = trial.disagreement(Broken(emulator, silent), torch.float32, 32, CPU)
    assert named in found
    assert "differs from PyTorch" in found


@pytest.fixture
def settled(monkeypatch):
    """Stand in for a card whose kernels give wrong results."""
    for cached in (trial._settle, trial._tried):
        cached.cache_clear()
    choice = trial.Choice("cubin", "sm_90", {}, object(), object())
    monkeypatch.setattr(trial, "_choice", lambda index: choice)
    monkeypatch.setattr(trial, "_kernels_of", lambda index: object())
    monkeypatch.setattr(trial, "disagreement", lambda *case: "out differs")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    yield trial._Need(0, torch.float32, 32, 3, 4)
    for cached in (trial._settle, trial._tried):
        cached.cache_clear()


def test_wrong_results_send_a_model_to_pytorch(settled, caplog):
    assert trial._settle(settled, None) is None
    assert "definition, in PyTorch (out differs)" in caplog.text


def test_wrong_results_of_a_forced_path_are_an_error(settled, monkeypatch):
    monkeypatch.setenv("ENTITYSEG_OPS", "cubin")
    with pytest.raises(RuntimeError, match="ENTITYSEG_OPS=cubin gives wrong results: out differs"):
        trial._settle(settled, None)
