"""The loss against the original's: losses, assignments and gradients."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from torch.overrides import TorchFunctionMode

from baselines import build_model
from baselines.crops import stack_views
from baselines.modeling import criterion as criterion_module
from baselines.modeling.criterion import Criterion, LossConfig, Target, Totals
from baselines.modeling.matcher import assign
from baselines.modeling.point_sampling import RandomPoints, most_uncertain, sample_masks
from baselines.original import config_from_detectron2

CASES = (
    "m2f_swin_fixedpts",
    "m2f_swin_uncertain",
    "m2f_r50_instance_fixedpts",
    "cropformer_swin_fixedpts",
)
# The original's names of the losses, and ours.
KINDS = {"ce": "class", "mask": "mask", "dice": "dice"}


class Recorded:
    """Points in the order in which the original drew them, for all passes alike."""

    def __init__(self, golden):
        self.golden = golden
        self.matched = 0
        self.head = 0
        self.used = 0

    def matching(self, image_idx):
        self.matched += 1
        return torch.from_numpy(self.golden[f"matcher_points.{self.matched - 1}"][0])

    def loss(self, image_idx, logits):
        points = self.golden[f"loss_points.{self.head}"]
        mine = points[self.used : self.used + len(logits)]
        assert len(mine) == len(logits)
        self.used += len(logits)
        if self.used == len(points):
            self.head, self.used = self.head + 1, 0
        return torch.from_numpy(mine)


def load_case(shared, name):
    golden = np.load(shared / "golden/train" / f"{name}.npz")
    expected = json.loads((shared / "golden/train" / f"{name}.json").read_text())
    folder = (shared / "golden" / expected["weights"]).parent
    config = config_from_detectron2(yaml.safe_load((folder / "cfg.yaml").read_text()))
    model = build_model(config).train()
    weights = np.load(folder / "weights.npz")
    model.load_state_dict(
        {k: torch.from_numpy(weights[k]) for k in weights.files if k in model.state_dict()},
        strict=False,
    )
    # The golden run drew no path to drop.
    for module in model.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0
    batch = crop_batch(golden, config) if config.num_views > 1 else plain_batch(golden, config)
    return golden, expected, model, *batch


def plain_batch(golden, config):
    images = [golden[f"image{i}"] for i in range(2)]
    size = [-(-max(image.shape[axis] for image in images) // 32) * 32 for axis in (0, 1)]
    batch = torch.stack(
        [stack_views([image], size, config.pixel_mean, config.pixel_std) for image in images]
    )
    targets = []
    for i in range(2):
        masks = golden[f"gt_masks{i}"]
        padded = np.zeros((len(masks), 1, *size), bool)
        padded[:, 0, : masks.shape[1], : masks.shape[2]] = masks
        labels = torch.from_numpy(golden[f"gt_classes{i}"])
        # As in the original, where every entity is of the one class.
        labels = labels * (config.num_classes > 1)
        targets.append(Target(labels, torch.from_numpy(padded)))
    return batch, targets


def crop_batch(golden, config):
    size = golden["target3d.0.masks"].shape[-2:]
    batch = torch.stack(
        [
            stack_views(
                [
                    golden[f"in{i}.image"].transpose(1, 2, 0),
                    golden[f"in{i}.image_crop"][0].transpose(1, 2, 0),
                ],
                size,
                config.pixel_mean,
                config.pixel_std,
            )
            for i in range(2)
        ]
    )
    targets = [
        Target(
            torch.from_numpy(golden[f"target3d.{i}.labels"]),
            torch.from_numpy(golden[f"target3d.{i}.masks"] > 0),
        )
        for i in range(2)
    ]
    return batch, targets


def our_name(name):
    """Turn loss_ce_0_2d into view_class_0."""
    _, kind, *rest = name.split("_")
    ours = "_".join([KINDS[kind], *[part for part in rest if part.isdigit()]])
    return "view_" + ours if rest[-1:] == ["2d"] else ours


@pytest.mark.parametrize("name", CASES)
def test_losses_assignments_and_gradients_equal_the_originals(shared, name, monkeypatch):
    golden, expected, model, batch, targets = load_case(shared, name)
    costs, matches, heads = [], [], 1 + model.config.decoder_layers

    def recording_assign(found, entities):
        matched = assign(found, entities)
        # Ours come image by image, the original's head by head; it leaves out what does not show.
        images = len(found) // heads
        for k in (image * heads + head for head in range(heads) for image in range(images)):
            costs.append(found[k][:, entities[k]])
            query_idx, entity_idx = matched[k]
            matches.append((query_idx, np.searchsorted(entities[k], entity_idx.numpy())))
        return matched

    monkeypatch.setattr(criterion_module, "assign", recording_assign)
    points = Recorded(golden)
    losses = Criterion()(model(batch), targets, points, points)

    assert {our_name(key): value for key, value in expected["losses"].items()} == pytest.approx(
        {key: value.item() for key, value in losses.items()}, rel=1e-4
    )
    assert len(costs) == sum(key.startswith("cost.") for key in golden.files)
    for k, (cost, (query_idx, entity_idx)) in enumerate(zip(costs, matches, strict=True)):
        np.testing.assert_allclose(cost, golden[f"cost.{k}"], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(query_idx, golden[f"match_src.{k}"])
        np.testing.assert_array_equal(entity_idx, golden[f"match_tgt.{k}"])

    sum(losses.values()).backward()
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected["grad_l2_sum_absmax"].keys()
    for key, (l2, _, greatest) in expected["grad_l2_sum_absmax"].items():
        found = gradients[key]
        assert found.norm().item() == pytest.approx(l2, rel=1e-3, abs=1e-4), key
        assert found.abs().max().item() == pytest.approx(greatest, rel=1e-3, abs=1e-4), key


def test_uncertain_points_equal_the_originals(shared):
    golden = {
        k: torch.from_numpy(v)
        for k, v in np.load(shared / "golden/train/point_sampler.npz").items()
    }
    coords = most_uncertain(golden["logits"][:, 0], golden["rand0"], golden["rand1"], 96)
    torch.testing.assert_close(coords, golden["coords"])
    sampled = sample_masks(golden["logits"][:, 0], golden["ps_points"])
    torch.testing.assert_close(sampled, golden["ps_out"][:, 0])


def toy(seed=0, counts=(2, 0, 3), views=2, queries=5, dtype=torch.float32):
    """Make outputs of two layers, with a pass on each view, and targets of three images."""
    generator = torch.Generator().manual_seed(seed)
    images = len(counts)

    def head(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    def joint():
        return {
            "pred_logits": head(images, queries, 2),
            "pred_masks": head(images, queries, views, 8, 8),
        }

    def by_view():
        return {
            "pred_logits": head(images, views, queries, 2),
            "pred_masks": head(images, views, queries, 8, 8),
        }

    outputs = {**joint(), "aux_outputs": [joint()]}
    outputs["view_outputs"] = {**by_view(), "aux_outputs": [by_view()]}
    targets = []
    for count in counts:
        masks = torch.rand(count, views, 32, 32, generator=generator) > 0.5
        masks[:1, 1] = False  # the first entity is not in the crop
        targets.append(Target(torch.zeros(count, dtype=torch.int64), masks))
    return outputs, targets


def part_of(outputs, chosen):
    """Take some images out of a model's outputs."""
    if isinstance(outputs, dict):
        return {key: part_of(value, chosen) for key, value in outputs.items()}
    if isinstance(outputs, list):
        return [part_of(value, chosen) for value in outputs]
    return outputs[chosen]


