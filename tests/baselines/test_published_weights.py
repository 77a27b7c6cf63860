"""Published weights by name, from a server on the loopback that plays the hub."""

import pytest

pytest.importorskip("huggingface_hub")

import played_hub

import baselines
from baselines.checkpoint import read_weights
from baselines.weights import PUBLISHED, __main__, find_weights, published
from entityseg_bench.io import InputError

ROOT = "CropFormer_model"
TINY = f"{ROOT}/Entity_Segmentation/Mask2Former_hornet_3x/Mask2Former_hornet_3x_576d0b.pth"
COCO = f"{ROOT}/Entity_Segmentation/COCO_Pretrained_Weights"


@pytest.fixture
def server(monkeypatch, tmp_path):
    content = find_weights("mask2former_tiny_demo").read_bytes()
    files = {TINY: content, f"{COCO}/a_111111.pth": b"a", f"{COCO}/b_222222.pth": b"b"}
    published.fetch_published.cache_clear()
    with played_hub.played(files, {}) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("HF_TOKEN", "hf_granted")
        monkeypatch.setenv("ENTITYSEG_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        yield found
    published.fetch_published.cache_clear()


@pytest.mark.parametrize("name", ["mask2former_hornet_3x", "Mask2Former_hornet_3x"])
def test_a_name_brings_the_file(server, name):
    """What the file holds decides, so a small model can stand for the published one."""
    assert set(read_weights(name)) == set(read_weights("mask2former_tiny_demo"))
    assert len(server.asked) == 1
    assert baselines.Predictor(weights=name).config.task == "entity"
    assert len(server.asked) == 1


def test_what_was_fetched_needs_no_network(server, monkeypatch):
    path = find_weights("mask2former_hornet_3x")
    published.fetch_published.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find_weights("mask2former_hornet_3x") == path


def test_a_folder_of_several_files_asks_which(server):
    with pytest.raises(InputError, match=r"2 files of weights: a_111111.pth, b_222222.pth"):
        find_weights("coco_pretrained_weights")
    assert find_weights("coco_pretrained_weights/b_222222.pth").read_bytes() == b"b"
    with pytest.raises(InputError, match="Name one of them"):
        find_weights("coco_pretrained_weights/c.pth")


def test_a_file_goes_before_a_published_name(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mask2former_hornet_3x").write_bytes(b"mine")
    assert str(find_weights("mask2former_hornet_3x")) == "mask2former_hornet_3x"
    assert not server.asked


def test_without_access_predict_says_it_in_one_sentence(server, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_waiting")
    args = ["--weights", "mask2former_hornet_3x", "--images", str(tmp_path), "--out", "out.json"]
    assert baselines.predict.main(args) == 2
    said = capsys.readouterr().err
    assert "access is not granted" in said and "Ask for it on" in said
    assert "Traceback" not in said


def test_presets_that_have_published_weights_are_named_like_them():
    presets = set(baselines.list_presets())
    others = {"coco_pretrained_weights", "mask2former_swin_large_semantic"}
    assert set(PUBLISHED) - others <= presets


def test_the_command_says_where_weights_are(server, capsys):
    assert __main__.main([]) == 0
    assert "mask2former_hornet_3x" in capsys.readouterr().out
    assert __main__.main(["mask2former_hornet_3x", "--where"]) == 0
    assert "of the gated repository, 2 MB" in capsys.readouterr().out
    assert not server.asked
    assert __main__.main(["mask2former_hornet_3x"]) == 0
    assert capsys.readouterr().out.strip().endswith("576d0b.pth")
    assert __main__.main(["mask2former_hornet", "--where"]) == 2
    assert "no name of any" in capsys.readouterr().err
