"""Draw ground truth, predictions and errors onto the images, side by side or over each other."""

import argparse
import dataclasses
import io
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.commands._arguments import add_input_arguments, inputs_of
from entityseg_bench.io import InputError

if TYPE_CHECKING:
    from entityseg_bench.errors import ErrorReport
    from entityseg_bench.formats import Inputs
    from entityseg_bench.table import Segments
    from entityseg_bench.types import ImageInfo

# Format -> ending of its files.
ENDINGS = {"jpeg": "jpg", "png": "png"}
# Qualities of a JPEG that are tried before it is made smaller.
QUALITIES = (92, 85, 75, 65)
# A picture with no longer side is not made smaller, in pixels.
LEAST_SIDE = 200
# Ground truth over predictions.
OUTLINE = (255, 255, 255)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="ground truth, as for evaluate")
    parser.add_argument("pred", nargs="?", metavar="PRED", help="predictions for it")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument(
        "--image-id", action="append", metavar="ID", help="draw this image; may be repeated"
    )
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N",
        help="draw the first N images where no --image-id is given (default: 20)",
    )  # fmt: skip
    parser.add_argument(
        "--min-score", type=float, default=0.0, help="leave out predictions below (default: 0)"
    )
    parser.add_argument(
        "--alpha", type=share, default=0.5, help="strength of the fills, 0 to 1 (default: 0.5)"
    )
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument(
        "--side-by-side", action="store_true",
        help="image, ground truth and predictions next to each other (default)",
    )  # fmt: skip
    layout.add_argument(
        "--overlay", action="store_true",
        help="one picture: predictions filled, ground truth as outlines, or errors",
    )  # fmt: skip
    parser.add_argument(
        "--errors", action="store_true", help="draw the errors at IoU .50, as in the report"
    )
    parser.add_argument(
        "--format", choices=tuple(ENDINGS), default="jpeg", help="of the pictures (default: jpeg)"
    )
    parser.add_argument(
        "--max-kb", type=float, default=500, metavar="KB",
        help="quality, then size, of a JPEG is lowered until it is below (default: 500)",
    )  # fmt: skip
    parser.add_argument("--names", action="store_true", help="write category names too")
    parser.add_argument("--no-labels", action="store_true", help="write nothing on the masks")
    parser.add_argument("--no-contours", action="store_true", help="draw no outlines")
    add_input_arguments(parser, draws_images=True)


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def run(args: argparse.Namespace) -> int:
    """Draw the images and name the folder."""
    from tqdm import tqdm

    from entityseg_bench.io import check_folder
    from entityseg_bench.layout import ImageFiles
    from entityseg_bench.names import real_path
    from entityseg_bench.visualize import read_pixels

    if not 1 <= args.max_kb < math.inf:
        raise InputError("arguments", "--max-kb", "it must be a number of at least 1.")
    if real_path(args.out) == real_path(args.images):
        raise InputError(args.out, "", "the images are in this folder.", "Name another --out.")
    check_folder(args.out)
    sides, errors = read_all(args)
    gt = sides[0]
    chosen = choose_images(gt, args.image_id, args.limit)
    files = ImageFiles(Path(args.images))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for idx in tqdm(chosen, unit="image", leave=False, disable=not sys.stderr.isatty()):
        image = gt.images[idx]
        pixels = read_pixels(files.find(image), image)
        write_picture(out, image, draw_sheet(pixels, sides, errors, idx, args), args)
    print(f"{out}: {len(chosen)} of {len(gt.images)} images drawn")
    return 0


def read_all(args: argparse.Namespace) -> tuple[list["Segments"], "ErrorReport | None"]:
    """Read both sides, and find the errors where they are asked for."""
    from entityseg_bench.check import IMAGE_UNNAMED

    if args.errors and args.pred is None:
        raise InputError("arguments", "--errors", "there are no predictions.", "Name PRED, too.")
    inputs = inputs_of(args)
    try:
        return _read(args, inputs)
    except InputError as error:
        if error.code != IMAGE_UNNAMED or len(args.image_id or ()) != 1:
            raise
    # The one image that is to be drawn is the one that the records are of.
    return _read(args, dataclasses.replace(inputs, image_id=args.image_id[0]))


def _read(
    args: argparse.Namespace, inputs: "Inputs"
) -> tuple[list["Segments"], "ErrorReport | None"]:
    """Read both sides once, and print how."""
    from entityseg_bench.score import evaluate_files, read_checked

    if not args.errors:
        sides, notes = read_checked(args.gt, args.pred, inputs)
        scoring = None
    else:
        scoring = evaluate_files(args.gt, args.pred, inputs=inputs)
        sides, notes = [scoring.gt, scoring.dt], scoring.sides.notes
    for note in notes:
        print(note, file=sys.stderr)
    if scoring is None:
        return sides, None
    from entityseg_bench.errors import find_errors

    return sides, find_errors(scoring)


def choose_images(gt: "Segments", image_ids: Sequence[str] | None, limit: int) -> list[int]:
    """Return the positions of the images to draw."""
    if image_ids is None:
        return list(range(min(max(limit, 0), len(gt.images))))
    where = {str(image.id): idx for idx, image in enumerate(gt.images)}
    unknown = [image_id for image_id in image_ids if image_id not in where]
    if unknown:
        some = ", ".join(list(where)[:5])
        raise InputError(
            gt.where_from, "images", f"there is no image {unknown[0]}.", f"It has {some}, ..."
        )
    return [where[image_id] for image_id in image_ids]


