"""Weights: published names and formats, our own files, and files that are refused."""

import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from baselines import build_model
from baselines.checkpoint import (
    compare_keys,
    load_checkpoint,
    load_weights,
    read_config,
    read_weights,
    rename_keys,
    save_checkpoint,
)
from baselines.config import HorNetConfig, ModelConfig, ResNetConfig, SwinConfig
from baselines.guess import guess_presets
from baselines.pickles import load_arrays
from baselines.presets import PRESETS
from entityseg_bench.io import InputError

SWIN = ModelConfig(
    backbone=SwinConfig(embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
    num_queries=5,
    hidden_dim=32,
    mask_dim=32,
    encoder_layers=1,
    encoder_ffn_dim=32,
    decoder_layers=1,
    decoder_ffn_dim=32,
    fusion_ffn_dim=32,
)
RESNET = replace(
    SWIN, backbone=ResNetConfig(blocks=(1, 1, 1, 1), stem_channels=8, res2_channels=32, width=8)
)
HORNET = replace(SWIN, backbone=HorNetConfig(base_dim=16, depths=(1, 1, 1, 1)))


def build(config, seed=0):
    torch.manual_seed(seed)
    return build_model(config)


def published(model) -> dict[str, torch.Tensor]:
    """Give a model's weights with the entries that published files carry besides."""
    extra = {f"criterion{kind}.empty_weight": torch.ones(2) for kind in ("", "_2d", "_3d")}
    return {**model.state_dict(), **extra}


def assert_same_weights(left, right):
    right = right.state_dict()
    for name, value in left.state_dict().items():
        assert torch.equal(value, right[name]), name


@pytest.mark.parametrize(
    "wrap", ["plain", "trainer", "parallel", "legacy", "arrays", "safetensors"]
)
def test_a_published_model_in_every_format(tmp_path, wrap):
    model = build(SWIN)
    weights = published(model)
    path = tmp_path / "weights.pth"
    if wrap == "plain":
        torch.save(weights, path)
    elif wrap == "trainer":
        # As detectron2 writes it; its schedulers hold numpy scalars.
        rest = {"optimizer": {"state": {}}, "scheduler": {"lr": np.float64(0.1)}, "iteration": 9}
        torch.save({"model": weights, **rest}, path)
    elif wrap == "parallel":
        torch.save({f"module.{name}": value for name, value in weights.items()}, path)
    elif wrap == "legacy":
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    elif wrap == "arrays":
        arrays = OrderedDict((name, value.numpy()) for name, value in weights.items())
        content = {"model": arrays, "__author__": "someone", "matching_heuristics": True}
        path.write_bytes(pickle.dumps(content))
    else:
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file(weights, path)
    loaded = build(SWIN, seed=1)
    assert load_weights(loaded, path).is_complete
    assert_same_weights(model, loaded)


def test_published_names_are_our_names(shared):
    names = {
        f"{task}_segmentation": "" if task == "entity" else f"_{task}"
        for task in ("entity", "instance", "semantic", "panoptic")
    }
    checked = set()
    for path in sorted((shared / "golden/state_dicts").glob("*former*.json")):
        if "Base" in path.name:
            continue
        folder, _, config = path.stem.partition("__")
        shapes = json.loads(path.read_text())["state_dict"]
        weights = rename_keys({n: torch.empty(s, device="meta") for n, s in shapes.items()})
        preset = config + names[folder]
        assert preset in guess_presets(weights)
        checked.add(preset)
    # 7 for entities, 3 for instances, 4 each for the other two.
    assert len(checked) == 18
    assert checked <= set(PRESETS)


@pytest.mark.parametrize("kind", ["swin", "hornet", "detectron2 resnet", "torchvision resnet"])
def test_imagenet_backbones(tmp_path, kind):
    config = {"swin": SWIN, "hornet": HORNET}.get(kind, RESNET)
    model = build(config)
    weights = {
        name.removeprefix("backbone."): value
        for name, value in model.state_dict().items()
        if name.startswith("backbone.") and not name.startswith("backbone.norm")
    }
    weights |= {"norm.weight": torch.ones(9), "head.weight": torch.ones(10, 9)}
    if kind == "swin":
        weights["layers.0.blocks.0.attn_mask"] = torch.ones(3)
    if kind == "torchvision resnet":
        weights = {torchvision_name(name): value for name, value in weights.items()}
        weights |= {"fc.weight": torch.ones(3), "bn1.num_batches_tracked": torch.tensor(3)}
    path = tmp_path / "imagenet.pkl"
    if kind == "detectron2 resnet":
        weights["stem.fc.bias"] = torch.ones(3)
        arrays = {name: value.numpy() for name, value in weights.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "torchvision"}, protocol=2))
    else:
        torch.save({"model": weights}, path)
    loaded = build(config, seed=1)
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    report = load_weights(loaded, path, partial=True)
    assert report.unexpected == ()
    assert report.mis_shaped == ()
    assert all(name.startswith(("sem_seg_head.", "backbone.norm")) for name in report.missing)
    original = model.state_dict()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, (original if name in report.matched else before)[name]) or (
            "relative_position_index" in name
        )


