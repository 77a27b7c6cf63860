"""Draw ground truth and predictions onto the images, side by side, as PNG."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.commands._arguments import add_input_arguments, inputs_of

if TYPE_CHECKING:
    from entityseg_bench.table import Segments
    from entityseg_bench.types import ImageInfo


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

    from entityseg_bench.check import IMAGE_UNNAMED
    from entityseg_bench.io import InputError, check_folder
    from entityseg_bench.layout import ImageFiles
    from entityseg_bench.score import read_checked
    from entityseg_bench.visualize import read_pixels

    check_folder(args.out)
    inputs = inputs_of(args)
    try:
        sides, notes = read_checked(args.gt, args.pred, inputs)
    except InputError as error:
        if error.code != IMAGE_UNNAMED or len(args.image_id or ()) != 1:
            raise
        # The one image that is to be drawn is the one that the records are of.
        inputs = dataclasses.replace(inputs, image_id=args.image_id[0])
        sides, notes = read_checked(args.gt, args.pred, inputs)
    for note in notes:
        print(note, file=sys.stderr)
    gt = sides[0]
    chosen = choose_images(gt, args.image_id, args.limit)
    files = ImageFiles(Path(args.images))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for idx in tqdm(chosen, unit="image", leave=False, disable=not sys.stderr.isatty()):
        image = gt.images[idx]
        pixels = read_pixels(files.find(image), image)
        write_picture(out, image, draw_sheet(pixels, sides, idx, args))
    print(f"{out}: {len(chosen)} of {len(gt.images)} images drawn")
    return 0


def choose_images(gt: "Segments", image_ids: Sequence[str] | None, limit: int) -> list[int]:
    """Return the positions of the images to draw."""
    from entityseg_bench.io import InputError

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
    pixels: NDArray[np.uint8], sides: Sequence["Segments"], image_idx: int, args: argparse.Namespace
) -> NDArray[np.uint8]:
    """Draw the image, its ground truth and its predictions next to each other."""
    from entityseg_bench.visualize import draw, from_lowest, matching_colours, side_by_side

    style: dict[str, Any] = {"alpha": args.alpha, "contours": not args.no_contours}
    image, rows = sides[0].images[image_idx], sides[0].of_image(image_idx).tolist()
    gt_masks = [sides[0].rle(row) for row in rows]
    pictures = [pixels, draw(pixels, gt_masks, **labels_of(sides[0], rows, args), **style)]
    titles = [f"{image.file_name}, id {image.id}", f"ground truth: {len(gt_masks)}"]
    for side in sides[1:]:
        scores = side.detections().scores
        kept = [row for row in side.of_image(image_idx).tolist() if scores[row] >= args.min_score]
        kept = [kept[k] for k in from_lowest(scores[kept].tolist())]
        masks = [side.rle(row) for row in kept]
        style["colour_idxs"] = matching_colours(masks, gt_masks)
        pictures.append(draw(pixels, masks, **labels_of(side, kept, args), **style))
        titles.append(f"predictions: {len(masks)}")
    return side_by_side(pictures, titles)


def labels_of(side: "Segments", rows: Sequence[int], args: argparse.Namespace) -> dict[str, Any]:
    """Choose what to write on the masks: ids of annotations, scores of predictions, names."""
    if args.no_labels:
        return {}
    labels: dict[str, Any] = {}
    if side.scores is not None:
        labels["scores"] = side.scores[list(rows)].tolist()
    else:
        ids = [side.extra(row).get("segment_id", side.ids[row]) for row in rows]
        labels["ids"] = ["-" if own is None else own for own in ids]
    if args.names:
        names = {category.id: category.name.strip() for category in side.categories}
        labels["names"] = [names.get(int(side.category_ids[row]), "?") for row in rows]
    return labels


def write_picture(folder: Path, image: "ImageInfo", sheet: NDArray[np.uint8]) -> None:
    """Write a PNG named by the image's id and file name."""
    from PIL import Image

    from entityseg_bench.io import atomic_path
    from entityseg_bench.layout import portable

    # Ids may be text with any character; base names alone repeat between folders.
    image_id = re.sub(r"[^\w.-]", "_", str(image.id))
    with atomic_path(
        folder / f"{image_id}_{Path(portable(image.file_name)).stem}.png"
    ) as temporary:
        Image.fromarray(sheet).save(temporary, "PNG")
