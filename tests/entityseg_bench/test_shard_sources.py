"""Shards of every format and place give the result of one file: SA-1B, tar, lines, Parquet, far."""

import http.server
import io
import json
import sys
import tarfile
import threading

import numpy as np
import pytest
from drawn_boxes import draw_box

from entity_api import rle
from entityseg_bench import cli
from entityseg_bench.formats import Inputs
from entityseg_bench.io import InputError
from entityseg_bench.scale import addresses
from entityseg_bench.scale.engines import InOneProcess
from entityseg_bench.scale.shards import evaluate_shards
from entityseg_bench.scale.sources import at_hand, find_shards
from entityseg_bench.score import evaluate_files

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (extra ray)")
SIDE, N_IMAGES = 32, 10
CUTS = (3, 4)


def texts_of(content, ids):
    return {f"sa_{k}.json": json.dumps(content[k]) for k in ids}


def write_tar(path, texts):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, text in texts.items():
            # Each sample has its image beside it, which nobody needs here.
            for own, data in ((name, text.encode()), (name.replace("json", "jpg"), b"none")):
                member = tarfile.TarInfo(own)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Write SA-1B's ground truth and predictions for it in every form, cut at other images."""
    root = tmp_path_factory.mktemp("places")
    rng = np.random.default_rng(3)
    truth, found, results, all_gt = {}, {}, [], []
    for k in range(N_IMAGES):
        image = {"image_id": k, "file_name": f"sa_{k}.jpg", "height": SIDE, "width": SIDE}
        codes = [rle.encode(draw_box(rng, SIDE, 18)) for _ in range(3)]
        about = {"predicted_iou": 0.9, "stability_score": 0.9}
        rows = [
            {"id": 10 * k + n, "segmentation": code, "area": rle.area(code), **about}
            | {"bbox": rle.bbox(code)}
            for n, code in enumerate(codes)
        ]
        truth[k] = {"image": image, "annotations": rows}
        moved = [np.roll(rle.decode(code), rng.integers(-2, 3, 2), (0, 1)) for code in codes[:2]]
        guesses = [*moved, draw_box(rng, SIDE, 18)]
        found[k] = [
            {"segmentation": rle.encode(mask), "score": round(float(rng.random()), 2)}
            for mask in guesses
        ]
        results += [{"image_id": k, "category_id": 1, **row} for row in found[k]]
        all_gt += [{**row, "image_id": k, "category_id": 1, "iscrowd": 0} for row in rows]
    for side, content in (("gt", truth), ("pred", found)):
        (root / side).mkdir()
        for name, text in texts_of(content, range(N_IMAGES)).items():
            (root / side / name).write_text(text, encoding="utf-8")
    for cut, (side, content) in zip(CUTS, (("gt", truth), ("pred", found)), strict=True):
        for n, ids in enumerate((range(cut), range(cut, N_IMAGES))):
            write_tar(root / f"{side}_tar" / f"{n}.tar", texts_of(content, ids))
    for n, ids in enumerate((range(CUTS[0]), range(CUTS[0], N_IMAGES))):
        (root / "gt_lines").mkdir(exist_ok=True)
        lines = "".join(json.dumps(truth[k]) + "\n" for k in ids)
        (root / "gt_lines" / f"{n}.jsonl").write_text(lines, encoding="utf-8")
    for n, rows in enumerate((results[:9], results[9:])):
        (root / "pred_lines").mkdir(exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "pred_lines" / f"{n}.jsonl").write_text(lines, encoding="utf-8")
    images = [
        {"id": k, **{key: truth[k]["image"][key] for key in ("file_name", "height", "width")}}
        for k in range(N_IMAGES)
    ]
    categories = [{"id": 1, "name": "entity"}]
    coco = {"images": images, "annotations": all_gt, "categories": categories}
    (root / "gt.json").write_text(json.dumps(coco), encoding="utf-8")
    (root / "pred.json").write_text(json.dumps(results), encoding="utf-8")
    argv = ["convert", str(root / "gt.json"), str(root / "gt_parquet"), "--to", "parquet"]
    assert cli.main([*argv, "--split", "val"]) == 0
    (root / "pred_parquet").mkdir()
    argv = ["convert", str(root / "pred.json"), str(root / "pred_parquet/0.parquet")]
    assert cli.main([*argv, "--to", "parquet", "--gt", str(root / "gt.json")]) == 0
    return root


