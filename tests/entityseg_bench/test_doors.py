"""Sets drawn at random, cut at random, one record odd: each door gives one answer to them."""

import contextlib
import gzip
import io
import json
import random
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from entity_api import rle
from entityseg_bench import cli

ODD = (None, True, -1, 0.5, 1e308, float("nan"), 10**30, "", "x", "1.0", [], {}, [[]], [1], 2**63)
MASKS = ({"size": [4, 4], "counts": "0"}, [], [[1, 1, 2]], [[0, 0, 0.5, 0, 0.5, 0.5]], {"a": 1})
NUMBERS = ("metrics", "own_metrics", "counts", "overlap", "score_from", "parameters")
# What is true of a shard alone, or is said of each: how many records, and which image is first.
COUNTED = re.compile(r"image_id \S+ first|\d+ records?\b| ?\(\d+ (more|are so|of \d+ rec)[^)]*\)")


def drawn_mask(rng, side):
    mask = np.zeros((side, side + 2), bool)
    top, left = rng.randrange(side), rng.randrange(side)
    mask[top : top + rng.randint(1, side), left : left + rng.randint(1, side)] = True
    return mask


def drawn(rng):
    """Draw both sides: ids as numbers or text, crowds, empty and equal masks, equal scores."""
    as_id = rng.choice((int, str, "s{}".format))
    images, annotations, predictions = [], [], []
    for number in rng.sample(range(50), rng.randint(1, 7)):
        side = rng.randint(4, 16)
        shared = {"image_id": as_id(number)}
        name = {"id": as_id(number), "file_name": f"im_{number}.jpg"}
        images.append({**name, "height": side, "width": side + 2})
        masks = [drawn_mask(rng, side) for _ in range(rng.choice((0, 1, 3)))]
        for mask in masks:
            row = {"id": len(annotations) + 1, "category_id": rng.choice((1, 2)), "area": 7.0}
            row |= {"iscrowd": int(rng.random() < 0.2), "segmentation": rle.encode(mask)}
            annotations.append(shared | row)
        for mask in [*masks, drawn_mask(rng, side)][: rng.choice((0, 2, 9))]:
            moved = np.roll(mask, rng.randint(-1, 1), 1) if rng.random() < 0.9 else mask & False
            row = {"category_id": rng.choice((1, 2)), "score": rng.random()}
            predictions.append(shared | row | {"segmentation": rle.encode(moved)})
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    return {"images": images, "annotations": annotations, "categories": categories}, predictions


def make_odd(rng, truth, predictions):
    """Change the spelling of all predictions, and one field of one record of either side."""
    for row in predictions if rng.random() < 0.3 else ():
        row["score"] = str(row["score"])
    rows = rng.choice((predictions, predictions, truth["annotations"]))
    if rows and rng.random() < 0.6:
        row = rng.choice(rows)
        key = rng.choice(list(row))
        row[key] = rng.choice(MASKS if key == "segmentation" else ODD)


def spelled(rows, path, kind):
    """Write records as one of the kinds of shards."""
    text = json.dumps(rows).encode()
    if kind == "lines" and len(rows) > 1:
        path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)))
    elif kind == "gz":
        path.with_suffix(".json.gz").write_bytes(gzip.compress(text))
    elif kind == "tar":
        with tarfile.open(path.with_suffix(".tar"), "w") as tar:
            member = tarfile.TarInfo("a.json")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    else:
        path.with_suffix(".json").write_bytes(text)


def write(rng, truth, predictions):
    """Write both sides whole and in shards; return where in the whole each shard's records are."""
    n = rng.randint(1, 3)
    owner = {str(image["id"]): rng.randrange(n) for image in truth["images"]}
    owners = [owner.get(str(row["image_id"]), 0) for row in truth["annotations"]]
    dealt = [rng.randrange(n) for _ in predictions]
    kind = rng.choice(("json", "lines", "gz", "tar"))
    order = [at for k in range(n) for at, own in enumerate(dealt) if own == k]
    Path("gt.json").write_text(json.dumps(truth))
    Path("pred.json").write_text(json.dumps([predictions[at] for at in order]))
    where = {"gt": [], "pred": []}
    for side in where:
        Path(side).mkdir()
    for k in range(n):
        rows = [at for at, own in enumerate(owners) if own == k]
        images = [image for image in truth["images"] if owner[str(image["id"])] == k]
        part = {"images": images, "annotations": [truth["annotations"][at] for at in rows]}
        spelled(truth | part, Path("gt", str(k)), kind if kind != "lines" else "json")
        own = [at for at in order if dealt[at] == k]
        spelled([predictions[at] for at in own], Path("pred", str(k)), kind)
        where["gt"].append(rows)
        where["pred"].append([order.index(at) for at in own])
    return where


def run(*arguments):
    """Run a command; return its exit code, what it says, and the numbers."""
    Path("r.json").unlink(missing_ok=True)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(arguments))
    assert code in (0, 1, 2)
    assert "Traceback" not in err.getvalue()
    found = json.loads(Path("r.json").read_text()) if Path("r.json").exists() else {}
    return code, err.getvalue(), {key: found.get(key) for key in NUMBERS}


def said(text, where=None):
    """Return what is said of the whole, whatever the shard; ``where`` is that of `write`."""

    def of_whole(found):
        side, shard, kind, row = found[1], found[2], found[4] or "", found[5]
        if row is not None and shard is not None and where is not None:
            row = where[side][int(shard)][int(row)]
        return f"{side}:" + (f" {kind}record {row}" if row is not None else "")

    place = r"\b(gt|pred)(?:/(\d))?(\.\w+)*(?:/a\.json)?:(?: (annotations )?record (\d+))?"
    lines = [COUNTED.sub("", re.sub(place, of_whole, line)) for line in text.splitlines()]
    return {" ".join(line.split()) for line in lines if "it is JSON Lines" not in line}


@pytest.mark.parametrize("seed", range(40))
def test_every_door_gives_one_answer(seed, tmp_path, monkeypatch):
    rng = random.Random(seed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("entityseg_bench.scale.streamed.room_for", lambda *_: 600)
    truth, predictions = drawn(rng)
    make_odd(rng, truth, predictions)
    where = write(rng, truth, predictions)
    options = rng.choice(([], ["--class-aware"], ["--boundary"]))
    classes = [one for one in options if one == "--class-aware"]
    code, text, numbers = run("evaluate", "gt.json", "pred.json", "--json", "r.json", *options)
    found, own, same = run(
        "evaluate", "gt", "pred", "--engine", "local", "--json", "r.json", *options
    )
    assert (found, same) == (code, numbers), (text, own)
    # Where several things are wrong, another one of them may come first.
    if code == 0 or "more" not in text:
        assert said(own, where) == said(text)
    for names in (("gt.json", "pred.json"), ("gt", "pred", "--engine", "local")):
        assert (run("validate", *names, *classes)[0] == 0) == (code == 0)
    if not classes:
        by_parts = ["--max-memory", "4GB", *options]
        found, own, same = run("evaluate", "gt.json", "pred.json", "--json", "r.json", *by_parts)
        if "without --max-memory" not in own:
            assert (found, said(own), same) == (code, said(text), numbers)
    state = ["--save-state", "a.state", *options]
    assert run("evaluate", "gt", "pred", "--engine", "local", *state)[0] == code
    if code == 0:
        assert run("merge", "a.state", "--json", "r.json")[2] == numbers
