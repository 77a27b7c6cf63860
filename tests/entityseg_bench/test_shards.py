"""Shards split in any way give the result of one file of each side, in this process and on Ray."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from drawn_sides import drawn_sides

from entityseg_bench import cli
from entityseg_bench.io import InputError
from entityseg_bench.scale import spread
from entityseg_bench.scale.engines import InOneProcess
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.scale.shards import evaluate_shards
from entityseg_bench.scale.sources import find_shards
from entityseg_bench.score import evaluate_files

N_IMAGES = 24


def write_shards(folder, gt_cuts, dt_cuts, n_images=N_IMAGES):
    """Write both sides whole and cut at some images, into the folders gt and pred."""
    truth, predictions = drawn_sides(n_images)

    def of(records, start, end, key="image_id"):
        return [record for record in records if start <= record[key] < end]

    def gt_of(start, end):
        return truth | {
            "images": of(truth["images"], start, end, "id"),
            "annotations": of(truth["annotations"], start, end),
        }

    paths = []
    for side, cuts in (("gt", gt_cuts), ("pred", dt_cuts)):
        (folder / side).mkdir(parents=True)
        for k, (start, end) in enumerate(zip((0, *cuts), (*cuts, n_images), strict=True)):
            content = gt_of(start, end) if side == "gt" else of(predictions, start, end)
            (folder / side / f"{k:03}.json").write_text(json.dumps(content), encoding="utf-8")
        whole = gt_of(0, n_images) if side == "gt" else predictions
        paths.append(folder / f"{side}.json")
        paths[-1].write_text(json.dumps(whole), encoding="utf-8")
    return paths


def assert_equal(merged: SavedScoring, whole) -> None:
    result = merged.state.finish()
    assert result.metrics == whole.result.metrics
    assert whole.result.metrics["APe"] != whole.result.metrics["AP"]
    for kind in ("submitted", "disjoint"):
        one, other = getattr(result, kind), getattr(whole.result, kind)
        for name in ("precision", "recall", "scores"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert merged.counts == {
        "images": len(whole.gt.images),
        "ground_truth": len(whole.gt),
        "predictions": len(whole.dt),
    }


SPLITS = {
    "alike": ((7, 16), (7, 16)),
    "unlike": ((5, 6, 20), (11,)),
    "empty shards": ((9, 9), (0, 9, 9)),
    "one": ((), (3, 8)),
}


@pytest.mark.parametrize("cuts", SPLITS.values(), ids=SPLITS)
def test_shards_equal_one_file(tmp_path, cuts):
    whole = evaluate_files(*write_shards(tmp_path, *cuts), boundary=True)
    merged = evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess(), boundary=True)
    assert_equal(merged, whole)
    assert merged.boundary.finish().metrics == whole.boundary.metrics


def test_command_takes_patterns_and_prints_what_one_file_gives(tmp_path, capsys):
    gt, dt = write_shards(tmp_path, *SPLITS["unlike"])
    assert (
        cli.main(["evaluate", str(gt), str(dt), "--json", str(tmp_path / "a.json"), "--quiet"]) == 0
    )
    printed = capsys.readouterr().out
    patterns = [str(tmp_path / side / "*.json") for side in ("gt", "pred")]
    options = ["--engine", "local", "--json", str(tmp_path / "b.json"), "--quiet"]
    assert cli.main(["evaluate", *patterns, *options]) == 0
    assert capsys.readouterr().out == printed
    one, other = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    for key in one.keys() - {"files", "warnings"}:
        assert one[key] == other[key], key


def test_an_image_in_two_shards_is_refused(tmp_path):
    write_shards(tmp_path, (7,), (7,))
    twice = tmp_path / "pred" / "002.json"
    twice.write_text((tmp_path / "pred" / "001.json").read_text())
    with pytest.raises(InputError, match=r"002\.json: image_id \d+: the same prediction is in"):
        evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())
    twice.unlink()
    (tmp_path / "gt" / "002.json").write_text((tmp_path / "gt" / "000.json").read_text())
    with pytest.raises(InputError, match=r"gt/002\.json: image_id \d: 000\.json has annotations"):
        evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())


def deal(folder, name, keys, n):
    """Deal the records of a whole file out into n shards, whatever their images."""
    content = json.loads((folder / f"{name}.json").read_text())
    records = content if isinstance(content, list) else content["annotations"]
    for path in (folder / name).iterdir():
        path.unlink()
    for k in range(n):
        own = [record for record, key in zip(records, keys, strict=True) if key == k]
        shard = own if isinstance(content, list) else {**content, "annotations": own}
        (folder / name / f"{k}.json").write_text(json.dumps(shard), encoding="utf-8")
    dealt = [
        record for k in range(n) for record, key in zip(records, keys, strict=True) if key == k
    ]
    whole = dealt if isinstance(content, list) else {**content, "annotations": dealt}
    (folder / f"{name}.json").write_text(json.dumps(whole), encoding="utf-8")


def shuffled(folder, gt_cuts=(7, 16)):
    """Write shards of which each holds some predictions of each image; score them as one file."""
    gt, dt = write_shards(folder, gt_cuts, ())
    rng = np.random.default_rng(1)
    deal(folder, "pred", rng.integers(0, 3, len(json.loads(dt.read_text()))).tolist(), 3)
    return evaluate_files(gt, dt, boundary=True)


def test_predictions_of_an_image_in_several_shards_equal_one_file(tmp_path, monkeypatch):
    whole = shuffled(tmp_path)
    # As many buckets as there are shards of ground truth.
    monkeypatch.setattr("entityseg_bench.scale.spread.PART", 1)
    merged = evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess(), boundary=True)
    assert_equal(merged, whole)
    assert merged.boundary.finish().metrics == whole.boundary.metrics
    assert len(merged.shards) == 3


@pytest.mark.parametrize("text", ["ab", "a\\b", "\\", "a\\\\\\b\\", 'P"\\n', "\\u0041", ""])
def test_codes_are_taken_out_of_json(text):
    literal = json.dumps(text)
    for given in (literal, literal.encode(), memoryview(literal.encode())):
        assert spread._code(given) == text.encode()
    assert spread._code('"\\u005cA\\\\"') == b"\\A\\"


def test_equal_scores_rank_in_the_order_of_the_shards(tmp_path):
    gt, dt = write_shards(tmp_path, (7,), ())
    records = json.loads(dt.read_text())
    for record in records:
        record["score"] = 0.5
    dt.write_text(json.dumps(records))
    deal(tmp_path, "pred", [k % 2 for k in range(len(records))], 2)
    merged = evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())
    assert_equal(merged, evaluate_files(gt, dt))
    # The order matters here: the test would not see it otherwise.
    dt.write_text(json.dumps(records[::-1]))
    assert evaluate_files(gt, dt).metrics != merged.state.finish().metrics


@pytest.mark.parametrize("row", [0, 4])
@pytest.mark.parametrize("shard", ["0.json", "1.json", "2.json"])
def test_a_bad_record_of_a_spread_image_is_named(tmp_path, shard, row):
    """The first shards are refused when they are read, the last one when its images are scored."""
    shuffled(tmp_path)
    name = poison(tmp_path, "pred", shard, row)
    with pytest.raises(InputError, match=name):
        evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())


def test_images_may_be_listed_wherever_one_shard_annotates_them(tmp_path):
    """All shards of the ground truth list all images, as a split of the annotations alone does."""
    gt, dt = write_shards(tmp_path, (), (7, 16))
    annotations = json.loads(gt.read_text())["annotations"]
    deal(tmp_path, "gt", [record["image_id"] % 3 for record in annotations], 3)
    merged = evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())
    assert_equal(merged, evaluate_files(gt, dt))


def test_an_image_that_is_another_in_the_second_shard_is_refused(tmp_path):
    gt, _ = write_shards(tmp_path, (), ())
    annotations = json.loads(gt.read_text())["annotations"]
    deal(tmp_path, "gt", [record["image_id"] % 2 for record in annotations], 2)
    path = tmp_path / "gt" / "1.json"
    content = json.loads(path.read_text())
    content["images"][4]["file_name"] = "other.jpg"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"gt/1\.json: image_id 4: it is another image in 0\.json"):
        evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())


def poison(folder, side, shard, row):
    """Break the mask of a record; return the record's name in errors."""
    path = folder / side / shard
    content = json.loads(path.read_text())
    records = content["annotations"] if side == "gt" else content
    records[row]["segmentation"]["counts"] = "0"
    path.write_text(json.dumps(content))
    return f"{side}/{shard}: record {row}[ ,]"