def points_for(seeds):
    return RandomPoints(seeds, num_points=16, oversample=3.0, importance=0.75, device="cpu")


def test_a_loss_does_not_depend_on_how_the_batch_is_cut():
    outputs, targets = toy()
    criterion = Criterion()
    whole = criterion(outputs, targets, points_for([0, 1, 2]), points_for(range(6)))
    totals = criterion.totals(targets, 5)
    pieces = []
    for chosen in ([0], [1, 2]):
        views = [2 * i + v for i in chosen for v in range(2)]
        own = [targets[i] for i in chosen]
        part = part_of(outputs, chosen)
        pieces.append(criterion(part, own, points_for(chosen), points_for(views), totals))
    assert set(whole) == {
        prefix + kind + layer
        for prefix in ("", "view_")
        for kind in ("class", "mask", "dice")
        for layer in ("", "_0")
    }
    for name, loss in whole.items():
        assert sum(piece[name].item() for piece in pieces) == pytest.approx(loss.item(), rel=1e-5)


def test_totals_count_entities_and_weights_of_queries():
    _, targets = toy(counts=(2, 0, 7), queries=5)
    totals = Criterion(LossConfig(no_object_weight=0.1)).totals(targets, 5)
    # 15 queries, of which 2 and at most 5 have an entity.
    assert totals[""].entities == 9
    assert totals[""].class_weight == pytest.approx(7 + 0.1 * 8)
    # Each of the two images with entities has one that its crop does not show.
    assert totals["view_"].entities == (2 + 1) + 0 + (7 + 6)
    assert Totals(1, 2.0) + Totals(3, 0.5) == Totals(4, 2.5)


