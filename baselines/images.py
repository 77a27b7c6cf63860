"""Read image files of any common format as arrays."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from entityseg_bench.formats.png import opened_image
from entityseg_bench.io import InputError

__all__ = ["image_size", "read_image"]

# EXIF orientations that turn the image by 90 degrees, so that height and width are swapped.
QUARTER_TURNS = frozenset({5, 6, 7, 8})
ORIENTATION_TAG = 0x0112


def read_image(
    path: str | Path, size: tuple[int, int] | None = None, data: bytes | None = None
) -> np.ndarray:
    """Read an image as (H, W, 3) uint8, RGB, in [0, 255].

    Grey images get three equal channels. Of 16 bits the upper 8 are kept. Transparency is dropped,
    CMYK and palettes are converted, and of an animation the first frame is read. The EXIF
    orientation is applied, as detectron2 does, which the published numbers were made with. But if a
    COCO file states the size of the pixels as they are stored, they stay as stored, because its
    annotations belong to those.

    Args:
        path: The file. Its content decides the format, not its name.
        size: (height, width) that another file states for it, if any.
        data: The file's content, where it is in an archive.

    Raises:
        InputError: The file is missing, truncated or no image, has a depth without a known range,
            or has another size than stated.
    """
    with _opened(path, data) as image:
        oriented = _is_oriented(path, image, size)
        pixels = _to_rgb(path, image)
        return np.array(ImageOps.exif_transpose(pixels) if oriented else pixels)


def image_size(
    path: str | Path, size: tuple[int, int] | None = None, data: bytes | None = None
) -> tuple[int, int]:
    """Return the (height, width) of what `read_image` returns, from the file's header alone.

    Raises:
        InputError: As `read_image`, except for faults of the pixels, which are not read.
    """
    with _opened(path, data) as image:
        turned = _is_oriented(path, image, size) and _orientation(image) in QUARTER_TURNS
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _opened(path: str | Path, data: bytes | None) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow raises on it becomes one InputError that names the file."""
    with warnings.catch_warnings():
        # Large images are this dataset's business (above 179 megapixels they are refused), and odd
        # metadata is no reason to stop or to warn.
        warnings.simplefilter("ignore")
        with opened_image(path, data) as image:
            yield image


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1, as stored, where there is none."""
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
