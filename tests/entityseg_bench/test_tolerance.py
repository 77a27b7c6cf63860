"""Files as people have them: what can be meant in one way scores as the plain file, with a note."""

import codecs
import json
from pathlib import Path

import numpy as np
import pytest
from changed_inputs import (
    both,
    counts_list,
    in_folder,
    of_dt,
    of_gt,
    outlines,
    own_ids,
    pairs,
    printed,
    rows_of_mask,
    with_names,
    wrapped,
)
from odd_inputs import (
    by_image,
    edited,
    named,
    plain_metrics,
    renumbered,
    results,
    saved,
    scored,
    truth,
)

from entity_api import rle
from entityseg_bench.validate import validate


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return plain_metrics(tmp_path_factory.mktemp("tolerance"))


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