@pytest.mark.parametrize("cuts", [((7, 16), (7, 16)), ((5, 6, 20), (11,))])
@pytest.mark.parametrize(("side", "shard"), [("gt", "001.json"), ("pred", "001.json")])
def test_a_bad_record_is_named_with_its_file(tmp_path, cuts, side, shard):
    write_shards(tmp_path, *cuts)
    row = 0 if side == "gt" and cuts[0][1] == 6 else 5
    content = json.loads((tmp_path / side / shard).read_text())
    records = content["annotations"] if side == "gt" else content
    if row >= len(records):
        pytest.skip("the shard has too few records")
    with pytest.raises(InputError, match=poison(tmp_path, side, shard, row)):
        evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())


def of_another_size(path, row):
    """Give a record's mask another size."""
    content = json.loads(path.read_text())
    records = content if isinstance(content, list) else content["annotations"]
    records[row]["segmentation"]["size"] = [3, 4]
    path.write_text(json.dumps(content))


def broken_sides(folder):
    """Break annotations of the last two shards, and predictions of the first and in the whole."""
    gt, dt = write_shards(folder, (7, 16), (7, 16))
    for path in (folder / "gt" / "002.json", folder / "gt" / "001.json", gt):
        of_another_size(path, -1)
    for path in (folder / "pred" / "000.json", dt):
        of_another_size(path, 0)
    return gt, dt


