"""Postprocessing against the original's outputs and against plain full-size versions of itself."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.crops import ViewLayout, corner_boxes_xyxy, plan_views
from baselines.modeling import paste
from baselines.modeling.paste import MaskCanvas, Tile, tiles
from baselines.modeling.postprocess import (
    SegmentMap,
    disjoint_segments,
    overlapping_instances,
    panoptic_segments,
    semantic_segments,
    semantic_tiles,
)
from baselines.modeling.resize import Resize
from entity_api import rle


def one_view(size, view_size=None, padded_size=None) -> ViewLayout:
    """Lay out one view; without sizes, masks are already those of the image."""
    view_size = view_size or size
    return ViewLayout(size, ((0, 0, size[1], size[0]),), (view_size,), padded_size or view_size)


def masks_of(segments: SegmentMap) -> np.ndarray:
    """Give (N, H, W) bool, one mask a segment."""
    ids = np.arange(1, len(segments.scores) + 1)
    return segments.id_map.numpy()[None] == ids[:, None, None]


def certain_pixels(canvas: MaskCanvas) -> np.ndarray:
    """Find where no query's mask lies so near the threshold that rounding decides, (H, W) bool.

    Processors sum the same products in another order, so the resized logits differ in their last
    digits, and the original's pixels there are another processor's.
    """
    height, width = canvas.size
    queries = torch.arange(len(canvas.logits))
    values = canvas.tile_masks(Tile(0, height, 0, width)).values(queries)
    certain = ((values - canvas.threshold).abs() > 1e-5).all(0).numpy()
    assert certain.mean() > 0.99
    return certain


def check_masks(canvas, masks, want):
    """Compare (N, H, W) masks with the original's where rounding does not decide."""
    certain = certain_pixels(canvas)
    np.testing.assert_array_equal(masks[:, certain], want.astype(bool)[:, certain])


def load_case(folder, name) -> tuple[dict[str, np.ndarray], list[tuple[Tensor, MaskCanvas]]]:
    """Load a golden case of one view: its arrays, and logits and canvas of each image."""
    golden = dict(np.load(folder / f"case_{name}.npz"))
    outputs = []
    for i in range(golden["pred_logits"].shape[0]):
        layout = one_view(
            tuple(golden[f"out_hw{i}"].tolist()),
            golden[f"image{i}"].shape[:2],
            golden["backbone_in"].shape[-2:],
        )
        masks = torch.from_numpy(golden["pred_masks"][i])[:, None]
        outputs.append((torch.from_numpy(golden["pred_logits"][i]), MaskCanvas(masks, layout)))
    return golden, outputs


def check_instances(canvas, instances, masks, scores, class_idxs):
    """Compare in order of score; the original's own order is that of an unsorted top-k."""
    order = np.argsort(scores, kind="stable")
    ours = sorted(instances, key=lambda instance: instance.score)
    np.testing.assert_allclose([i.score for i in ours], scores[order], atol=1e-6)
    assert [i.class_idx for i in ours] == class_idxs[order].tolist()
    check_masks(canvas, np.stack([rle.decode(i.segmentation) for i in ours]), masks[order])


@pytest.mark.parametrize("name", ["n1", "n2_topk"])
def test_paths_without_and_with_overlap_agree_with_the_original(shared, name):
    golden = np.load(shared / f"golden/crop_infer/nonoverlap_{name}.npz")
    logits = torch.from_numpy(golden["cls"])
    masks = torch.from_numpy(golden["mask_logits"])[:, None]
    canvas = MaskCanvas(masks, one_view(masks.shape[-2:]))
    top_k = int(golden["topk"])
    segments = disjoint_segments(logits, canvas, top_k=top_k)
    check_masks(canvas, masks_of(segments), golden["nonoverlap_pred_masks"])
    np.testing.assert_allclose(segments.scores, golden["nonoverlap_scores"], atol=1e-6)
    np.testing.assert_array_equal(segments.class_idxs, golden["nonoverlap_pred_classes"])
    check_instances(
        canvas,
        overlapping_instances(logits, canvas, top_k=top_k),
        golden["overlap_pred_masks"],
        golden["overlap_scores"],
        golden["overlap_pred_classes"],
    )


