"""What validate finds in maps, panoptic JSON, lists, NPZ and data sets, and evaluate refuses.

Each case breaks a copy of the demo's data; validate must name all of it and evaluate must refuse.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from broken_files import (
    IDS_PRED,
    INDEX,
    MAPS,
    NPZ,
    NPZ_A,
    NPZ_PRED,
    PAN,
    PAN_PRED,
    SEM,
    SEM_PRED,
    A,
    C,
    arrays,
    class_200,
    colours,
    cut,
    edit,
    one_more,
    one_more_segment,
    paint,
    problems_of,
    remove,
    segment,
    segments,
    text,
    transposed,
    words,
)

from entityseg_bench.cli import main


def recoloured():
    """Paint the first segment of the first image over with an id that no segment has."""
    old = segments(json.loads(Path("pan.json").read_text()))[0]["id"]

    def change(rgb):
        rgb[rgb[..., 0] + 256 * rgb[..., 1].astype(int) == old] = (251, 0, 0)
        return rgb

    paint(f"pan/{A}.png", change)()


def save_one_array():
    np.save("one.npy", np.zeros(3))
    shutil.move("one.npy", NPZ_A)


def fewer_masks():
    """Leave the file of an image one mask of the three that its index names."""
    content = json.loads(Path(INDEX).read_text())
    image_id = content["images"][0]["id"]
    rows = content["annotations"]
    kept = [one for one in rows if one["image_id"] != image_id or one["value"] < 3]
    Path(INDEX).write_text(json.dumps({**content, "annotations": kept}))
    with np.load(NPZ_A) as found:
        masks = found["masks"][:1]
    arrays(NPZ_A, masks=masks)()


# What is done, to which pair of files, and all errors: (file, words of where, words of what).
ERRORS = {
    # Panoptic maps.
    "map_missing": (remove(f"pan/{A}.png"), PAN,
        [(f"{A}.png", "", "there is no such file")]),
    "map_cut": (cut(f"pan/{A}.png"), PAN, [(f"{A}.png", "", "it cannot be read: ")]),
    "map_no_png": (text(f"pan/{A}.png", "no"), PAN,
        [(f"{A}.png", "", "this is no image")]),
    "map_empty": (text(f"pan/{A}.png", ""), PAN,
        [(f"{A}.png", "", "this is no image")]),
    "map_with_alpha": (paint(f"pan/{A}.png", lambda p: np.dstack([p, p[..., 0]])), PAN,
        [(f"{A}.png", "", "is RGB, not mode RGBA")]),
    "map_transposed": (paint(f"pan/{A}.png", transposed), PAN,
        [(f"{A}.png", f"({A}.jpg)", "Height and width are swapped")]),
    "map_of_low_resolution": (paint(f"pan/{A}.png", lambda p: p.repeat(2, 0).repeat(2, 1)),
        PAN, [(f"{A}.png", f"({A}.jpg)", "Is it the other resolution's map?")]),
    "map_of_another_size": (paint(f"pan/{A}.png", lambda p: p[:30].copy()), PAN,
        [(f"{A}.png", f"({A}.jpg)", "Maps have their image's own size")]),
    "segment_painted_over": (recoloured, PAN,
        [(f"{A}.png", f"({A}.jpg)", "are not in the map"),
         (f"{A}.png", f"({A}.jpg)", "segments 251 are not in the JSON")]),
    "maps_nowhere": (lambda: shutil.move("pan", "elsewhere"), PAN,
        [("pan.json", "", "the folder of its maps is not beside it")]),
    # Panoptic JSON.
    "segment_twice": (edit("pan.json", one_more_segment()),
        PAN, [("pan.json", f"({A}.png), segments_info[", "stands twice")]),
    "segment_id_0": (edit("pan.json", one_more_segment(id=0)),
        PAN, [("pan.json", "segments_info[", "segment id 0 must lie in 1..")]),
    "segment_id_huge": (edit("pan.json", one_more_segment(id=10**30)),
        PAN, [("pan.json", "segments_info[", "Expected `int` <= 9223372036854775807")]),
    "segment_category": (edit("pan.json", segment(category_id=999)), PAN,
        [("pan.json", f"({A}.jpg), segment ", "category 999 is not among the")]),
    "segment_category_text": (edit("pan.json", one_more_segment(category_id="a")), PAN,
        [("pan.json", "segments_info[", "Expected `int`, got `str`")]),
    "annotation_of_no_image": (edit("pan.json", one_more("annotations", image_id=99)), PAN,
        [("pan.json", "annotations[5]", "its image_id 99 is not among the images")]),
    "annotation_twice": (edit("pan.json", one_more("annotations")), PAN,
        [("pan.json", "annotations[5]", "an image stands twice")]),
    "image_without_file_name": (edit("pan.json",
        lambda c: c["images"].append({"id": 98, "height": 4, "width": 4})), PAN,
        [("pan.json", "images[5]", "'file_name' is missing")]),
    "image_twice": (edit("pan.json", one_more("images")), PAN,
        [("pan.json", f"({A}.jpg)", "its id stands twice")]),
    "image_huge": (edit("pan.json", one_more("images", id=98, height=10**30)), PAN,
        [("pan.json", "image 98", "too many")]),
    "images_no_rows": (edit("pan.json", lambda c: c["images"].append(7)), PAN,
        [("pan.json", "images[5]", "is no object")]),
    "panoptic_cut": (cut("pan.json"), PAN, [("pan.json", "", "breaks off")]),
    "coco_for_panoptic": (lambda: None, ("set/annotations/instance_segmentation/"
        "entityv2_01_instances_train.json --task panoptic", "panoptic.json"),
        [("entityv2_01_instances_train.json", "", "--task says panoptic")]),
    # Panoptic predictions.
    "predicted_map_missing": (remove(f"pan/{A}.png"), PAN_PRED,
        [(f"{A}.png", "", "there is no such file")]),
    "predicted_category": (edit("pan.json", segment(category_id=999)), PAN_PRED,
        [("pan.json", f"({A}.jpg), segment ", "category 999 is not among the")]),
    "predicted_segment_twice": (edit("pan.json", one_more_segment()), PAN_PRED,
        [("pan.json", f"({A}.png), segments_info[", "stands twice")]),
    "predicted_image_unknown": (edit("pan.json", one_more("annotations", image_id=99)), PAN_PRED,
        [("pan.json", "annotations[5]", "its image_id 99 is not among the images")]),
    "predicted_scores_of_some": (edit("pan.json", segment(score=0.5)), PAN_PRED,
        [("pan.json", "", "predictions have no score, the others do")]),
    "predicted_maps_nowhere": (lambda: shutil.move("pan", "elsewhere"), PAN_PRED,
        [("pan.json", "", "the folder of its maps is not beside it")]),
    "predictions_of_another_kind": (edit("pan.json",
        lambda c: [one.pop("segments_info") for one in c["annotations"]]),
        ("set --task panoptic", "pan.json --pred-format panoptic"),
        [("pan.json", "annotations", "this is no panoptic JSON")]),
    # Semantic lists and class maps.
    "class_unknown": (paint(f"sem/{A}.png", class_200), SEM,
        [("sem.txt", f"({A}.jpg)", "category 200 is not among the 150")]),
    "class_maps_of_colours": (paint(f"sem/{A}.png", colours), SEM,
        [(f"{A}.png", "", "one channel, not mode RGB")]),
    "class_map_missing": (remove(f"sem/{A}.png"), SEM,
        [(f"{A}.png", "line 1 of sem.txt", "the map cannot be read: No such file")]),
    "class_map_cut": (cut(f"sem/{A}.png"), SEM, [(f"{A}.png", "", "it cannot be read")]),
    "list_of_one_name": (lambda: Path("sem.txt").write_text(
        Path("sem.txt").read_text() + "lonely.jpg\n"), SEM,
        [("sem.txt", "line 6", "'lonely.jpg' is not the name of an image, a space")]),
    "list_no_text": (lambda: Path("sem.txt").write_bytes(b"a\xff\xfe\x80"), SEM,
        [("sem.txt", "", "it is not UTF-8")]),
    "folder_with_a_text": (text("sem/z.png", "no map"), MAPS,
        [("z.png", "", "this is no PNG")]),
    "folder_with_no_pixels": (lambda: Path("sem/z.png").write_bytes(
        Path(f"sem/{A}.png").read_bytes()[:16] + bytes(8)), MAPS,
        [("z.png", "", "this is no PNG")]),
    "predicted_class": (paint(f"sem/{A}.png", class_200),
        SEM_PRED, [("sem", f"({A}.jpg)", "category 200 is not among the 150")]),
    "predicted_classes_transposed": (paint(f"sem/{A}.png", transposed), SEM_PRED,
        [(f"{A}.png", f"({A}.jpg)", "Height and width are swapped")]),
    "predicted_classes_missing": (remove(f"sem/{A}.png", f"sem/{C}.png"), SEM_PRED,
        [("sem", f"({A}.jpg)", "its map demo_01_00000.png is missing (2 of 5 are)"),
         ("sem", f"({C}.jpg)", "its map demo_01_00003.png is missing (2 of 5 are)")]),
    "predicted_classes_of_others": (lambda: [p.rename(p.with_name("x" + p.name))
        for p in list(Path("sem").iterdir())], SEM_PRED,
        [("sem", f"({A}.jpg)", "(5 of 5 are)")]),
    "predicted_classes_none": (lambda: [p.unlink() for p in list(Path("sem").iterdir())], SEM_PRED,
        [("sem", "", "no PNG maps in this folder")]),
    # Results for maps.
    "results_score": (edit("panoptic.json", lambda c: [c[0].update(score="high"),
        c[2].update(score=None)]), PAN,
        [("panoptic.json", "record 0", "score is 'high'"),
         ("panoptic.json", "record 2", "no `score`")]),
    "results_masks": (edit("panoptic.json", lambda c: [
        c[0]["segmentation"].update(counts="04"), c[3]["segmentation"].update(size=[9, 9])]), PAN,
        [("panoptic.json", "record 0", "covers 4 of the"),
         ("panoptic.json", "record 3", "size [9, 9] is not its image's")]),
    "results_of_unknown_images": (edit("semantic.json", lambda c: [
        c[0].update(image_id=77), c[1].update(image_id=78)]), SEM,
        [("semantic.json", "image_id 77", "not among the images of the ground truth. (2 of ")]),
    "results_category_huge": (edit("panoptic.json", lambda c: c[0].update(category_id=10**30)), PAN,
        [("panoptic.json", "record 0", "category_id is 1000")]),
    # NPZ and id maps with their index.
    "npz_missing": (remove(NPZ_A), NPZ_PRED,
        [(f"{A}.npz", "", "there is no such file")]),
    "npz_cut": (cut(NPZ_A), NPZ_PRED,
        [(f"{A}.npz", "", "it is no file of masks")]),
    "npz_is_npy": (save_one_array, NPZ_PRED,
        [(f"{A}.npz", "", "it holds one array without a name")]),
    "npz_without_arrays": (arrays(NPZ_A, masks=None, size=None), NPZ_PRED,
        [(f"{A}.npz", "masks", "this array is missing"),
         (f"{A}.npz", "size", "this array is missing")]),
    "npz_of_floats": (arrays(NPZ_A, masks=np.zeros((2, 3))), NPZ_PRED,
        [(f"{A}.npz", "masks", "float64 of shape (2, 3) are no packed masks")]),
    "npz_size_unlike_masks": (arrays(NPZ_A, size=np.array([4, 4])),
        NPZ_PRED, [(f"{A}.npz", "masks", "does not fit the file's size (4, 4)")]),
    "npz_of_another_size": (arrays(NPZ_A, size=np.array([4, 6]),
        masks=np.zeros((50, 4, 1), np.uint8)), NPZ_PRED,
        [(f"{A}.npz", "", "the map's 4 x 6 pixels (height x width) are not the image's")]),
    "npz_of_fewer_masks": (fewer_masks, NPZ_PRED,
        [(f"{A}.npz", "mask 1", "the file holds 1 masks"),
         (f"{A}.npz", "mask 2", "the file holds 1 masks")]),
    "index_missing": (remove(INDEX), NPZ_PRED,
        [("entity_npz", "", "the index (annotations.json) of these packed masks is")]),
    "index_rows": (edit(INDEX, lambda c: [
        c["annotations"].insert(0, {"id": 5}),
        c["annotations"].insert(1, {**c["annotations"][1], "image_id": 99}),
        c["annotations"].insert(2, {**c["annotations"][2], "id": 10**30})]), NPZ,
        [("annotations.json", "annotations[0]", "`image_id`"),
         ("annotations.json", "annotations[2] (image_id ", "Expected `int` <= "),
         ("annotations.json", "annotations[1]", "its image_id 99 is not among the images")]),
    "index_of_another_part": (edit(INDEX, lambda c: [
        c["images"].append({**c["images"][0], "id": 1000 + k}) for k in range(2)]), NPZ_PRED,
        [("annotations.json", "image 1000", "not among the images of the ground truth"),
         ("annotations.json", "image 1001", "not among the images of the ground truth")]),
    "index_scores": (edit(INDEX, lambda c: [
        one.update(score="high" if n == 1 else 0.5) for n, one in enumerate(c["annotations"])]),
        NPZ_PRED, [("annotations.json", "segment ", "its score 'high' is no number")]),
    "index_ids_twice": (edit(INDEX, lambda c:
        c["annotations"][1].update(id=c["annotations"][0]["id"])), NPZ,
        [("annotations.json", f"({A}.jpg), annotation ", "its id stands at record 0")]),
    "index_task": (edit(INDEX, lambda c: c.update(task="boxes")), NPZ,
        [("annotations.json", "task", "'boxes' is none of")]),
    "ids_missing": (remove(f"instance_ids/{A}.png"), IDS_PRED,
        [(f"{A}.png", "", "there is no such file")]),
    "ids_transposed": (paint(f"instance_ids/{A}.png", transposed), IDS_PRED,
        [(f"{A}.png", f"({A}.jpg)", "Height and width are swapped")]),
    "bare_ids_cut": (lambda: [remove("instance_ids/annotations.json")(),
        cut(f"instance_ids/{A}.png")()], IDS_PRED,
        [(f"{A}.png", f"({A}.jpg)", "it cannot be read")]),
    "index_class_that_no_map_holds": (edit("semantic_npz/annotations.json",
        one_more("categories", id=10**9)), ("semantic_npz", "semantic.json"),
        [("annotations.json", "categories[150]", "1000000000 does not fit an 8-bit map")]),
    "bare_ids_of_an_endless_name": (lambda: [remove("instance_ids/annotations.json")(),
        edit("entity_npz/annotations.json", lambda c: c["images"][0].update(
            file_name="x" * 999 + ".jpg"))()], ("entity_npz", "instance_ids"),
        [("annotations.json", "image 1", "has 1003 bytes; 255 is the most")]),
    # Data sets.
    "no_json": (lambda: Path("set/annotations/panoptic_segmentation/"
        "entityv2_01_panoptic_train.json").unlink(), PAN_PRED,
        [("set", "", "no panoptic annotations of split train")]),
    "no_maps": (lambda: shutil.rmtree("set/annotations/panoptic_segmentation/panoptic_maps_train"),
        PAN_PRED, [("panoptic_segmentation", "", "the folder of the panoptic maps is missing")]),
    "json_of_another_type": (lambda: shutil.copy("set/annotations/entity_segmentation/"
        "entityv2_01_entity_train.json", "set/annotations/panoptic_segmentation/"
        "entityv2_01_panoptic_train.json"), PAN_PRED,
        [("entityv2_01_panoptic_train.json", "annotations", "this is no panoptic JSON")]),
    "type_unsaid": (lambda: None, ("set", "pan.json"),
        [("set", "", "has annotations of the types")]),
    "results_for_ground_truth": (lambda: None, ("entity.json", "entity_npz"),
        [("entity.json", "", "these are results (predictions), not ground truth")]),
}  # fmt: skip


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, capsys):
    break_it, pair, expected = ERRORS[name]
    break_it()
    problems, code = problems_of(capsys, *words(pair))
    errors = [problem for problem in problems if problem.severity == "error"]
    found = [(Path(p.file).name, p.where, f"{p.what} {p.hint}") for p in errors]
    assert len(found) == len(expected), found
    for (file, where, what), (in_file, in_where, in_what) in zip(found, expected, strict=True):
        assert file == in_file
        assert in_where in where
        assert in_what in what
    assert code == 1

    assert main(["evaluate", *words(pair), "--split", "train"]) == 2
    out, message = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in message


def test_every_case_of_the_table_was_scored_before_it_was_broken(whole, monkeypatch, capsys):
    """So that what evaluate refuses is the break."""
    monkeypatch.chdir(whole)
    unbroken = {pair for break_it, pair, _ in ERRORS.values() if break_it.__name__ != "<lambda>"}
    for pair in sorted(unbroken - {("set --task panoptic", "pan.json --pred-format panoptic")}):
        assert main(["evaluate", *words(pair), "--split", "train", "--quiet"]) == 0, pair
        assert main(["validate", *words(pair), "--split", "train"]) == 0, pair
    assert "error" not in capsys.readouterr().out
