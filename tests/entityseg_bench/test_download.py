"""The data set from a release and a gated repository, both played on the loopback."""

import io
import tarfile
import zipfile

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("skimage")

import played_hub

from entityseg_bench.cli import main
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo
from entityseg_bench.download import make_plan
from entityseg_bench.io import locked
from entityseg_bench.layout import PART_FOLDERS, RELEASE_INNER

RELEASED = {
    "entity_segmentation/entityv2_01_entity_train.json": "entityseg_train_01.json",
    "entity_segmentation/entityv2_010203_entity_val.json": "entityseg_val.json",
    "entity_segmentation/entityv2_010203_entity_train.json": "entityseg_train.json",
    "entity_segmentation/entityv2_010203_entity_val_lr.json": "entityseg_val_lr.json",
    "entity_segmentation/entityv2_010203_entity_train_lr.json": "entityseg_train_lr.json",
    "instance_segmentation/entityv2_01_instances_val.json": "entityseg_insseg_val.json",
    "panoptic_segmentation/entityv2_01_panoptic_val.json": "entityseg_panseg_val.json",
    "semantic_segmentation/val.txt": "entityseg_semseg_val.txt",
}
MAPS = {
    "semantic_segmentation/semantic_maps_val": "entityseg_semseg_maps_val.zip",
    "panoptic_segmentation/panoptic_maps_val": "entityseg_panseg_maps_val.zip",
}


def zipped(folder, inside):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        for path in sorted(folder.iterdir()):
            file.write(path, f"{inside}/{path.name}")
    return held.getvalue()


def tarred(folder, inside):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as file:
        for path in sorted(folder.iterdir()):
            file.add(path, f"{inside}/{path.name}")
    return held.getvalue()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo") / "demo", 8, 0, (60, 90))


@pytest.fixture
def server(demo, monkeypatch, tmp_path):
    """The demo set under the names of the release and in archives of both kinds."""
    annotations = demo / "annotations"
    assets = {name: (annotations / path).read_bytes() for path, name in RELEASED.items()}
    for path, name in MAPS.items():
        folder = annotations / path
        assets[name] = zipped(folder, f"{name.partition('.')[0]}/{folder.name}")
    assets |= {"url.json": b"{}", "notes.pdf": b"%PDF"}
    files = {"README.md": b"hello", "CropFormer_model/a.pth": b"weights"}
    for part, name in PART_FOLDERS.items():
        high, low = demo / "images" / name, demo / "images_lr" / name
        files[f"images/{name}.tar"] = tarred(high, RELEASE_INNER[part])
        files[f"images_lr/{name}.zip"] = zipped(low, name)
    files["images/entity_01_11580.rar"] = b"Rar!"
    with played_hub.played(files, assets) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("HF_TOKEN", "hf_granted")
        monkeypatch.setenv("ENTITYSEG_RELEASE", found.address + played_hub.RELEASE)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        yield found


def test_everything_comes_into_the_documented_layout(server, demo, tmp_path, capsys):
    root = tmp_path / "data"
    # Far fewer images than the real set has.
    assert main(["download", str(root), "--yes"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("The annotations are under the Adobe Research License")
    assert "not known, and left out: notes.pdf, images/entity_01_11580.rar" in printed
    assert "part 01, high resolution: 4 images in the annotations, 4 image files" in printed
    assert "published 11,580" in printed
    for path in (*RELEASED, *MAPS):
        assert (root / "annotations" / path).exists(), path
    for resolution in ("high", "low"):
        ours = EntityDataset.open(root, "entity", "val", resolution)
        theirs = EntityDataset.open(demo, "entity", "val", resolution)
        assert len(ours) == len(theirs) > 0
        for own, other in zip(ours.images, theirs.images, strict=True):
            assert ours.image_path(own).read_bytes() == theirs.image_path(other).read_bytes()
    assert len(EntityDataset.open(root, "semantic", "val"))
    assert len(EntityDataset.open(root, "panoptic", "val"))
    assert not list((root / ".download").rglob("*.tar"))


def test_a_second_run_asks_for_nothing_again(server, tmp_path):
    args = ["download", str(tmp_path / "data"), "--yes"]
    main(args)
    before = len(server.asked)
    main(args)
    assert len(server.asked) == before > 0


def test_a_run_that_broke_off_goes_on(server, tmp_path, capsys, monkeypatch):
    args = ["download", str(tmp_path / "data"), "--yes", "--parts", "03", "--resolution", "low"]
    server.files["images_lr/entity_03_10049.zip"], whole = (
        b"PK\x03\x04 broken", server.files["images_lr/entity_03_10049.zip"],
    )  # fmt: skip
    assert main(args) == 2
    assert "the archive is broken" in capsys.readouterr().err
    server.files["images_lr/entity_03_10049.zip"] = whole
    asked = len(server.asked)
    assert main(args) == 1
    assert [path for path, _ in server.asked[asked:]] == [
        f"{played_hub.RESOLVE}images_lr/entity_03_10049.zip"
    ]


def test_only_what_is_asked_for_is_planned(server):
    plan = make_plan(["01"], ["low"])
    assert {item.name for item in plan.items if item.kind == "images"} == {
        "images_lr/entity_01_11580.zip"
    }
    names = {item.name for item in plan.items if item.kind == "annotations"}
    assert "entityseg_val_lr.json" in names and "entityseg_insseg_val.json" in names
    assert not names & {"entityseg_val.json", "entityseg_train_01.json", "notes.pdf"}
    names = {item.name for item in make_plan(["02"], ["high"]).items}
    assert not names & {"entityseg_insseg_val.json", "entityseg_train_01.json"}


def test_annotations_alone_need_no_access(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    root = tmp_path / "data"
    assert main(["download", str(root), "--yes", "--annotations-only"]) == 1
    assert "image files" not in capsys.readouterr().out
    assert not (root / "images").exists()
    assert len(EntityDataset.open(root, "entity", "val")) == 3


def test_nothing_is_downloaded_unasked(server, tmp_path, capsys):
    assert main(["download", str(tmp_path / "data")]) == 2
    printed = capsys.readouterr()
    assert "Adobe Research License" in printed.out and "GB to download" in printed.out
    assert "--yes goes on" in printed.err
    assert not server.asked and not (tmp_path / "data").exists()


def test_two_processes_do_not_get_one_file(server, tmp_path, capsys):
    args = ["download", str(tmp_path / "data"), "--yes", "--annotations-only"]
    with locked(tmp_path / "data/.download/entityseg_val.json.done"):
        assert main(args) == 2
    assert "is writing it" in capsys.readouterr().err
    assert main(args) == 1


def test_a_link_does_not_lead_out(server, tmp_path, capsys):
    root = tmp_path / "data"
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / "images").symlink_to(tmp_path / "elsewhere")
    assert main(["download", str(root), "--yes", "--resolution", "high"]) == 2
    assert "a link leads it out" in capsys.readouterr().err
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_release_that_is_gone_is_said(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ENTITYSEG_RELEASE", f"{server.address}/nowhere")
    assert main(["download", str(tmp_path / "data"), "--yes"]) == 2
    assert "the server says 404" in capsys.readouterr().err


def test_a_repository_without_images_is_said(server, tmp_path, capsys):
    for name in [name for name in server.files if name.startswith("images_lr")]:
        del server.files[name]
    assert main(["download", str(tmp_path / "data"), "--yes"]) == 2
    assert "no images are found for part 01 in low, part 02 in low" in capsys.readouterr().err