def test_fused_views_agree_with_the_original(shared):
    golden = np.load(shared / "golden/crop_infer/whole_views_w1.npz")
    height, width = golden["out_hw"][0].tolist()
    layout = ViewLayout(
        (height, width),
        ((0, 0, width, height), *map(tuple, golden["crop_regions"].tolist())),
        tuple(map(tuple, golden["image_sizes"].tolist())),
        tuple(golden["padded_hw"].tolist()),
    )
    canvas = MaskCanvas(torch.from_numpy(golden["mask_logits_lowres"]), layout)
    segments = disjoint_segments(torch.from_numpy(golden["cls3d"]), canvas)
    check_masks(canvas, masks_of(segments), golden["pred_masks"])
    np.testing.assert_allclose(segments.scores, golden["scores"], atol=1e-6)


@pytest.mark.parametrize("case", ["A", "B"])
def test_cropformer_agrees_with_the_original(shared, case):
    golden = np.load(shared / f"golden/tiny/cropformer_swin/case_{case}.npz")
    size = golden["image_orig_rgb"].shape[:2]
    layout = plan_views(
        *size, short_side=128, max_side=213, crop_boxes_xyxy=corner_boxes_xyxy(*size, 0.7)
    )
    canvas = MaskCanvas(torch.from_numpy(golden["d3.pred_masks"][0]), layout)
    segments = disjoint_segments(torch.from_numpy(golden["d3.pred_logits"][0]), canvas)
    check_masks(canvas, masks_of(segments), golden["inst.pred_masks"])
    np.testing.assert_allclose(segments.scores, golden["inst.scores"], atol=1e-6)


@pytest.mark.parametrize("case", ["A", "B", "C"])
@pytest.mark.parametrize("name", ["m2f_swin", "m2f_hornet"])
def test_entity_mask2former_agrees_with_the_original(shared, name, case):
    golden, outputs = load_case(shared / "golden/tiny" / name, case)
    for i, (logits, canvas) in enumerate(outputs):
        segments = disjoint_segments(logits, canvas, top_k=20)
        check_masks(canvas, masks_of(segments), golden[f"inst{i}.pred_masks"])
        np.testing.assert_allclose(segments.scores, golden[f"inst{i}.scores"], atol=1e-6)


@pytest.mark.parametrize("case", ["A", "B", "C"])
def test_instance_mask2former_agrees_with_the_original(shared, case):
    golden, outputs = load_case(shared / "golden/tiny/m2f_r50_instance", case)
    for i, (logits, canvas) in enumerate(outputs):
        check_instances(
            canvas,
            overlapping_instances(logits, canvas, top_k=30),
            *(golden[f"inst{i}.{key}"] for key in ("pred_masks", "scores", "pred_classes")),
        )


def test_semantic_mask2former_agrees_with_the_original(shared):
    golden, [(logits, canvas)] = load_case(shared / "golden/tiny/m2f_r50_semantic", "A")
    class_scores = np.empty_like(golden["sem_seg0"])
    for tile, part in semantic_tiles(logits, canvas):
        class_scores[(slice(None), *tile.within(0, 0))] = part.numpy()
    np.testing.assert_allclose(class_scores, golden["sem_seg0"], atol=1e-5)
    segments = semantic_segments(logits, canvas)
    labels = np.concatenate([[-1], segments.class_idxs])[segments.id_map]
    # Where two classes are this close, rounding decides.
    runner_up, best = np.sort(golden["sem_seg0"], axis=0)[-2:]
    certain = best - runner_up > 2e-5
    assert certain.mean() > 0.99
    np.testing.assert_array_equal(labels[certain], golden["sem_seg0"].argmax(0)[certain])


def test_panoptic_mask2former_agrees_with_the_original(shared):
    folder = shared / "golden/tiny/m2f_r50_panoptic"
    golden, [(logits, canvas)] = load_case(folder, "A")
    things = json.loads((folder / "meta.json").read_text())[
        "thing_contiguous_ids_below_num_classes"
    ]
    segments = panoptic_segments(
        logits, canvas, thing_class_idxs=things, class_threshold=0.2, overlap_threshold=0.1
    )
    expected = json.loads(str(golden["panoptic0.segments_info"]))
    np.testing.assert_array_equal(segments.id_map, golden["panoptic0.map"])
    assert segments.class_idxs.tolist() == [row["category_id"] for row in expected]


