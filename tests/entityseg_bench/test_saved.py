"""Saved scorings: shards scored apart and merged are the set scored whole."""

import json
import os

import numpy as np
import pyarrow as pa
import pytest
from drawn_boxes import draw_box

from entity_api import rle
from entity_api.state_file import KEY, seal, write_arrays
from entityseg_bench import cli
from entityseg_bench.io import InputError
from entityseg_bench.scale.saved import SavedScoring, merge_files

SIDE = 32


@pytest.fixture
def shards(tmp_path):
    """Write a set whole (gt.json, pred.json) and in three shards of unequal size, one empty."""
    rng = np.random.default_rng(0)
    whole = [{"images": [], "annotations": [], "categories": [{"id": 1, "name": "entity"}]}, []]
    parts = [json.loads(json.dumps(whole)) for _ in range(3)]
    for image_id in range(1, 13):
        part = parts[0 if image_id % 4 else 1]
        image = {"id": image_id, "file_name": f"{image_id}.jpg", "height": SIDE, "width": SIDE}
        for gt, _ in (whole, part):
            gt["images"].append(image)
        for k in range(3):
            mask = draw_box(rng, SIDE, 18)
            shared = {"image_id": image_id, "category_id": 1}
            record = shared | {"id": 10 * image_id + k, "segmentation": rle.encode(mask)}
            record |= {"iscrowd": 0, "area": int(mask.sum()), "bbox": rle.bbox(rle.encode(mask))}
            guesses = [np.roll(mask, rng.integers(-2, 3, 2), (0, 1)), draw_box(rng, SIDE, 18)]
            for gt, _ in (whole, part):
                gt["annotations"].append(record)
            for guess in guesses:
                score = round(float(rng.random()), 1)
                for _, dt in (whole, part):
                    dt.append(shared | {"segmentation": rle.encode(guess), "score": score})
    for name, (gt, dt) in zip(("", "0", "1", "2"), (whole, *parts), strict=True):
        (tmp_path / f"gt{name}.json").write_text(json.dumps(gt), encoding="utf-8")
        (tmp_path / f"pred{name}.json").write_text(json.dumps(dt), encoding="utf-8")
    return tmp_path


def score(folder, name, *options):
    sides = [str(folder / f"{side}{name}.json") for side in ("gt", "pred")]
    assert cli.main(["evaluate", *sides, "--quiet", *options]) == 0


def test_shards_merge_to_the_result_of_the_whole(shards, capsys):
    json_path, states = shards / "whole.json", [shards / f"{k}.state" for k in range(3)]
    score(shards, "", "--json", str(json_path), "--ci", "50", "--boundary")
    printed = capsys.readouterr().out
    for k, path in enumerate(states):
        # --json counts pairs of masks.
        options = ["--boundary", "--json", str(shards / "part.json")]
        score(shards, str(k), "--save-state", str(path), *options)
    capsys.readouterr()
    some, all_of_it = shards / "some.state", shards / "merged.json"
    assert cli.main(["merge", str(states[2]), str(states[1]), "--save-state", str(some)]) == 0
    capsys.readouterr()
    options = ["--json", str(all_of_it), "--ci", "50"]
    assert cli.main(["merge", str(some), str(states[0]), *options]) == 0
    assert capsys.readouterr().out == printed
    whole, merged = (json.loads(path.read_text()) for path in (json_path, all_of_it))
    assert merged["metrics"]["APe"] != merged["metrics"]["AP"]
    assert len(merged["shards"]) == 3
    for key in whole.keys() - {"files", "warnings"}:
        assert merged[key] == whole[key], key
    assert merged["files"]["predictions"]["name"] == "3 files"


def test_one_state_keeps_its_files(shards):
    score(shards, "0", "--save-state", str(shards / "0.state"))
    record = merge_files([shards / "0.state"])
    assert record.files()["ground_truth"]["name"] == "gt0.json"


