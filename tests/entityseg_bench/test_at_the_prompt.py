"""What people see in a terminal and a notebook: one screen, small tables, frames and figures."""

import json

import numpy as np
import pytest

from entity_api import EvalParams, evaluate, rle
from entityseg_bench import EntityDataset, evaluate_files
from entityseg_bench.compare import compare
from entityseg_bench.demo import write_demo
from entityseg_bench.errors import find_errors
from entityseg_bench.score.type_metrics import type_table


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("prompt") / "set", 16, 0, (60, 90))


@pytest.fixture(scope="module")
def scoring(root):
    rng = np.random.default_rng(2)
    records = [
        {
            "image_id": image.id,
            "segmentation": rle.encode(np.roll(rle.decode(one.segmentation), shift, axis=1)),
            "score": float(rng.random()),
        }
        for image, annotations in EntityDataset.open(root, "entity", "val")
        for one in annotations
        for shift in (1, 3)
    ]
    path = root / "pred.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    gt = root / "annotations/entity_segmentation/entityv2_010203_entity_val.json"
    return evaluate_files(gt, path)


@pytest.fixture(scope="module")
def everything(root, scoring):
    """Return one of each kind of result."""
    panoptic = root / "annotations/panoptic_segmentation/entityv2_01_panoptic_val.json"
    other = evaluate_files(panoptic, panoptic)
    errors = find_errors(scoring)
    result = scoring.result
    return {
        "scoring": scoring, "panoptic": other, "own": other.own, "result": result,
        "submitted": result.submitted, "matches": result.matches, "groups": result.groups,
        "overlap": result.overlap, "detections": result.dt,
        "ground truth": scoring.gt.ground_truth(),
        "segments": scoring.gt, "sides": scoring.sides, "errors": errors,
        "comparison": compare([scoring, scoring], ["a", "b"], n_resamples=20, n_permutations=20),
        "dataset": EntityDataset.open(root, "entity", "val"), "params": result.params,
    }  # fmt: skip


def test_everything_is_one_screen(everything):
    for name, one in everything.items():
        text = repr(one)
        lines = text.split("\n")
        assert len(lines) <= 30, name
        longest = 1200 if name == "params" else 120
        assert max(map(len, lines)) <= longest, (name, text)
        assert str(one) == text


def test_notebooks_show_small_tables(everything):
    for name, one in everything.items():
        if name != "params":
            text = one._repr_html_()
            assert text.count("<table>") == text.count("</table>") >= 1, name
            assert len(text) < 5000, name


def test_results_print_as_the_command_does(everything):
    scoring, other = everything["scoring"], everything["panoptic"]
    assert repr(scoring.result).startswith("average precision")
    assert repr(scoring).startswith(str(scoring.result))
    assert repr(other.own) == type_table(other.own)
    assert type_table(other.own) in repr(other)
    cell = f'<td style="text-align:right">{100 * scoring.metrics["APe"]:.2f}</td>'
    assert cell in scoring._repr_html_()


def test_names_are_escaped():
    from entity_api.shown import html_table

    assert "<b>" not in html_table([["<b>"], ["&"]])


def test_the_data_set_is_a_sequence(root):
    dataset = EntityDataset.open(root, "entity", "val")
    assert dataset[0] == next(iter(dataset))
    assert dataset[-1] == list(dataset)[-1]
    assert dataset[np.int64(1)] == list(dataset)[1]
    assert list(dataset[1:3]) == list(dataset)[1:3]
    assert [image.id for image, _ in dataset[::-1]] == [im.id for im in dataset.images][::-1]
    assert dataset.head(2).images == dataset.images[:2]
    assert len(dataset.head(100)) == len(dataset)
    for idx in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match="there is no image"):
            dataset[idx]
    with pytest.raises(TypeError):
        dataset["a"]


def test_frames(everything):
    pytest.importorskip("pandas")
    scoring = everything["scoring"]
    frame = scoring.to_frame()
    assert frame.set_index("metric").disjoint["AP"] == scoring.metrics["APe"]
    assert len(scoring.to_frame("images")) == len(scoring.gt.images)
    assert len(scoring.to_frame("entities")) == len(scoring.gt)
    assert len(scoring.to_frame("predictions")) == len(scoring.dt)
    with pytest.raises(ValueError, match="must be one of metrics, images"):
        scoring.to_frame("rows")
    errors = everything["errors"]
    assert dict(zip(errors.to_frame().kind, errors.to_frame().cost, strict=True)) == {
        kind: pytest.approx(cost.cost, nan_ok=True) for kind, cost in errors.costs.items()
    }
    compared = everything["comparison"].to_frame()
    own = compared[(compared.label == "b") & (compared.metric == "APe")].iloc[0]
    assert own.value == scoring.metrics["APe"]
    assert own.difference == 0
    assert own.p == 1
    own = everything["panoptic"].own
    assert own.to_frame().PQ.to_dict() == {k: row["PQ"] for k, row in own.per_category.items()}
    dataset = everything["dataset"]
    assert dataset.to_frame().image_id.tolist() == [
        a.image_id for _, annotations in dataset for a in annotations
    ]


def test_figures(everything):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scoring = everything["scoring"]
    left, right = scoring.plot()
    curve = scoring.result.disjoint.precision[0, :, 0, 0, -1]
    assert np.allclose(left.lines[0].get_ydata(), 100 * curve)
    mean = np.mean(right.lines[0].get_ydata())
    assert mean == pytest.approx(100 * scoring.metrics["APe"])
    assert np.mean(right.lines[1].get_ydata()) == pytest.approx(100 * scoring.metrics["AP"])
    bars = everything["errors"].plot().containers[0].datavalues
    assert np.allclose(bars, [100 * c.cost for c in everything["errors"].costs.values()],
                       equal_nan=True)  # fmt: skip
    axis = everything["comparison"].plot()
    assert axis.get_yticklabels()[0].get_text() == "AP^e"
    with plt.rc_context():
        _, axes = plt.subplots(1, 2)
        assert scoring.plot(axes) is axes
    plt.close("all")


def test_a_class_aware_result_is_drawn():
    pytest.importorskip("matplotlib").use("Agg")
    mask = np.ones((1, 4, 4), bool)
    result = evaluate([mask], [(mask, [1])], EvalParams(iou_thrs=[0.6], class_aware=True))
    _, right = result.plot()
    assert right.lines[0].get_ydata().tolist() == pytest.approx([100])
