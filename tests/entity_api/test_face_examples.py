"""The examples in the docstrings of pycocotools' faces."""

import doctest
import importlib

import pytest

MODULES = "coco", "coco_params", "cocoeval", "keypoints", "mask"


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"entity_api.{name}")
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