def torchvision_name(name: str) -> str:
    """Write detectron2's name of a ResNet entry as torchvision does."""
    name = name.replace("stem.conv1.norm", "bn1").replace("stem.conv1", "conv1")
    for stage in range(2, 6):
        name = name.replace(f"res{stage}.", f"layer{stage - 1}.")
    for i in (1, 2, 3):
        name = name.replace(f".conv{i}.norm.", f".bn{i}.")
    return name.replace("shortcut.norm.", "downsample.1.").replace("shortcut.", "downsample.0.")


def test_cropformer_from_mask2former_weights(tmp_path):
    torch.save(published(build(SWIN)), tmp_path / "m2f.pth")
    cropformer = build(replace(SWIN, num_views=5), seed=1)
    report = load_weights(cropformer, tmp_path / "m2f.pth", partial=True)
    assert len(report.missing) == 18
    assert "Mask2Former weights" in str(report)
    with pytest.raises(InputError, match="18 missing"):
        load_weights(cropformer, tmp_path / "m2f.pth")


def test_another_head_keeps_its_own_weights(tmp_path):
    torch.save(published(build(SWIN)), tmp_path / "coco_entity.pth")
    model = build(replace(SWIN, task="instance", num_classes=6), seed=1)
    head = model.state_dict()["sem_seg_head.predictor.class_embed.weight"].clone()
    report = load_weights(model, tmp_path / "coco_entity.pth", partial=True)
    assert [row[0].rpartition(".")[2] for row in report.mis_shaped] == ["weight", "bias"]
    assert report.mis_shaped[0][1:] == ((2, 32), (7, 32))
    assert torch.equal(head, model.state_dict()["sem_seg_head.predictor.class_embed.weight"])


def test_old_name_of_the_queries():
    name = "sem_seg_head.predictor.query_feat.weight"
    assert list(rename_keys({name.replace("query_feat", "static_query"): torch.ones(1)})) == [name]


