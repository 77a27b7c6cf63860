"""The modules of pycocotools, replaced by those of this package."""

import sys
import types

__all__ = ["init_as_pycocotools"]


def init_as_pycocotools() -> None:
    """Let code that imports pycocotools get these modules instead, from now on.

    Call it before that code is imported.

    Examples:
        >>> import entity_api
        >>> entity_api.init_as_pycocotools()
        >>> from pycocotools.cocoeval import COCOeval
        >>> COCOeval.__module__
        'entity_api.cocoeval'
    """
    from entity_api import coco, cocoeval, mask, polygons

    # Polygons are drawn by the real package, which is out of sight after this.
    polygons.coco_rasteriser()
    package = types.ModuleType("pycocotools", "entity_api in the place of pycocotools")
    package.__path__ = []
    modules = {"coco": coco, "cocoeval": cocoeval, "mask": mask, "_mask": mask}
    for name, module in modules.items():
        setattr(package, name, module)
        sys.modules[f"pycocotools.{name}"] = module
    sys.modules["pycocotools"] = package
