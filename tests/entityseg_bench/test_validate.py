"""Every way in which prediction files break: named by validate, refused by evaluate.

The cases are those in which other evaluators hang, or print a wrong number (see the README).
"""

import json
from pathlib import Path

import numpy as np
import pytest

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.validate import Problem, validate

SIZE = [4, 6]


def mask(*columns, size=SIZE):
    """Draw whole columns as RLE."""
    dense = np.zeros(size, bool)
    dense[:, list(columns)] = True
    return rle.encode(dense)


def valid():
    """Make a sound pair of files: two images, three entities, three predictions."""
    gt = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 4, "width": 6},
            {"id": 8, "file_name": "b.jpg", "height": 4, "width": 6},
        ],
        "annotations": [
            {"id": 0, "image_id": 7, "category_id": 1, "area": 8, "segmentation": mask(0, 1)},
            {"id": 1, "image_id": 7, "category_id": 1, "area": 4, "segmentation": mask(4)},
            {"id": 2, "image_id": 8, "category_id": 2, "area": 24, "segmentation": mask(*range(6))},
        ],
        "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
    }
    dt = [
        {"image_id": 7, "category_id": 1, "score": 0.9, "segmentation": mask(0, 1)},
        {"image_id": 7, "category_id": 1, "score": 0.8, "segmentation": mask(3, 4)},
        {"image_id": 8, "category_id": 2, "score": 0.7, "segmentation": mask(*range(5))},
    ]
    return gt, dt


@pytest.fixture
def write(tmp_path):
    """Write both sides, each as a value or as text; return their paths."""

    def write_both(gt, dt):
        paths = tmp_path / "gt.json", tmp_path / "pred.json"
        for path, content in zip(paths, (gt, dt), strict=True):
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return paths

    return write_both


def put(side, idx, **fields):
    """Change fields of a record; ... removes one."""

    def change(gt, dt):
        records = {"gt": gt["annotations"], "dt": dt, "image": gt["images"]}[side]
        for key, value in fields.items():
            if value is ...:
                del records[idx][key]
            else:
                records[idx][key] = value
        return gt, dt

    return change


def replace(old, new, side="dt"):
    """Change the text of a file, for what JSON libraries do not write."""

    def change(gt, dt):
        texts = {"gt": json.dumps(gt), "dt": json.dumps(dt)}
        assert old in texts[side]
        texts[side] = texts[side].replace(old, new, 1)
        return texts["gt"], texts["dt"]

    return change


def counts(text, side="dt", idx=1):
    return put(side, idx, segmentation={"size": SIZE, "counts": text})


def size(*height_width, side="dt", idx=1):
    return put(side, idx, segmentation={**mask(0), "size": list(height_width)})


def twice(key, idx):
    def change(gt, dt):
        gt[key].append(dict(gt[key][idx]))
        return gt, dt

    return change


