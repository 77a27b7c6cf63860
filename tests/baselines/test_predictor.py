"""From an image to the entities in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from owner_bounds import Errors, Output, impossible_pixels, observe, owners
from tiny_models import CONFIGS, TINY, build

from baselines import build_model
from baselines.checkpoint import save_checkpoint
from baselines.predictor import Predictor
from entity_api import rle
from entityseg_bench.types import Category

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Write a checkpoint of random weights."""
    path = tmp_path_factory.mktemp("weights") / "views.safetensors"
    save_checkpoint(path, build(CONFIGS["views"]), CONFIGS["views"])
    return path


def check_disjoint(entities):
    """Check that masks, boxes, areas and the id map tell the same."""
    masks = [rle.decode(mask) for mask in entities.segmentations]
    assert len(entities) > 0
    assert entities.id_map.max() == len(entities)
    for idx, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, entities.id_map == idx + 1)
        rows, columns = mask.nonzero()
        x, y = columns.min(), rows.min()
        box = [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
        assert entities.bboxes[idx].tolist() == box
        assert entities.areas[idx] == mask.sum()


@pytest.mark.parametrize("name", ["entity", "views", "semantic", "panoptic"])
@pytest.mark.parametrize("size", [(40, 60), (1, 1), (3, 3), (1, 300)])
def test_entities_of_an_image(name, size):
    image = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = image.copy()
    entities = Predictor(model=build(CONFIGS[name]))(image)
    assert entities.size == size
    if len(entities) or size == (40, 60):
        check_disjoint(entities)
    np.testing.assert_array_equal(image, before)
    assert ((entities.scores >= 0) & (entities.scores <= 1)).all()
    if name == "semantic":
        assert (entities.id_map > 0).all()


def test_the_predictor_repeats_the_original(shared):
    yaml = pytest.importorskip("yaml")
    from baselines.original import config_from_detectron2

    folder = shared / "golden/tiny/cropformer_swin"
    model = build_model(config_from_detectron2(yaml.safe_load((folder / "cfg.yaml").read_text())))
    weights = np.load(folder / "weights.npz")
    state = {n: torch.from_numpy(weights[n]) for n in weights.files if "empty_weight" not in n}
    model.load_state_dict(state)
    # test_golden_models holds the network to these.
    errors = Errors(torch.tensor(2e-4), torch.full((20, 5), 1e-3))
    for case in "AB":
        golden = np.load(folder / f"case_{case}.npz")
        entities, _, output, layout = observe(Predictor(model=model), golden["image_orig_rgb"])
        owner = owners(output, layout)
        want = Output(
            *(torch.from_numpy(golden[f"d3.pred_{key}"][0]) for key in ("logits", "masks"))
        )
        assert not impossible_pixels(owner, want, errors, layout).any()
        # The entities are the queries that own a pixel, in descending order of confidence.
        order = output.confidence().sort(descending=True, stable=True).indices
        shown = order[torch.isin(order, owner)]
        np.testing.assert_array_equal(
            [rle.decode(mask) for mask in entities.segmentations], owner == shown[:, None, None]
        )
        as_original = (
            golden["inst.pred_masks"].sum((1, 2))[torch.isin(order, owner)] == entities.areas
        )
        assert as_original.sum() > 15
        np.testing.assert_allclose(
            entities.scores[as_original],
            golden["inst.scores"][torch.isin(order, owner)][as_original],
            atol=1e-5,
        )


class ColourModel(torch.nn.Module):
    """Hold where the input is red, green or blue: what is found must lie on the image's colours."""

    def __init__(self, num_views: int) -> None:
        super().__init__()
        self.config = replace(TINY, num_views=num_views, num_queries=3)

    def forward(self, images):
        channels = F.avg_pool2d(images.flatten(0, 1), 4).unflatten(0, images.shape[:2])
        masks = channels.transpose(1, 2) * 10
        class_logits = torch.tensor([[3.0, 0], [2.0, 0], [1.0, 0]])
        return {"pred_logits": class_logits.expand(len(images), 3, 2), "pred_masks": masks}


@pytest.mark.parametrize("num_views", [1, 5])
@pytest.mark.parametrize("size", [(100, 170), (300, 200)])
def test_masks_lie_where_the_colours_are(num_views, size):
    # A wrong channel order, a flip, swapped axes or a shifted crop would move them.
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    areas = [
        (slice(0, height // 3), slice(0, width // 2)),
        (slice(height // 2, height), slice(width // 4, width // 2)),
        (slice(height // 4, height), slice(2 * width // 3, width)),
    ]
    for channel, area in enumerate(areas):
        image[(*area, channel)] = 255
    entities = Predictor(model=ColourModel(num_views))(image)
    assert len(entities) == 3
    for channel in range(3):
        found, true = entities.id_map == channel + 1, image[..., channel] > 0
        assert (found & true).sum() / (found | true).sum() > 0.9


def test_instances_may_overlap_and_carry_their_table():
    image = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    table = [Category(id=10 * i + 1, name=str(i), type="thing") for i in range(4)]
    predictor = Predictor(model=build(CONFIGS["instance"]), categories=table)
    entities = predictor(image)
    assert entities.id_map is None
    assert set(entities.category_ids.tolist()) <= {1, 11, 21, 31}
    masks = np.array([rle.decode(mask) for mask in entities.segmentations])
    assert masks.sum(0).max() > 1
    np.testing.assert_array_equal(entities.areas, masks.sum((1, 2)))


def test_thresholds_leave_segments_out():
    image = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    model = build(TINY)
    every = Predictor(model=model)(image)
    middle = float(np.median(every.scores))
    sure = Predictor(model=model, threshold=middle)(image)
    assert sure.scores.tolist() == [s for s in every.scores if s >= middle]
    check_disjoint(sure)
    least = int(np.median(every.areas))
    large = Predictor(model=model, min_area=least)(image)
    assert large.areas.tolist() == [a for a in every.areas if a >= least]
    assert len(Predictor(model=model, top_k=2)(image)) <= 2
    none = Predictor(model=model, threshold=2)(image)
    assert len(none) == 0
    assert none.bboxes.shape == (0, 4)
    assert not none.id_map.any()


def test_calibrated_scores_change_no_mask():
    image = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    faithful = Predictor(model=build(TINY))(image)
    calibrated = Predictor(model=build(TINY), scores="calibrated")(image)
    np.testing.assert_array_equal(faithful.id_map, calibrated.id_map)
    assert not np.allclose(faithful.scores, calibrated.scores)


@pytest.mark.parametrize("name", ["entity", "views"])
def test_a_batch_gives_what_its_images_give_alone(name):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (size, 60, 3), dtype=np.uint8) for size in (40, 41, 39)]
    predictor = Predictor(model=build(CONFIGS[name]))
    for image, together in zip(images, predictor.predict(images), strict=True):
        alone = predictor(image)
        assert (alone.id_map != together.id_map).mean() < 1e-3
        np.testing.assert_allclose(alone.scores, together.scores, atol=1e-4)
    with pytest.raises(ValueError, match="same padded size"):
        predictor.predict([images[0], images[0].transpose(1, 0, 2).copy()])


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_arrays_that_are_no_images(image):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        Predictor(model=build(TINY))(image)


def test_broken_weights_do_not_give_results():
    model = build(TINY)
    torch.nn.init.constant_(next(model.parameters()), torch.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        Predictor(model=model)(np.zeros((40, 60, 3), np.uint8))


def test_the_configuration_comes_from_the_checkpoint(weights):
    assert Predictor(weights=weights).config == CONFIGS["views"]
    with pytest.raises(ValueError, match="needs weights"):
        Predictor("mask2former_swin_tiny_3x")


def test_bfloat16_runs(weights):
    image = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    check_disjoint(Predictor(weights=weights, precision="bfloat16")(image))
