"""The demo: a small synthetic data set in the layout of EntitySeg, and predictions on it."""

from entityseg_bench.demo.annotations import VAL_FILE
from entityseg_bench.demo.build import write_demo
from entityseg_bench.demo.predictions import predict_val, predict_val_learned

__all__ = ["VAL_FILE", "predict_val", "predict_val_learned", "write_demo"]
