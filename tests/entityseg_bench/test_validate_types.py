"""What validate says of data of any type: nothing if it is valid, else warnings and listings."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from broken_files import (
    INDEX,
    NPZ_A,
    NPZ_PRED,
    PAN,
    PAN_PRED,
    SEM,
    SEM_PRED,
    UNSCORED,
    A,
    B,
    C,
    arrays,
    cut,
    edit,
    one_more,
    paint,
    problems_of,
    remove,
    segment,
    segments,
    text,
    transposed,
    words,
)

from entityseg_bench.check import SeveralFaults
from entityseg_bench.cli import main
from entityseg_bench.io import InputError
from entityseg_bench.validate import Problem


def test_nothing_to_say_of_valid_data_of_any_type_in_any_format(
    whole, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(whole)
    monkeypatch.setattr("sys.argv", [])
    report = tmp_path / "problems.json"

    def problems(*arguments):
        assert main(["validate", *arguments, "--split", "train", "--json", str(report)]) == 0
        return [Problem(**row) for row in json.loads(report.read_text())]

    truths = ["sem.txt", "sem", "pan.json", "set", *(str(p) for p in Path().glob("*_npz"))]
    for gt in (*truths, *(str(p) for p in Path().glob("*_ids"))):
        assert problems(gt) == [], gt
    formats = {"semantic": ["sem"], "panoptic": ["pan.json", "pan"]}
    for task in ("entity", "instance", "semantic", "panoptic"):
        for pred in (f"{task}.json", f"{task}_ids", f"{task}_npz", *formats.get(task, ())):
            pair = ("set", pred, "--task", task, "--part", "01")
            rest = [p for p in problems(*pair) if not UNSCORED.search(p.what)]
            assert rest == [], pair
            assert main(["evaluate", *pair, "--split", "train", "--quiet"]) == 0
    capsys.readouterr()


def other_scores(index, npz):
    """Give all rows of the index a score, and an NPZ file others."""

    def act():
        edit(INDEX, lambda c: [one.update(score=index) for one in c["annotations"]])()
        with np.load(NPZ_A) as found:
            n = len(found["masks"])
        arrays(NPZ_A, scores=npz(n))()

    return act


WARNINGS = {
    "area": (edit("pan.json", segment(area=1)), PAN,
        ("pan.json", f"image 1 ({A}.jpg), segment ", "its area is 1, but its mask has")),
    "image_without_annotation": (edit("pan.json", lambda c: c["annotations"].pop()), PAN,
        ("pan.json", "", "1 of 5 images have no annotations, image_id 7 first. They are void")),
    "maps_of_no_image": (lambda: shutil.copy(f"pan/{A}.png", "pan/zebra.png"), PAN,
        ("pan", "", "1 maps belong to no image, zebra.png first")),
    "class_maps_of_no_image": (lambda: shutil.copy(f"sem/{A}.png", "sem/zebra.png"), SEM,
        ("sem", "", "1 maps belong to no image, zebra.png first")),
    "predicted_maps_of_no_image": (lambda: shutil.copy(f"sem/{A}.png", "sem/zebra.png"), SEM_PRED,
        ("sem", "", "1 maps belong to no image, zebra.png first")),
    "npz_of_no_image": (lambda: shutil.copy(NPZ_A, "entity_npz/zebra.npz"), NPZ_PRED,
        ("entity_npz", "", "zebra.npz first. They are not read: annotations.json does not")),
    "image_listed_twice": (lambda: text("sem.txt", Path("sem.txt").read_text() * 2)(),
        SEM, ("sem.txt", f"image {A}.jpg", "it stands 2 times in the list")),
    "npz_scores_nan": (other_scores(0.5, lambda n: np.full(n, np.nan)), NPZ_PRED,
        (f"{A}.npz", "scores", "not finite. The index (annotations.json) counts")),
    "npz_scores_others": (other_scores(0.5, lambda n: np.full(n, 0.25)), NPZ_PRED,
        (f"{A}.npz", "scores", "its numbers are not those of the index")),
    "npz_scores_of_fewer": (other_scores(0.5, lambda n: np.full(1, 0.5)), NPZ_PRED,
        (f"{A}.npz", "scores", "it holds 1 numbers for")),
    "npz_scores_text": (other_scores(0.5, lambda n: np.array(["high"] * n)), NPZ_PRED,
        (f"{A}.npz", "scores", "is no list of numbers")),
    "npz_of_more_masks": (edit(INDEX, lambda c: c["annotations"].pop(0)), NPZ_PRED,
        (f"{A}.npz", "masks", "masks. The others are not read")),
    "images_away": (lambda: [shutil.rmtree(p) for p in Path("set").glob("images*")], PAN_PRED,
        ("entityv2_01_panoptic_train.json", "", "5 of 5 images are not there")),
    "an_image_away": (remove(f"set/images/entity_01_11580/{A}.jpg"), PAN_PRED,
        ("entityv2_01_panoptic_train.json", "", f"1 of 5 images are not there. First: {A}.jpg")),
    "an_image_broken": (cut(f"set/images/entity_01_11580/{A}.jpg"), PAN_PRED, None),
    "an_image_that_is_none": (text(f"set/images/entity_01_11580/{A}.jpg", "no"), PAN_PRED,
        ("entityv2_01_panoptic_train.json", "", "1 of 5 images cannot be read")),
    "an_image_of_another_size": (paint(f"set/images/entity_01_11580/{A}.jpg", lambda p: p[:9]),
        ("set --task semantic", "sem"), ("train.txt", "", "1 of 5 images are of another size")),
}  # fmt: skip


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(name, capsys):
    """Odd, and scored all the same."""
    break_it, pair, expected = WARNINGS[name]
    break_it()
    problems, code = problems_of(capsys, *words(pair))
    found = [
        (Path(p.file).name, p.where, f"{p.what} {p.hint}")
        for p in problems if p.severity == "warning" and not UNSCORED.search(p.what)
    ]  # fmt: skip
    assert bool(found) == bool(expected)
    if expected:
        in_file, in_where, in_what = expected
        assert any(f == in_file and in_where in at and in_what in said for f, at, said in found)
    assert code == 0
    assert main(["evaluate", *words(pair), "--split", "train", "--quiet"]) == 0


@pytest.mark.usefixtures("here")
def test_a_broken_file_does_not_stop_the_listing_of_the_others(capsys):
    """On both sides at once, of both kinds of files."""
    cut(f"pan/{A}.png")()
    remove(f"pan/{B}.png")()
    paint(f"pan/{C}.png", transposed)()
    edit("pan.json", one_more("images", id=98, height=0))()
    edit("pan.json", lambda c: segments(c, 2)[0].update(category_id=999))()
    edit("entity_npz/annotations.json", lambda c: c.update(task="panoptic"))()
    cut(NPZ_A)()
    arrays(f"entity_npz/{C}.npz", masks=None)()
    problems, code = problems_of(capsys, "pan.json", "entity_npz")
    assert code == 1
    assert {problem.severity for problem in problems} == {"error"}
    assert [Path(problem.file).name for problem in problems] == [
        "pan.json", f"{A}.png", f"{B}.png", f"{C}.png", "pan.json", f"{A}.npz", f"{C}.npz"
    ]  # fmt: skip


@pytest.mark.usefixtures("here")
def test_coco_and_maps_are_checked_together(capsys):
    gt = "set/annotations/instance_segmentation/entityv2_01_instances_train.json"
    edit(gt, lambda c: c["annotations"][0]["segmentation"].update(counts="04"))()
    edit(gt, lambda c: c["annotations"][2].update(image_id=99))()
    cut(f"instance_ids/{A}.png")()
    problems, code = problems_of(capsys, gt, "instance_ids")
    errors = [(Path(p.file).name, p.what) for p in problems if p.severity == "error"]
    assert code == 1
    assert [file for file, _ in errors] == [Path(gt).name] * 2 + [f"{A}.png"]
    assert "not among the images" in errors[0][1]
    assert "covers 4 of" in errors[1][1]


@pytest.mark.usefixtures("here")
def test_coco_masks_that_are_no_text_beside_maps(capsys):
    gt = Path("set/annotations/instance_segmentation/entityv2_01_instances_train.json")
    text = gt.read_bytes()
    at = text.index(b'"counts":') + 14
    gt.write_bytes(text[:at] + b"\xbd" + text[at + 1 :])
    assert main(["evaluate", str(gt), "instance_ids"]) == 2
    assert "annotation" in capsys.readouterr().err
    assert problems_of(capsys, str(gt), "instance_ids")[1] == 1


@pytest.mark.usefixtures("here")
def test_results_that_call_images_by_name(capsys):
    """As semantic ground truth allows it; one name is no image's."""
    names = dict(enumerate((Path(line).stem for line in Path("sem.txt").read_text().split()), 2))
    edit("semantic.json", lambda c: [r.update(image_id=names[2 * r["image_id"]]) for r in c])()
    assert main(["evaluate", "sem.txt", "semantic.json", "--quiet"]) == 0
    assert "100.00" in capsys.readouterr().out
    assert problems_of(capsys, "sem.txt", "semantic.json")[1] == 0
    edit("semantic.json", lambda c: [c[0].update(image_id="zebra"), c[1].update(image_id="gnu")])()
    problems, _ = problems_of(capsys, "sem.txt", "semantic.json")
    assert [p.where for p in problems if p.severity == "error"] == ["record 0 (image_id 'zebra')"]