# What is changed, the file that is to blame, words of where and of what.
ERRORS = {
    # Run-length codes: pycocotools hangs on most of these.
    "counts_over": (counts("0O1"), "pred", "record 1", "negative length"),
    "counts_overrun": (counts("99999"), "pred", "record 1", "more than the 24 pixels"),
    "counts_underrun": (counts("04"), "pred", "record 1", "covers 4 of the 24 pixels"),
    "counts_cut": (counts("04P"), "pred", "record 1", "ends in the middle of a number"),
    "counts_2_31": (counts("0PPPPPP2"), "pred", "record 1", "more than the 24 pixels"),
    "counts_wrap": (counts("0h0oooooo3"), "pred", "record 1", "than the 24 pixels"),
    "counts_long": (counts("0" + "P" * 40 + "0"), "pred", "record 1", "more than 32 bits"),
    "counts_bad": (counts("04!"), "pred", "record 1", "no run-length code at position"),
    "counts_not_ascii": (counts("04\u20ac"), "pred", "record 1", "position"),
    "counts_empty": (counts(""), "pred", "record 1", "covers 0 of the 24 pixels"),
    "counts_null": (counts(None), "pred", "record 1", "counts must be a string or a list"),
    "counts_number": (counts(24), "pred", "record 1", "counts must be a string or a list"),
    "counts_list_over": (counts([0, 25]), "pred", "record 1", "more than the 24 pixels"),
    "counts_list_2_32": (counts([0, 2**32 + 24]), "pred", "record 1", "2**32"),
    "counts_list_negative": (counts([30, -6]), "pred", "record 1", "must lie in 0"),
    "counts_list_mixed": (counts([0, "x"]), "pred", "record 1", "a string or a list"),
    "counts_in_gt": (counts("04", "gt"), "gt", "record 1, id 1", "covers 4 of the 24 pixels"),
    "counts_list_in_gt": (counts([20], "gt"), "gt", "record 1, id 1", "covers 20 of the 24"),
    # Sizes.
    "size_transposed": (size(6, 4), "pred", "record 1", "swapped: size is [height, width]"),
    "size_transposed_gt": (size(6, 4, side="gt"), "gt", "record 1, id 1", "swapped"),
    "size_resolution": (size(8, 12), "pred", "record 1", "looks like the other resolution"),
    "size_wrong": (size(5, 23), "pred", "record 1", "size [5, 23] is not its image's [4, 6]"),
    "size_negative": (size(-1, -1), "pred", "record 1", "-1"),
    "size_huge": (size(10**30, 1), "pred", "record 1", "10000"),
    "size_short": (size(24), "pred", "record 1", "two whole numbers"),
    "size_text": (size("4", "six"), "pred", "record 1", "two whole numbers"),
    "image_huge": (put("image", 0, height=2**31, width=2), "gt", "image_id 7", "too many"),
    "image_no_pixels": (put("image", 0, height=0), "gt", "images record 0", ">= 1"),
    "image_no_height": (put("image", 0, height=...), "gt", "images record 0", "`height`"),
    "image_null_height": (put("image", 0, height=None), "gt", "images record 0", "`height`"),
    # Scores.
    "score_nan": (replace("0.8", "NaN"), "pred", "record 1", "NaN"),
    "score_infinity": (replace("0.8", "Infinity"), "pred", "record 1", "Infinity"),
    "score_minus_infinity": (replace("0.8", "-Infinity"), "pred", "record 1", "-Infinity"),
    "score_overflow": (replace("0.8", "1e999"), "pred", "record 1", "Infinity"),
    "score_missing": (put("dt", 1, score=...), "pred", "record 1", "`score`"),
    "score_null": (put("dt", 1, score=None), "pred", "record 1", "`score`"),
    "score_text": (put("dt", 1, score="high"), "pred", "record 1", "score is 'high'"),
    "score_list": (put("dt", 1, score=[0.8, 1]), "pred", "record 1", "score is [0.8, 1]"),
    "score_true": (put("dt", 1, score=True), "pred", "record 1", "score is True"),
    # Images and ids.
    "image_unknown": (put("dt", 1, image_id=99), "pred", "image_id 99", "not among the images"),
    "image_unknown_text": (put("dt", 1, image_id="77"), "pred", "image_id '77'", "not among"),
    "image_unknown_gt": (put("gt", 1, image_id=99), "gt", "record 1, id 1", "not among the images"),
    "image_id_missing": (put("dt", 1, image_id=...), "pred", "record 1", "`image_id`"),
    "image_id_null": (put("dt", 1, image_id=None), "pred", "record 1", "`image_id`"),
    "image_twice": (twice("images", 0), "gt", "image_id 7", "stands 2 times"),
    "annotation_id_twice": (put("gt", 1, id=0), "gt", "record 1, id 0", "stands at record 0"),
    # Masks of another kind.
    "mask_missing": (put("dt", 1, segmentation=...), "pred", "record 1", "`segmentation`"),
    "mask_null": (put("dt", 1, segmentation=None), "pred", "record 1", "segmentation is None"),
    "mask_text": (put("dt", 1, segmentation="x"), "pred", "record 1", "segmentation is 'x'"),
    "polygons_none": (put("dt", 1, segmentation=[]), "pred", "record 1", "no polygons"),
    "polygon_short": (put("gt", 1, segmentation=[[1, 1, 2, 2]]), "gt", "record 1", "three finite"),
    "polygon_odd": (put("gt", 1, segmentation=[[1] * 7]), "gt", "record 1", "three finite"),
    "polygon_far": (put("gt", 1, segmentation=[[0, 0, 1e8, 0, 1, 1]]), "gt", "record 1", "further"),
    "polygon_text": (put("gt", 1, segmentation=[["a"] * 6]), "gt", "record 1", "three finite"),
    "polygon_flat": (put("gt", 1, segmentation=[1, 1, 2, 1]), "gt", "record 1", "three finite"),
    # Whole files.
    "gt_list": (lambda gt, dt: (gt["annotations"], dt), "gt", "", "a list"),
    "gt_no_images": (lambda gt, dt: ({"annotations": []}, dt), "gt", "", "missing"),
    "gt_no_annotations": (lambda gt, dt: ({"images": []}, dt), "gt", "", "missing"),
    "dt_dict": (lambda gt, dt: (gt, {"x": dt, "y": dt}), "pred", "", "under several keys"),
    "dt_number": (lambda gt, dt: (gt, 5), "pred", "", "int"),
    "dt_record_list": (lambda gt, dt: (gt, [*dt, dt]), "pred", "", "record 3 is [{"),
    "dt_record_null": (lambda gt, dt: (gt, [*dt, None]), "pred", "", "record 3 is None"),
    "empty_file": (lambda gt, dt: (gt, ""), "pred", "", "the file is empty"),
    "no_json": (lambda gt, dt: (gt, "score,mask"), "pred", "", "begins with 'score,mask'"),
    "half_a_character": (replace("a.jpg", "\\ud800", "gt"), "gt", "", "half"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, write, capsys):
    change, file, where, what = ERRORS[name]
    paths = dict(zip(("gt", "pred"), write(*change(*valid())), strict=True))
    arguments = [str(path) for path in paths.values()]

    # evaluate refuses the pair: one message, no number.
    assert main(["evaluate", *arguments]) == 2
    out, message = capsys.readouterr()
    assert out == ""
    assert message.startswith(f"entityseg evaluate: {paths[file]}: ")
    assert where in message
    assert what in message
    assert "Traceback" not in message
    assert len(message) < 400

    # validate says the same, and tells success from failure.
    try:
        problems = list(validate(*arguments))
    except ValueError as error:
        assert name == "empty_file"
        assert what in str(error)
        assert main(["validate", *arguments]) == 2
        return
    errors = [problem for problem in problems if problem.severity == "error"]
    said = [p for p in errors if p.file == str(paths[file]) and where in p.where]
    assert any(what in f"{p.what} {p.hint}" for p in said), problems
    assert main(["validate", *arguments]) == 1
    out, message = capsys.readouterr()
    assert what in out
    assert "cannot be scored as it is" in message


def test_errors_name_the_image_of_their_record(write, capsys):
    """Whether it is found on reading, by a rule, or by the kernel."""
    for change in (ERRORS["score_text"][0], ERRORS["size_wrong"][0], ERRORS["counts_cut"][0]):
        paths = write(*change(*valid()))
        assert main(["evaluate", *map(str, paths)]) == 2
        assert "image_id 7" in capsys.readouterr().err


def test_all_errors_are_listed(write):
    gt, dt = valid()
    counts("04", "gt", 0)(gt, dt)
    put("gt", 2, image_id=5)(gt, dt)
    counts("04", idx=0)(gt, dt)
    size(6, 4, idx=1)(gt, dt)
    put("dt", 2, image_id=6)(gt, dt)
    problems = [p for p in validate(*write(gt, dt)) if p.severity == "error"]
    assert sorted((Path(p.file).name, p.where.partition(" (")[0]) for p in problems) == [
        ("gt.json", "record 0, id 0"),
        ("gt.json", "record 2, id 2"),
        ("pred.json", "record 0"),
        ("pred.json", "record 1"),
        ("pred.json", "record 2"),
    ]


def test_all_records_that_cannot_be_read_are_listed(write):
    gt, dt = valid()
    dt[0]["score"] = None
    del dt[2]["segmentation"]
    problems = list(validate(*write(gt, dt)))
    errors = [p for p in problems if p.severity == "error"]
    assert [p.where.partition(" (")[0] for p in errors] == [
        "record 0",
        "record 2",
    ]
    assert all("image_id" in p.where for p in errors)


def warnings_of(paths):
    problems = list(validate(*paths))
    assert all(problem.severity == "warning" for problem in problems)
    return [problem.what for problem in problems]


def test_nothing_to_say_of_a_valid_pair(write, capsys):
    paths = write(*valid())
    assert warnings_of(paths) == []
    assert main(["validate", *map(str, paths)]) == 0
    out, message = capsys.readouterr()
    assert out == ""
    assert "0 errors, 0 warnings: fit to be scored" in message
    assert main(["validate", str(paths[0])]) == 0


def test_progress_counts_the_masks_of_both_sides(write):
    told = []
    paths = write(*valid())
    assert list(validate(*paths, progress=lambda done, total: told.append((done, total)))) == []
    assert told == [(1, 3), (2, 3), (3, 3)] * 2


def empty_mask(gt, dt):
    dt[0]["segmentation"] = {"size": SIZE, "counts": "h0"}


def no_predictions_of_an_image(gt, dt):
    del dt[2]


def no_predictions(gt, dt):
    dt.clear()


def no_annotations_of_an_image(gt, dt):
    del gt["annotations"][2]


def equal_scores(gt, dt):
    for record in dt:
        record["score"] = 1


def other_area(gt, dt):
    gt["annotations"][0]["area"] = 20


def too_many(gt, dt):
    dt.extend([dict(dt[0])] * 100)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (empty_mask, "its mask is empty"),
        (no_predictions_of_an_image, "1 of 2 images have no predictions, image_id 8 first"),
        (no_predictions, "it holds no predictions"),
        (no_annotations_of_an_image, "1 of 2 images have no annotations, image_id 8 first"),
        (equal_scores, "all 3 scores are 1"),
        (other_area, "its area is 20, but its mask has 8 pixels"),
        (too_many, "1 images have more than 100 predictions, image_id 7 first with 102"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_warnings(change, what, write, capsys):
    """Odd, and scored all the same."""
    gt, dt = valid()
    change(gt, dt)
    paths = write(gt, dt)
    said = warnings_of(paths)
    assert len(said) == 1
    assert what in said[0]
    assert main(["validate", *map(str, paths)]) == 0
    assert main(["evaluate", *map(str, paths)]) == 0
    assert "AP^e" in capsys.readouterr().out


def test_limit_of_the_warning_is_the_users(write, capsys):
    gt, dt = valid()
    too_many(gt, dt)
    paths = [str(path) for path in write(gt, dt)]
    main(["evaluate", *paths, "--max-dets", "1,500"])
    assert capsys.readouterr().err == ""
    main(["evaluate", *paths, "--max-dets", "1,50"])
    assert "more than 50 predictions" in capsys.readouterr().err


def test_categories_matter_to_class_aware_scoring_only(write, capsys):
    gt, dt = valid()
    dt[1]["category_id"] = 55
    del dt[2]["category_id"]
    paths = write(gt, dt)
    assert warnings_of(paths) == []
    found = {p.where.partition(" (")[0]: p.what for p in validate(*paths, class_aware=True)}
    assert "category_id 55 (in 1 records) is not among the categories" in found["record 1"]
    assert "no category (in 1 records)" in found["record 2"]
    assert main(["evaluate", *map(str, paths), "--class-aware"]) == 2
    assert "category" in capsys.readouterr().err
    assert main(["evaluate", *map(str, paths)]) == 0


def test_report_is_cut_but_the_json_is_whole(write, tmp_path, capsys):
    gt, dt = valid()
    dt = [{**dt[0], "segmentation": {"size": SIZE, "counts": [k]}} for k in range(25, 85)]
    paths = [str(path) for path in write(gt, dt)]
    report = tmp_path / "problems.json"
    assert main(["validate", *paths, "--most", "5", "--json", str(report)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert "more (--most N prints them" in lines[-1]
    problems = [Problem(**record) for record in json.loads(report.read_text())]
    assert sum(problem.severity == "error" for problem in problems) == 60
    assert str(problems[0]) == lines[0]


def test_messages_read_as_sentences(write):
    _, dt_path = paths = write(*size(6, 4)(*valid()))
    problem = next(p for p in validate(*paths) if p.severity == "error")
    assert str(problem) == (
        f"error: {dt_path}: record 1 (image_id 7): size [6, 4] is not its image's [4, 6]. "
        "Height and width are swapped: size is [height, width]."
    )
