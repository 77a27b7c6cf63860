"""The names of metrics: one list, from which every table takes names, labels and order."""

import doctest

import pytest

from entity_api import EvalParams, evaluate, names
from entity_api.names import Metric, as_submitted, averages

NOTHING: dict = {"images": [], "annotations": []}


def test_the_examples_run():
    failed, tried = doctest.testmod(names)
    assert failed == 0 < tried


def test_a_result_has_the_names_in_their_order():
    """The order is COCO's own, then once more with the mark."""
    coco = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    found = list(evaluate(NOTHING, [], EvalParams()).metrics)
    assert found == coco + [f"{name[:2]}e{name[2:]}" for name in coco]
    assert as_submitted(found) == coco
    assert list(averages(("small", "tiny"), (5,))) == [
        "AP", "AP50", "AP75", "APs", "AP_tiny", "AR5", "ARs", "AR_tiny"
    ]  # fmt: skip


def test_what_is_shown_is_measured():
    known = set(evaluate(NOTHING, [], EvalParams()).metrics)
    for shown in (names.HEADLINE, names.BY_SIZE, names.COMPARED, names.TESTED, names.DETAIL,
                  names.LOGGED, names.BOARD["entity"], (names.MAIN,)):  # fmt: skip
        assert set(shown) <= known


@pytest.mark.parametrize(
    ("name", "text", "html", "latex", "phrase"),
    [
        ("APe", "AP^e", "AP<sup>e</sup>", r"AP\textsuperscript{e}", "AP^e"),
        ("APe50", "AP^e50", "AP<sup>e</sup>50", r"AP\textsuperscript{e}\textsubscript{50}",
         "AP^e at IoU .50"),
        ("AP", "AP", "AP", "AP", "AP, masks as submitted"),
        ("APes", "AP^es", "AP<sup>e</sup>s", r"AP\textsuperscript{e}\textsubscript{s}",
         "AP^e, small"),
        ("ARe100", "AR^e100", "AR<sup>e</sup>100", r"AR\textsuperscript{e}\textsubscript{100}",
         "AR^e, 100 predictions an image"),
        ("mIoU", "mIoU", "mIoU", "mIoU", "mIoU"),
    ],
)  # fmt: skip
def test_labels(name, text, html, latex, phrase):
    metric = Metric.parse(name)
    assert metric.name == name
    assert (metric.text, metric.html, metric.latex, metric.phrase) == (text, html, latex, phrase)