def test_a_broken_annotation_is_named_before_a_broken_prediction(tmp_path):
    with pytest.raises(InputError, match=r"gt\.json: record"):
        evaluate_files(*broken_sides(tmp_path))
    with pytest.raises(InputError, match=r"gt/001\.json: record"):
        evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())


def test_records_of_no_image_of_any_shard_are_refused(tmp_path):
    write_shards(tmp_path, (7,), (7,))
    path = tmp_path / "pred" / "000.json"
    records = json.loads(path.read_text())
    records[2]["image_id"] = 999
    path.write_text(json.dumps(records))
    with pytest.raises(InputError, match=r"pred/000\.json: record 2 .*999"):
        evaluate_shards(tmp_path / "gt", tmp_path / "pred", InOneProcess())


def test_no_shards_and_no_such_engine_are_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="there is no shard"):
        find_shards(tmp_path / "*.json")
    sides = [str(tmp_path), str(tmp_path)]
    for engine in ("dask", "local=1", ""):
        assert cli.main(["evaluate", *sides, "--engine", engine or "x"]) == 2
        assert "there is no engine" in capsys.readouterr().err
    assert cli.main(["evaluate", *sides, "--engine", "local", "--granularity"]) == 2
    assert "--granularity" in capsys.readouterr().err


def test_no_ray_unless_asked():
    code = "import sys, entityseg_bench.cli"
    code += ", entityseg_bench.scale.shards, entityseg_bench.scale.ray_engine"
    code += "; assert not [name for name in sys.modules if name.partition('.')[0] == 'ray']"
    subprocess.run([sys.executable, "-c", code], check=True)


