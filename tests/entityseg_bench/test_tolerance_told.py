"""Files as people have them: what is said of flags, scores, images without a name, and boxes."""

import json
import pickle

import numpy as np
import pytest
from changed_inputs import (
    by_rows,
    of_gt,
    rows_of_mask,
    with_boxes,
)
from odd_inputs import (
    ENTITIES,
    HEIGHT,
    PREDICTIONS,
    WIDTH,
    box_mask,
    edited,
    plain_metrics,
    results,
    saved,
    scored,
    truth,
)

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.io import InputError


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return plain_metrics(tmp_path_factory.mktemp("tolerance"))


@pytest.mark.parametrize("flag", [255, 2, -1])
def test_other_flags_are_crowds_with_a_note(flag, plain, tmp_path):
    gt, dt = truth(), results()
    rows = [*gt["annotations"], {**gt["annotations"][0], "id": 99, "iscrowd": flag}]
    crowd = [*gt["annotations"], {**gt["annotations"][0], "id": 99, "iscrowd": 1}]
    metrics, said = scored(*saved(tmp_path, {**gt, "annotations": rows}, dt))
    assert any(f"iscrowd is {flag} in an annotation: taken as 1" in line for line in said), said
    assert metrics == scored(*saved(tmp_path, {**gt, "annotations": crowd}, dt))[0]


def test_ground_truth_with_scores_is_told(plain, tmp_path):
    gt, dt = truth(), results()
    rows = [{**row, "score": 0.5} for row in gt["annotations"]]
    metrics, said = scored(*saved(tmp_path, {**gt, "annotations": rows}, dt))
    assert any("its annotations have scores" in line for line in said), said
    assert metrics == plain


def test_every_annotation_a_crowd(tmp_path):
    _, said = scored(*saved(tmp_path, *of_gt(iscrowd=1)(truth(), results())))
    assert any("all 5 annotations are crowds" in line for line in said)


def test_one_image_of_records_that_name_none(plain, tmp_path):
    """By option, or by the name of the file."""
    first = edited(results(), image_id=...)[: len(PREDICTIONS[0])]
    gt, dt = saved(tmp_path, truth(), first)
    wanted, _ = scored(*saved(tmp_path, truth(), results()[: len(first)]))
    (tmp_path / "pred.json").write_text(json.dumps(first), encoding="utf-8")
    metrics, said = scored(gt, dt, image_id="11")
    assert metrics == pytest.approx(wanted, nan_ok=True)
    metrics, _ = scored(gt, dt, image_id="pond_07.jpg")
    assert metrics == pytest.approx(wanted, nan_ok=True)
    named_like = dt.rename(tmp_path / "pond_07.json")
    metrics, said = scored(gt, named_like)
    assert metrics == pytest.approx(wanted, nan_ok=True)
    assert any("the file is called like pond_07.jpg" in line for line in said)
    with pytest.raises(InputError, match=r"--image-id.*no image '77'.*It has 11, 5, 8"):
        scored(gt, named_like, image_id="77")
    with pytest.raises(InputError, match="its records name their images"):
        scored(*saved(tmp_path, truth(), results()), image_id="11")


@pytest.mark.parametrize(
    ("text_of", "combine"),
    [
        ("a", lambda a, b: a),
        ("mean(a, b)", lambda a, b: (a + b) / 2),
        ("a * b", lambda a, b: a * b),
        ("product(a,b)", lambda a, b: a * b),
        ("min(a, b)", min),
        ("max( a, b )", max),
    ],
)
def test_score_from(text_of, combine, tmp_path, capsys):
    dt = results()
    made = [{**row, "a": row["score"], "b": 0.0625 * (k % 5)} for k, row in enumerate(dt)]
    wanted = [{**row, "score": combine(row["a"], row["b"])} for row in made]
    expected, _ = scored(*saved(tmp_path, truth(), wanted))
    paths = saved(tmp_path, truth(), made)
    metrics, _ = scored(*paths, score_from=text_of)
    assert metrics == pytest.approx(expected, nan_ok=True)
    record = tmp_path / "result.json"
    command = ["evaluate", *map(str, paths), "--score-from", text_of, "--json", str(record)]
    assert main(command) == 0
    found = json.loads(record.read_text(encoding="utf-8"))
    assert found["score_from"] == text_of
    assert main(["evaluate", *map(str, paths), "--json", str(record)]) == 0
    assert json.loads(record.read_text(encoding="utf-8"))["score_from"] == "score"


