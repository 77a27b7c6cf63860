"""Which kernels are taken, by a driver that only plays its part: there is no card here."""

import logging
import runpy

import pytest
import torch
from played_driver import PlayedLibrary

from baselines.ops import cpu, load, trial
from baselines.ops.find import CompilerError, Shipped
from baselines.ops.load import Driver

CARD = load.Card(index=1, name="a card", major=9, minor=0)


class PlayedCompiler:
    path = "nvrtc"

    def __init__(self):
        self.compiled = []

    def version(self):
        return "12.8"

    def architectures(self):
        return [75, 80, 90]

    def compile(self, source, target):
        self.compiled.append(target)
        return b"made here"


@pytest.fixture
def library(monkeypatch, tmp_path):
    """Give a machine with a driver, shipped kernels and a compiler, all played."""
    library = PlayedLibrary()
    driver = Driver(library)
    files = {
        "sm_80.cubin": b"cubin 80", "sm_86.cubin": b"cubin 86", "sm_90.cubin": b"cubin 90",
        "compute_75.ptx": b"ptx 75", "compute_90.ptx": b"ptx 90", "build.json": b"{}",
    }  # fmt: skip
    monkeypatch.setattr(load, "_driver", lambda: driver)
    monkeypatch.setattr(load, "read_kernels", lambda: Shipped(files))
    library.compiler = PlayedCompiler()
    monkeypatch.setattr(load, "find_compiler", lambda cuda: library.compiler)
    monkeypatch.setenv("ENTITYSEG_CACHE", str(tmp_path))
    monkeypatch.delenv(load.ENVIRONMENT, raising=False)
    return library


def loaded(library):
    return [arguments[1] for name, arguments in library.calls if name == "cuLibraryLoadData"]


def test_the_cubin_goes_first(library):
    choice = load.choose(CARD)
    assert (choice.path, choice.detail) == ("cubin", "sm_90.cubin")
    assert loaded(library) == [b"cubin 90"]
    assert choice.reasons == dict.fromkeys(("ptx", "nvrtc", "definition"), "not tried: cubin works")


@pytest.mark.parametrize(
    ("capability", "want"),
    [
        ((8, 0), b"cubin 80"), ((8, 6), b"cubin 86"), ((8, 9), b"cubin 86"),
        ((7, 5), b"ptx 75"), ((12, 1), b"ptx 90"),
    ],
)  # fmt: skip
def test_the_best_for_an_architecture(library, capability, want):
    load.choose(load.Card(0, "a card", *capability))
    assert loaded(library) == [want]


def test_one_after_the_other(library):
    library.refused = {b"cubin 90"}
    choice = load.choose(CARD)
    assert choice.path == "ptx"
    assert choice.reasons["cubin"] == "cuLibraryLoadData: CUDA_ERROR_PLAYED: as told"
    library.refused |= {b"ptx 90"}
    choice = load.choose(CARD)
    assert choice.path == "nvrtc" and choice.detail == "sm_90, NVRTC 12.8"
    assert library.compiler.compiled == ["sm_90"]
    library.refused |= {b"made here"}
    choice = load.choose(CARD)
    assert choice.path == "definition" and choice.driver is None
    assert set(choice.reasons) == {"cubin", "ptx", "nvrtc"}


def test_a_kernel_that_does_not_load_counts_as_well(library):
    """A driver that loads lazily refuses an image only when a kernel of it is wanted."""
    library.failing = {"cuKernelGetFunction": 209}
    assert load.choose(CARD).path == "definition"


def test_what_nvrtc_made_is_kept(library, tmp_path):
    assert load.choose(CARD, "nvrtc").path == "nvrtc"
    kept = list(tmp_path.iterdir())
    assert len(kept) == 1 and kept[0].read_bytes() == b"made here"
    choice = load.choose(CARD, "nvrtc")
    assert "kept in" in choice.detail
    assert library.compiler.compiled == ["sm_90"]


