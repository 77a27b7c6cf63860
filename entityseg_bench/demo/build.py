"""The small synthetic data set: drawn from a seed, laid out as EntitySeg is documented."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from entityseg_bench import categories
from entityseg_bench.demo.annotations import (
    Drawn,
    list_records,
    write_class_files,
    write_entity_files,
)
from entityseg_bench.demo.scene import Kind, draw_scene, kind_of, load_photos
from entityseg_bench.formats.png import write_image
from entityseg_bench.io import InputError, locked, write_json
from entityseg_bench.layout import PART_FOLDERS

__all__ = ["write_demo"]

CONTENT = ("images", "images_lr", "annotations", "predictions")

DESCRIPTION = "EntitySeg Bench demo set: synthetic images, no part of EntitySeg"

# Half of the images are of part 01, the only part with class labels, as about a third is in truth.
PART_OF = ("01", "02", "01", "03")
# One image of three of each part is for validation.
VAL_EVERY = 3
LEAST_IMAGES = 2 * len(PART_OF)

# Categories in use: those with a place in all four types, and some that only entities have.
THINGS, THINGS_OF_ENTITY_ONLY, STUFF, STUFF_OF_ENTITY_ONLY = 20, 4, 10, 2

# The low resolution of the real set is short side 800, long side at most 1333; here the short side
# is two thirds of the smallest image's, with the same limit on the shape.
LOW_SHARE, LOW_SHAPE = 2 / 3, 1333 / 800

# Images 0 and 2 of each round are of part 01, one for training and one for validation.
CROWD_EVERY = 12


class Palette(NamedTuple):
    """Hold the categories in use and where each stands in the types."""

    things: list[Kind]
    stuff: list[Kind]
    semantic_ids: dict[int, int]


def write_demo(
    root: str | Path,
    n_images: int = 24,
    seed: int = 0,
    size: tuple[int, int] = (240, 480),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic data set of all four annotation types; the same seed, the same bytes.

    Image k depends on the seed, the size and k alone, so a larger set begins with the smaller one.

    Args:
        root: Folder to write; missing, empty, or an earlier demo, which is replaced.
        n_images: Images of all parts and splits together, at least 8.
        seed: Of all chance.
        size: Least and greatest side of an image in pixels.
        progress: Called with (images finished, images to draw).

    Returns:
        The folder.

    Raises:
        InputError: The folder holds something else.
        ValueError: Fewer than 8 images, or a side under 32 pixels.
    """
    if n_images < LEAST_IMAGES:
        raise ValueError(f"a demo set has at least {LEAST_IMAGES} images, not {n_images}")
    if not 32 <= size[0] <= size[1]:
        raise ValueError(f"size is the least and the greatest side, from 32 pixels, not {size}")
    with locked(root):
        return _write(Path(root), n_images, seed, size, progress)


def _write(
    root: Path,
    n_images: int,
    seed: int,
    size: tuple[int, int],
    progress: Callable[[int, int], None] | None,
) -> Path:
    clear(root)
    about = {
        "description": DESCRIPTION,
        "synthetic": True,
        "textures": "photographs of scikit-image (public domain and CC0)",
        "n_images": n_images,
        "seed": seed,
        "size": list(size),
    }
    write_json(root / "demo.json", about, indent=2)
    palette, photos = choose_palette(), load_photos()
    drawn = []
    for k in range(n_images):
        drawn.append(_draw(root, k, seed, size, palette, photos))
        if progress:
            progress(k + 1, n_images)
    for split in ("train", "val"):
        chosen = [image for image in drawn if image.split == split]
        write_entity_files(root, chosen, split, about)
        write_class_files(root, chosen, split, about, palette.semantic_ids)
    return root


