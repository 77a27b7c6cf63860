"""Label maps and images as files of pixels."""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.formats.json_files import IMAGE, foreign
from entityseg_bench.io import InputError, atomic_path, open_regular, read_bytes

__all__ = [
    "MOST_PIXELS",
    "highest_apart",
    "holds_classes",
    "png_size",
    "read_ids",
    "read_labels",
    "read_rgb",
    "write_ids",
    "write_image",
    "write_labels",
]

# What a picture may have for Pillow to read it; more is taken for an attack.
MOST_PIXELS = 178_956_970
# Deflate, by which PNG packs, makes no bytes shorter than by this factor.
MOST_PACKED = 1032
# A file that is no picture is looked at whether it is a pointer or a web page, if it is small.
MOST_TEXT = 1 << 20
# Colour type of a PNG -> samples of a pixel.
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

# What Pillow may take a file for. It knows more, and runs a program of its own for some.
KINDS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# What Pillow's decoders raise for broken files; SyntaxError for a PNG's chunks.
UNDECODED = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    AttributeError, RuntimeError, NotImplementedError, MemoryError, struct.error, zlib.error,
)  # fmt: skip

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_size(path: Path, where: str = "") -> tuple[int, int]:
    """Return (height, width) of a PNG from its first bytes; errors name it with ``where``.

    Raises:
        InputError: There is no such file, or it is no PNG.
    """
    try:
        with open_regular(path) as file:
            head = file.read(26)
            n_bytes = os.fstat(file.fileno()).st_size
    except InputError as error:
        raise InputError(path, where, error.what, error.hint) from None
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise InputError(path, where, f"the map cannot be read: {what}.") from None
    width, height = struct.unpack(">II", head[16:24]) if len(head) == 26 else (0, 0)
    if not head.startswith(SIGNATURE) or not width or not height:
        what, hint = _other(path, head) or ("this is no PNG.", "Write the map again.")
        raise InputError(path, where, what, hint)
    _check_size(path, where, (height, width), n_bytes, head[24] * CHANNELS.get(head[25], 1))
    return height, width


