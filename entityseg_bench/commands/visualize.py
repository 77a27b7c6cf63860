"""Draw ground truth and predictions onto the images, side by side, as PNG."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from entityseg_bench.coco_records import FileRecords, RawImage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="COCO ground truth, .json or .json.gz")
    parser.add_argument("pred", nargs="?", metavar="PRED", help="COCO results, .json or .json.gz")
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


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def run(args: argparse.Namespace) -> int:
    """Draw the images and name the folder."""
    from tqdm import tqdm

    from entityseg_bench.coco_records import read_ground_truth, read_predictions
    from entityseg_bench.contents.layout import ImageFiles
    from entityseg_bench.types import ImageInfo
    from entityseg_bench.visualize import read_pixels, records_of

    gt = read_ground_truth(args.gt)
    sides = [gt]
    if args.pred:
        sides.append(read_predictions(args.pred, gt))
    chosen = choose_images(gt, args.image_id, args.limit)
    files = ImageFiles(Path(args.images))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    of_image = [records_of(side) for side in sides]
    for idx in tqdm(chosen, unit="image", leave=False, disable=not sys.stderr.isatty()):
        image = gt.images[idx]
        info = ImageInfo(image.id, image.file_name, image.height, image.width)
        pixels = read_pixels(files.find(info), image)
        sheet = draw_sheet(pixels, sides, [rows[idx] for rows in of_image], image, args)
        write_picture(out, image, sheet)
    print(f"{out}: {len(chosen)} of {len(gt.images)} images drawn")
    return 0


def choose_images(gt: "FileRecords", image_ids: Sequence[str] | None, limit: int) -> list[int]:
    """Return the positions of the images to draw."""
    from entityseg_bench.io import InputError

    if image_ids is None:
        return list(range(min(max(limit, 0), len(gt.images))))
    where = {str(image.id): idx for idx, image in enumerate(gt.images)}
    unknown = [image_id for image_id in image_ids if image_id not in where]
    if unknown:
        some = ", ".join(list(where)[:5])
        raise InputError(
            gt.path, "images", f"there is no image {unknown[0]}.", f"It has {some}, ..."
        )
    return [where[image_id] for image_id in image_ids]


def draw_sheet(
    pixels: NDArray[np.uint8],
    sides: Sequence["FileRecords"],
    rows_of_side: Sequence[Sequence[int]],
    image: "RawImage",
    args: argparse.Namespace,
) -> NDArray[np.uint8]:
    """Draw the image, its ground truth and its predictions next to each other."""
    from entityseg_bench.visualize import draw, masks_of, matching_colours, side_by_side

    style: dict[str, Any] = {"alpha": args.alpha, "contours": not args.no_contours}
    gt_masks = masks_of(sides[0], rows_of_side[0], image)
    labels = labels_of(sides[0], rows_of_side[0], args)
    pictures = [pixels, draw(pixels, gt_masks, **labels, **style)]
    titles = [f"{image.file_name}, id {image.id}", f"ground truth: {len(gt_masks)}"]
    for side, rows in zip(sides[1:], rows_of_side[1:], strict=True):
        records: Any = side.records
        # Rising, so that the best lies on top.
        kept = [row for row in rows if records[row].score >= args.min_score]
        kept.sort(key=lambda row: records[row].score)
        masks = masks_of(side, kept, image)
        style["colour_idxs"] = matching_colours(masks, gt_masks)
        pictures.append(draw(pixels, masks, **labels_of(side, kept, args), **style))
        titles.append(f"predictions: {len(masks)}")
    return side_by_side(pictures, titles)


def labels_of(side: "FileRecords", rows: Sequence[int], args: argparse.Namespace) -> dict[str, Any]:
    """Choose what to write on the masks: ids of annotations, scores of predictions, names."""
    if args.no_labels:
        return {}
    records: Any = [side.records[row] for row in rows]
    labels: dict[str, Any] = {}
    if rows and hasattr(records[0], "score"):
        labels["scores"] = [record.score for record in records]
    else:
        labels["ids"] = ["-" if record.id is None else record.id for record in records]
    if args.names:
        names = {category.id: category.name.strip() for category in side.categories}
        labels["names"] = [names.get(record.category_id, "?") for record in records]
    return labels


def write_picture(folder: Path, image: "RawImage", sheet: NDArray[np.uint8]) -> None:
    """Write a PNG named by the image's id and file name."""
    from PIL import Image

    from entityseg_bench.io import atomic_path

    # Ids may be text with any character; base names alone repeat between folders.
    image_id = re.sub(r"[^\w.-]", "_", str(image.id))
    with atomic_path(folder / f"{image_id}_{Path(image.file_name).stem}.png") as temporary:
        Image.fromarray(sheet).save(temporary, "PNG")