def test_losses_of_one_entity_by_hand():
    # One query; all points in the middle of a constant mask: logit 0 against target 1.
    class Middle:
        def matching(self, image_idx):
            return torch.full((16, 2), 0.5)

        def loss(self, image_idx, logits):
            return torch.full((len(logits), 16, 2), 0.5)

    outputs = {
        "pred_logits": torch.tensor([[[0.0, 0.0]]]),
        "pred_masks": torch.zeros(1, 1, 1, 4, 4),
        "aux_outputs": [],
    }
    target = Target(torch.tensor([0]), torch.ones(1, 1, 16, 16, dtype=torch.bool))
    losses = Criterion()(outputs, [target], Middle())
    assert losses["class"].item() == pytest.approx(2 * np.log(2))
    assert losses["mask"].item() == pytest.approx(5 * np.log(2), rel=1e-5)
    # 16 points, each of probability 1/2: 1 - (2 * 8 + 1) / (8 + 16 + 1).
    assert losses["dice"].item() == pytest.approx(5 * (1 - 17 / 25), rel=1e-5)


def test_images_without_entities_teach_no_object_only():
    outputs, targets = toy(counts=(0, 0, 0))
    losses = Criterion()(outputs, targets, points_for([0, 1, 2]), points_for(range(6)))
    assert losses["mask"].item() == losses["view_dice"].item() == 0
    assert losses["class"].item() > 0
    sum(losses.values()).backward()
    # The masks stay in the graph, so that processes that share gradients do not wait for ever.
    assert outputs["pred_masks"].grad.abs().max() == 0
    assert outputs["pred_logits"].grad.abs().max() > 0


def test_predictions_that_are_not_finite_are_refused():
    outputs, targets = toy()
    outputs["pred_masks"].data[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        Criterion()(outputs, targets, points_for([0, 1, 2]), points_for(range(6)))


def test_gradients_against_finite_differences():
    outputs, targets = toy(counts=(2, 1), views=2, queries=3, dtype=torch.float64)
    outputs["aux_outputs"] = []
    del outputs["view_outputs"]
    fixed = torch.rand(2, 16, 2, generator=torch.Generator().manual_seed(3))

    class Fixed:
        def matching(self, image_idx):
            return fixed[0]

        def loss(self, image_idx, logits):
            return fixed[1].expand(len(logits), -1, -1)

    def losses(logits, masks):
        found = {"pred_logits": logits, "pred_masks": masks, "aux_outputs": []}
        return tuple(Criterion()(found, targets, Fixed()).values())

    inputs = (outputs["pred_logits"], outputs["pred_masks"])
    assert torch.autograd.gradcheck(losses, inputs, eps=1e-6, atol=1e-5)


class HostAccess(TorchFunctionMode):
    """Count what would make a GPU wait: values that are looked at, and shapes that follow them."""

    WAITING = frozenset({"cpu", "item", "tolist", "nonzero", "unique", "__bool__", "__float__"})

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__ in self.WAITING:
            self.found[func.__name__] += 1
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else args[1:2]
            bools = [i for i in index if isinstance(i, torch.Tensor) and i.dtype == torch.bool]
            self.found["index of bools"] += len(bools)
        return func(*args, **(kwargs or {}))


def test_a_pass_waits_for_its_costs_only():
    outputs, targets = toy()
    targets = [target.to("cpu") for target in targets]
    criterion = Criterion()
    with HostAccess() as host:
        totals = criterion.totals(targets, 5)
        losses = criterion(outputs, targets, points_for([0, 1, 2]), points_for(range(6)), totals)
        sum(losses.values()).backward()
    # Once for the pass on each view, once for the joint pass, whatever the layers and images.
    assert +host.found == {"cpu": 2}


def test_views_become_images_with_the_entities_they_show():
    _, (target, *_) = toy(counts=(2,))
    full, crop = target.by_view()
    assert full.masks.shape == crop.masks.shape == (2, 1, 32, 32)
    assert full.entities.tolist() == [0, 1]
    assert crop.entities.tolist() == [1]
    assert torch.equal(crop.masks[1, 0], target.masks[1, 1])
    assert target.to("cpu").shown.tolist() == [[True, False], [True, True]]


def test_points_of_an_image_do_not_depend_on_its_neighbours():
    logits = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    alone, among = points_for([7]), points_for([5, 7])
    among.matching(0)
    assert torch.equal(alone.matching(0), among.matching(1))
    assert torch.equal(alone.loss(0, logits), among.loss(1, logits))
    assert alone.loss(0, logits).shape == (2, 16, 2)
