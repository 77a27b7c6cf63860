"""Train a reference model on the data set, or on COCO files of your own."""

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str], prog: str) -> int:
    """Run ``python -m baselines.train``, whose arguments these are."""
    from baselines.train import main as train

    return train(argv, prog)


def parser() -> argparse.ArgumentParser:
    """Return its parser, whose words the shell completes."""
    from baselines.train import build_parser

    return build_parser("entityseg train")
