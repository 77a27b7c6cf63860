"""List the reference models: backbone, parameters, published numbers, weights."""

import argparse
import dataclasses

from entityseg_bench.categories import TASKS

EPILOG = """\
Give the name of a preset to `entityseg predict` and `entityseg train`. Published weights have the
preset's name too: `--weights cropformer_swin_tiny_3x`; those in the package end in `_demo`. The
numbers are those of the benchmark's authors in percent, on images of low and high resolution: AP^e
of entities, AP of instances, mIoU of semantic classes, PQ of panoptic segments. A question mark
stands where the source does not state the resolution. Recipes have no published numbers and no
weights.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("--task", choices=TASKS, help="only the models of this annotation type")
    parser.add_argument("--recipes", action="store_true", help="list recipes as well")
    parser.add_argument("--json", metavar="FILE", help="write the list here, too")


def run(args: argparse.Namespace) -> int:
    """Print a line for each preset."""
    from baselines.zoo import MODELS
    from entityseg_bench.io import write_json

    models = [
        model for model in MODELS
        if args.task in (None, model.task) and (args.recipes or not model.is_recipe)
    ]  # fmt: skip
    if args.json is not None:
        rows = [
            {**dataclasses.asdict(one), "task": one.task, "backbone": one.backbone,
             "weights": one.weights}
            for one in models
        ]  # fmt: skip
        write_json(args.json, rows, indent=2)
    width = max(len(model.preset) for model in models)
    print(f"{'preset':{width}}  backbone  task      parameters    low   high  weights")
    for one in models:
        low, high = (one.printed(resolution) for resolution in ("low", "high"))
        size = f"{one.parameters / 1e6:.1f} M"
        source = "-" if not one.weights else "package" if one.is_packaged else "published"
        print(
            f"{one.preset:{width}}  {one.backbone:8}  {one.task:8}  {size:>10}"
            f"  {low:>5}  {high:>5}  {source}"
        )
    return 0
