"""File results, build the tables and the page from them, and check both."""

import argparse
import datetime
import sys
from pathlib import Path

from entityseg_bench.commands._arguments import add_input_arguments, inputs_of
from entityseg_bench.io import InputError
from entityseg_bench.leaderboard import add, read_model, render, stale, verify, write
from entityseg_bench.leaderboard.eval_results import export_eval_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    filing = actions.add_parser("add", help="file a result that evaluate --json wrote")
    filing.add_argument("result", metavar="RESULT", help="what evaluate --json wrote")
    filing.add_argument(
        "--model", required=True, metavar="NAME", help="name of the network (required)"
    )
    filing.add_argument("--method", metavar="NAME", help="name in the tables (default: --model)")
    filing.add_argument(
        "--backbone", required=True, metavar="NAME", help="name in the tables (required)"
    )
    filing.add_argument(
        "--paper", required=True, metavar="URL", help="where it is described (required)"
    )
    filing.add_argument("--code", required=True, metavar="URL", help="where its code is (required)")
    filing.add_argument("--parameters", type=int, metavar="N", help="of the model")
    filing.add_argument("--year", type=int, metavar="YYYY", help="in which the method came out")
    filing.add_argument("--weights", metavar="URL", help="where the trained network is")
    filing.add_argument(
        "--predictions", metavar="URL", help="where what was scored is, to score it again"
    )
    filing.add_argument(
        "--dataset", default="EntitySeg", metavar="NAME",
        help="data of one name share tables (default: EntitySeg)",
    )  # fmt: skip
    for name, choices in (
        ("split", ("train", "val")),
        ("resolution", ("high", "low")),
    ):
        filing.add_argument(
            f"--{name}", choices=choices, help="(default: as the ground truth's name says)"
        )
    building = actions.add_parser("build", help="write the tables and the page")
    building.add_argument(
        "--readme", default="README.md", metavar="FILE",
        help="file whose marked part shows the first table (default: README.md)",
    )  # fmt: skip
    building.add_argument(
        "--check", action="store_true", help="write nothing; 1 when a file is stale"
    )
    checking = actions.add_parser("verify", help="score again and compare to the last digit")
    checking.add_argument("result", metavar="RESULT", help="a result, or a filed model")
    checking.add_argument("--predictions", required=True, metavar="P", help="what was scored")
    checking.add_argument("--gt", required=True, metavar="G", help="ground truth")
    add_input_arguments(checking)
    exporting = actions.add_parser("export", help="write a model's results for its hub repository")
    exporting.add_argument("model", metavar="FILED", help="a filed model: results/val/NAME.json")
    exporting.add_argument(
        "--eval-results", required=True, metavar="DIR",
        help="folder of the model repository; .eval_results/entityseg.yaml is written there",
    )  # fmt: skip
    exporting.add_argument("--dataset-id", metavar="OWNER/NAME", help="data set on the hub")
    exporting.add_argument("--date", metavar="YYYY-MM-DD", help="of the scoring (default: today)")
    for action in (filing, building):
        action.add_argument(
            "--dir", default="leaderboard", metavar="DIR", help="(default: leaderboard)"
        )


def run(args: argparse.Namespace) -> int:
    """Do one action; 1 when something is stale or differs."""
    actions = {"add": run_add, "build": run_build, "verify": run_verify, "export": run_export}
    return actions[args.action](args)


def run_add(args: argparse.Namespace) -> int:
    """File a result and name the file."""
    path = add(
        args.result,
        args.dir,
        model=args.model,
        method=args.method or args.model,
        backbone=args.backbone,
        paper=args.paper,
        code=args.code,
        dataset=args.dataset,
        parameters=args.parameters,
        split=args.split,
        resolution=args.resolution,
        year=args.year,
        weights=args.weights,
        predictions=args.predictions,
    )
    results = read_model(path).results
    kinds = ", ".join(f"{filed.result['task']} {filed.resolution}" for filed in results)
    print(f"{path}: {kinds}")
    print("entityseg leaderboard build puts it into the tables", file=sys.stderr)
    return 0


def run_build(args: argparse.Namespace) -> int:
    """Write what is stale, or only name it."""
    files = render(Path(args.dir), Path(args.readme))
    old = stale(files)
    if not args.check:
        write({path: files[path] for path in old})
    for path in old:
        print(f"{path}: {'stale; run entityseg leaderboard build' if args.check else 'written'}")
    print(f"{len(files)} files, {len(old)} {'stale' if args.check else 'written'}")
    return 1 if args.check and old else 0


def run_export(args: argparse.Namespace) -> int:
    """Write a model's results for its repository and name the file."""
    date = args.date or datetime.date.today().isoformat()
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        raise InputError("arguments", "", f"--date {date!r} is not YYYY-MM-DD.") from None
    print(export_eval_results(args.model, args.eval_results, date, args.dataset_id))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Print every difference."""
    different = verify(args.result, args.predictions, args.gt, inputs_of(args))
    for where, filed, found in different:
        print(f"{where}: filed {filed!r}, found {found!r}")
    print(
        f"{args.result}: "
        + (f"{len(different)} differences" if different else "every digit agrees")
    )
    return 1 if different else 0