def draw_sheet(
    pixels: NDArray[np.uint8],
    sides: Sequence["Segments"],
    errors: "ErrorReport | None",
    image_idx: int,
    args: argparse.Namespace,
) -> NDArray[np.uint8]:
    """Draw the image with its ground truth, predictions and errors."""
    from entityseg_bench.visualize import draw, from_lowest, matching_colours, side_by_side

    style: dict[str, Any] = {"alpha": args.alpha, "contours": not args.no_contours}
    image, rows = sides[0].images[image_idx], sides[0].of_image(image_idx).tolist()
    gt_masks = [sides[0].rle(row) for row in rows]
    about = f"{image.file_name}, id {image.id}"
    labels = labels_of(sides[0], rows, args)
    pictures, titles = [pixels], [about]
    if not args.overlay or len(sides) == 1:
        pictures.append(draw(pixels, gt_masks, **labels, **style))
        titles.append(f"ground truth: {len(gt_masks)}")
    for side in sides[1:]:
        scores = side.detections().scores
        kept = [row for row in side.of_image(image_idx).tolist() if scores[row] >= args.min_score]
        kept = [kept[k] for k in from_lowest(scores[kept].tolist())]
        masks = [side.rle(row) for row in kept]
        colours = matching_colours(masks, gt_masks)
        drawn = draw(pixels, masks, **labels_of(side, kept, args), colour_idxs=colours, **style)
        if args.overlay:
            drawn = draw(drawn, gt_masks, colours=[OUTLINE] * len(gt_masks), alpha=0)
        pictures.append(drawn)
        titles.append(f"predictions: {len(masks)}")
    if errors is not None:
        drawn, title = draw_errors(pixels, errors, image_idx, args)
        pictures.append(drawn)
        titles.append(title)
    if args.overlay:
        pictures, titles = pictures[-1:], [f"{about}, {titles[-1]}"]
    return side_by_side(pictures, titles)


def draw_errors(
    pixels: NDArray[np.uint8], errors: "ErrorReport", image_idx: int, args: argparse.Namespace
) -> tuple[NDArray[np.uint8], str]:
    """Draw what is missed and what is wrong in the colours of the report, each with its sign.

    Returns:
        The picture, and its title, which counts the kinds.
    """
    from entityseg_bench.errors.signs import COLOURS, SIGNS
    from entityseg_bench.errors.visible import errors_of_image
    from entityseg_bench.visualize import draw

    found = errors_of_image(errors, image_idx)
    kinds = [kind for kind, _ in found]
    drawn = draw(
        pixels,
        [mask for _, mask in found],
        names=None if args.no_labels else [SIGNS[kind] for kind in kinds],
        colours=[rgb_of(COLOURS[kind]) for kind in kinds],
        alpha=args.alpha,
        contours=not args.no_contours,
    )
    counts = [f"{SIGNS[kind]} {kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    return drawn, ", ".join(counts) or "no errors"


def rgb_of(hexadecimal: str) -> tuple[int, int, int]:
    """Read a colour of the style sheet, ``#rrggbb``."""
    red, green, blue = bytes.fromhex(hexadecimal.removeprefix("#"))
    return red, green, blue


def labels_of(side: "Segments", rows: Sequence[int], args: argparse.Namespace) -> dict[str, Any]:
    """Choose what to write on the masks: ids of annotations, scores of predictions, names."""
    if args.no_labels:
        return {}
    labels: dict[str, Any] = {}
    if side.predicted:
        labels["scores"] = side.scores[list(rows)].tolist()
    else:
        ids = [side.extra(row).get("segment_id", side.ids[row]) for row in rows]
        labels["ids"] = ["-" if own is None else own for own in ids]
    if args.names and says_categories(side):
        names = {category.id: category.name.strip() for category in side.categories}
        labels["names"] = [names.get(int(side.category_ids[row]), "?") for row in rows]
    return labels


def says_categories(side: "Segments") -> bool:
    """Tell whether a side names categories: class-agnostic predictions all bear one, a filler."""
    used = np.unique(side.category_ids)
    return not side.predicted or len(used) > 1 or len(side.categories) == 1


def write_picture(
    folder: Path, image: "ImageInfo", sheet: NDArray[np.uint8], args: argparse.Namespace
) -> None:
    """Write a picture named by the image's id and file name."""
    from entityseg_bench.io import atomic_path
    from entityseg_bench.layout import portable

    # Ids may be text with any character; base names alone repeat between folders.
    image_id = re.sub(r"[^\w.-]", "_", str(image.id))
    name = f"{image_id}_{Path(portable(image.file_name)).stem}.{ENDINGS[args.format]}"
    with atomic_path(folder / name) as temporary:
        temporary.write_bytes(encoded(sheet, args.format, int(1000 * args.max_kb)))


def encoded(sheet: NDArray[np.uint8], kind: str, most: int) -> bytes:
    """Write a PNG as it is, or a JPEG of the best quality and size within ``most`` bytes."""
    from PIL import Image

    picture, data = Image.fromarray(sheet), io.BytesIO()
    if kind == "png":
        picture.save(data, "PNG")
        return data.getvalue()
    while True:
        for quality in QUALITIES:
            data = io.BytesIO()
            picture.save(data, "JPEG", quality=quality, optimize=True)
            if data.tell() <= most or max(picture.size) < LEAST_SIDE:
                return data.getvalue()
        picture = picture.resize(
            (max(picture.width * 4 // 5, 1), max(picture.height * 4 // 5, 1)),
            Image.Resampling.LANCZOS,
        )
