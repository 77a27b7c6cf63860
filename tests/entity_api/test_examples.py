"""The examples in docstrings: each public name has one, and each prints what it says."""

import doctest
import importlib
import inspect
import pkgutil
import sys

import numpy as np
import pytest

import entity_api
from entity_api import boundary, maps, panoptic, rle, semantic, void

# What an example may name without importing it.
NAMES = {
    "np": np, "boundary": boundary, "maps": maps, "panoptic": panoptic, "rle": rle,
    "semantic": semantic, "void": void,
}  # fmt: skip
MODULES = [info.name for info in pkgutil.iter_modules(entity_api.__path__) if info.name[0] != "_"]
# Modules that users import from, and whose names all have an example.
PUBLIC = ["boundary", "maps", "panoptic", "params", "result", "rle", "semantic", "tables", "void"]


def examples_of(name):
    module = importlib.import_module(f"entity_api.{name}")
    return doctest.DocTestFinder(exclude_empty=True).find(
        module, f"entity_api.{name}", extraglobs=NAMES
    )


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    before = dict(sys.modules)
    runner = doctest.DocTestRunner()
    try:
        for example in examples_of(name):
            runner.run(example)
    finally:
        # `init_as_pycocotools` puts modules in the place of others.
        for key in [key for key in sys.modules if key.startswith("pycocotools")]:
            del sys.modules[key]
        sys.modules |= {key: mod for key, mod in before.items() if key.startswith("pycocotools")}
    assert runner.summarize().failed == 0


def has_example(thing):
    return ">>>" in (inspect.getdoc(thing) or "")


@pytest.mark.parametrize("name", entity_api.__all__)
def test_every_public_name_has_an_example(name):
    thing = getattr(entity_api, name)
    parts = [getattr(thing, part) for part in thing.__all__] if inspect.ismodule(thing) else [thing]
    assert all(has_example(part) for part in parts)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_of_a_public_module_has_an_example(name):
    module = importlib.import_module(f"entity_api.{name}")
    things = {part: getattr(module, part) for part in module.__all__}
    # The name of a set of words has no docstring of its own.
    own = {
        part: thing
        for part, thing in things.items()
        if inspect.isroutine(thing) or inspect.isclass(thing)
    }
    assert [part for part, thing in own.items() if not has_example(thing)] == []