@pytest.fixture(scope="module")
def whole(places):
    """Score one COCO file of each side."""
    found = evaluate_files(places / "gt.json", places / "pred.json")
    assert 0 < found.metrics["APe"] < found.metrics["AP"] < 1
    return found


def assert_equal(merged, whole):
    result = merged.state.finish()
    assert result.metrics == whole.metrics
    for kind in ("submitted", "disjoint"):
        one, other = getattr(result, kind), getattr(whole.result, kind)
        assert one.precision.tobytes() == other.precision.tobytes()
        assert one.scores.tobytes() == other.scores.tobytes()


@pytest.mark.parametrize("gt", ["gt", "gt_tar", "gt_lines", "gt_parquet", "gt.json"])
@pytest.mark.parametrize("dt", ["pred_tar", "pred_lines", "pred_parquet", "pred.json"])
def test_every_form_gives_the_same(places, whole, gt, dt, monkeypatch):
    monkeypatch.setattr("entityseg_bench.scale.sources.FILES_A_SHARD", 4)
    assert_equal(evaluate_shards(places / gt, places / dt, InOneProcess()), whole)


def test_sa1b_s_folder_is_cut_into_shards_of_many_files(places, monkeypatch):
    monkeypatch.setattr("entityseg_bench.scale.sources.FILES_A_SHARD", 4)
    shards = find_shards(places / "gt")
    assert [len(shard.files) for shard in shards] == [4, 4, 2]
    with at_hand(shards[2]) as here:
        assert sorted(path.name for path in here.path.iterdir()) == ["sa_8.json", "sa_9.json"]
        assert here.path != places / "gt"
    assert not here.path.exists()


def test_an_export_has_the_shards_of_its_type_and_split(places):
    (shard,) = find_shards(places / "gt_parquet")
    assert shard.name == "val-00000-of-00001.parquet"
    with pytest.raises(InputError, match="there is no shard"):
        find_shards(places / "gt_parquet", Inputs(split="train"))


def test_a_shard_of_an_export_is_ground_truth_alone(places, whole, tmp_path):
    """Without the files beside it: what it is of stands in its schema."""
    (path,) = (places / "gt_parquet").glob("entity/*.parquet")
    (tmp_path / "alone.parquet").write_bytes(path.read_bytes())
    assert evaluate_files(tmp_path / "alone.parquet", places / "pred.json").metrics == whole.metrics
    argv = ["convert", str(tmp_path / "alone.parquet"), str(tmp_path / "back.json")]
    assert cli.main([*argv, "--to", "entity"]) == 0
    assert evaluate_files(tmp_path / "back.json", places / "pred.json").metrics == whole.metrics


@pytest.mark.parametrize("kind", ["npz", "id-png"])
def test_a_folder_of_maps_is_one_shard(places, tmp_path, kind):
    argv = ["convert", str(places / "pred.json"), str(tmp_path / "maps"), "--to", kind]
    assert cli.main([*argv, "--gt", str(places / "gt.json")]) == 0
    merged = evaluate_shards(places / "gt_tar", tmp_path / "maps", InOneProcess())
    want = evaluate_files(places / "gt.json", tmp_path / "maps")
    assert 0 < want.metrics["APe"] < 1
    assert merged.state.finish().metrics == want.metrics


def broken(places, side, tmp_path):
    """Copy the tar archives of a side with the second mask of image 5 broken."""
    for path in (places / f"{side}_tar").iterdir():
        with tarfile.open(path) as tar:
            texts = {
                m.name: tar.extractfile(m).read().decode() for m in tar if m.name[-4:] == "json"
            }
        if "sa_5.json" in texts:
            content = json.loads(texts["sa_5.json"])
            rows = content["annotations"] if side == "gt" else content
            rows[1]["segmentation"]["counts"] = "0"
            texts["sa_5.json"] = json.dumps(content)
        write_tar(tmp_path / side / path.name, texts)
    return tmp_path / side


@pytest.mark.parametrize("side", ["gt", "pred"])
def test_a_bad_record_in_an_archive_is_named(places, side, tmp_path):
    sides = {"gt": places / "gt_tar", "pred": places / "pred_tar"}
    sides[side] = broken(places, side, tmp_path)
    name = rf"{tmp_path}/{side}/1\.tar: record \d+.*\(image_id 5\)"
    with pytest.raises(InputError, match=name):
        evaluate_shards(sides["gt"], sides["pred"], InOneProcess())


