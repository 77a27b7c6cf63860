"""Show what a folder of EntitySeg holds: counts, sizes, areas, missing files, defects."""

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

from entityseg_bench.commands._arguments import add_outside_argument

if TYPE_CHECKING:
    from entityseg_bench.describe import Numbers, Summary, TypeSummary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of the data set")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the numbers; - prints them"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the distributions")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="read every mask and map: semantic counts, broken masks, maps that do not fit",
    )
    add_outside_argument(parser)
    # Nothing is kept between runs any more; commands that say so still run.
    parser.add_argument("--no-cache", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Describe the folder; 1 when something is wrong with it."""
    import msgspec

    from entityseg_bench.describe import describe
    from entityseg_bench.io import check_writable, write_json

    check_writable(None if str(args.json) == "-" else args.json, args.plot)
    summary = describe(args.root, args.deep)
    if str(args.json) == "-":
        print(msgspec.json.format(msgspec.json.encode(summary)).decode())
    else:
        print(text(summary))
    if args.json and str(args.json) != "-":
        write_json(args.json, summary, indent=1)
    if args.plot:
        plot(summary, args.plot)
    wrong = summary.problems or summary.in_train_and_val
    return int(bool(wrong or any(part.problems for part in summary.types)))


def text(summary: "Summary") -> str:
    """Write a summary for reading."""
    lines = [summary.root]
    for part in summary.types:
        lines += ["", *_type_lines(part)]
    both = summary.in_train_and_val
    lines += ["", f"images in train and val at once: {len(both) or 'none'}"]
    lines += [f"  {name}" for name in both[:10]]
    if len(both) > 10:
        lines.append(f"  ... and {len(both) - 10} more (--json lists them)")
    problems = [*summary.problems, *(what for part in summary.types for what in part.problems)]
    lines.append(f"problems: {len(problems) or 'none'}")
    return "\n".join(lines + [f"  {what}" for what in problems])


def _type_lines(part: "TypeSummary") -> list[str]:
    from entityseg_bench.describe import AREA_EDGES

    wide = f"{100 * part.share_wide:.0f} % at least 2000 wide"
    lines = [
        f"{part.task} {part.split}, {part.resolution} resolution ({', '.join(part.files)})",
        f"  images       {part.n_images}"
        + "".join(f", {name} {n}" for name, n in part.n_images_by_part.items()),
        f"  height       {_span(part.sizes['height'])} px",
        f"  width        {_span(part.sizes['width'])} px, {wide}",
    ]
    if part.n_missing_images:
        lines.append(f"  image files  {part.n_missing_images} of {part.n_images} are not here")
    if part.n_annotations is None or part.entities_per_image is None:
        return [*lines, "  annotations  in the maps: --deep counts them"]
    crowds = f", {part.n_crowds} crowds" if part.n_crowds else ""
    lines += [
        f"  annotations  {part.n_annotations}{crowds}",
        f"  categories   {part.n_categories_used} in use of {part.n_categories}",
        f"  an image     {_span(part.entities_per_image)} annotations",
        "  area         ",
    ]
    total = max(sum(part.area_histogram), 1)
    cells = [
        f"{'<' if k + 1 < len(AREA_EDGES) else '>='} "
        f"{round((AREA_EDGES[k + 1] if k + 1 < len(AREA_EDGES) else AREA_EDGES[-1]) ** 0.5)}^2: "
        f"{100 * n / total:.0f} %"
        for k, n in enumerate(part.area_histogram)
    ]
    lines[-1] += ", ".join(cells)
    return lines


def _span(found: "Numbers") -> str:
    return f"{found.least:g} to {found.greatest:g}, mean {found.mean:.1f}, median {found.median:g}"


def plot(summary: "Summary", path: Path) -> None:
    """Draw entities an image, areas and image sizes of each type."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from entityseg_bench.describe import AREA_EDGES
    from entityseg_bench.io import atomic_path

    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    per_image, areas, sizes = figure.subplots(1, 3)
    for part in summary.types:
        label = f"{part.task} {part.split} {part.resolution}"
        height, width = part.sizes["height"], part.sizes["width"]
        sizes.plot(
            [width.least, width.median, width.greatest],
            [height.least, height.median, height.greatest],
            "o-",
            label=label,
        )
        if part.n_annotations:
            counts = sorted(part.histogram_of_entities.items())
            shares = [n / part.n_images for _, n in counts]
            per_image.plot([k for k, _ in counts], shares, "o-", markersize=3, label=label)
            shares = [n / part.n_annotations for n in part.area_histogram]
            areas.plot(range(len(shares)), shares, "o-", label=label)
    per_image.set(xlabel="annotations an image", ylabel="share of the images")
    areas.set(xlabel="area from, px", ylabel="share of the annotations")
    areas.set_xticks(range(len(AREA_EDGES)), [f"{round(edge**0.5)}²" for edge in AREA_EDGES])
    sizes.set(xlabel="width, px", ylabel="height, px", title="least, median, greatest")
    for axes in (per_image, sizes):
        if axes.has_data():
            axes.legend(fontsize="x-small")
    figure.savefig(data := io.BytesIO(), format="png", dpi=120)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.getvalue())