def _check_size(
    path: Path, where: str, size: tuple[int, int], n_bytes: int, bits: int | None
) -> None:
    """Refuse pixels that are too many, or that a PNG of so many bits a pixel cannot hold."""
    height, width = size
    if width * height > MOST_PIXELS:
        what = f"{height} x {width} pixels are more than the {MOST_PIXELS:,} that are read."
        raise InputError(path, where, what, "Is the file whole?")
    if bits and height * (1 + (width * bits + 7) // 8) / MOST_PACKED > n_bytes:
        what = f"{n_bytes} bytes cannot hold the {height} x {width} pixels that its head promises."
        raise InputError(path, where, what, "Is the file whole?")


def _other(path: Path, head: bytes) -> tuple[str, str] | None:
    """Say what a file is that should be a picture, and what to do; None where it cannot be told."""
    if not head or head.startswith(SIGNATURE) or path.stat().st_size > MOST_TEXT:
        return None
    fault = foreign(path, read_bytes(path), IMAGE)
    return (fault.what, fault.hint) if fault else None


@contextlib.contextmanager
def opened_image(path: str | Path, data: bytes | None = None) -> Iterator[Any]:
    """Open an image file with Pillow while the block runs; it is decoded when pixels are asked for.

    Args:
        path: The file.
        data: Its content, where it is no file of its own but in an archive.

    Raises:
        InputError: There is no such file, it is no image of `KINDS`, its head promises more pixels
            than are read or than it can hold, or the block cannot decode it.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    try:
        with open_regular(path) if data is None else io.BytesIO(data) as file:
            n_bytes = os.fstat(file.fileno()).st_size if data is None else len(data)
            head = file.read(26)
            file.seek(0)
            image = Image.open(file, formats=KINDS)
            is_png = image.format == "PNG" and len(head) == 26
            bits = head[24] * CHANNELS.get(head[25], 1) if is_png else None
            _check_size(path, "", image.size[::-1], n_bytes, bits)
            yield image
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(path, "", "there is no such file.") from None
    except UnidentifiedImageError:
        what, hint = _other(path, head) or ("this is no image.", "Copy it again.")
        raise InputError(path, "", what, hint) from None
    except (*UNDECODED, Image.DecompressionBombError) as error:
        # Pillow's own errors have no strerror; the system's would repeat the path.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        what = f"it cannot be read: {reason}."
        raise InputError(path, "", what, "Copy it again.") from None


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image or map of any kind, from its head.

    Raises:
        InputError: As `opened_image`.
    """
    with opened_image(path) as image:
        width, height = image.size
    return height, width


def _opened(path: Path) -> Any:
    """Read an image file whole with Pillow."""
    with opened_image(path) as image:
        image.load()
    return image


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image, (H, W, 3) RGB in 0..255, as its pixels are stored (EXIF is not applied)."""
    return np.asarray(_opened(path).convert("RGB"))


def read_ids(path: Path) -> NDArray[np.int32]:
    """Read a map of ids, (H, W): one channel of 8 or 16 bits, or RGB as R + 256 G + 65536 B.

    Raises:
        InputError: Unreadable, or of another mode.
    """
    image = _opened(path)
    if image.mode == "RGB":
        pixels = np.asarray(image)
        ids = pixels[..., 2].astype(np.int32)
        ids <<= 8
        ids += pixels[..., 1]
        ids <<= 8
        ids += pixels[..., 0]
        return ids
    if image.mode in ("L", "P", "I;16", "I;16B", "I"):
        return np.asarray(image).astype(np.int32)
    raise InputError(
        path, "", f"a map of ids has one channel or is RGB, not mode {image.mode}.", "Convert it."
    )


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read a map of classes, (H, W) in 0..255.

    It may be stored in 16 bits, or as a grey picture in three or four channels.

    Raises:
        InputError: Unreadable, of several channels that differ, or with a value above 255.
    """
    image = _opened(path)
    pixels = np.asarray(image)
    if image.mode in ("L", "P"):
        return pixels
    if image.mode in ("RGB", "RGBA", "LA"):
        pixels = _grey(pixels)
    if pixels.ndim != 2 or image.mode == "F":
        what = f"a map of classes has one channel, not mode {image.mode}."
        raise InputError(path, "", what, "Is it a colour picture of the map?")
    if pixels.max(initial=0) > 255 or pixels.min(initial=0) < 0:
        value = int(pixels.max(initial=0))
        what = f"its values go up to {value}; classes are 0..254, 255 is none."
        raise InputError(path, "", what, "Is it a map of ids?")
    return pixels.astype(np.uint8)


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the one channel of a grey picture, (H, W); colours stay as they are.

    A channel of opacity must be the same everywhere.
    """
    colours = pixels[..., :-1] if pixels.shape[2] in (2, 4) else pixels
    opaque = colours is pixels or pixels[..., -1].min() == pixels[..., -1].max()
    if opaque and (colours == colours[..., :1]).all():
        return colours[..., 0]
    return pixels


def holds_classes(path: Path) -> bool:
    """Tell whether a map of 16 bits or several channels can be one of classes."""
    try:
        read_labels(path)
    except InputError:
        return False
    return True


def highest_apart(paths: Sequence[Path], sizes: Collection[tuple[int, int]]) -> int:
    """Return 255 or 65535 where it stands in each map, apart from all other values; else 0.

    Such a value often says that there is nothing, as -1 of 8 or 16 bits. Maps are (height, width)
    of one of the sizes, else they are not decoded.
    """
    found = 0
    for path in paths:
        try:
            if image_size(path) not in sizes:
                return 0
            values = np.unique(read_ids(path))[-2:].tolist()
        except InputError:
            # Named when it is read in its turn.
            return 0
        found = values[-1]
        if found not in (0xFF, 0xFFFF) or values[0] == found - 1:
            return 0
    return found


def write_labels(path: Path, labels: NDArray[Any]) -> None:
    """Write a map of classes or ids in 0..65535 with one channel, 8 bits where they suffice."""
    most = int(labels.max(initial=0))
    if labels.min(initial=0) < 0 or most > 0xFFFF:
        raise InputError(path, "", f"a map of one channel holds 0..65535, not {most}.")
    write_image(path, np.ascontiguousarray(labels, np.uint8 if most <= 0xFF else np.uint16), "PNG")


def write_ids(path: Path, ids: NDArray[Any]) -> None:
    """Write a map of ids in 0..2**24 - 1 as RGB: id = R + 256 G + 65536 B."""
    most = int(ids.max(initial=0))
    if ids.min(initial=0) < 0 or most >= 1 << 24:
        raise InputError(path, "", f"an RGB map holds ids below 2**24, not {most}.")
    pixels = np.empty((*ids.shape, 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = ids >> (8 * channel) & 0xFF
    write_image(path, pixels, "PNG")


def write_image(path: Path, pixels: NDArray[Any], kind: str, **options: Any) -> None:
    """Write an image whole or not at all; its folder is made.

    It is encoded in memory: where the library writes into a file itself, a full disk cuts an image
    off without a word.

    Args:
        path: The file.
        pixels: (H, W) or (H, W, 3).
        kind: Format of the library, as "JPEG".
        options: Of that format.
    """
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.getvalue())
