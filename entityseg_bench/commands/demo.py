"""Write a small synthetic data set, segment it with a classical baseline and score that."""

import argparse
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

MOST_IMAGES = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "dir", nargs="?", default="entityseg_demo", metavar="DIR",
        help="folder to write (default: entityseg_demo); an earlier demo set is replaced",
    )  # fmt: skip
    parser.add_argument(
        "--images", type=int, default=24, metavar="N", help="images, at least 8 (default: 24)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all chance (default: 0)")
    parser.add_argument(
        "--size", type=sides, default=(240, 480), metavar="LEAST,GREATEST",
        help="sides of the images in pixels (default: 240,480)",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="WEIGHTS",
        help="predict with a learned model too, and draw what it finds: mask2former_tiny_demo, "
        "cropformer_tiny_demo or a file of weights (needs torch)",
    )  # fmt: skip
    parser.add_argument("--data-only", action="store_true", help="write the data set and stop")


def sides(text: str) -> tuple[int, int]:
    """Read ``LEAST,GREATEST``."""
    least, greatest = text.split(",")
    return int(least), int(greatest)


def run(args: argparse.Namespace) -> int:
    """Write, segment, score, and say what to try next."""
    from tqdm import tqdm

    from entityseg_bench.demo import VAL_FILE, predict_val, predict_val_learned
    from entityseg_bench.io import InputError, check_folder

    if args.model and not find_spec("torch"):
        raise InputError(
            "arguments", "--model", "torch is not installed.",
            "Install it: pip install 'entityseg-bench[baselines]'.",
        )  # fmt: skip
    if args.images > MOST_IMAGES:
        raise InputError("arguments", "--images", f"{MOST_IMAGES:,} are the most.")
    root = Path(args.dir)
    check_folder(root)
    with tqdm(unit="image", leave=False, disable=not sys.stderr.isatty()) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        write_set(root, args, show)
        if args.data_only:
            return 0
        bar.reset()
        disjoint, layered = predict_val(root, progress=show)
    found = {
        disjoint: "disjoint masks of the classical baseline",
        layered: "overlapping masks of the classical baseline",
    }
    shown = disjoint
    if args.model:
        shown, drawings = predict_val_learned(root, args.model)
        found[shown] = f"masks of {args.model}"
        print(f"{drawings}: what {args.model} finds, drawn")
    print_scores(root, found)
    print(next_steps(root, shown))
    if args.model:
        print(f"  entityseg compare {root / VAL_FILE} {disjoint} {shown}")
    return 0


def write_set(root: Path, args: argparse.Namespace, progress: Callable[[int, int], None]) -> None:
    """Write the data set that the arguments ask for."""
    from entityseg_bench.demo import write_demo
    from entityseg_bench.io import InputError

    try:
        write_demo(root, args.images, args.seed, args.size, progress)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("arguments", "", f"{error}.") from None
    print(f"{root}: {args.images} synthetic images in the layout of EntitySeg, seed {args.seed}")


def print_scores(root: Path, found: Mapping[Path, str]) -> None:
    """Score each file of predictions and say what it is of."""
    from entityseg_bench.demo import VAL_FILE
    from entityseg_bench.score import evaluate_files

    for path, what in found.items():
        print(f"\n{path}: {what} on the validation images")
        print(evaluate_files(root / VAL_FILE, path).result)


def next_steps(root: Path, predictions: Path) -> str:
    """Name the commands that the written folder is good for."""
    from entityseg_bench.demo import VAL_FILE

    gt = root / VAL_FILE
    return f"""
Try next:
  entityseg evaluate {gt} {predictions}
  entityseg validate {gt} {predictions}
  entityseg visualize {gt} {predictions} --images {root / "images"} --out {root / "pictures"}"""
