"""The forward pass never waits for the host: a GPU could run it as one CUDA graph.

Shown without a GPU, on tensors that have no values.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from baselines import build_model
from baselines.config import HorNetConfig, ModelConfig, ResNetConfig, SwinConfig
from baselines.modeling import constants
from baselines.modeling.constants import constant

SWIN = SwinConfig(embed_dim=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8), window_size=4)
MASK2FORMER = ModelConfig(
    backbone=SWIN,
    num_queries=12,
    hidden_dim=64,
    mask_dim=64,
    encoder_layers=1,
    encoder_ffn_dim=96,
    decoder_layers=3,
    decoder_ffn_dim=128,
    fusion_ffn_dim=128,
)
MODELS = {
    "mask2former": MASK2FORMER,
    "cropformer": replace(MASK2FORMER, num_views=5),
    "hornet": replace(MASK2FORMER, backbone=HorNetConfig(base_dim=16, depths=(1, 1, 1, 1))),
    "resnet": replace(
        MASK2FORMER,
        backbone=ResNetConfig(blocks=(1, 1, 1, 1), stem_channels=8, res2_channels=32, width=8),
    ),
}


# They make a tensor of values that lie with the host.
SENDING = (
    torch.tensor,
    torch.as_tensor,
    torch.asarray,
    torch.from_numpy,
    Tensor.new_tensor,
)
INDEXING = (Tensor.__getitem__, Tensor.__setitem__)


class HostAccessError(Exception):
    """Say which call went to the host."""


class DeviceOnly(TorchFunctionMode):
    """Refuse whatever a CUDA graph could not hold, on tensors of the "meta" device.

    Tensors of that device have no values: asking for one, or for a shape that depends on values
    (nonzero, an index of bools), fails by itself. What is sent to the device is refused here.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in SENDING:
            raise HostAccessError(f"{func.__name__} sends values to the device")
        index = args[1:2] if func in INDEXING else ()
        if any(isinstance(part, list | np.ndarray) for part in (*index, *_parts(index))):
            raise HostAccessError("an index that is a list or an array is sent to the device")
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and leaf.device.type != "meta":
                raise HostAccessError(f"{func.__name__} takes a tensor on {leaf.device}")
        try:
            return func(*args, **kwargs)
        except NotImplementedError as error:
            raise HostAccessError(f"{func.__name__} asks for values: {error}") from error
        except RuntimeError as error:
            if "meta tensors" not in str(error):
                raise
            raise HostAccessError(f"{func.__name__} asks for values: {error}") from error


def _parts(index):
    return index[0] if index and isinstance(index[0], tuple) else ()


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """Begin without the constants that other tests' models left."""
    monkeypatch.setattr(constants, "_kept", {})


def meta_model(config, dtype=torch.float32):
    return build_model(config).to("meta", dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_inference_stays_on_the_device(name, dtype):
    config = MODELS[name]
    model = meta_model(config, dtype).eval()
    images = torch.empty(2, config.num_views, 3, 64, 96, dtype=dtype, device="meta")
    with DeviceOnly():
        outputs = model(images)
    assert outputs["pred_masks"].shape == (2, 12, config.num_views, 16, 24)
    assert {tensor.dtype for tensor in outputs.values()} == {dtype}


@pytest.mark.parametrize("name", MODELS)
def test_training_stays_on_the_device(name):
    model = meta_model(MODELS[name]).train()
    images = torch.empty(2, MODELS[name].num_views, 3, 64, 96, device="meta")
    with DeviceOnly():
        outputs = model(images)
        (outputs["pred_masks"].sum() + outputs["pred_logits"].sum()).backward()
    assert model.sem_seg_head["pixel_decoder"].input_proj[0][0].weight.grad is not None


@pytest.mark.parametrize(
    "offence",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.isfinite().all() and 1,
        lambda x: float(x.sum()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: torch.bincount(x.long().flatten()),
        lambda x: x[[0, 1]],
        lambda x: x[:, np.array([0])],
        lambda x: x[:, torch.zeros(1, dtype=torch.long)],
        lambda x: x.__setitem__([0], 1.0),
        lambda x: x * torch.ones(3),
        lambda x: x * torch.tensor(2.0),
        lambda x: torch.tensor([1.0], device="meta"),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.as_tensor([1.0], device=x.device),
        lambda x: torch.arange(3).to(x.device),
    ],
)
def test_the_guard_refuses(offence):
    x = torch.empty(2, 3, device="meta")
    with DeviceOnly(), pytest.raises(HostAccessError):
        offence(x)


def test_constants_are_computed_once(monkeypatch):
    calls = []

    def ramp(length, device):
        calls.append(length)
        return torch.arange(length, dtype=torch.float32, device=device)

    x = torch.zeros(1)
    with torch.inference_mode():
        first = constant(ramp, 3, like=x)
    assert first.tolist() == [0, 1, 2]
    assert not first.is_inference()
    assert constant(ramp, 3, like=x) is first
    assert constant(ramp, 3, like=x.bfloat16()).dtype == torch.bfloat16
    assert constant(ramp, 4, like=x, dtype=torch.float64).tolist() == [0, 1, 2, 3]
    assert constant(ramp, 3, like=x.to("meta")).is_meta
    assert calls == [3, 3, 4, 3]
    monkeypatch.setattr(constants, "_LIMIT_BYTES", 40)
    constant(ramp, 5, like=x)
    assert len(constants._kept) == 1


def test_nothing_is_kept_from_a_trace():
    from torch._subclasses.fake_tensor import FakeTensorMode

    model = build_model(replace(MASK2FORMER, decoder_layers=1)).eval()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model(mode.from_tensor(torch.zeros(1, 3, 64, 64)))
    torch.export.export(model, (torch.zeros(1, 3, 64, 64),))
    assert not constants._kept
