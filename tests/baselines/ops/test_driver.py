"""The CUDA driver by ctypes: a library that plays it, and one that is compiled from C."""

import ctypes

import pytest
import torch
from played_driver import CONTEXT, PlayedLibrary

from baselines.ops import launch, load, trial
from baselines.ops.load import Driver, DriverError


def test_no_driver_and_an_old_one():
    if not torch.cuda.is_available():
        with pytest.raises(DriverError, match=r"cannot be opened|CUDA_ERROR_NO_DEVICE"):
            Driver()
    old = PlayedLibrary()
    old.absent = {"cuLibraryLoadData"}
    with pytest.raises(DriverError, match="older than CUDA 12: no cuLibraryLoadData"):
        Driver(old)


def test_a_launch_says_what_the_driver_needs_to_know():
    library = PlayedLibrary()
    driver = Driver(library)
    assert driver.version() == (12, 8)
    kernel = driver.kernel(driver.load(b"image"), "forward_float32_32", 1)
    library.calls.clear()
    arguments = launch.Arguments(batch=3)
    driver.launch(kernel, launch.Grid(5, 2, 64), arguments, 1, 99)
    # The thread had another context: PyTorch's is put on top of it, and taken off again.
    assert library.names() == [
        "cuCtxGetCurrent", "cuCtxPushCurrent_v2", "cuLaunchKernel", "cuCtxPopCurrent_v2",
    ]  # fmt: skip
    passed = library.calls[2][1]
    assert passed[0] is kernel
    assert passed[1:9] == (5, 2, 1, 64, 1, 1, 0, 99)
    assert launch.Arguments.from_address(passed[9][0]).batch == 3
    library.current = CONTEXT
    library.calls.clear()
    driver.launch(kernel, launch.Grid(5, 2, 64), arguments, 1, 99)
    assert library.names() == ["cuCtxGetCurrent", "cuLaunchKernel"]


def test_a_failed_launch_leaves_the_thread_as_it_was():
    library = PlayedLibrary()
    driver = Driver(library)
    library.failing = {"cuLaunchKernel": 700}
    with pytest.raises(DriverError, match="cuLaunchKernel: CUDA_ERROR_PLAYED"):
        driver.launch(ctypes.c_void_p(2), launch.Grid(1, 1, 32), launch.Arguments(), 0, 0)
    assert library.names()[-1] == "cuCtxPopCurrent_v2"


def test_kernels_load_while_a_graph_is_captured():
    library = PlayedLibrary()
    driver = Driver(library)
    library.calls.clear()
    driver.kernel(ctypes.c_void_p(1), "forward_float32_32", 0)
    names = library.names()
    first, last = (i for i, n in enumerate(names) if n == "cuThreadExchangeStreamCaptureMode")
    assert first < names.index("cuKernelGetFunction") < last


@pytest.fixture(scope="module")
def emulated_driver(emulation, tmp_path_factory):
    """Give a driver whose library is compiled from C, with the signatures of the real one."""
    module, _ = emulation
    library = module.compile_kernels(tmp_path_factory.mktemp("driver"), source="driver.cpp")
    return Driver(ctypes.CDLL(str(library)))


def test_through_the_c_interface(emulated_driver, monkeypatch):
    """From tensors to a kernel by ctypes and back; handles and streams are more than 32 bits."""
    assert emulated_driver.version() == (12, 8)
    with pytest.raises(DriverError, match="cuLibraryLoadData: CUDA_ERROR_NOT_FOUND: emulated"):
        emulated_driver.load(b"something else\0")
    choice = load.Choice("cubin", driver=emulated_driver, library=emulated_driver.load(b"image\0"))
    with pytest.raises(DriverError, match="cuLibraryGetKernel"):
        emulated_driver.kernel(choice.library, "forward_float32_7", 0)

    class Stream:
        cuda_stream = 0x700000007

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream)
    kernels = trial._CudaKernels(choice, 0)
    rng = torch.Generator().manual_seed(0)
    value, grad = torch.randn(1, 70, 2, 16, generator=rng), torch.randn(1, 70, 32, generator=rng)
    locations = torch.rand(1, 70, 2, 1, 4, 2, generator=rng)
    weights = torch.rand(1, 70, 2, 1, 4, generator=rng)
    ops, arguments = torch.ops.entityseg, (value, locations, weights, [7, 10])
    got = launch.forward(kernels, *arguments), *launch.backward(kernels, grad, *arguments)
    want = (
        ops.deformable_attention(*arguments),
        *ops.deformable_attention_backward(grad, *arguments),
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    with pytest.raises(DriverError, match="cuLaunchKernel: CUDA_ERROR_LAUNCH_FAILED"):
        launch.forward(kernels, value[:, :20], *arguments[1:])
