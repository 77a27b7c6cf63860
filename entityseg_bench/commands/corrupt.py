"""Write a data set as it is seen through turbulent air over a distance, annotations linked."""

import argparse
import sys
from pathlib import Path

from entityseg_bench.commands._arguments import add_outside_argument
from entityseg_bench.io import InputError, check_folder

EPILOG = """\
Score any method on the copies of several distances: masks are where the objects are.
"""
# Option -> what it sets and its unit; the defaults are those of the physics.
STRENGTHS = {
    "cn2": "structure constant of the refractive index, m^(-2/3)",
    "wavelength": "m",
    "aperture": "diameter of the lens, m",
    "pixel_angle": "angle that a pixel of these images sees, rad",
    "correlation_angle": "over which tilts are alike, rad (default: the isoplanatic angle)",
    "visibility": "for haze, m (default: clear)",
    "airlight": "grey value of haze, 0 to 1",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from entityseg_bench.turbulence import Air

    parser.epilog = EPILOG
    add = parser.add_argument
    add("root", type=Path, metavar="ROOT", help="folder of the data set")
    add("out", type=Path, metavar="OUT", help="folder of the copy")
    add("--distance", type=float, required=True, metavar="M", help="in metres; 0 copies")
    add("--seed", type=int, default=0, help="of all chance (default: 0)")
    add("--split", choices=("train", "val", "both"), default="val", help="(default: val)")
    add("--resolution", choices=("high", "low"), default="high", help="(default: high)")
    for name, text in STRENGTHS.items():
        default = getattr(Air(0.0), name)
        shown = "" if default is None else f" (default: {default:g})"
        flag = f"--{name.replace('_', '-')}"
        add(flag, type=float, default=default, metavar="X", help=text + shown)
    add_outside_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Write the copy and say how strong its air is."""
    from tqdm import tqdm

    from entityseg_bench.corrupt import corrupt
    from entityseg_bench.layout import SPLITS
    from entityseg_bench.turbulence import Air

    try:
        air = Air(args.distance, **{name: getattr(args, name) for name in STRENGTHS})
        if args.seed < 0:
            raise ValueError("--seed must be at least 0")
        # Strengths of no world are beyond floating point.
        found = [air.fried_parameter, air.isoplanatic_angle, air.tilt_variance**0.5]
    except (ValueError, ArithmeticError) as error:
        raise InputError("arguments", "", f"{error}.") from None
    check_folder(args.out)
    splits = [name for name in SPLITS if args.split in (name, "both")]
    with tqdm(unit="image", leave=False, disable=not sys.stderr.isatty()) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        count = corrupt(args.root, args.out, air, args.seed, splits, args.resolution, show)
    print(f"{args.out}: {count} images at {air.distance:g} m, seed {args.seed}")
    print(
        f"Fried parameter {found[0]:.3g} m, isoplanatic angle {found[1]:.3g} rad, "
        f"tilts of {found[2] / air.pixel_angle:.3g} pixels"
    )
    return 0
