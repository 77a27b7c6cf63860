"""Files as people have them: what can be meant in two ways is refused, with what to do."""

import gzip
import json
import re

import numpy as np
import pytest
from changed_inputs import (
    both,
    of_dt,
    of_gt,
    outlines,
    rows_of_mask,
    wrapped,
)
from odd_inputs import (
    IDS,
    NAMES,
    by_image,
    edited,
    renumbered,
    results,
    saved,
    truth,
)

from entity_api import rle
from entityseg_bench.cli import main


def swapped_rows(code):
    return rle.decode(code).T.astype(int).tolist()


# What is changed, and words of the one message that refuses it.
REFUSED = {
    "id_half": (of_dt(image_id=1.5), r"image_id is 1\.5"),
    "category_half": (of_dt(category_id=1.5), r"category_id is 1\.5"),
    "pixels_listed": (
        of_dt(segmentation=lambda s: np.argwhere(rle.decode(s)).tolist()), "lists the pixels",
    ),
    "starts_and_lengths": (
        of_dt(segmentation=lambda s: [1, 3, 21, 3, 41, 3]), "starts and lengths.*6 are so",
    ),
    "polygon_of_shares": (
        outlines(lambda p: [[x / 100 for x in p]]), "shares of the image's sides.*are so",
    ),
    "size_half": (of_gt("images", height=11.5), r"height is 11\.5"),
    "counts_half": (
        of_dt(segmentation=lambda s: {**s, "counts": [0.5, 191.5]}), r"not 0\.5.*6 are so",
    ),
    "iscrowd_half": (of_gt(iscrowd=0.5), r"iscrowd is 0\.5"),
    "score_nan": (of_dt(score=float("nan")), r"score is NaN.*6 of 6 records"),
    "score_null": (of_dt(score=None), r"no `score`"),
    "score_comma": (of_dt(score=lambda s: str(s).replace(".", ",")), "is no number"),
    "some_own_names": (
        wrapped(lambda dt: {**renumbered(dt), "images": renumbered(dt)["images"][:2]}),
        "the file calls it other/",
    ),
    "key_and_record": (
        wrapped(lambda dt: {
            str(k): edited(v, image_id=IDS[0]) for k, v in by_image(dt, drop=False).items()
        }),
        "under the key of image '.*' a record has image_id 11",
    ),
    "gzip_twice": (
        wrapped(lambda dt: gzip.compress(gzip.compress(json.dumps(dt).encode()))),
        "gzip within gzip",
    ),
    "print_by_image": (wrapped(lambda dt: str(by_image(dt))), "Python's print.*json.dump"),
    "no_score": (of_dt(score=..., area=7), r"--score-from KEY \(of area\)"),
    "latin1": (
        lambda gt, dt: (json.dumps(gt).replace("pond", "é").encode("latin-1"), dt),
        r"gt\.json: it is not UTF-8 \(byte 0xe9.*Save it as UTF-8",
    ),
    "lfs": (wrapped(lambda dt: "version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "gt_lfs": (lambda gt, dt: ("version https://git-lfs.github.com/spec/v1\n", dt), "git lfs pull"),
    "lines_cut": (
        wrapped(lambda dt: "\n".join(map(json.dumps, dt))[:-20]), "line 6.*JSON Lines.*no JSON",
    ),
    "the_file_twice": (wrapped(lambda dt: 2 * (json.dumps(dt) + "\n")), "trailing characters"),
    "csv": (wrapped(lambda dt: "image_id,score\n1,0.5\n"), "begins with 'image_id,score'"),
    "defaultdict": (wrapped(lambda dt: f"defaultdict(<class 'list'>, {dt})"), "Python's print"),
    "html": (wrapped(lambda dt: "\n<!DOCTYPE html><p>404"), "web page"),
    "gt_html": (lambda gt, dt: ("<html>", dt), r"gt\.json: this is a web page \(HTML\)"),
    "xml": (wrapped(lambda dt: "<?xml version='1.0'?><Error/>"), "this is XML"),
    "print": (wrapped(lambda dt: str(dt)), "Python's print.*json.dump"),
    "gt_print": (lambda gt, dt: (str(gt), dt), "Python's print.*json.dump"),
    "zip": (wrapped(lambda dt: b"PK\x03\x04abc"), "zip archive"),
    "picture": (wrapped(lambda dt: b"\x89PNG\r\n\x1a\n"), "a picture"),
    "swapped": (lambda gt, dt: (dt, gt), "Are GT and PRED exchanged"),
    "swapped_wrapped": (lambda gt, dt: ({"results": dt}, gt), "Are GT and PRED exchanged"),
    "gt_twice": (lambda gt, dt: (gt, gt), "ground truth, not predictions.*exchanged"),
    "boxes": (of_dt(segmentation=..., bbox=[1, 1, 3, 3]), "bounding box.*6 of 6 records"),
    "gt_boxes": (of_gt(segmentation=[]), r"bounding box.*5 are so"),
    "gt_boxes_null": (of_gt(segmentation=None), r"bounding box.*5 are so"),
    "gt_boxes_missing": (of_gt(segmentation=...), r"bounding box.*5 are so"),
    "two_codes": (of_dt(segmentation=lambda s: [s, s]), "2 run-length codes.*6 are so"),
    "label_studio": (
        of_dt(segmentation=lambda s: {"format": "rle", "rle": [1], "original_width": 16}),
        "Label Studio",
    ),
    "label_studio_record": (
        of_dt(segmentation=..., rle=[0, 1], original_width=16), "Label Studio",
    ),
    "rows_turned": (of_dt(segmentation=swapped_rows), "height and width are swapped.*6 are so"),
    "rows_small": (of_dt(segmentation=lambda s: rows_of_mask(s)[:6]), "a mask of 6 rows of 16"),
    "rows_soft": (
        of_dt(segmentation=lambda s: (rle.decode(s) * 0.75).tolist()), r"values from 0 to 0\.75",
    ),
    "rows_flat": (
        of_dt(segmentation=lambda s: np.ravel(rows_of_mask(s)).tolist()), "write it as rows",
    ),
    "polygon_nan": (outlines(lambda p: [[float("nan"), *p[1:]]]), "three finite"),
    "polygon_odd": (outlines(lambda p: [p[:7]]), "three finite"),
    "several_lists": (wrapped(lambda dt: {"first": dt, "last": dt}), "'first', 'last'"),
    "no_lists": (wrapped(lambda dt: {"model": "x", "epoch": 3}), "its keys are 'model', 'epoch'"),
    "no_images": (of_dt(image_id=...), r"--image-id ID.*6 of 6|6 of 6.*--image-id ID"),
    "other_images": (
        wrapped(lambda dt: renumbered(dt) | {"images": [
            {"id": k, "file_name": f"cat{k}.jpg"} for k in IDS
        ]}),
        "Is it of other images",
    ),
    "unknown_images": (of_dt(image_id=lambda k: k + 100), r"not among.*6 of 6 records, 3 ids"),
    "number_or_name": (
        both(of_gt("images", file_name=lambda n: f"{IDS[NAMES.index(n) - 1]}.jpg"),
             of_dt(image_id=str)),
        "as a number it is .*, as a name",
    ),
    "twice_in_image": (
        lambda gt, dt: ({**gt, "annotations": [*gt["annotations"], gt["annotations"][0]]}, dt),
        "id stands at record 0 already",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path, capsys):
    change, message = REFUSED[name]
    paths = [str(path) for path in saved(tmp_path, *change(truth(), results()))]
    assert main(["evaluate", *paths]) == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert said.count("\n") == 1
    assert re.search(message, said), said
    assert "pred.json" in said or "gt.json" in said
    assert main(["validate", *paths]) == 1
    out, _ = capsys.readouterr()
    assert re.search(message, out), out
    errors = [line for line in out.splitlines() if line.startswith("error")]
    assert len(errors) == 1, errors
