"""Read any picture file as an array."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from entityseg_bench.formats.png import opened_image
from entityseg_bench.io import InputError

__all__ = ["image_size", "read_image"]

# EXIF orientations that turn the image by a quarter, so that height and width change places.
QUARTER_TURNS = frozenset({5, 6, 7, 8})
ORIENTATION_TAG = 0x0112


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image as (H, W, 3) uint8, RGB, in [0, 255].

    Grey becomes three equal channels, 16 bits become the upper 8 in full range, transparency is
    dropped, CMYK and palettes are converted, and of an animation the first frame counts. The EXIF
    orientation is applied, as detectron2 does, which the published numbers were made with. Where
    a COCO file states another size that the stored pixels do have, they stay as stored: its
    annotations then mean those.

    Args:
        path: Of the file; its content, not its name, decides the format.
        size: (height, width) stated for it elsewhere, if any.

    Raises:
        InputError: No such file, no image, broken off, of a depth that has no known range, or of
            another size than stated.
    """
    with _opened(path) as image:
        oriented = _is_oriented(path, image, size)
        pixels = _to_rgb(path, image)
        return np.array(ImageOps.exif_transpose(pixels) if oriented else pixels)


def image_size(path: str | Path, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Give the (height, width) that `read_image` would, from the file's header alone.

    Raises:
        InputError: As `read_image`, but for pixels that are not looked at.
    """
    with _opened(path) as image:
        turned = _is_oriented(path, image, size) and _orientation(image) in QUARTER_TURNS
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow raises on it becomes one InputError that names the file."""
    with warnings.catch_warnings():
        # Large images are this dataset's business (above 179 megapixels they are refused), and odd
        # metadata is no reason to stop or to warn.
        warnings.simplefilter("ignore")
        with opened_image(path) as image:
            yield image


def _orientation(image: Image.Image) -> int:
    """Give the EXIF orientation, 1 to 8; 1, as stored, where there is none."""
    return image.getexif().get(ORIENTATION_TAG, 1)


def _is_oriented(path: str | Path, image: Image.Image, size: tuple[int, int] | None) -> bool:
    """Decide whether the EXIF orientation applies, given the size that is stated elsewhere."""
    stored = (image.height, image.width)
    oriented = stored[::-1] if _orientation(image) in QUARTER_TURNS else stored
    if size is None or oriented == tuple(size):
        return True
    if stored == tuple(size):
        return False
    raise InputError(
        path,
        "",
        f"the image has {oriented[0]} x {oriented[1]} pixels (height x width), "
        f"where {size[0]} x {size[1]} are stated.",
        "Take the images that belong to the file, or the other resolution's file.",
    )


def _to_rgb(path: str | Path, image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
        raise InputError(
            path,
            "",
            f"its pixels (mode {image.mode}) have no known range.",
            "Save it with 8 or 16 bits a channel.",
        )
    # Pillow's own conversion clips at 255 and gives a white image.
    grey = Image.fromarray((pixels.astype(np.uint32) // 257).astype(np.uint8))
    grey.info.update(image.info)
    return grey.convert("RGB")