def test_broken_archives_are_refused(places, tmp_path):
    good = (places / "pred_tar/1.tar").read_bytes()
    for data, what in ((good[:2000], "cannot be unpacked"), (b"x" * 999, "cannot be unpacked")):
        (tmp_path / "a.tar").write_bytes(data)
        with pytest.raises(InputError, match=rf"a\.tar: it {what}"):
            evaluate_shards(places / "gt.json", tmp_path / "a.tar", InOneProcess())
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("../outside.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"[]"))
    with pytest.raises(InputError, match="outside"):
        evaluate_shards(places / "gt.json", tmp_path / "a.tar", InOneProcess())
    assert not (tmp_path / "outside.json").exists()


@pytest.fixture
def memory(places):
    """Put shards into fsspec's memory."""
    files = fsspec.filesystem("memory")
    for folder in ("gt", "gt_tar", "pred_tar"):
        for path in (places / folder).iterdir():
            files.pipe(f"/{folder}/{path.name}", path.read_bytes())
    files.pipe("/pred.json", (places / "pred.json").read_bytes())
    yield files
    files.rm("/", recursive=True)


@pytest.mark.parametrize("gt", ["gt", "gt/*.json", "gt_tar"])
@pytest.mark.parametrize("dt", ["pred_tar/*.tar", "pred.json"])
def test_addresses_give_the_same(memory, whole, gt, dt, monkeypatch):
    monkeypatch.setattr("entityseg_bench.scale.sources.FILES_A_SHARD", 4)
    sides = (f"memory://{name}" for name in (gt, dt))
    assert_equal(evaluate_shards(*sides, InOneProcess()), whole)


def test_the_command_takes_addresses_and_names_them(places, capsys):
    address = f"file://{places}"
    argv = ["evaluate", f"{address}/gt_tar", f"{address}/pred.json", "--quiet"]
    assert cli.main([*argv, "--engine", "local"]) == 0
    printed = capsys.readouterr().out
    assert cli.main(["evaluate", *(str(places / s) for s in ("gt.json", "pred.json"))]) == 0
    assert capsys.readouterr().out == printed
    argv[1] = f"{address}/none.json"
    assert cli.main([*argv, "--engine", "local"]) == 2
    assert f"{address}/none.json: there is no such file" in capsys.readouterr().err


def test_who_lacks_fsspec_is_told_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert cli.main(["evaluate", "memory://gt", "memory://dt", "--engine", "local"]) == 2
    assert "this needs fsspec; run: pip install 'entityseg-bench[ray]'" in capsys.readouterr().err


def test_a_bad_record_at_an_address_is_named_by_it(memory, places):
    rows = json.loads((places / "pred.json").read_text())
    rows[4]["segmentation"]["counts"] = "0"
    memory.pipe("/pred.json", json.dumps(rows).encode())
    with pytest.raises(InputError, match=r"^memory://pred\.json: record 4 "):
        evaluate_shards("memory://gt_tar", "memory://pred.json", InOneProcess())


class Flaky:
    """A file system that fails some times."""

    def __init__(self, files, n):
        self.files, self.left = files, n

    def open(self, *args):
        self.left -= 1
        if self.left >= 0:
            raise OSError("the network is away")
        return self.files.open(*args)


@pytest.mark.parametrize(("n", "goes"), [(addresses.RETRIES, True), (addresses.RETRIES + 1, False)])
def test_a_network_that_fails_is_asked_again(memory, tmp_path, monkeypatch, n, goes):
    monkeypatch.setattr(addresses, "PAUSE", 0)
    flaky = Flaky(memory, n)
    monkeypatch.setattr(addresses, "_file_system", lambda address: (flaky, "/pred.json"))
    if goes:
        addresses.download("memory://pred.json", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == memory.cat("/pred.json")
    else:
        with pytest.raises(InputError, match="it cannot be read: the network is away"):
            addresses.download("memory://pred.json", tmp_path / "copy")


def test_a_web_server_gives_the_same(places, whole):
    pytest.importorskip("aiohttp", reason="aiohttp is not installed (fsspec reads http with it)")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(places))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"
            sides = f"{base}/gt.json", f"{base}/pred_tar/*.tar"
            assert_equal(evaluate_shards(*sides, InOneProcess()), whole)
            with pytest.raises(InputError, match=r"none\.json: there is no such file"):
                evaluate_shards(f"{base}/none.json", sides[1], InOneProcess())
        finally:
            server.shutdown()
            thread.join()
