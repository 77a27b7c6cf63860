"""From the original pixels to the low resolution: short side 800, long side at most 1333."""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench import __version__, layout
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.identity import digest
from entityseg_bench.formats.maps import check_names
from entityseg_bench.formats.png import write_image
from entityseg_bench.parallel import Journal
from entityseg_bench.table import LazySegments
from entityseg_bench.types import RLE, Annotation, ImageInfo

__all__ = ["low_size", "resize_mask", "to_low", "write_low_images"]

SHORT, LONG = 800, 1333
# Pillow's scale of JPEG quality; more only makes files larger.
JPEG_QUALITY = 95


def low_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) of an image in low resolution; smaller images grow.

    The arithmetic is that of detectron2's ``ResizeShortestEdge`` (800, 1333), which made the
    published ``_lr`` files, down to its rounding: half up, after both scalings in floats.
    """
    scale = SHORT / min(height, width)
    low = (1.0 * SHORT, scale * width) if height < width else (scale * height, 1.0 * SHORT)
    if max(low) > LONG:
        shrink = LONG / max(low)
        low = (low[0] * shrink, low[1] * shrink)
    return int(low[0] + 0.5), int(low[1] + 0.5)


def _nearest(n_from: int, n_to: int) -> NDArray[np.int64]:
    """Return the pixel whose area holds the centre of each new pixel, (n_to,)."""
    return ((2 * np.arange(n_to) + 1) * n_from) // (2 * n_to)


def resize_mask(mask: RLE, height: int, width: int) -> RLE:
    """Resize a mask to (height, width), each pixel from its nearest one."""
    dense = rle_codes.decode(mask)
    rows, columns = _nearest(dense.shape[0], height), _nearest(dense.shape[1], width)
    # The mask lies in memory by columns, so picking those first is the cheaper way round.
    return rle_codes.encode(dense.T[columns][:, rows].T)  # type: ignore[return-value]


class LowAnnotations:
    """Resize the annotations of another dataset when they are asked for."""

    def __init__(self, source: EntityDataset, images: list[ImageInfo]) -> None:
        self._source = source
        self._images = images

    def __call__(self, image_idx: int) -> list[Annotation]:
        """Return what is left of an image's annotations; those without a pixel are gone."""
        image = self._images[image_idx]
        found = []
        for annotation in self._source.annotations(image_idx):
            mask = resize_mask(annotation.segmentation, image.height, image.width)
            area = rle_codes.area(mask)
            if area == 0:
                continue
            x, y, w, h = rle_codes.bbox(mask)
            found.append(
                Annotation(
                    id=annotation.id,
                    image_id=annotation.image_id,
                    category_id=annotation.category_id,
                    segmentation=mask,
                    area=float(area),
                    bbox=(x, y, w, h),
                    iscrowd=annotation.iscrowd,
                    extra=annotation.extra,
                )
            )
        return found


def to_low(dataset: EntityDataset) -> EntityDataset:
    """Return a dataset in low resolution; masks are resized when they are asked for.

    Lost: the pixels, and annotations too small to keep one. Areas and boxes are computed anew.
    """
    images = [
        ImageInfo(image.id, image.file_name, *low_size(image.height, image.width), image.extra)
        for image in dataset.images
    ]
    low = LazySegments(images, LowAnnotations(dataset, images), where_from=dataset.where)
    return dataset.replace(images=images, annotations=low, resolution="low")


def write_low_images(
    dataset: EntityDataset,
    folder: str | Path,
    jobs: int = 1,
    label: str | None = None,
    done: set[Path] | None = None,
) -> int:
    """Write the images of a high-resolution dataset in low resolution, bilinear.

    A run that broke off goes on where it stopped. JPEG is written with quality 95, other formats
    as they were.

    Args:
        dataset: With its image files.
        folder: Where to write.
        jobs: Processes.
        label: Title of a progress bar.
        done: Images that are written already, as other annotation types have the same ones; those
            that are written here are added.

    Returns:
        How many were written.

    Raises:
        InputError: An image that is missing, unreadable, or not of its annotations' size.
    """
    folder, done = Path(folder), set() if done is None else done
    check_names(dataset.images, dataset.where)
    targets = [folder / _name_of(dataset, image) for image in dataset.images]
    idxs = [idx for idx, target in enumerate(targets) if target not in done]
    images = [dataset.images[idx] for idx in idxs]
    sources = [dataset.image_path(image) for image in images]
    made = {"content": digest([sources, images]), "part": _part(dataset), "version": __version__}
    name = f".{folder.name}.{dataset.task}_{dataset.split or 'images'}.journal"
    with Journal(folder.with_name(name), made) as journal:
        work = functools.partial(_write_image, dataset, folder, idxs)
        journal.run(work, len(idxs), jobs, label)
        journal.finish()
    done.update(targets)
    return len(idxs)


def _part(dataset: EntityDataset) -> str | None:
    return dataset.image_files.part if dataset.image_files else None


def _name_of(dataset: EntityDataset, image: ImageInfo) -> str:
    """Return an image's path below the image folder, with the folder of its part where known."""
    part = _part(dataset)
    if part and layout.part_of(image.file_name) is None:
        return f"{layout.PART_FOLDERS[part]}/{image.file_name}"
    return image.file_name


def _write_image(dataset: EntityDataset, folder: Path, idxs: list[int], turn: int) -> bool:
    from PIL import Image

    image = dataset.images[idxs[turn]]
    path = folder / _name_of(dataset, image)
    pixels = dataset.read_image(image)
    height, width = low_size(*pixels.shape[:2])
    low = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    options = {"quality": JPEG_QUALITY} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    kind = Image.registered_extensions()[path.suffix.lower()]
    write_image(path, np.asarray(low), kind, **options)
    return True