def clear(root: Path) -> None:
    """Make ``root`` an empty folder, or an earlier demo set without its content."""
    if root.exists() and not root.is_dir():
        raise InputError(root, "", "this is a file.", "Name a folder for the demo set.")
    if root.is_dir() and any(root.iterdir()) and not is_demo(root):
        raise InputError(
            root, "", "this folder holds something that is no demo set.", "Name another folder."
        )
    for name in CONTENT:
        if (root / name).is_dir():
            shutil.rmtree(root / name)
    root.mkdir(parents=True, exist_ok=True)


def is_demo(root: Path) -> bool:
    """Tell whether a folder holds the note of a demo set, not just a file of its name."""
    try:
        note = msgspec.json.decode((root / "demo.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return False
    return isinstance(note, dict) and note.get("description") == DESCRIPTION


def choose_palette() -> Palette:
    """Take the first categories of the entity table that all types have, and some that none has."""
    in_instance = {row.id for row in categories.table("instance")}
    in_panoptic = {row.id for row in categories.table("panoptic")}
    semantic_ids = categories.entity_to_semantic()
    chosen: dict[tuple[str, bool], list[int]] = {}
    for row in categories.table("entity")[1:]:
        everywhere = row.id in in_panoptic and row.id in semantic_ids
        if row.type == "thing":
            everywhere = everywhere and row.id in in_instance
        nowhere = row.id not in in_panoptic and row.id not in semantic_ids
        if row.type and (everywhere or nowhere):
            chosen.setdefault((row.type, everywhere), []).append(row.id)
    things = chosen["thing", True][:THINGS] + chosen["thing", False][:THINGS_OF_ENTITY_ONLY]
    stuff = chosen["stuff", True][:STUFF] + chosen["stuff", False][:STUFF_OF_ENTITY_ONLY]
    kinds = [kind_of(idx, category_id) for idx, category_id in enumerate(things + stuff)]
    return Palette(kinds[: len(things)], kinds[len(things) :], semantic_ids)


def _draw(
    root: Path,
    k: int,
    seed: int,
    size: tuple[int, int],
    palette: Palette,
    photos: Sequence[NDArray[np.uint8]],
) -> Drawn:
    """Draw image k and write it in both resolutions."""
    from PIL import Image

    part = PART_OF[k % len(PART_OF)]
    idx = k // len(PART_OF) * PART_OF.count(part) + PART_OF[: k % len(PART_OF)].count(part)
    split = "val" if idx % VAL_EVERY == 1 else "train"
    rng = np.random.default_rng([seed, k])
    height, width = (int(side) for side in rng.integers(size[0], size[1] + 1, 2))
    crowd = k % CROWD_EVERY in (0, 2)
    scene = draw_scene(rng, height, width, palette.things, palette.stuff, photos, crowd)
    # Names with more than one dot occur in the real set and break `name.split(".")[0]`.
    name = f"demo_{part}_{idx:05d}{'.v1.2' if k % 5 == 2 else ''}.jpg"
    low_h, low_w = _low_size(height, width, size[0])
    image = Image.fromarray(scene.image)
    low = image.resize((low_w, low_h), Image.Resampling.BILINEAR)
    for folder, picture in (("images", image), ("images_lr", low)):
        path = root / folder / PART_FOLDERS[part] / name
        write_image(path, np.asarray(picture), "JPEG", quality=90)
    low_map = Image.fromarray(scene.id_map).resize((low_w, low_h), Image.Resampling.NEAREST)
    high_records, low_records = (
        list_records(id_map, scene.category_ids, scene.crowds)
        for id_map in (scene.id_map, np.asarray(low_map))
    )
    return Drawn(part, split, idx, name, high_records, low_records)


def _low_size(height: int, width: int, least_side: int) -> tuple[int, int]:
    """Scale to the low resolution's short side, less where the long side would pass its limit."""
    short, long = sorted((height, width))
    scale = LOW_SHARE * least_side * min(1 / short, LOW_SHAPE / long)
    return int(height * scale + 0.5), int(width * scale + 0.5)
