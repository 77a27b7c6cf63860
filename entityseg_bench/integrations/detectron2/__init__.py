"""EntitySeg inside detectron2: the data sets in its catalogs, the metric as an evaluator.

This package and ``baselines.integrations.detectron2`` are all that imports detectron2.
"""

from entityseg_bench.integrations.detectron2.requirement import check_installed

check_installed()

from entityseg_bench.integrations.detectron2.datasets import (  # noqa: E402
    open_registered,
    register_entityseg,
)
from entityseg_bench.integrations.detectron2.evaluator import EntityEvaluator  # noqa: E402

__all__ = ["EntityEvaluator", "check_installed", "open_registered", "register_entityseg"]