def test_a_cache_that_cannot_be_written_stops_nothing(library, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ENTITYSEG_CACHE", str(tmp_path / "file" / "folder"))
    assert load.choose(CARD, "nvrtc").path == "nvrtc"


def test_without_shipped_kernels_or_compiler(library, monkeypatch):
    def no_kernels():
        raise FileNotFoundError("no such archive")

    def no_compiler(cuda):
        raise CompilerError("NVRTC was not found")

    monkeypatch.setattr(load, "read_kernels", no_kernels)
    monkeypatch.setattr(load, "find_compiler", no_compiler)
    reasons = load.choose(CARD).reasons
    assert reasons["cubin"] == "the shipped kernels cannot be used: no such archive"
    assert reasons["nvrtc"] == "NVRTC was not found"


def test_an_architecture_that_nvrtc_does_not_know(library):
    library.refused = {b"ptx 90"}
    reasons = load.choose(load.Card(0, "a card", 13, 0)).reasons
    assert reasons["cubin"] == "none was built for sm_130"
    assert reasons["nvrtc"] == "NVRTC 12.8 does not know sm_130"


def test_no_ptx_is_old_enough(library):
    reasons = load.choose(load.Card(0, "a card", 7, 0)).reasons
    assert reasons["ptx"] == "none is old enough for sm_70"


@pytest.mark.parametrize("path", load.PATHS)
def test_the_environment_chooses(library, monkeypatch, path):
    monkeypatch.setenv(load.ENVIRONMENT, path)
    choice = load.choose(CARD, load.forced_path())
    assert choice.path == path
    others = set(load.PATHS) - {path, "definition"}
    assert others <= set(choice.reasons)


def test_the_environment_asks_for_the_impossible(library, monkeypatch):
    monkeypatch.setenv(load.ENVIRONMENT, "triton")
    with pytest.raises(ValueError, match="ENTITYSEG_OPS=triton is unknown; choose one of cubin, "):
        load.forced_path()
    library.refused = {b"cubin 90"}
    with pytest.raises(RuntimeError, match=r"ENTITYSEG_OPS=cubin does not work on a card \(cuda:1"):
        load.choose(CARD, "cubin")


class TestOnADevice:
    """The registered functions, with CPU tensors in place of a card's."""

    @pytest.fixture(autouse=True)
    def card(self, library, emulator, monkeypatch):
        for cached in (trial._choice, trial._kernels_of, trial._settle):
            cached.cache_clear()
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a card")
        monkeypatch.setattr(trial, "_CudaKernels", lambda choice, index: emulator)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        # test_trial.py is about it; what is launched is counted here.
        monkeypatch.setattr(trial, "_tried", lambda index, dtype, channels: None)
        yield
        for cached in (trial._choice, trial._kernels_of, trial._settle):
            cached.cache_clear()

    def arguments(self, channels=8, dtype=torch.float32):
        rng = torch.Generator().manual_seed(0)
        value = torch.randn(1, 6, 2, channels, generator=rng).to(dtype)
        locations = torch.rand(1, 3, 2, 1, 2, 2, generator=rng)
        weights = torch.rand(1, 3, 2, 1, 2, generator=rng)
        return value, locations, weights, [2, 3]

    def test_a_kernel_runs_and_the_log_says_so_once(self, emulator, caplog):
        caplog.set_level(logging.INFO, "baselines.ops")
        for _ in range(2):
            out = trial._forward(*self.arguments())
            want = torch.ops.entityseg.deformable_attention(*self.arguments())
            torch.testing.assert_close(out, want)
        assert [name for name, _ in emulator.launched] == ["forward_float32_8"] * 2
        assert [record.message for record in caplog.records] == [
            "deformable_attention on cuda:None, float32, 8 channels a head, 1 levels, 2 points: "
            "cubin (sm_90.cubin)"
        ]

    def test_all_four_functions(self, emulator):
        value, locations, weights, shapes = self.arguments()
        reference = torch.rand(1, 3, 1, 1, 1, 2)
        grad = torch.rand(1, 3, 16)
        ops = torch.ops.entityseg
        for function, op, arguments in (
            (trial._forward, ops.deformable_attention, (value, locations, weights)),
            (trial._backward, ops.deformable_attention_backward, (grad, value, locations, weights)),
            (trial._fused_forward, ops.deformable_attention_fused,
             (value, reference, locations, weights)),
            (trial._fused_backward, ops.deformable_attention_fused_backward,
             (grad, value, reference, locations, weights)),
        ):  # fmt: skip
            torch.testing.assert_close(function(*arguments, shapes), op(*arguments, shapes))
        assert len(emulator.launched) == 4

    def test_what_no_kernel_serves_is_defined_in_pytorch(self, emulator, caplog):
        arguments = self.arguments(channels=3)
        out = trial._forward(*arguments)
        assert torch.equal(out, trial.torch_forward(*arguments))
        assert not emulator.launched
        assert "definition, in PyTorch (there is no kernel for 3 channels" in caplog.text
        assert caplog.records[0].levelno == logging.WARNING

    def test_a_forced_kernel_that_there_is_not(self, monkeypatch):
        monkeypatch.setenv(load.ENVIRONMENT, "cubin")
        with pytest.raises(RuntimeError, match="ENTITYSEG_OPS=cubin is impossible: there is no"):
            trial._forward(*self.arguments(channels=3))

    def test_deterministic_gradients_come_from_pytorch(self, emulator, monkeypatch):
        grad = torch.ones(1, 3, 16)
        torch.use_deterministic_algorithms(True)
        try:
            trial._backward(grad, *self.arguments())
            assert not emulator.launched
            monkeypatch.setenv(load.ENVIRONMENT, "ptx")
            with pytest.raises(RuntimeError, match="deterministic algorithms are asked for"):
                trial._backward(grad, *self.arguments())
        finally:
            torch.use_deterministic_algorithms(False)

    def test_wrong_arguments_never_reach_a_kernel(self, emulator):
        value, locations, weights, shapes = self.arguments()
        with pytest.raises(ValueError, match="hold 4 positions, but value has 6"):
            trial._forward(value, locations, weights, [2, 2])
        with pytest.raises(ValueError, match=r"must be .B, S, H, C."):
            trial._forward(value, locations, weights[:, :2], shapes)
        with pytest.raises(ValueError, match="tensors lie on"):
            trial._forward(value, locations.to("meta"), weights, shapes)
        assert not emulator.launched

    def test_info(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        assert trial.info().splitlines() == [
            f"deformable_attention on cpu: {cpu.info()}",
            "deformable_attention on cuda:0 (a card): cubin (sm_90.cubin)",
            "    ptx: not tried: cubin works",
            "    nvrtc: not tried: cubin works",
            "    definition: not tried: cubin works",
        ]


@pytest.mark.parametrize("name", ["deformable_attention", "deformable_attention_fused"])
def test_tensors_on_a_card_are_sent_there(name):
    for operator in (f"entityseg::{name}", f"entityseg::{name}_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(operator, "CUDA")


def test_the_command_prints_it(monkeypatch, capsys):
    monkeypatch.delenv(load.ENVIRONMENT, raising=False)
    runpy.run_module("baselines.ops", run_name="__main__")
    assert capsys.readouterr().out.startswith("deformable_attention on cpu: kernel")


def test_info_without_a_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv(load.ENVIRONMENT, raising=False)
    assert f"no CUDA device: PyTorch {torch.__version__}" in trial.info()
    monkeypatch.setenv(load.ENVIRONMENT, "definition")
    assert trial.info().endswith("ENTITYSEG_OPS=definition")
    monkeypatch.setenv(load.ENVIRONMENT, "fastest")
    with pytest.raises(ValueError, match="fastest is unknown"):
        trial.info()
