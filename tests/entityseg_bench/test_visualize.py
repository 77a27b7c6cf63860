"""Pictures: the right pixels in the right colours, text where there is room, whatever the size."""

import argparse
import io

import msgspec
import numpy as np
import pytest
from PIL import Image

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.commands.visualize import encoded, labels_of, rgb_of
from entityseg_bench.errors import find_errors
from entityseg_bench.errors.signs import COLOURS
from entityseg_bench.formats import Inputs
from entityseg_bench.score import evaluate_files, read_checked
from entityseg_bench.visualize import colour, draw, inner_point, matching_colours, side_by_side


def read_image(path):
    with Image.open(path) as image:
        return np.asarray(image)


def box(height, width, y0, y1, x0, x1):
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return rle.encode(mask)


def test_fills_blend_and_outlines_stand_in_full_colour():
    image = np.full((6, 8, 3), 100, np.uint8)
    drawn = draw(image, [box(6, 8, 1, 5, 2, 7)], alpha=0.5)
    red_green_blue = np.array(colour(0))
    outside = np.ones((6, 8), bool)
    outside[1:5, 2:7] = False
    assert (drawn[outside] == 100).all()
    assert (drawn[1, 2:7] == red_green_blue).all()
    assert (drawn[1:5, 2] == red_green_blue).all()
    inner = drawn[2:4, 3:6].reshape(-1, 3)
    assert np.abs(inner - (red_green_blue + 100) / 2).max() <= 1


def test_nothing_is_flipped_and_the_callers_image_stays():
    image = np.zeros((5, 9, 3), np.uint8)
    mask = np.zeros((5, 9), bool)
    mask[0, 8] = mask[4, 1] = True
    drawn = draw(image, [rle.encode(mask)])
    assert np.array_equal(drawn.any(axis=-1), mask)
    assert not image.any()


def test_the_better_score_lies_on_top():
    image = np.zeros((4, 4, 3), np.uint8)
    masks = [box(4, 4, 0, 4, 0, 4)] * 2
    assert draw(image, masks, alpha=1, scores=[0.9, 0.1])[0, 0].tolist() == list(colour(0))
    assert draw(image, masks, alpha=1)[0, 0].tolist() == list(colour(1))


def test_alpha_0_without_outlines_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    assert np.array_equal(draw(image, [box(7, 5, 0, 7, 0, 5)], alpha=0, contours=False), image)


def test_colours_are_stable_and_apart():
    colours = np.array([colour(k) for k in range(500)])
    assert colour(3) == colour(3)
    assert len(np.unique(colours, axis=0)) > 490
    first = colours[:20].astype(int)
    apart = np.abs(first[:, None] - first).sum(axis=-1)
    assert apart[~np.eye(20, dtype=bool)].min() > 40
    assert first.sum(axis=1).min() > 150


def test_labels_lie_in_their_masks():
    image = np.zeros((80, 120, 3), np.uint8)
    mask = box(80, 120, 40, 80, 60, 120)
    plain = draw(image, [mask])
    labelled = draw(image, [mask], ids=[7], scores=[0.5], names=["sky"])
    changed = (plain != labelled).any(axis=-1)
    assert changed.sum() > 30
    assert not (changed & ~rle.decode(mask)).any()


def test_labels_never_lie_on_each_other():
    image = np.zeros((30, 60, 3), np.uint8)
    masks = [box(30, 60, 0, 30, 0, 60), box(30, 60, 10, 20, 25, 35)]
    both = draw(image, masks, ids=[1111, 2222], alpha=0, contours=False)
    large = draw(image, masks[:1], ids=[1111], alpha=0, contours=False)
    assert np.array_equal(both, large)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (5, 5)])
def test_text_that_does_not_fit_is_left_out(size):
    drawn = draw(np.zeros((*size, 3), np.uint8), [box(*size, 0, size[0], 0, size[1])], ids=[12345])
    expected = draw(np.zeros((*size, 3), np.uint8), [box(*size, 0, size[0], 0, size[1])])
    assert np.array_equal(drawn, expected)