class TestRay:
    """The same on a cluster of two nodes of one core each, whatever is killed meanwhile."""

    @pytest.mark.parametrize("cuts", SPLITS.values(), ids=SPLITS)
    def test_shards_equal_one_file(self, tmp_path, on_ray, cuts):
        whole = evaluate_files(*write_shards(tmp_path, *cuts))
        assert_equal(evaluate_shards(tmp_path / "gt", tmp_path / "pred", on_ray), whole)

    def test_a_killed_worker_changes_no_shuffle(self, tmp_path, on_ray, monkeypatch):
        whole = shuffled(tmp_path)
        monkeypatch.setattr("entityseg_bench.scale.spread.PART", 1)
        deadly = Deadly(on_ray, tmp_path)
        assert_equal(evaluate_shards(tmp_path / "gt", tmp_path / "pred", deadly), whole)
        killed = {path.name for path in tmp_path.glob("killed*")}
        assert {"killed in deal_out", "killed in score_bucket"} <= killed

    @pytest.mark.parametrize("shard", ["1.json", "2.json"])
    def test_a_bad_record_of_a_shuffle_stops_with_its_file(self, tmp_path, on_ray, shard):
        shuffled(tmp_path)
        name = poison(tmp_path, "pred", shard, 3)
        with pytest.raises(InputError, match=name):
            evaluate_shards(tmp_path / "gt", tmp_path / "pred", on_ray)

    def test_a_bad_record_stops_with_its_file(self, tmp_path, on_ray):
        write_shards(tmp_path, (7, 16), (7, 16))
        name = poison(tmp_path, "pred", "001.json", 3)
        with pytest.raises(InputError, match=name):
            evaluate_shards(tmp_path / "gt", tmp_path / "pred", on_ray)

    def test_the_first_of_several_faults_is_named(self, tmp_path, on_ray, monkeypatch):
        from ray._private import worker

        told = []
        monkeypatch.setattr(worker, "_unhandled_error_handler", told.append)
        broken_sides(tmp_path)
        with pytest.raises(InputError, match=r"gt/001\.json: record"):
            evaluate_shards(tmp_path / "gt", tmp_path / "pred", on_ray)
        for _ in range(2):
            with pytest.raises(InputError, match="after 1 s"):
                list(on_ray.run(fails, [(None,), (1,), (0.1,), (0,), (None,)]))
        with pytest.raises(InputError, match="after 1 s"):
            list(on_ray.scatter(fails, [(1,), (0,)], 1))
        # What nobody waits for any more is not told by Ray, either.
        with pytest.raises(InputError, match="after 0 s"):
            list(on_ray.run(fails, [(0,), (0.1,), (0.1,)]))
        assert on_ray.run(waits, [(1,), (2,), (3,)]).__next__()
        assert list(on_ray.run(waits, [(4,)])) == [(0, 16)]
        assert not told

    def test_a_killed_worker_changes_nothing(self, tmp_path, on_ray):
        whole = evaluate_files(*write_shards(tmp_path, (7, 16), (7, 16)))
        deadly = Deadly(on_ray, tmp_path)
        assert_equal(evaluate_shards(tmp_path / "gt", tmp_path / "pred", deadly), whole)
        assert len(list(tmp_path.glob("killed*"))) == 3

    def test_what_ray_tells_is_no_output(self, on_ray, capsys):
        from ray._private import worker

        type(on_ray)()  # once more changes nothing
        data = {"lines": ["A worker died"], "pid": "raylet", "is_err": False}
        worker.print_to_stdstream(data, ignore_prefix=False)
        told = capsys.readouterr()
        assert "A worker died" in told.err
        assert not told.out

    def test_a_worker_that_dies_every_time_names_the_shard(self, tmp_path, on_ray):
        with pytest.raises(InputError, match=r"shard\.json: its worker was lost 4 times"):
            list(on_ray.run(dies, [(tmp_path / "shard.json",)]))

    def test_an_address_where_nobody_answers_is_refused(self, on_ray):
        with pytest.raises(InputError, match=r"ray=127\.0\.0\.1:1: no Ray cluster can be reached"):
            type(on_ray)("127.0.0.1:1")

    def test_each_process_has_a_gpu_of_its_own(self, cluster, on_ray):
        """Ray takes a node's word for how many it has; the processes are told which is theirs."""

        def make():
            own = os.environ["CUDA_VISIBLE_DEVICES"]
            return lambda k: (own, os.getpid())

        node = cluster.add_node(num_cpus=2, num_gpus=2)
        cluster.wait_for_nodes()
        found = dict(on_ray.run_made(make, [(k,) for k in range(8)], on_gpu=True))
        cluster.remove_node(node)
        assert sorted(found) == list(range(8))
        assert {own for own, _ in found.values()} <= {"0", "1"}
        assert len(set(found.values())) == len({pid for _, pid in found.values()}) <= 2

    def test_a_killed_node_changes_nothing(self, tmp_path, cluster, on_ray):
        node = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        results = on_ray.run(waits, [(k,) for k in range(12)])
        found = [next(results)]
        cluster.remove_node(node, allow_graceful=False)
        assert sorted([*found, *results]) == [(k, k * k) for k in range(12)]


class Deadly:
    """An engine whose worker is killed in the midst of each run, once."""

    def __init__(self, engine, folder):
        self.engine, self.folder, self.share = engine, folder, engine.share

    def run(self, work, items):
        marker = self.folder / f"killed in {work.__name__}"
        return self.engine.run(dies_once, [(str(marker), work, *item) for item in items])

    def scatter(self, work, items, n):
        marker = self.folder / f"killed in {work.__name__}"
        return self.engine.scatter(dies_once, [(str(marker), work, *item) for item in items], n)


def dies_once(marker, work, *item):
    """Kill the worker once its work is done, the first time of all."""
    result = work(*item)
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return result
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def dies(_path):
    os.kill(os.getpid(), signal.SIGKILL)


def fails(seconds):
    if seconds is not None:
        time.sleep(seconds)
        raise InputError("shard", "", f"it fails after {seconds} s.")


def waits(k):
    time.sleep(0.5)
    return k * k
