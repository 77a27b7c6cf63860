"""Scoring of files that do not fit: errors name the file, the image and what to do."""

import json
import shutil

import numpy as np
import pytest
from scoring_sides import (
    save_ids,
    save_json,
    save_png,
    score,
    write_panoptic_side,
    write_semantic_side,
)

from entityseg_bench.io import InputError
from entityseg_bench.score import evaluate_files


class TestErrors:
    """Each names the file, the image and what to do; none comes from the depths."""

    @pytest.fixture
    def sides(self, tmp_path):
        maps, of = [[[1, 1, 2, 2]], [[1, 0, 2, 2]]], [{1: 10, 2: 20}] * 2
        gt = write_panoptic_side(tmp_path / "gt.json", maps, of)
        return gt, write_panoptic_side(tmp_path / "dt.json", maps, of)

    def test_no_folder_of_maps(self, sides):
        for side, option in zip(sides, ("--gt-maps", "--pred-maps"), strict=True):
            shutil.move(side.with_suffix(""), side.with_name("elsewhere"))
            with pytest.raises(InputError, match=f"{side.stem}, panoptic_maps_val.*{option} DIR"):
                score(*sides)
            shutil.move(side.with_name("elsewhere"), side.with_suffix(""))
        shutil.move(sides[0].with_suffix(""), sides[0].with_name("elsewhere"))
        scoring = score(*sides, gt_maps=sides[0].with_name("elsewhere"))
        assert scoring.own.groups["all"]["PQ"] == 1.0

    def test_a_missing_map(self, sides):
        (sides[1].with_suffix("") / "image 2.v1.png").unlink()
        with pytest.raises(InputError, match=r"2\.v1\.png: image 2 .*: there is no such file"):
            score(*sides)

    def test_a_map_of_another_size(self, sides):
        save_ids(sides[1].with_suffix("") / "image 2.v1.png", [[1, 0, 2]])
        with pytest.raises(InputError, match=r"image 2.*1 x 3 pixels.*1 x 4"):
            score(*sides)

    def test_segments_that_map_and_json_do_not_share(self, sides):
        path = sides[1].with_suffix("") / "image 2.v1.png"
        save_ids(path, [[1, 77, 2, 2]])
        with pytest.raises(InputError, match=r"image 2.*segments 77 are not in the JSON"):
            score(*sides)
        save_ids(path, [[1, 1, 1, 1]])
        with pytest.raises(InputError, match=r"image 2.*segments 2 are not in the map"):
            score(*sides)

    def test_a_category_that_the_ground_truth_does_not_have(self, sides):
        content = json.loads(sides[1].read_text())
        content["annotations"][1]["segments_info"][0]["category_id"] = 11
        save_json(sides[1], content)
        with pytest.raises(InputError, match=r"dt\.json: image 2.*category 11"):
            score(*sides)

    def test_an_unknown_image(self, sides):
        content = json.loads(sides[1].read_text())
        content["annotations"][1].update(image_id=5, file_name="other.png")
        save_json(sides[1], content)
        with pytest.raises(InputError, match=r"dt\.json.*image_id 5 is not among the images"):
            score(*sides)

    def test_scores_of_some_segments_only(self, sides):
        content = json.loads(sides[1].read_text())
        content["annotations"][1]["segments_info"][0]["score"] = 0.5
        save_json(sides[1], content)
        with pytest.raises(InputError, match="3 of 4 predictions have no score"):
            score(*sides)

    def test_another_type_than_the_user_says(self, sides):
        with pytest.raises(InputError, match="this is panoptic ground truth, and --task says sem"):
            score(*sides, task="semantic")

    def test_a_broken_coco_file_is_reported_as_one(self, tmp_path):
        gt = save_json(tmp_path / "gt.json", {"images": [], "annotations": []})
        dt = save_json(tmp_path / "dt.json", [{"image_id": 1, "category_id": 2}])
        with pytest.raises(InputError, match=r"dt\.json: record 0 \(image_id 1\): it has no mask"):
            score(gt, dt)
        with pytest.raises(InputError, match="there is no such file"):
            score(gt, tmp_path / "nothing.json")

    def test_semantic_maps(self, tmp_path):
        gt = write_semantic_side(tmp_path / "gt", [[[0, 1]], [[1, 255]]])
        dt = write_semantic_side(tmp_path / "dt", [[[0, 1]], [[1, 1]]]).with_suffix("")
        assert score(gt, dt).own.groups["all"]["mIoU"] == 1.0
        save_png(dt / "image 2.png", np.array([[1, 200]], np.uint8))
        with pytest.raises(InputError, match=r"dt: image 2.*category 200"):
            score(gt, dt)
        save_png(dt / "image 2.png", np.array([[1], [1]], np.uint8))
        with pytest.raises(InputError, match=r"image 2\.png.*2 x 1.*1 x 2"):
            score(gt, dt)
        save_png(dt / "image 2.png", np.array([[[1, 2, 3], [1, 1, 1]]], np.uint8))
        with pytest.raises(InputError, match="one channel, not mode RGB"):
            score(gt, dt, pred_format="semantic")
        (dt / "image 2.png").unlink()
        with pytest.raises(InputError, match=r"image 2\.png is missing \(1 of 2 are\)"):
            score(gt, dt)
        scoring = evaluate_files(gt, dt, predicted_images_only=True)
        assert scoring.result.params.image_ids == [1]
        assert scoring.own.groups["all"]["mIoU"] == 1.0
        shutil.rmtree(dt)
        dt.mkdir()
        with pytest.raises(InputError, match="no PNG maps in this folder"):
            score(gt, dt)

    def test_maps_that_belong_to_no_image_are_named(self, tmp_path):
        gt = write_semantic_side(tmp_path / "gt", [[[0, 1]]])
        dt = write_semantic_side(tmp_path / "dt", [[[0, 1]], [[1, 1]]]).with_suffix("")
        warnings = " ".join(map(str, score(gt, dt).warnings))
        assert "1 maps belong to no image, image 2.png first" in warnings