def test_five_hundred_entities():
    y, x = np.mgrid[:200, :500]
    ids, masks = rle.encode_id_map(y // 10 * 25 + x // 20)
    drawn = draw(
        np.zeros((200, 500, 3), np.uint8), masks, ids=ids.tolist(), alpha=1, contours=False
    )
    assert len(ids) == 500
    # One pixel of each cell's corner, which no label reaches.
    assert len(np.unique(drawn[::10, ::20].reshape(-1, 3), axis=0)) > 450


def test_empty_masks_and_no_masks():
    image = np.full((5, 5, 3), 9, np.uint8)
    assert np.array_equal(draw(image, [], ids=[]), image)
    assert np.array_equal(draw(image, [box(5, 5, 0, 0, 0, 0)], ids=[1]), image)


def test_a_point_inside_of_a_crescent():
    y, x = np.mgrid[:60, :60]
    crescent = (np.hypot(y - 30, x - 30) < 28) & (np.hypot(y - 30, x - 40) > 26)
    assert crescent[inner_point(rle.encode(crescent))]
    assert inner_point(box(9, 9, 0, 9, 0, 9)) == (4, 4)
    assert inner_point(box(20, 30, 4, 9, 10, 21)) == (6, 15)


def test_predictions_take_the_colour_of_what_they_find():
    gt = [box(10, 10, 0, 10, 0, 5), box(10, 10, 0, 10, 5, 10)]
    dt = [box(10, 10, 0, 9, 5, 10), box(10, 10, 0, 10, 5, 10), box(10, 10, 0, 2, 0, 2)]
    assert matching_colours(dt, gt) == [2, 1, 4]
    assert matching_colours(dt, []) == [0, 1, 2]
    assert matching_colours([], gt) == []


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (np.zeros((4, 4), np.uint8), {}, "an image is"),
        (np.zeros((4, 4, 3)), {}, "an image is"),
        (np.zeros((4, 4, 3), np.uint8), {"ids": [1, 2]}, "1 masks but 2 labels"),
        (np.zeros((5, 4, 3), np.uint8), {}, "size"),
        (np.zeros((4, 4, 3), np.uint8), {"alpha": 1.5}, "alpha is from 0 to 1"),
    ],
)
def test_rejects_what_does_not_belong_together(image, labels, message):
    with pytest.raises(ValueError, match=message):
        draw(image, [box(4, 4, 0, 2, 0, 2)], **labels)


def test_side_by_side_keeps_every_pixel():
    first, second = np.full((4, 6, 3), 10, np.uint8), np.full((9, 3, 3), 200, np.uint8)
    sheet = side_by_side([first, second])
    assert np.array_equal(sheet[:4, :6], first)
    assert np.array_equal(sheet[:, -3:], second)
    titled = side_by_side([first, second], ["left", "right"])
    assert np.array_equal(titled[-9:, -3:], second)
    with pytest.raises(ValueError, match="2 pictures but 1 titles"):
        side_by_side([first, second], ["left"])
    with pytest.raises(ValueError, match="no picture"):
        side_by_side([])


@pytest.fixture
def files(tmp_path):
    """Write two images, their ground truth (polygon, plain and compressed RLE) and predictions."""
    (tmp_path / "images").mkdir()
    for name in ("a.b.png", "c.png"):
        Image.fromarray(np.full((20, 30, 3), 50, np.uint8)).save(tmp_path / "images" / name)
    square = [[5, 5, 15, 5, 15, 15, 5, 15]]
    plain = {"size": [20, 30], "counts": [0, 100, 500]}
    gt = {
        "images": [
            {"id": 1, "file_name": "part/a.b.png", "height": 20, "width": 30},
            {"id": "x/2", "file_name": "c.png", "height": 20, "width": 30},
        ],
        "annotations": [
            {"id": 4, "image_id": 1, "category_id": 1, "segmentation": square},
            {"id": 5, "image_id": 1, "category_id": 1, "segmentation": plain},
        ],
        "categories": [{"id": 1, "name": " man"}],
    }
    dt = [
        {"image_id": 1, "score": score, "segmentation": box(20, 30, 0, 20, 0, k)}
        for k, score in ((5, 0.9), (9, 0.2))
    ]
    (tmp_path / "gt.json").write_bytes(msgspec.json.encode(gt))
    (tmp_path / "dt.json").write_bytes(msgspec.json.encode(dt))
    return tmp_path


def run(files, *more):
    images, out = files / "images", files / "out"
    return main(["visualize", *map(str, more), "--images", str(images), "--out", str(out)])


def test_the_verb_draws_each_image_once(files, capsys):
    assert run(files, files / "gt.json", files / "dt.json", "--names") == 0
    assert sorted(path.name for path in (files / "out").iterdir()) == ["1_a.b.jpg", "x_2_c.jpg"]
    assert read_image(files / "out/1_a.b.jpg").shape[1] == 3 * 30 + 2 * 6
    assert "2 of 2 images drawn" in capsys.readouterr().out


def test_the_verb_draws_the_images_that_are_named(files):
    assert run(files, files / "gt.json", "--image-id", "x/2") == 0
    assert [path.name for path in (files / "out").iterdir()] == ["x_2_c.jpg"]


def test_low_scores_can_be_left_out(files):
    options = ("--no-labels", "--no-contours", "--alpha", "1", "--format", "png")
    run(files, files / "gt.json", files / "dt.json", "--min-score", "0.5", *options)
    pixels = read_image(files / "out/1_a.b.png")[-20:, -30:]
    # The better prediction has columns 0..4 and finds annotation 5, whose position is 1.
    assert (pixels[:, :5] == colour(1)).all()
    assert (pixels[:, 5:] == 50).all()


