"""The tests of the bridge to detectron2 need it: without it they are skipped, and say so."""

import warnings

import pytest

try:
    # Here, where its own deprecation warnings are no errors.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import detectron2.engine  # noqa: F401
        from detectron2.projects import deeplab  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "detectron2":
        raise


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Give the root of a small data set with all four types of annotations."""
    from entityseg_bench.demo import write_demo

    return write_demo(tmp_path_factory.mktemp("demo"), n_images=12, size=(48, 72))


@pytest.fixture
def registered(demo):
    """Register the small data set, and clean the catalogs up afterwards."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from entityseg_bench.integrations.detectron2 import register_entityseg

    names = register_entityseg(demo)
    yield names
    for name in names:
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog:
                catalog.remove(name)


@pytest.fixture
def original(data):
    """Give the folder of small configuration files in the original's language."""
    return data / "original"