def test_score_from_says_what_is_missing(tmp_path):
    paths = saved(tmp_path, truth(), [{**row, "a": 1} for row in results()])
    with pytest.raises(InputError, match=r"finds no such numbers.*6 of 6.*score, a"):
        scored(*paths, score_from="mean(a, b)")
    with pytest.raises(InputError, match="is no such thing"):
        scored(*paths, score_from="__import__('os')")


def test_masks_survive_pickling(tmp_path):
    """Workers read the masks again where they lie: also in other encodings and other shapes."""
    from entityseg_bench.formats.coco import read_coco

    contents = (
        truth(), json.dumps(truth()).encode("utf-16"),
        of_gt(segmentation=rows_of_mask, id=float)(truth(), [])[0],
    )  # fmt: skip
    for content in contents:
        gt, _ = saved(tmp_path, content, [])
        table = read_coco(gt)
        again = pickle.loads(pickle.dumps(table))
        for idx, box in enumerate(box for found in ENTITIES for box in found):
            assert (rle.decode(again.rle(idx)) == box_mask(*box)).all()
    assert table.size_of_image(0) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("side", ["gt", "dt"])
@pytest.mark.parametrize("corners", [False, True])
def test_masks_coded_row_by_row(side, corners, tmp_path):
    """Their area and size are right; only the boxes tell."""
    gt, dt = truth(), results()
    rows = gt["annotations"] if side == "gt" else dt
    good = with_boxes(rows, corners)
    bad = edited(good, segmentation=by_rows)
    for found, refused in ((good, False), (bad, True)):
        pair = ({**gt, "annotations": found}, dt) if side == "gt" else (gt, found)
        paths = saved(tmp_path, *pair)
        if refused:
            with pytest.raises(InputError, match=r"record \d.*read row by row.*asfortranarray"):
                scored(*paths)
        else:
            assert scored(*paths)[1] == []


def test_boxes_of_other_things(tmp_path):
    """A warning where nothing explains it; zeros, as the original writes them, say nothing."""
    for box, warned in (([0, 0, 1, 1], True), ([0, 0, 0, 0], False), ([1, 2], False)):
        _, said = scored(*saved(tmp_path, truth(), edited(results(), bbox=box)))
        assert any("lie elsewhere than their boxes" in line for line in said) == warned


def test_boxes_tell_in_loosely_typed_files_too(tmp_path):
    gt, dt = truth(), edited(with_boxes(results()), segmentation=by_rows)
    with pytest.raises(InputError, match="read row by row"):
        scored(*saved(tmp_path, gt, {"results": dt}))
    rows = edited(with_boxes(gt["annotations"]), segmentation=by_rows, id=float)
    with pytest.raises(InputError, match="read row by row"):
        scored(*saved(tmp_path, {**gt, "annotations": rows}, results()))


def disc():
    """Code a disc in an image, its pixels counted row by row, and column by column."""
    y, x = np.mgrid[:90, :140]
    mask = (y - 40) ** 2 + (x - 60) ** 2 < 900
    turned = rle.encode(mask.T)
    return {"size": [90, 140], "counts": turned["counts"]}, rle.encode(mask)


@pytest.mark.parametrize("by_rows", [True, False])
def test_masks_in_shreds(by_rows, tmp_path):
    """Codes row by row without boxes beside them are warned of; those of columns are not."""
    torn, whole = disc()
    entity = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": whole}
    gt = {"images": [{"id": 1, "height": 90, "width": 140}], "annotations": [entity]}
    row = {"image_id": 1, "score": 0.5, "segmentation": torn if by_rows else whole}
    _, said = scored(*saved(tmp_path, gt, [row] * 4))
    assert any("4 of 4 masks are in shreds" in line for line in said) is by_rows
