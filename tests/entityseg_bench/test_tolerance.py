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
    by_image,
    edited,
    named,
    plain_metrics,
    polygon,
    renumbered,
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
        wrapped(lambda dt: "\n".join(map(json.dumps, with_names(dt)))), "numbers its images anew",
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
    "dt_mark": (wrapped(lambda dt: codecs.BOM_UTF8 + json.dumps(dt).encode()), ""),
    "gt_mark": (lambda gt, dt: (codecs.BOM_UTF8 + json.dumps(gt).encode(), dt), ""),
    "gt_utf16": (lambda gt, dt: (json.dumps(gt).encode("utf-16"), dt), ""),
    "dt_utf16_be": (
        wrapped(lambda dt: codecs.BOM_UTF16_BE + json.dumps(dt).encode("utf-16-be")), "",
    ),
    "dt_utf16_bare": (wrapped(lambda dt: json.dumps(dt).encode("utf-16-le")), ""),
    "gt_utf32_bare": (lambda gt, dt: (json.dumps(gt).encode("utf-32-be"), dt), ""),
    "dt_utf16_space": (wrapped(lambda dt: f"\n {json.dumps(dt)}".encode("utf-16-le")), ""),
    "dt_utf32": (wrapped(lambda dt: json.dumps(dt).encode("utf-32")), ""),
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
    "text_polygon": (outlines(lambda p: json.dumps([p])), "JSON within a text"),
    "two_points": (outlines(lambda p: [p, [1, 1, 5, 5]]), "fewer than three points was passed"),
    "one_point": (outlines(lambda p: [[1, 1], p, []]), "fewer than three points was passed"),
    "bytes": (of_dt(segmentation=printed), "bytes as Python prints"),
    "bytes_quotes": (of_dt(segmentation=lambda s: printed(s, '"')), "bytes as Python prints"),
    "gt_bytes": (of_gt(segmentation=printed), "bytes as Python prints"),
    "rows_of_single": (
        of_dt(segmentation=lambda s: rle.decode(s)[..., None].tolist()), "zeros and ones",
    ),
    "text_coordinates": (outlines(lambda p: [[str(x) for x in p]]), "numbers of the mask are text"),
    "text_rows": (
        of_dt(segmentation=lambda s: [[str(int(x)) for x in row] for row in rle.decode(s)]),
        "numbers of the mask are text",
    ),
    "category_list": (of_dt(category_id=lambda k: [k]), ""),
    "own_id_list": (of_gt(id=lambda k: [k]), ""),
    "own_id_object": (of_gt(id=lambda k: {"$oid": str(k)}), ""),
    "iscrowd_list": (of_gt(iscrowd=lambda k: [0]), ""),
    "file_name_list": (of_gt("images", file_name=lambda name: [name]), ""),
    "images_by_id": (
        lambda gt, dt: ({**gt, "images": {str(k["id"]): k for k in gt["images"]}}, dt),
        "images are keyed one by one",
    ),
    "annotations_by_image": (
        lambda gt, dt: ({**gt, "annotations": [[row] for row in gt["annotations"]]}, dt),
        "annotations are a list of lists",
    ),
    "categories_by_id": (
        lambda gt, dt: ({**gt, "categories": {"1": "a", "2": "b"}}, dt), "names by id",
    ),
    "categories_of_names": (
        lambda gt, dt: ({**gt, "categories": ["a", "b"]}, dt), "2 of 2 categories have no number",
    ),
    "key_in_capitals": (
        wrapped(lambda dt: [{"IMAGE_ID": row["image_id"], **edited([row], image_id=...)[0]}
                            for row in dt]),
        "IMAGE_ID was taken",
    ),
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
    "lines": (wrapped(lambda dt: "\n".join(map(json.dumps, dt)) + "\n"), "JSON Lines"),
    "lines_with_commas": (wrapped(lambda dt: ",\n".join(map(json.dumps, dt))), "JSON Lines"),
    "values_in_a_line": (wrapped(lambda dt: " ".join(map(json.dumps, dt))), "JSON Lines"),
    "values_of_lines": (
        wrapped(lambda dt: "\n".join(json.dumps(row, indent=1) for row in dt)), "JSON Lines",
    ),
    "lines_of_images": (
        wrapped(lambda dt: "\n".join(
            json.dumps({"file_name": named(k), "predictions": v}) for k, v in by_image(dt).items()
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
