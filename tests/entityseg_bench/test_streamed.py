"""A results file read by parts gives the result of the file read at once, in a bounded memory."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from drawn_sides import SIDE, drawn_sides

from entity_api import rle
from entityseg_bench import cli
from entityseg_bench.commands.evaluate import n_bytes
from entityseg_bench.formats.coco import index as coco_index
from entityseg_bench.io import InputError
from entityseg_bench.scale import streamed
from entityseg_bench.scale.streamed import evaluate_streamed
from entityseg_bench.score import evaluate_files, plain

AMPLE = 1 << 34


def write_sides(folder, n_images=24, shuffled=False, layout=None):
    """Write both sides; some images have no annotations, and some no predictions."""
    truth, predictions = drawn_sides(n_images, crowds=True)
    if shuffled:
        np.random.default_rng(1).shuffle(predictions)
    paths = folder / "gt.json", folder / "pred.json"
    paths[0].write_text(json.dumps(truth), encoding="utf-8")
    paths[1].write_text(json.dumps(predictions, **(layout or {})), encoding="utf-8")
    return paths


def assert_equal(merged, whole):
    for found, wanted in ((merged.state, whole.result), (merged.boundary, whole.boundary)):
        result = found.finish()
        assert result.metrics == wanted.metrics
        for kind in ("submitted", "disjoint"):
            for name in ("precision", "recall", "scores"):
                one, other = (getattr(getattr(of, kind), name) for of in (result, wanted))
                assert one.tobytes() == other.tobytes()
    assert merged.warnings == [str(problem) for problem in whole.warnings]
    assert merged.shards == [whole.sides.files()]


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("layout", [None, {"indent": 1}, {"separators": (",", ":")}])
@pytest.mark.parametrize("room", [1, 900, 10**9])
def test_parts_equal_the_whole(tmp_path, monkeypatch, shuffled, layout, room):
    gt, dt = write_sides(tmp_path, shuffled=shuffled, layout=layout)
    monkeypatch.setattr(streamed, "room_for", lambda *_: room)
    monkeypatch.setattr(coco_index, "WINDOW", 250)
    parts = []
    merged = evaluate_streamed(
        gt, dt, AMPLE, boundary=True, progress=lambda done, total: parts.append((done, total))
    )
    whole = evaluate_files(gt, dt, boundary=True)
    assert whole.metrics["APe"] != whole.metrics["AP"]
    assert_equal(merged, whole)
    assert parts[-1] == (24, 24)
    assert (len(parts) == 1) == (room == 10**9)


def test_the_command_prints_and_writes_the_same(tmp_path, capsys):
    gt, dt = write_sides(tmp_path, shuffled=True)
    records = []
    for name, options in (("a.json", []), ("b.json", ["--max-memory", "64GB"])):
        command = ["evaluate", str(gt), str(dt), "--json", str(tmp_path / name), "--ci", "50"]
        assert cli.main([*command, *options]) == 0
        records.append((capsys.readouterr(), json.loads((tmp_path / name).read_text())))
    (shown, one), (streamed_shown, other) = records
    assert streamed_shown == shown
    assert {name: value for name, value in other.items() if name != "shards"} == one


# Sets the limit when all is imported: what Python takes itself differs from machine to machine.
LIMITED = """
import re, resource, sys
from pathlib import Path
from entityseg_bench import cli
import entityseg_bench.commands.evaluate, entityseg_bench.scale.streamed, entity_api.evaluator
def said(name):
    return int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
limit = said("VmData") + (60 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
size = str(said("VmHWM") + (45 << 20))
sys.exit(cli.main([size if word == "SIZE" else word for word in sys.argv[1:]]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is Linux's")
@pytest.mark.parametrize("by_image", [True, False])
def test_a_file_larger_than_memory_is_scored(tmp_path, by_image):
    """100 MB of predictions in 60 MB: read at once they are too much, by parts they are not."""
    rng = np.random.default_rng(1)
    codes = [rle.encode(rng.random((256, 256)) < 0.5) for _ in range(8)]
    truth = {
        "images": [
            {"id": k, "file_name": f"{k}.jpg", "height": 256, "width": 256} for k in range(300)
        ],
        "annotations": [
            {"id": k + 1, "image_id": k, "category_id": 1, "segmentation": codes[k % 7]}
            for k in range(300)
        ],
        "categories": [{"id": 1, "name": "entity"}],
    }
    records = [
        {"image_id": k, "category_id": 1, "segmentation": codes[n % 8], "score": n / 100 + k / 1e4}
        for k in range(300) for n in range(10)
    ]  # fmt: skip
    if not by_image:
        rng.shuffle(records)
    gt, dt = tmp_path / "gt.json", tmp_path / "pred.json"
    gt.write_text(json.dumps(truth), encoding="utf-8")
    dt.write_text(json.dumps(records), encoding="utf-8")
    assert dt.stat().st_size > 90e6
    whole = evaluate_files(gt, dt)

    def run(*options):
        command = ["evaluate", str(gt), str(dt), "--threads", "1", "--quiet", *options]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        return subprocess.run(
            [sys.executable, "-c", LIMITED, *command],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip

    refused = run()
    assert refused.returncode == 2
    assert "more memory than there is" in refused.stderr
    done = run("--max-memory", "SIZE", "--json", str(tmp_path / "out.json"))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "out.json").read_text())["metrics"]
    assert found == plain(whole.metrics)


def edited(path, change):
    records = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(records) or records), encoding="utf-8")


def fault_of(score):
    with pytest.raises(InputError) as raised:
        score()
    return str(raised.value)