def test_errors_name_the_image(files, capsys):
    assert run(files, files / "gt.json", "--image-id", "7") == 2
    assert "there is no image 7" in capsys.readouterr().err
    Image.fromarray(np.zeros((10, 15, 3), np.uint8)).save(files / "images/c.png")
    assert run(files, files / "gt.json") == 2
    assert "it is 10 x 15 pixels" in capsys.readouterr().err
    (files / "images/c.png").write_bytes(b"no image")
    assert run(files, files / "gt.json") == 2
    assert "c.png: image x/2: this is no image" in capsys.readouterr().err
    (files / "images/c.png").unlink()
    assert run(files, files / "gt.json") == 2
    assert "no such image file" in capsys.readouterr().err


def test_a_broken_mask_is_named(files, capsys):
    content = msgspec.json.decode((files / "dt.json").read_bytes())
    content[1]["segmentation"]["counts"] = "0"
    (files / "dt.json").write_bytes(msgspec.json.encode(content))
    assert run(files, files / "gt.json", files / "dt.json") == 2
    assert "dt.json: record 1" in capsys.readouterr().err


def test_errors_have_the_colours_of_the_report(files):
    """Annotation 4 is missed; the worse prediction covers half of 5, which the better one has."""
    options = ("--no-labels", "--no-contours", "--alpha", "1", "--format", "png")
    gt, dt = files / "gt.json", files / "dt.json"
    assert run(files, gt, dt, "--errors", *options) == 0
    sheet = read_image(files / "out/1_a.b.png")
    assert sheet.shape[1] == 4 * 30 + 3 * 6
    pixels = sheet[-20:, -30:]
    report = find_errors(evaluate_files(gt, dt))
    expected = np.full((20, 30, 3), 50, np.uint8)
    kinds = [*report.entity_kind.tolist(), *report.prediction_kind.tolist()]
    assert kinds[0] == "missed"
    expected[5:15, 5:15] = rgb_of(COLOURS["missed"])
    # By the better prediction's right the worse one sees columns 5 to 8.
    if kinds[3] != "found":
        expected[:, 5:9] = rgb_of(COLOURS[kinds[3]])
    assert kinds[2:] == ["found", "duplicate"]
    assert np.array_equal(pixels, expected)


def test_errors_need_predictions(files, capsys):
    assert run(files, files / "gt.json", "--errors") == 2
    assert "--errors: there are no predictions" in capsys.readouterr().err


def test_an_overlay_is_one_picture(files):
    options = ("--no-labels", "--no-contours", "--alpha", "1", "--format", "png", "--overlay")
    assert run(files, files / "gt.json", files / "dt.json", *options) == 0
    sheet = read_image(files / "out/1_a.b.png")
    assert sheet.shape[1] == 30
    pixels = sheet[-20:]
    # The outline of annotation 5 in white over the better prediction.
    assert (pixels[:, 0] == 255).all()
    assert (pixels[1:5, 1:4] == colour(1)).all()
    with pytest.raises(SystemExit):
        run(files, files / "gt.json", "--overlay", "--side-by-side")


def test_a_jpeg_stays_below_its_limit_and_a_png_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)
    sizes = {}
    for most in (1_000_000, 200_000, 40_000):
        data = encoded(noise, "jpeg", most)
        assert len(data) <= most
        with Image.open(io.BytesIO(data)) as picture:
            sizes[most] = picture.size
    assert sizes[1_000_000] == (900, 700) > sizes[200_000] > sizes[40_000]
    with Image.open(io.BytesIO(encoded(noise, "png", 1000))) as picture:
        assert np.array_equal(np.asarray(picture), noise)
    assert len(encoded(noise, "jpeg", 1)) < 40_000


def test_a_small_mask_has_a_small_label():
    image = np.zeros((1000, 1200, 3), np.uint8)
    heights = []
    for side in (500, 60):
        mask = box(1000, 1200, 20, 20 + side, 20, 20 + side)
        drawn = draw(image, [mask], ids=[88], alpha=0, contours=False)
        rows = np.flatnonzero(drawn.any(axis=(1, 2)))
        heights.append(rows[-1] - rows[0] + 1)
    assert heights[0] > 1.3 * heights[1] > 8


def test_class_agnostic_predictions_are_not_called_unknown(files):
    """All bear one category, a filler, while the ground truth has several."""
    gt = msgspec.json.decode((files / "gt.json").read_bytes())
    gt["categories"] = [{"id": 1, "name": "man"}, {"id": 0, "name": "unknown"}]
    (files / "gt.json").write_bytes(msgspec.json.encode(gt))
    dt = msgspec.json.decode((files / "dt.json").read_bytes())
    args = argparse.Namespace(no_labels=False, names=True)
    for category_ids, named in (((0, 0), False), ((0, 1), True)):
        rows = [{**row, "category_id": k} for row, k in zip(dt, category_ids, strict=True)]
        (files / "dt.json").write_bytes(msgspec.json.encode(rows))
        sides, _ = read_checked(files / "gt.json", files / "dt.json", Inputs())
        assert ("names" in labels_of(sides[1], [0, 1], args)) == named
        assert labels_of(sides[0], [0, 1], args) == {"ids": [4, 5], "names": ["man", "man"]}
        assert labels_of(sides[1], [0, 1], args)["scores"] == [0.9, 0.2]