def test_entity_scores_by_hand():
    # Two queries over 1 x 4 pixels, logits 2 and 4; the surer one hides half of the other.
    masks = torch.tensor([[2.0, 2, 2, -1], [-1, -1, 4, 4]]).view(2, 1, 1, 4)
    logits = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    canvas = MaskCanvas(masks, one_view((1, 4)))
    first, second = (1 / (1 + np.exp(-x)) for x in (3.0, 1.0))
    at_4, at_2 = (1 / (1 + np.exp(-x)) for x in (4.0, 2.0))
    calibrated = disjoint_segments(logits, canvas, scores="calibrated")
    assert calibrated.id_map.tolist() == [[2, 2, 1, 1]]
    np.testing.assert_allclose(calibrated.scores, [first * at_4, second * at_2], rtol=1e-5)
    faithful = disjoint_segments(logits, canvas)
    twice = [1 / (1 + np.exp(-x)) for x in (at_4, at_2)]
    np.testing.assert_allclose(faithful.scores, [first * twice[0], second * twice[1]], rtol=1e-5)
    assert all(0.62 <= quality <= 0.74 for quality in twice)


def test_a_hidden_entity_scores_zero_and_equal_scores_paint_the_later_query_last():
    masks = torch.ones(2, 1, 3, 3)
    segments = disjoint_segments(torch.zeros(2, 2), MaskCanvas(masks, one_view((3, 3))))
    assert (segments.id_map == 1).all()
    assert segments.scores[0] > 0
    assert segments.scores[1] == 0


def full_size(masks: Tensor, layout: ViewLayout) -> Tensor:
    """Compute mean probabilities, or logits of one view, with whole tensors and torch's resize."""
    total, count = torch.zeros(len(masks), *layout.size), torch.zeros(layout.size)
    for v, ((x0, y0, x1, y1), (height, width)) in enumerate(
        zip(layout.boxes_xyxy, layout.view_sizes, strict=True)
    ):
        at_input = F.interpolate(masks[:, v, None], layout.padded_size, mode="bilinear")
        at_image = F.interpolate(
            at_input[..., :height, :width], (y1 - y0, x1 - x0), mode="bilinear"
        )[:, 0]
        if len(layout.boxes_xyxy) == 1:
            return at_image
        total[:, y0:y1, x0:x1] += at_image.sigmoid()
        count[y0:y1, x0:x1] += 1
    return total / count


LAYOUTS = {
    "larger": plan_views(301, 419, short_side=96, max_side=160),
    "smaller": plan_views(31, 47, short_side=96, max_side=160),
    "same": plan_views(96, 128, short_side=96, max_side=160),
    "thin": plan_views(1, 900, short_side=96, max_side=160),
    "views": plan_views(
        301, 419, short_side=96, max_side=160, crop_boxes_xyxy=corner_boxes_xyxy(301, 419, 0.7)
    ),
    "small views": plan_views(
        5, 7, short_side=64, max_side=96, crop_boxes_xyxy=corner_boxes_xyxy(5, 7, 0.7)
    ),
}