@pytest.mark.parametrize(
    "change",
    {
        "broken": lambda found: found[17]["segmentation"].update(counts="zz"),
        "too small": lambda found: found[17]["segmentation"].update(size=[SIDE, SIDE - 1]),
        "unknown image": lambda found: found[17].update(image_id=99, id=5),
        "swapped boxes": lambda found: [one | {"bbox": [0, 0, 1, 1]} for one in found],
    }.values(),
    ids=["broken", "too small", "unknown image", "boxes"],
)
def test_what_is_wrong_is_said_as_of_the_whole(tmp_path, monkeypatch, change):
    """With the position in the file, wherever the record stands in its part."""
    gt, dt = write_sides(tmp_path, shuffled=True)
    edited(dt, change)
    monkeypatch.setattr(streamed, "room_for", lambda *_: 900)
    try:
        whole = evaluate_files(gt, dt)
    except InputError as error:
        assert "record 17" in str(error)
        assert fault_of(lambda: evaluate_streamed(gt, dt, AMPLE)) == str(error)
    else:
        assert len(whole.warnings) > 2
        assert evaluate_streamed(gt, dt, AMPLE).warnings == list(map(str, whole.warnings))


def written(text):
    return lambda path: path.write_text(text(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (written(lambda text: text[: len(text) // 2]), "broken off"),
        (written(lambda text: text[:-1] + ",]"), "record 88"),
        (written(lambda text: text + " x"), "something follows"),
        (written(lambda text: f'{{"annotations": {text}}}'), "it is no JSON list"),
        (written(lambda text: text.replace('"counts": "', '"counts": 7, "x": "', 1)), "record 0"),
        (written(lambda text: text.replace('"image_id": 23', '"image_id": "a"', 1)), "record "),
        (lambda path: path.write_bytes(gzip.compress(path.read_bytes())), "it is compressed"),
        (lambda path: path.write_text("", encoding="utf-8"), "it is no JSON list"),
    ],
    ids=[
        "cut", "comma", "more", "wrapped", "plain counts", "names", "gzip", "empty",
    ],
)  # fmt: skip
@pytest.mark.parametrize("window", [90, 1 << 21])
def test_other_forms_are_refused(tmp_path, monkeypatch, write, said, window):
    gt, dt = write_sides(tmp_path)
    write(dt)
    monkeypatch.setattr(coco_index, "WINDOW", window)
    assert said in fault_of(lambda: evaluate_streamed(gt, dt, AMPLE))


def test_records_that_name_their_images_are_refused(tmp_path):
    gt, dt = write_sides(tmp_path)
    edited(dt, lambda found: [one | {"file_name": f"{one['image_id']}.jpg"} for one in found])
    assert "by file_name" in fault_of(lambda: evaluate_streamed(gt, dt, AMPLE))


def test_no_predictions_at_all(tmp_path):
    gt, dt = write_sides(tmp_path)
    dt.write_text(" [ ]\n", encoding="utf-8")
    whole = evaluate_files(gt, dt)
    merged = evaluate_streamed(gt, dt, AMPLE)
    assert merged.state.finish().metrics == whole.metrics
    assert merged.warnings == [str(problem) for problem in whole.warnings]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path, monkeypatch):
    _, dt = write_sides(tmp_path)
    index = coco_index.index_results(dt)
    os.utime(dt, ns=(0, 0))
    assert "changed" in fault_of(lambda: index.text(np.arange(3)))


def test_too_little_memory_says_how_much_there_must_be(tmp_path):
    gt, dt = write_sides(tmp_path)
    said = fault_of(lambda: evaluate_streamed(gt, dt, 10**6))
    assert "1 MB are too little" in said
    enough = int(said.split("Give ")[1].split(" MB")[0])
    # What the process takes only grows.
    assert evaluate_streamed(gt, dt, (enough + 50) * 10**6).counts["images"] == 24


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 5 * 10**8), ("4GB", 4 * 10**9), ("4GiB", 4 << 30), ("1.5G", 15 * 10**8), ("9", 9)],
)
def test_sizes(text, size):
    assert n_bytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1GB", "4 apples", "4iB5"])
def test_what_is_no_size(text):
    assert "is no size of memory" in fault_of(lambda: n_bytes(text))


@pytest.mark.parametrize(
    "options",
    [
        ["--engine", "local"], ["--class-aware"], ["--protocol", "ar1000"], ["--granularity"],
        ["--overlap-sensitivity"], ["--predicted-images-only"], ["--score-from", "x"],
    ],
)  # fmt: skip
def test_what_does_not_go_with_it(tmp_path, capsys, options):
    sides = map(str, write_sides(tmp_path))
    assert cli.main(["evaluate", *sides, "--max-memory", "4GB", *options]) == 2
    assert "--max-memory" in capsys.readouterr().err


def test_what_was_done_to_read_masks_is_said_once(tmp_path, monkeypatch):
    """Not for each part with its own count."""
    gt, dt = write_sides(tmp_path)
    printed = [
        {**row, "segmentation": {**code, "counts": repr(code["counts"].encode())}}
        for row in json.loads(dt.read_text(encoding="utf-8"))
        for code in [row["segmentation"]]
    ]
    dt.write_text(json.dumps(printed), encoding="utf-8")
    monkeypatch.setattr("entityseg_bench.scale.streamed.room_for", lambda *_: 500)
    merged = evaluate_streamed(gt, dt, 10**9)
    assert sorted(merged.warnings) == sorted(map(str, evaluate_files(gt, dt).warnings))
    assert sum("as Python prints them" in text for text in merged.warnings) == 1
