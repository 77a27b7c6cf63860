"""Files as people have them: what can be meant in one way scores as the plain file, with a note."""

import codecs
import gzip
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from odd_inputs import (
    ENTITIES,
    HEIGHT,
    IDS,
    NAMES,
    PREDICTIONS,
    WIDTH,
    box_mask,
    edited,
    plain_metrics,
    polygon,
    results,
    saved,
    scored,
    truth,
)

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.io import InputError
from entityseg_bench.validate import validate


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return plain_metrics(tmp_path_factory.mktemp("tolerance"))


def of_gt(key="annotations", **changes):
    """Change fields of one list of the ground truth."""

    def change(gt, dt):
        return {**gt, key: edited(gt[key], **changes)}, dt

    return change


def of_dt(**changes):
    """Change fields of the predictions."""
    return lambda gt, dt: (gt, edited(dt, **changes))


def both(first, second):
    return lambda gt, dt: second(*first(gt, dt))


def wrapped(wrap):
    """Put the predictions into something."""
    return lambda gt, dt: (gt, wrap(dt))


def by_image(dt, key=lambda image_id: image_id, drop=True):
    """Group records by image."""
    found = {}
    for row in dt:
        record = {k: v for k, v in row.items() if not (drop and k == "image_id")}
        found.setdefault(key(row["image_id"]), []).append(record)
    return found


def named(image_id):
    return NAMES[IDS.index(image_id)]


def renumbered(dt, swap=lambda image_id: IDS[(IDS.index(image_id) + 1) % 3]):
    images = [{"id": swap(k), "file_name": f"other/{named(k)}"} for k in IDS]
    return {"images": images, "annotations": edited(dt, image_id=swap)}


def own_ids(dt, kind):
    """Number the images anew, their ids of another type than those of the records."""
    made = renumbered(dt)
    return {**made, "images": [{**image, "id": kind(image["id"])} for image in made["images"]]}


def with_names(dt):
    """Name the image in each record, whose id is another one's."""
    swap = {image_id: IDS[k - 1] for k, image_id in enumerate(IDS)}
    rows = zip(edited(dt, image_id=swap.get), dt, strict=True)
    return [{**row, "file_name": named(plain["image_id"])} for row, plain in rows]


def in_folder(name):
    """Give all images one name, each in its own folder."""
    return f"{Path(name).stem}/image.jpg"


def rows_of_mask(code):
    return rle.decode(code).astype(int).tolist()


def counts_list(code, kind=int):
    flat = rle.decode(code).ravel(order="F").astype(int)
    lengths, value = [0], 0
    for pixel in flat.tolist():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return {"size": code["size"], "counts": [kind(n) for n in lengths]}


def text(content):
    return json.dumps(content)


def printed(code, quote="'"):
    return {**code, "counts": f"b{quote}{code['counts']}{quote}".replace("\\", "\\\\")}


def outlines(shape):
    """Write the ground truth's masks as polygons of another shape."""

    def change(gt, dt):
        boxes = [box for found in ENTITIES for box in found]
        rows = zip(gt["annotations"], boxes, strict=True)
        rows = [{**row, "segmentation": shape(polygon(box))} for row, box in rows]
        return {**gt, "annotations": rows}, dt

    return change


def pairs(flat):
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


