"""Find or fetch weights by name: ``python -m baselines.weights NAME``."""

import argparse
import sys
from collections.abc import Sequence

from baselines.weights import find_weights, list_weights
from baselines.weights.published import PUBLISHED, find_file, folder_of
from entityseg_bench.io import InputError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the path of the weights that a name means, once they are there.

    Returns:
        0, they are there, or with ``--where`` can be fetched; 2, they are not and cannot.
    """
    parser = argparse.ArgumentParser(prog="python -m baselines.weights", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="file, or a name that is listed")
    parser.add_argument("--where", action="store_true", help="fetch nothing; say where they are")
    args = parser.parse_args(argv)
    if args.name is None:
        print("with the package:", *list_weights(), sep="\n  ")
        print("published, in the gated repository:", *PUBLISHED, sep="\n  ")
        return 0
    try:
        print(where(args.name) if args.where else find_weights(args.name))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def where(name: str) -> str:
    """Say in one line where weights are, and how large what has to be fetched is.

    Raises:
        InputError: They are nowhere, or the repository gives no access.
    """
    path = find_weights(name, fetch=False)
    if path.is_file():
        return str(path)
    if folder_of(name) is None:
        raise InputError(name, "", "there is no such file of weights, and no name of any.")
    file = find_file(name)
    return f"{file.path} of the gated repository, {file.size / 1e6:,.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
