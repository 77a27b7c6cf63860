"""The original's training script: ``python -m baselines.integrations.detectron2.train_net --help``.

It takes the same arguments: ``--config-file``, ``--num-gpus``, ``--eval-only``, ``--resume``, and
keys with their values behind them.
"""

import argparse
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from baselines.integrations.detectron2 import EntityTrainer, read_config, register_entityseg

__all__ = ["main"]


def _setup(args: argparse.Namespace) -> CfgNode:
    register_entityseg(args.data)
    cfg = read_config(args.config_file, args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


def main(args: argparse.Namespace) -> Any:
    """Train, or with ``--eval-only`` score, in one process; returns the metrics."""
    cfg = _setup(args)
    if not args.eval_only:
        trainer = EntityTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()
    model = EntityTrainer.build_model(cfg)
    checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    results = EntityTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


if __name__ == "__main__":
    parser = default_argument_parser()
    parser.add_argument(
        "--data",
        metavar="ROOT",
        help="root of the data set; without it $DETECTRON2_DATASETS/entityseg",
    )
    arguments = parser.parse_args()
    launch(
        main,
        arguments.num_gpus,
        num_machines=arguments.num_machines,
        machine_rank=arguments.machine_rank,
        dist_url=arguments.dist_url,
        args=(arguments,),
    )