# What is changed, and what is said of it; "" where nothing needs to be said.
TAKEN = {
    # Ids of another JSON type.
    "dt_ids_text": (of_dt(image_id=str), "ids are text on one side"),
    "dt_ids_padded": (of_dt(image_id=lambda k: f"{k:06d}"), "ids are text on one side"),
    "gt_ids_text": (both(of_gt("images", id=str), of_gt(image_id=str)), "ids are text"),
    "gt_ids_padded": (
        both(of_gt("images", id="{:04d}".format), of_gt(image_id="{:04d}".format)),
        "ids are text on one side",
    ),
    "annotations_text": (of_gt(image_id=str), "ids are text on one side"),
    "images_text": (of_gt("images", id=str), "ids are text on one side"),
    "dt_category_text": (of_dt(category_id=str), "category_id is text in 6 records"),
    "dt_category_name": (of_dt(category_id="stone"), "left out, it is not an id"),
    "gt_category_text": (of_gt(category_id=str), "category_id is text in 5 records"),
    "gt_table_text": (of_gt("categories", id=str), "id is text in 2 records"),
    # Images by name.
    "name": (of_dt(image_id=named), "matched with the file names."),
    "path": (of_dt(image_id=lambda k: f"/data/val/{named(k)}"), "matched with the file names."),
    "windows": (of_dt(image_id=lambda k: f"D:\\val\\{named(k)}"), "matched with the file names."),
    "stem": (of_dt(image_id=lambda k: Path(named(k)).stem), "without their endings"),
    "other_ending": (of_dt(image_id=lambda k: f"{Path(named(k)).stem}.PNG"), "without their end"),
    "file_name_key": (
        wrapped(lambda dt: [{"file_name": named(r.pop("image_id")), **r} for r in edited(dt)]),
        "file_name was taken",
    ),
    "gt_windows": (
        both(of_gt("images", file_name=lambda n: f"C:\\a\\{n}"), of_dt(image_id=named)),
        "matched with the file names",
    ),
    "renumbered": (wrapped(renumbered), "numbers its images anew"),
    "renumbered_text": (wrapped(lambda dt: renumbered(dt, lambda k: f"img{k}")), "anew"),
    "own_images_alike": (wrapped(lambda dt: renumbered(dt, lambda k: k)), ""),
    "small_letters": (of_dt(image_id=lambda k: named(k).upper()), "in small letters"),
    "spaces": (of_dt(image_id=lambda k: f" {named(k)} "), "matched with the file names."),
    "mask_of_image": (of_dt(image_id=lambda k: f"{named(k)}.png"), "matched with the file names."),
    "some_names": (
        wrapped(lambda dt: edited(dt[:2], image_id=named) + dt[2:]), "some image ids are file",
    ),
    "folders": (
        both(of_gt("images", file_name=in_folder),
             of_dt(image_id=lambda k: f"/data/{in_folder(named(k))}")),
        "and their folders.",
    ),
    "folders_png": (
        both(of_gt("images", file_name=in_folder),
             of_dt(image_id=lambda k: in_folder(named(k)).replace("jpg", "png"))),
        "and their folders, without endings",
    ),
    "printed_ids": (of_dt(image_id="tensor({})".format), "ids are text on one side"),
    "other_key": (
        wrapped(lambda dt: [{"ImageID": r.pop("image_id"), **r} for r in edited(dt)]),
        "ImageID was taken",
    ),
    "renumbered_floats": (wrapped(lambda dt: own_ids(dt, float)), "numbers its images anew"),
    "renumbered_text_of_number": (wrapped(lambda dt: own_ids(dt, str)), "numbers its images anew"),
    "renumbered_name_key": (
        wrapped(lambda dt: {**renumbered(dt), "images": [
            {"id": image["id"], "name": image["file_name"].upper()}
            for image in renumbered(dt)["images"]
        ]}),
        "numbers its images anew",
    ),
    "renumbered_records": (wrapped(with_names), "numbers its images anew"),
    "renumbered_lines": (
        wrapped(lambda dt: "\n".join(map(text, with_names(dt)))), "numbers its images anew",
    ),
    "names_of_masks": (
        wrapped(lambda dt: [{**r, "file_name": f"mask{k}.png"} for k, r in enumerate(dt)]), "",
    ),
    # Whole numbers as floats.
    "dt_ids_floats": (of_dt(image_id=float, category_id=float), ""),
    "gt_all_floats": (
        both(
            both(of_gt("images", id=float, height=float, width=float),
                 of_gt("categories", id=float)),
            of_gt(id=float, image_id=float, category_id=float, iscrowd=float, area=float),
        ),
        "",
    ),
    "gt_sizes_text": (of_gt("images", height=str), "height is text in 3 records"),
    "dt_counts_floats": (of_dt(segmentation=lambda s: counts_list(s, float)), ""),
    "gt_counts_floats": (of_gt(segmentation=lambda s: counts_list(s, float)), ""),
    "dt_size_floats": (of_dt(segmentation=lambda s: {**s, "size": [12.0, 16.0]}), ""),
    "iscrowd_false": (of_gt(iscrowd=False), ""),
    # Null.
    "nulls": (
        both(
            both(of_gt("images", file_name=None, license=None), of_gt("categories", name=None)),
            of_gt(iscrowd=None, area=None, bbox=None, id=None, category_id=None),
        ),
        "",
    ),
    "no_table": (lambda gt, dt: ({**gt, "categories": None, "info": None}, dt), ""),
    "dt_nulls": (of_dt(category_id=None, bbox=None, id=None), ""),
    # NaN.
    "nan_box": (of_gt(bbox=[float("nan")] * 4), ""),
    "nan_area": (of_gt(area=float("nan")), "area is nan in 5 records"),
    "infinite_area": (of_gt(area=float("inf")), "area is inf in 5 records"),
    "nan_elsewhere": (of_gt(depth=float("nan")), ""),
    "dt_nan_box": (of_dt(bbox=[float("nan")] * 4, depth=float("-inf")), ""),
    # Encodings.
    "dt_mark": (wrapped(lambda dt: codecs.BOM_UTF8 + text(dt).encode()), ""),
    "gt_mark": (lambda gt, dt: (codecs.BOM_UTF8 + text(gt).encode(), dt), ""),
    "gt_utf16": (lambda gt, dt: (text(gt).encode("utf-16"), dt), ""),
    "dt_utf16_be": (wrapped(lambda dt: codecs.BOM_UTF16_BE + text(dt).encode("utf-16-be")), ""),
    "dt_utf16_bare": (wrapped(lambda dt: text(dt).encode("utf-16-le")), ""),
    "gt_utf32_bare": (lambda gt, dt: (text(gt).encode("utf-32-be"), dt), ""),
    "dt_utf16_space": (wrapped(lambda dt: f"\n {text(dt)}".encode("utf-16-le")), ""),
    "dt_utf32": (wrapped(lambda dt: text(dt).encode("utf-32")), ""),
    # Masks of other shapes.
    "rows": (of_dt(segmentation=rows_of_mask), "zeros and ones"),
    "gt_rows": (of_gt(segmentation=rows_of_mask), "zeros and ones"),
    "rows_bool": (of_dt(segmentation=lambda s: rle.decode(s).tolist()), "zeros and ones"),
    "rows_floats": (of_dt(segmentation=lambda s: rle.decode(s).astype(float).tolist()), "zeros"),
    "rows_255": (
        of_dt(segmentation=lambda s: (rle.decode(s) * 255).astype(int).tolist()), "zeros and ones",
    ),
    "rows_within": (of_dt(segmentation=lambda s: [rows_of_mask(s)]), "zeros and ones"),
    "flat": (outlines(lambda p: p), "without its outer bracket"),
    "points": (outlines(pairs), "lists of points"),
    "points_nested": (outlines(lambda p: [pairs(p)]), "lists of points"),
    "points_named": (
        outlines(lambda p: [{"x": x, "y": y} for x, y in pairs(p)]), "lists of points",
    ),
    "contour": (outlines(lambda p: [[point] for point in pairs(p)]), "lists of points"),
    "contours": (outlines(lambda p: [[[point] for point in pairs(p)]]), "lists of points"),
    "text_polygon": (outlines(lambda p: text([p])), "JSON within a text"),
    "two_points": (outlines(lambda p: [p, [1, 1, 5, 5]]), "fewer than three points was passed"),
    "one_point": (outlines(lambda p: [[1, 1], p, []]), "fewer than three points was passed"),
    "bytes": (of_dt(segmentation=printed), "bytes as Python prints"),
    "bytes_quotes": (of_dt(segmentation=lambda s: printed(s, '"')), "bytes as Python prints"),
    "gt_bytes": (of_gt(segmentation=printed), "bytes as Python prints"),
    "rows_of_single": (
        of_dt(segmentation=lambda s: rle.decode(s)[..., None].tolist()), "zeros and ones",
    ),
    "text_coordinates": (outlines(lambda p: [[str(x) for x in p]]), "coordinates are text"),
    "polygon_and_null": (outlines(lambda p: [p, None]), ""),
    "bytearray": (
        of_dt(segmentation=lambda s: {**s, "counts": f"bytearray({printed(s)['counts']})"}),
        "bytes as Python prints",
    ),
    "counts_in_list": (of_dt(segmentation=lambda s: {**s, "counts": [s["counts"]]}), ""),
    "counts_printed": (
        of_dt(segmentation=lambda s: {**s, "counts": str(counts_list(s)["counts"])}), "numbers w",
    ),
    "counts_numpy": (
        of_dt(segmentation=lambda s: {**s, "counts": str(np.array(counts_list(s)["counts"]))}),
        "a list of numbers within a text",
    ),
    "gt_counts_array": (
        of_gt(segmentation=lambda s: {**s, "counts": f"array({counts_list(s)['counts']})"}),
        "a list of numbers within a text",
    ),
    "lists_of_one": (of_dt(segmentation=lambda s: [[s]]), ""),
    "list_of_one": (of_dt(segmentation=lambda s: [s]), ""),
    "gt_list_of_one": (of_gt(segmentation=lambda s: [s]), ""),
    "within_rle": (of_dt(segmentation=lambda s: {"rle": s}), ""),
    "code_of_record": (
        wrapped(lambda dt: [{**r, **r.pop("segmentation")} for r in edited(dt)]), "",
    ),
    # Wrappers.
    **{
        f"under_{key}": (wrapped(lambda dt, key=key: {key: dt, "model": "x"}), f"the key '{key}'")
        for key in ("predictions", "results", "detections", "whatever")
    },
    "under_two": (wrapped(lambda dt: {"data": {"results": dt}}), "the key 'results'"),
    "by_image": (wrapped(by_image), "keyed by image"),
    "by_name": (wrapped(lambda dt: by_image(dt, named)), "keyed by image"),
    "by_image_own": (wrapped(lambda dt: by_image(dt, drop=False)), "keyed by image"),
    "one_by_one": (wrapped(lambda dt: {f"row{k}": r for k, r in enumerate(dt)}), "one by one"),
    "lists": (wrapped(lambda dt: list(by_image(dt, drop=False).values())), "list of lists"),
    "lists_with_none": (
        wrapped(lambda dt: [[], *by_image(dt, drop=False).values(), []]), "list of lists",
    ),
    "instances": (
        wrapped(lambda dt: [{"image_id": k, "instances": v} for k, v in by_image(dt).items()]),
        "under its key 'instances'",
    ),
    "by_image_by_place": (
        wrapped(lambda dt: {
            k: {str(i): r for i, r in enumerate(v)} for k, v in by_image(dt).items()
        }),
        "keyed by image",
    ),
    "boxes_beside": (
        wrapped(lambda dt: {"bbox": edited(dt, segmentation=..., bbox=[0, 0, 1, 1]), "segm": dt}),
        "the key 'segm'",
    ),
    "rows_of_image": (
        wrapped(lambda dt: {
            k: {"masks": [rows_of_mask(r["segmentation"]) for r in v],
                "scores": [r["score"] for r in v]}
            for k, v in by_image(dt).items()
        }),
        "zeros and ones",
    ),
    "columns_of_image": (
        wrapped(lambda dt: {
            k: {"masks": [r["segmentation"] for r in v], "scores": [r["score"] for r in v]}
            for k, v in by_image(dt).items()
        }),
        "keyed by image",
    ),
    "columns": (
        wrapped(lambda dt: {key: [r[key] for r in dt] for key in dt[0]}), "",
    ),
    "lines": (wrapped(lambda dt: "\n".join(map(text, dt)) + "\n"), "JSON Lines"),
    "lines_of_images": (
        wrapped(lambda dt: "\n".join(
            text({"file_name": named(k), "predictions": v}) for k, v in by_image(dt).items()
        )),
        "JSON Lines",
    ),
    "gt_under_key": (lambda gt, dt: ({"coco": gt}, dt), "the key 'coco'"),
    "gt_in_list": (lambda gt, dt: ([gt], dt), "list of one object"),
    # Scores.
    "score_text": (of_dt(score=str), "score is text in 6 records"),
    "score_list": (of_dt(score=lambda s: [s]), "a list of one number"),
    "score_numpy": (of_dt(score="np.float64({})".format), "score is text"),
    "score_array": (of_dt(score="array([{}], dtype=float32)".format), "score is text"),
    "score_tensor": (of_dt(score=lambda s: f"tensor({s}, device='cuda:0')"), "score is text"),
    **{
        key: (
            wrapped(lambda dt, key=key: [{key: r.pop("score"), **r} for r in edited(dt)]),
            f"{key} was taken",
        )
        for key in ("confidence", "conf", "predicted_iou", "pred_score")
    },
    # Ids of annotations.
    "ids_restart": (
        lambda gt, dt: ({**gt, "annotations": [
            {**r, "id": 1 + k % 2} for k, r in enumerate(gt["annotations"])
        ]}, dt),
        "begin anew in each image",
    ),
    "ids_all_alike": (of_gt(id=0), "all 5 annotations have the id 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name, plain, tmp_path, capsys):
    change, note = TAKEN[name]
    paths = saved(tmp_path, *change(truth(), results()))
    metrics, said = scored(*paths)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)
    assert 0.3 < metrics["APe"] < 0.95
    if note:
        assert sum(note in line and "pred.json" in line for line in said) <= 1, said
        assert sum(note in line and "gt.json" in line for line in said) <= 1, said
        assert any(note in line for line in said), said
    else:
        assert said == []
    # validate says the same, and that the pair is fit.
    problems = list(validate(*paths))
    assert [p for p in problems if p.severity == "error"] == []
    if note:
        assert any(note in str(problem) for problem in problems)


def swapped_rows(code):
    return rle.decode(code).T.astype(int).tolist()


# What is changed, and words of the one message that refuses it.
REFUSED = {
    "id_half": (of_dt(image_id=1.5), r"image_id is 1\.5"),
    "category_half": (of_dt(category_id=1.5), r"category_id is 1\.5"),
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
        wrapped(lambda dt: gzip.compress(gzip.compress(text(dt).encode()))), "gzip within gzip",
    ),
    "print_by_image": (wrapped(lambda dt: str(by_image(dt))), "Python's print.*json.dump"),
    "no_score": (of_dt(score=..., area=7), r"--score-from KEY \(of area\)"),
    "latin1": (
        lambda gt, dt: (text(gt).replace("pond", "é").encode("latin-1"), dt),
        r"gt\.json: it is not UTF-8 \(byte 0xe9.*Save it as UTF-8",
    ),
    "lfs": (wrapped(lambda dt: "version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "gt_lfs": (lambda gt, dt: ("version https://git-lfs.github.com/spec/v1\n", dt), "git lfs pull"),
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


def by_rows(code):
    """Code a mask row by row, as those do who forget the order."""
    turned = rle.encode(np.ascontiguousarray(rle.decode(code).T))
    return {"size": code["size"], "counts": turned["counts"]}


def with_boxes(dt, corners=False):
    boxes = [rle.bbox(row["segmentation"]) for row in dt]
    if corners:
        boxes = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    return [{**row, "bbox": box} for row, box in zip(dt, boxes, strict=True)]


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


def panoptic_sides(folder):
    """Write panoptic ground truth and predictions with scores, which do not overlap."""
    gt, dt, maps = [], [], {"gt": [], "dt": []}
    for image_id, entities, found in zip(IDS, ENTITIES, PREDICTIONS, strict=True):
        shown = [(box, 0.5 + 0.0625 * k) for k, (box, _) in enumerate(found) if box[0] < 6]
        for side, boxes in (("gt", entities), ("dt", [box for box, _ in shown])):
            pixels = np.zeros((HEIGHT, WIDTH), int)
            for k, box in enumerate(boxes, 1):
                pixels[box_mask(*box)] = k
            maps[side].append(pixels)
        name = named(image_id)
        gt.append(
            {
                "image_id": image_id,
                "file_name": name,
                "segments_info": [
                    {"id": k, "category_id": 1 + k % 2} for k in range(1, len(entities) + 1)
                ],
            }
        )
        dt.append({"image_id": image_id, "file_name": name, "segments_info": [
            {"id": k, "label_id": 1 + k % 2, "score": score, "was_fused": False}
            for k, (_, score) in enumerate(shown, 1)]})  # fmt: skip
    for side, pixels in maps.items():
        for image_id, own in zip(IDS, pixels, strict=True):
            target = folder / side / f"{Path(named(image_id)).stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            from PIL import Image

            Image.fromarray(np.stack([own, own * 0, own * 0], -1).astype(np.uint8)).save(target)
    images, table = truth()["images"], [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    head = {"images": images, "categories": table}
    return {**head, "annotations": gt}, {**head, "annotations": dt}, maps["dt"]


def image_by_image(dt, key):
    return {key(row["image_id"]): {"segments_info": row["segments_info"]} for row in dt}


def with_maps(dt, maps, void):
    return [
        {**row, "segmentation": np.where(own == 0, void, own).tolist()}
        for row, own in zip(dt, maps, strict=True)
    ]


PANOPTIC = {
    "as_it_is": (lambda dt, maps: dt, "label_id"),
    "coco": (
        lambda dt, maps: {**dt, "annotations": [
            {**row, "segments_info": edited(row["segments_info"], category_id=1, label_id=...)}
            for row in dt["annotations"]
        ]},
        "",
    ),
    "bare": (lambda dt, maps: {"annotations": dt["annotations"]}, "label_id"),
    "list": (lambda dt, maps: dt["annotations"], "label_id"),
    "under_key": (lambda dt, maps: {"predictions": dt["annotations"]}, "the key 'predictions'"),
    "by_image": (lambda dt, maps: image_by_image(dt["annotations"], str), "keyed by image"),
    "by_name": (lambda dt, maps: image_by_image(dt["annotations"], named), "keyed by image"),
    "lines": (lambda dt, maps: "\n".join(map(text, dt["annotations"])), "JSON Lines"),
    "ids_text": (lambda dt, maps: edited(dt["annotations"], image_id=str), "ids are text"),
    "ids_floats": (lambda dt, maps: edited(dt["annotations"], image_id=float), ""),
    "no_ids": (lambda dt, maps: edited(dt["annotations"], image_id=...), "file_name was taken"),
    "renumbered": (
        lambda dt, maps: {
            "images": [{"id": 100 + k, "file_name": named(k)} for k in IDS],
            "annotations": edited(dt["annotations"], image_id=lambda k: 100 + k, file_name=...),
        },
        "numbers its images anew",
    ),
    "segments_floats": (
        lambda dt, maps: edited(
            dt["annotations"],
            segments_info=lambda rows: edited(rows, id=float, label_id=float, score=str),
        ),
        "score is text",
    ),
    "nan": (
        lambda dt, maps: text(edited(
            dt["annotations"],
            segments_info=lambda rows: edited(rows, area=float("nan"), bbox=None),
        )),
        "",
    ),
    "utf16": (lambda dt, maps: text(dt).encode("utf-16"), "label_id"),
    "maps_within": (lambda dt, maps: with_maps(dt["annotations"], maps, -1), "stand in the JSON"),
    "maps_within_0": (lambda dt, maps: with_maps(dt["annotations"], maps, 0), "stand in the JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", PANOPTIC)
def test_panoptic_predictions(name, tmp_path):
    change, note = PANOPTIC[name]
    gt, dt, maps = panoptic_sides(tmp_path)
    plain = {**dt, "annotations": [
        {**row, "segments_info": [
            {**{k: v for k, v in s.items() if k != "label_id"}, "category_id": s["label_id"]}
            for s in row["segments_info"]
        ]}
        for row in dt["annotations"]
    ]}  # fmt: skip
    folders = {"gt_maps": tmp_path / "gt", "pred_maps": tmp_path / "dt"}
    wanted, said = scored(*saved(tmp_path, gt, plain), **folders)
    assert not any("pred.json" in line for line in said)
    assert 0.2 < wanted["APe"] < 1
    paths = saved(tmp_path, gt, change(dt, maps))
    metrics, said = scored(*paths, **folders)
    assert metrics == pytest.approx(wanted, nan_ok=True)
    if note:
        assert any(note in line for line in said), said


def test_panoptic_ground_truth_loosely_typed(tmp_path):
    gt, dt, _ = panoptic_sides(tmp_path)
    folders = {"gt_maps": tmp_path / "gt", "pred_maps": tmp_path / "dt"}
    wanted, _ = scored(*saved(tmp_path, gt, dt), **folders)
    loose = {
        "images": edited(gt["images"], id=float, height=float),
        "annotations": edited(gt["annotations"], image_id=str, segments_info=lambda rows: edited(
            rows, id=float, category_id=str, iscrowd=None, area=float("nan"))),
        "categories": edited(gt["categories"], id=float, name=None),
    }  # fmt: skip
    metrics, said = scored(*saved(tmp_path, loose, dt), **folders)
    assert metrics == pytest.approx(wanted, nan_ok=True)
    assert any("category_id is text" in line for line in said)


def test_lvis_is_warned_of(tmp_path, plain):
    gt = truth()
    url = "http://images.example.org/val/{}".format
    images = [
        {**image, "coco_url": url(image["file_name"]), "not_exhaustive_category_ids": [1],
         "neg_category_ids": []}
        for image in edited(gt["images"])
    ]  # fmt: skip
    for image in images:
        del image["file_name"]
    dt = edited(results(), image_id=named)
    paths = saved(tmp_path, {**gt, "images": images}, dt)
    metrics, said = scored(*paths)
    assert metrics == pytest.approx(plain, nan_ok=True)
    assert any("not labelled exhaustively" in line and "gt.json" in line for line in said)
    assert any("matched with the file names" in line for line in said)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"<html>"])
def test_maps_that_were_not_fetched(content, tmp_path):
    gt, dt, _ = panoptic_sides(tmp_path)
    (tmp_path / "dt/pond_07.png").write_bytes(content)
    with pytest.raises(InputError, match=r"git lfs pull|web page"):
        scored(*saved(tmp_path, gt, dt), gt_maps=tmp_path / "gt", pred_maps=tmp_path / "dt")


def test_ground_truth_without_annotations_still_gives_the_images(tmp_path):
    """It is an empty table, which is not the same as none."""
    gt = {**truth(), "annotations": []}
    path = tmp_path / "pred.pth"
    path.write_bytes(pickle.dumps(results()))
    metrics, said = scored(saved(tmp_path, gt, [])[0], path)
    assert np.isnan(metrics["APe"])
    assert not any("not among" in line for line in said)


@pytest.mark.parametrize(
    ("make", "classes"),
    [
        (lambda labels: labels.astype(np.uint16), True),
        (lambda labels: np.dstack([labels] * 3), True),
        (lambda labels: labels.astype(np.uint16) + 300, False),
        (lambda labels: np.dstack([labels, labels * 0, labels * 0]), False),
    ],
)
def test_semantic_predictions_in_other_pixels(make, classes, tmp_path):
    """Class maps in 16 bits or in grey; what can be no classes is ids, which is said."""
    from PIL import Image

    labels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 50
    for side, pixels in (("gt", labels.astype(np.uint8)), ("dt", labels.astype(np.uint8))):
        (tmp_path / side).mkdir()
        made = pixels if side == "gt" else make(pixels)
        Image.fromarray(made).save(tmp_path / side / "a.png")
    metrics, said = scored(tmp_path / "gt", tmp_path / "dt", task="semantic")
    word = "read as class maps" if classes else "read as id maps"
    assert sum(word in line for line in said) == 1
    if classes:
        assert metrics["APe"] == 1


def folder_of_files(folder, encode, ending):
    """Write a file of predictions an image, called like the image."""
    folder.mkdir()
    for image_id, rows in by_image(results()).items():
        name = Path(named(image_id)).stem + ending
        (folder / name).write_bytes(encode(rows))
    return folder


@pytest.mark.parametrize(
    ("encode", "ending"),
    [
        (lambda rows: text(rows).encode(), ".json"),
        (lambda rows: text({"predictions": rows}).encode("utf-16"), ".JSON"),
        (lambda rows: gzip.compress(text(rows).encode()), ".json.gz"),
        (lambda rows: "\n".join(map(text, rows * 1)).encode(), ".jsonl"),
    ],
)
def test_folders_of_json(encode, ending, plain, tmp_path):
    """A file an image, of any tool: records that name no image are of the one it is called like."""
    gt, _ = saved(tmp_path, truth(), [])
    folder = folder_of_files(tmp_path / "out", encode, ending)
    metrics, said = scored(gt, folder)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)
    assert any("each file is of the image that it is called like" in line for line in said)
    assert [p for p in validate(gt, folder) if p.severity == "error"] == []


@pytest.mark.parametrize("ending", [".json", ".npz", ".png"])
def test_folders_that_were_not_fetched(ending, tmp_path):
    gt, _ = saved(tmp_path, truth(), [])
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    folder = folder_of_files(tmp_path / "out", lambda rows: pointer, ending)
    with pytest.raises(InputError, match=r"out/pond_0\d.*git lfs pull"):
        scored(gt, folder)


@pytest.mark.parametrize("image_id", ["11", "011", "pond_07", "POND_07.JPG", "/data/pond_07.jpg"])
def test_image_id_option(image_id, tmp_path):
    first = edited(results(), image_id=...)[: len(PREDICTIONS[0])]
    wanted, _ = scored(*saved(tmp_path, truth(), results()[: len(first)]))
    metrics, _ = scored(*saved(tmp_path, truth(), first), image_id=image_id)
    assert metrics == pytest.approx(wanted, nan_ok=True)


def test_panoptic_sides_exchanged(tmp_path):
    """Both are panoptic JSON: the scores tell."""
    gt, dt, _ = panoptic_sides(tmp_path)
    paths = saved(tmp_path, dt, gt)
    with pytest.raises(InputError, match=r"pred\.json: it has no scores.*GT and PRED exchanged"):
        scored(*paths, gt_maps=tmp_path / "dt", pred_maps=tmp_path / "gt")


@pytest.mark.parametrize("target", ["results", "npz"])
def test_converted_by_the_names_of_images(target, plain, tmp_path):
    """What has ground truth beside it is predictions, also where it lists images as that does."""
    paths = saved(tmp_path, truth(), renumbered(results()))
    out = tmp_path / "out.json" if target == "results" else tmp_path / "out"
    assert main(["convert", str(paths[1]), str(out), "--to", target, "--gt", str(paths[0])]) == 0
    metrics, _ = scored(paths[0], out)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("void", [-1, 0])
def test_pickled_maps_of_segments(void, tmp_path):
    """Hugging Face's output in a pickle; a map of one segment is no mask."""
    gt, dt, maps = panoptic_sides(tmp_path)
    folders = {"gt_maps": tmp_path / "gt", "pred_maps": tmp_path / "dt"}
    paths = saved(tmp_path, gt, dt)
    wanted, _ = scored(*paths, **folders)
    rows = [
        {**row, "segmentation": np.where(own == 0, void, own)}
        for row, own in zip(dt["annotations"], maps, strict=True)
    ]
    pickled = tmp_path / "found.pth"
    pickled.write_bytes(pickle.dumps(rows))
    metrics, said = scored(paths[0], pickled, gt_maps=tmp_path / "gt")
    assert metrics == pytest.approx(wanted, nan_ok=True)
    assert any("maps of segments" in line for line in said)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_parquet_as_pandas_writes_results(as_bytes, plain, tmp_path):
    """The masks are one column of records."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = results()
    if as_bytes:
        rows = edited(rows, segmentation=lambda s: {**s, "counts": s["counts"].encode()})
    gt, _ = saved(tmp_path, truth(), [])
    path = tmp_path / "pred.parquet"
    parquet.write_table(pa.Table.from_pylist(edited(rows, image_id=float)), path)
    metrics, _ = scored(gt, path)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)


def test_pickled_masks_with_an_axis_of_one(plain, tmp_path):
    gt, _ = saved(tmp_path, truth(), [])
    path = tmp_path / "pred.pth"
    found = {
        image_id: {
            "masks": np.stack([rle.decode(row["segmentation"]).astype(bool) for row in rows])[
                :, None
            ],
            "scores": np.array([row["score"] for row in rows]),
        }
        for image_id, rows in by_image(results()).items()
    }
    path.write_bytes(pickle.dumps(found))
    metrics, _ = scored(gt, path)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["pond_07", "POND_07.JPG", "/data/pond_07.png", "11", "0011"])
def test_metric_knows_images_by_name(name):
    from entityseg_bench import EntityMetric

    metric = EntityMetric(truth())
    metric.update(name, [np.ones((HEIGHT, WIDTH), bool)], [0.5])
    assert list(metric._found) == [0]
    with pytest.raises(InputError, match="there is no image 'lake'"):
        metric.update("lake", [], [])


def test_a_folder_of_any_tool_is_converted(plain, tmp_path):
    gt, _ = saved(tmp_path, truth(), [])
    folder = folder_of_files(tmp_path / "out", lambda rows: text(rows).encode(), ".json")
    made = tmp_path / "made.json"
    assert main(["convert", str(folder), str(made), "--to", "results", "--gt", str(gt)]) == 0
    metrics, _ = scored(gt, made)
    assert metrics == pytest.approx(plain, abs=1e-12, nan_ok=True)
