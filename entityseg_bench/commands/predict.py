"""Find the entities in images with a reference model: Mask2Former, CropFormer."""

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str], prog: str) -> int:
    """Run ``python -m baselines.predict``, whose arguments these are."""
    from baselines.predict import main as predict

    return predict(argv, prog)


def parser() -> argparse.ArgumentParser:
    """Return its parser, whose words the shell completes."""
    from baselines.predict import build_parser

    return build_parser("entityseg predict")