def random_output(layout: ViewLayout, num_queries=7, num_classes=3) -> tuple[Tensor, Tensor]:
    """Draw class logits (Q, K+1) and smooth mask logits (Q, V, h, w), most of them negative."""
    generator = torch.Generator().manual_seed(5)
    height, width = layout.padded_size
    coarse = torch.randn(num_queries, len(layout.boxes_xyxy), 3, 3, generator=generator) * 4 - 1
    masks = F.interpolate(coarse, (height // 4, width // 4), mode="bilinear")
    return torch.randn(num_queries, num_classes + 1, generator=generator) * 2, masks


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_tiles_equal_whole_tensors(layout):
    _, masks = random_output(layout)
    expected = full_size(masks, layout)
    canvas = MaskCanvas(masks, layout)
    query_idxs = torch.arange(len(masks))
    whole = torch.empty_like(expected)
    for tile in tiles(layout.size, 1 << 30):
        whole[(slice(None), *tile.within(0, 0))] = canvas.tile_masks(tile).values(query_idxs)
    torch.testing.assert_close(whole, expected, atol=2e-6, rtol=0)
    for pixels in (1, 97, 5000):
        if layout.size[0] * layout.size[1] / pixels > 300:
            continue
        tiled = torch.full_like(expected, torch.nan)
        for tile in tiles(layout.size, pixels):
            look = canvas.tile_masks(tile)
            values = look.values(query_idxs)
            tiled[(slice(None), *tile.within(0, 0))] = values
            assert not (values > canvas.threshold).flatten(1).any(1)[~look.may_hold()].any()
        # Interpolation is equal to the bit. torch's sigmoid is not: its vector code and the scalar
        # code for the last few numbers of a row differ in the last bit.
        torch.testing.assert_close(tiled, whole, atol=2e-7 if canvas.is_fused else 0, rtol=0)
        assert torch.equal(tiled > canvas.threshold, whole > canvas.threshold)


@pytest.mark.parametrize(
    "sizes", [(25, 800), (336, 1344), (800, 333), (7, 7), (1, 9), (1344, 6000)]
)
def test_coordinates_are_those_of_torch(sizes):
    in_size, out_size = sizes
    values = torch.randn(1, 1, 1, in_size, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(values, (1, out_size), mode="bilinear")[0, 0, 0]
    axis = Resize(in_size, out_size, values.device).cut(0, out_size)
    torch.testing.assert_close(axis.apply(values[0, 0, 0], -1), expected, atol=5e-7, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("tile_budget", [1 << 18, 4000])
def test_entity_equals_a_plain_version(layout, tile_budget, monkeypatch):
    monkeypatch.setattr(paste, "TILE_BUDGET", tile_budget)
    logits, masks = random_output(layout, num_classes=1)
    values = full_size(masks, layout)
    fused = len(layout.boxes_xyxy) > 1
    class_scores = logits.softmax(-1)[:, 0]
    ids = torch.zeros(layout.size, dtype=torch.int64)
    order = class_scores.argsort(descending=True).tolist()
    for rank in reversed(range(len(order))):
        ids[values[order[rank]] > (0.5 if fused else 0)] = rank + 1
    segments = disjoint_segments(logits, MaskCanvas(masks, layout), scores="calibrated")
    # One pixel in ten thousand may lie on a threshold to within rounding.
    assert (segments.id_map != ids).double().mean() <= 1e-4
    for rank, query_idx in enumerate(order):
        probability = values[query_idx] if fused else values[query_idx].sigmoid()
        mean = probability[ids == rank + 1].double().sum() / ((ids == rank + 1).sum() + 1e-6)
        assert segments.scores[rank] == pytest.approx(
            float(class_scores[query_idx] * mean), abs=2e-4
        )


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_gpus_tiles_and_blocks_give_the_same(layout, monkeypatch):
    logits, masks = random_output(layout)
    ours = disjoint_segments(logits, MaskCanvas(masks, layout))
    instances = overlapping_instances(logits, MaskCanvas(masks, layout), top_k=9)
    monkeypatch.setattr(MaskCanvas, "_on_cpu", False)
    monkeypatch.setattr(paste, "WHOLE_BUDGET", 3 * layout.size[0] * layout.size[1])
    theirs = disjoint_segments(logits, MaskCanvas(masks, layout))
    assert torch.equal(ours.id_map, theirs.id_map)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
    assert MaskCanvas(masks, layout).whole_count() == 3
    found = overlapping_instances(logits, MaskCanvas(masks, layout), top_k=9)
    assert [i.segmentation for i in found] == [i.segmentation for i in instances]
    np.testing.assert_allclose([i.score for i in found], [i.score for i in instances], atol=1e-6)


def test_an_image_that_no_query_holds():
    layout = LAYOUTS["views"]
    logits, masks = random_output(layout)
    segments = disjoint_segments(logits, MaskCanvas(-masks.abs(), layout))
    assert not segments.id_map.any()
    assert not segments.scores.any()
    instances = overlapping_instances(logits, MaskCanvas(-masks.abs(), layout), top_k=3)
    assert [rle.area(instance.segmentation) for instance in instances] == [0, 0, 0]


def test_instances_equal_a_plain_version():
    layout = LAYOUTS["larger"]
    logits, masks = random_output(layout)
    values = full_size(masks, layout)
    class_scores = logits.softmax(-1)[:, :-1].flatten()
    instances = overlapping_instances(logits, MaskCanvas(masks, layout), top_k=9)
    order = class_scores.argsort(descending=True)[:9].tolist()
    for pair, instance in zip(order, instances, strict=True):
        assert instance.class_idx == pair % 3
        mask = values[pair // 3] > 0
        assert (rle.decode(instance.segmentation) != mask.numpy()).mean() <= 1e-4
        quality = (values[pair // 3].sigmoid() * mask).sum() / (mask.sum() + 1e-6)
        assert instance.score == pytest.approx(float(class_scores[pair] * quality), abs=1e-4)


def test_more_instances_wanted_than_there_are():
    layout = LAYOUTS["smaller"]
    logits, masks = random_output(layout, num_queries=2, num_classes=2)
    assert len(overlapping_instances(logits, MaskCanvas(masks, layout), top_k=100)) == 4


def test_semantic_resizes_class_scores_not_masks():
    layout = LAYOUTS["larger"]
    logits, masks = random_output(layout)
    height, width = layout.view_sizes[0]
    at_input = F.interpolate(masks[:, 0, None], layout.padded_size, mode="bilinear")[:, 0].sigmoid()
    mixed = torch.einsum("qk,qhw->khw", logits.softmax(-1)[:, :-1], at_input)
    expected = F.interpolate(mixed[None, :, :height, :width], layout.size, mode="bilinear")[0]
    segments = semantic_segments(logits, MaskCanvas(masks, layout))
    labels = segments.class_idxs[segments.id_map - 1]
    assert (labels != expected.argmax(0).numpy()).mean() <= 1e-4
    shares = (expected.amax(0) / expected.sum(0)).numpy()
    for idx, class_idx in enumerate(segments.class_idxs):
        assert segments.scores[idx] == pytest.approx(shares[labels == class_idx].mean(), abs=1e-3)


def test_panoptic_by_hand():
    # 1 x 6 pixels, classes: 0 thing, 1 stuff. Queries: a thing, two pieces of stuff, one unsure,
    # one that loses most of its mask.
    p = 8.0
    masks = torch.tensor(
        [
            [p, p, -p, -p, -p, -p],
            [-p, -p, p, -p, -p, -p],
            [-p, -p, -p, -p, p, -p],
            [-p, -p, -p, -p, -p, p],
            [p, p, p, p, -p, -p],
        ]
    ).view(5, 1, 1, 6)
    logits = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [0, 9.0, 0], [1.0, 0, 0], [5.0, 0, 0]])
    segments = panoptic_segments(logits, MaskCanvas(masks, one_view((1, 6))), thing_class_idxs={0})
    assert segments.id_map.tolist() == [[1, 1, 2, 0, 2, 0]]
    assert segments.class_idxs.tolist() == [0, 1]
    np.testing.assert_allclose(
        segments.scores, torch.tensor([9.0, 9.0]).exp() / (torch.tensor(9.0).exp() + 2), rtol=1e-5
    )


def test_panoptic_without_any_sure_query():
    layout = one_view((4, 5))
    segments = panoptic_segments(
        torch.zeros(3, 4), MaskCanvas(torch.ones(3, 1, 4, 5), layout), thing_class_idxs=()
    )
    assert not segments.id_map.any()
    assert len(segments.scores) == 0


def test_a_layout_of_other_views_is_refused():
    with pytest.raises(ValueError, match=r"needs \(Q, 1, h, w\)"):
        MaskCanvas(torch.zeros(3, 5, 4, 4), one_view((4, 4)))


def test_semantic_of_several_views_is_refused():
    layout = LAYOUTS["views"]
    logits, masks = random_output(layout)
    with pytest.raises(ValueError, match="one view only"):
        semantic_segments(logits, MaskCanvas(masks, layout))