def test_weights_of_another_model_are_refused_and_change_nothing(tmp_path):
    torch.save(published(build(SWIN)), tmp_path / "swin.pth")
    model = build(RESNET)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"swin\.pth: the weights are not this model's: .*missing"):
        load_weights(model, tmp_path / "swin.pth")
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_nothing_that_fits_is_refused_even_in_part(tmp_path):
    torch.save({"backbone.other": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="0 entries fit"):
        load_weights(build(SWIN), tmp_path / "other.pth", partial=True)


def test_the_refusal_names_the_likely_preset(tmp_path):
    name = "mask2former_swin_tiny_instance"
    torch.save(published(build_model(name)), tmp_path / "w.pth")
    with pytest.raises(InputError, match=f"They look like {name}"):
        load_weights(build(SWIN), tmp_path / "w.pth")


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_file_that_wants_code_is_refused_and_not_run(tmp_path, kind):
    path, mark = tmp_path / "w.pkl", tmp_path / "ran"
    content = {"model": {"backbone.x": np.ones(1)}, "extra": Evil(f"touch {mark}")}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(InputError, match=r"w\.pkl: it is refused: it asks for posix\.system"):
        read_weights(path)
    assert not mark.exists()


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(InputError, match=r"gone\.pth: there is no such file"):
        read_weights(tmp_path / "gone.pth")
    torch.save(published(build(SWIN)), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    save_checkpoint(tmp_path / "whole.safetensors", build(SWIN), SWIN)
    own = (tmp_path / "whole.safetensors").read_bytes()
    arrays = pickle.dumps({"a": np.ones(999)})
    cases = {
        "empty": b"",
        "page": b"<!DOCTYPE html><html>sign in</html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n",
        "cut": whole[: len(whole) // 2],
        "start": whole[:5],
        "cut own": own[: len(own) // 2],
        "cut arrays": arrays[:100],
        "bytes": np.random.default_rng(0).bytes(4000),
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name}: it (holds no weights|is refused)"):
            read_weights(tmp_path / name)
    torch.save({"model": {}}, tmp_path / "none.pth")
    with pytest.raises(InputError, match="there are no weights in it"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.parametrize("config", [SWIN, RESNET, HORNET, replace(SWIN, num_views=5)])
def test_own_checkpoints_come_back_equal(tmp_path, config):
    model = build(config)
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, model, config, {"step": "12"})
    assert read_config(path) == config
    assert_same_weights(model, load_checkpoint(path))
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["step"] == "12"
    assert [file.name for file in tmp_path.iterdir()] == ["own.safetensors"]


def test_tensors_that_share_memory_are_saved(tmp_path):
    model = build(SWIN)
    names = [n for n, p in model.named_parameters() if p.shape == (32,)][:2]
    first = model.get_parameter(names[0])
    owner, _, leaf = names[1].rpartition(".")
    setattr(model.get_submodule(owner), leaf, first)
    save_checkpoint(tmp_path / "own.safetensors", model, SWIN)
    assert_same_weights(model, load_checkpoint(tmp_path / "own.safetensors"))


def test_a_file_without_configuration_is_no_checkpoint(tmp_path):
    torch.save(published(build(SWIN)), tmp_path / "w.pth")
    assert read_config(tmp_path / "w.pth") is None
    with pytest.raises(InputError, match="Name the preset"):
        load_checkpoint(tmp_path / "w.pth")
    for config in (json.dumps({"future_field": 1}), "[" * 100_000):
        metadata = {"config": config}
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "new.safetensors", metadata)
        with pytest.raises(InputError, match="configuration cannot be read"):
            read_config(tmp_path / "new.safetensors")


def test_report_in_words():
    report = compare_keys({"a": torch.ones(2), "c": torch.ones(1)}, Holder())
    assert not report.is_complete
    assert str(report) == (
        "0 entries fit; 1 missing: b; 1 unexpected: c; 1 of another shape: a (2,) for (3,)"
    )


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.ones(3))
        self.b = torch.nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.",
        b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"N.",
        b"\x80\x02]r" + (0x7FFFFFF0).to_bytes(4, "little") + b".",
        b"\x80\x02]p2147483647\n.",
        b"no pickle",
        b"",
    ],
)
def test_a_pickle_that_claims_more_than_it_holds_is_refused(content):
    with pytest.raises(pickle.UnpicklingError):
        load_arrays(io.BytesIO(content))


def test_equal_weights_are_equal_bytes(tmp_path):
    model, notes = build(SWIN), {"step": "12", "preset": 'gr\u00f6\u00dfe "1"\n', "data": "x"}
    files = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for path in files:
        save_checkpoint(path, model, SWIN, notes)
    assert len({path.read_bytes() for path in files}) == 1
    with safetensors.safe_open(files[0], "pt") as file:
        assert {**file.metadata(), **notes} == file.metadata()
    assert_same_weights(load_checkpoint(files[0]), model)


def test_parts_that_are_packed_are_refused(tmp_path):
    """PyTorch stores its parts as they are; a packed one may unpack to a thousand times more."""
    torch.save({"a": torch.zeros(1000)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as whole,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    assert read_weights(tmp_path / "a.pth").keys() == {"a"}
    with pytest.raises(InputError, match=r"b\.pth: .*is packed, as PyTorch does not"):
        read_weights(tmp_path / "b.pth")


def test_other_encodings_are_refused(tmp_path):
    """A codec may run for ever on a text, or make more of it than there is memory for."""
    content = pickle.dumps({"a": np.zeros(3), "b": b"\xff"}, protocol=2)
    assert b"latin1" in content
    (tmp_path / "a.pkl").write_bytes(content)
    assert read_weights(tmp_path / "a.pkl").keys() == {"a"}
    (tmp_path / "b.pkl").write_bytes(content.replace(b"latin1", b"base64"))
    with pytest.raises(InputError, match=r"asks for the encoding 'base64', not latin1"):
        read_weights(tmp_path / "b.pkl")


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in folders")
def test_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "a.pth")
    with pytest.raises(InputError, match="device or a pipe"):
        read_weights(tmp_path / "a.pth")