def test_an_image_in_two_states_is_refused(shards, capsys):
    score(shards, "0", "--save-state", str(shards / "0.state"))
    score(shards, "", "--save-state", str(shards / "all.state"))
    capsys.readouterr()
    assert cli.main(["merge", str(shards / "0.state"), str(shards / "all.state")]) == 2
    assert "image 1 is in two states" in capsys.readouterr().err


def test_states_with_and_without_boundaries_are_refused(shards):
    score(shards, "0", "--save-state", str(shards / "0.state"))
    score(shards, "1", "--save-state", str(shards / "1.state"), "--boundary")
    with pytest.raises(InputError, match="some states have Boundary AP"):
        merge_files([shards / "0.state", shards / "1.state"])


def test_what_is_no_state_is_refused(shards, capsys):
    score(shards, "0", "--save-state", str(shards / "0.state"))
    content = (shards / "0.state").read_bytes()
    path = shards / "broken.state"
    for broken in (b"", content[:-50], b"\x00" * 100, (shards / "gt.json").read_bytes()):
        path.write_bytes(broken)
        assert cli.main(["merge", str(path)]) == 2
        assert "broken.state: it is no saved scoring" in capsys.readouterr().err
    SavedScoring.load(shards / "0.state").state.save(path)
    assert cli.main(["merge", str(path)]) == 2
    assert "no saved scoring" in capsys.readouterr().err
    assert cli.main(["merge", str(shards / "none.state")]) == 2


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes of this kind")
def test_a_pipe_is_no_state(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert cli.main(["merge", str(tmp_path / "pipe")]) == 2
    assert "a device or a pipe" in capsys.readouterr().err


def test_a_state_that_fills_all_memory_is_refused(tmp_path, capsys):
    path = tmp_path / "bomb.state"
    write_arrays(path, {"scoring": np.zeros(1 << 26, np.uint8)}, {})
    assert path.stat().st_size < 1 << 17
    assert cli.main(["merge", str(path)]) == 2
    assert "200 times its size" in capsys.readouterr().err


def test_a_state_of_an_earlier_version_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "old.state.npz", scoring=np.zeros(3))
    assert cli.main(["merge", str(tmp_path / "old.state.npz")]) == 2
    assert "is a state of version 1 (NPZ): write it anew" in capsys.readouterr().err
    write_arrays(tmp_path / "new.state", {}, {"version": 9})
    assert cli.main(["merge", str(tmp_path / "new.state")]) == 2
    assert "it is of version 9, not 2" in capsys.readouterr().err


def test_a_state_whose_words_are_nested_is_refused(tmp_path, capsys):
    from pyarrow import parquet

    schema = pa.schema([("state/head", pa.list_(pa.uint8()))], {KEY: b"[" * 100_000})
    parquet.write_table(pa.table({"state/head": [[1]]}, schema), tmp_path / "deep.state")
    seal(tmp_path / "deep.state")
    assert cli.main(["merge", str(tmp_path / "deep.state")]) == 2
    assert "its head is missing or broken" in capsys.readouterr().err


def test_a_changed_byte_of_a_state_is_found_or_changes_nothing(shards, capsys):
    score(shards, "0", "--save-state", str(shards / "0.state"))
    printed, refused = capsys.readouterr().out, 0
    content = bytearray((shards / "0.state").read_bytes())
    for at in range(100, len(content), 397):
        content[at] ^= 0x10
        (shards / "broken.state").write_bytes(content)
        code, found = cli.main(["merge", str(shards / "broken.state")]), capsys.readouterr().out
        # Notes of the format beside the data, as the least and greatest of a page, are not read.
        assert code == 2 or found == printed, at
        refused += code == 2
        content[at] ^= 0x10
    assert refused > 10


def test_a_folder_that_cannot_be_written_to_is_named_before_the_work(shards, capsys):
    sides = [str(shards / f"{side}.json") for side in ("gt", "pred")]
    assert cli.main(["evaluate", *sides, "--save-state", str(shards)]) == 2
    assert "cannot be written" in capsys.readouterr().err