@pytest.mark.usefixtures("here")
def test_a_data_set_is_checked_type_by_type(capsys):
    annotations = Path("set/annotations")
    edit(annotations / "entity_segmentation" / "entityv2_010203_entity_train.json",
         lambda c: c["annotations"][0].update(image_id=99))()  # fmt: skip
    cut(annotations / "semantic_segmentation" / "semantic_maps_train" / f"{A}.png")()
    shutil.rmtree(annotations / "panoptic_segmentation" / "panoptic_maps_train")
    problems, code = problems_of(capsys, "set")
    assert code == 1
    assert [(Path(p.file).name, p.severity) for p in problems] == [
        ("panoptic_segmentation", "error"),
        ("entityv2_010203_entity_train.json", "error"),
        (f"{A}.png", "error"),
    ]


@pytest.mark.usefixtures("here")
def test_ground_truth_that_cannot_be_read_leaves_predictions_unchecked(capsys):
    cut("pan.json")()
    problems, code = problems_of(capsys, "pan.json", "panoptic.json")
    assert code == 1
    assert [(p.file, p.severity) for p in problems] == [
        ("pan.json", "error"), ("panoptic.json", "warning")
    ]  # fmt: skip
    assert "it was not checked" in problems[1].what


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "pair", [("nowhere", "sem"), ("sem.txt", "nowhere"), ("pan.json", "empty")]
)
def test_a_file_that_cannot_be_opened_at_all(pair, capsys):
    Path("empty").touch()
    assert main(["validate", *pair, "--task", "semantic"]) == 2
    assert re.search("there is no such file|the file is empty", capsys.readouterr().err)


@pytest.mark.usefixtures("here")
def test_options_may_stand_between_the_paths(capsys):
    assert main(["validate", "sem.txt", "--task", "semantic", "sem"]) == 0
    assert "sem.txt and sem: 0 errors" in capsys.readouterr().err


def test_several_faults_of_a_file_come_whole_out_of_another_process():
    """As those of one do; the first is what is said."""
    faults = [InputError("a.png", f"mask {k}", "it is missing.", "Write it.") for k in (1, 2)]
    again = pickle.loads(pickle.dumps(SeveralFaults(faults)))
    assert str(again) == "a.png: mask 1: it is missing. Write it."
    assert list(map(str, again.faults)) == list(map(str, faults))
