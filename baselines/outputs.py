"""Write predictions as files for programs, or as pictures for people."""

import gzip
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baselines.predictor import Entities
from entity_api import rle
from entityseg_bench.categories import IGNORE
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import png
from entityseg_bench.formats.id_maps import write_id_png
from entityseg_bench.formats.maps import map_name
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.io import atomic_path

__all__ = [
    "DATASET_KINDS",
    "FORMATS",
    "Format",
    "is_one_file",
    "write_list",
    "write_predictions",
]

# Formats of `entityseg_bench.formats`, which are written for all images at once. The evaluator
# reads them.
DATASET_KINDS = ("ids", "npz", "panoptic")


@dataclass(frozen=True)
class Format:
    """Describe a kind of file that is written for each image.

    Attributes:
        folder: Name of its folder in the output folder.
        suffix: Suffix of its files, in place of the image's own.
        write: Writes the file at a path, from the entities and the image (H, W, 3) uint8.
    """

    folder: str
    suffix: str
    write: Callable[[Path, Entities, np.ndarray], None]

    def path(self, out: Path, file_name: str) -> Path:
        """Return the path of an image's file."""
        return (out / self.folder / map_name(file_name)).with_suffix(self.suffix)


def is_one_file(out: Path) -> bool:
    """Tell whether an output is one results file, by its name."""
    return out.name.endswith((".json", ".json.gz"))


def write_predictions(dataset: EntityDataset, out: Path, kind: str) -> None:
    """Write the predictions of a run as one of DATASET_KINDS, with an index and all scores.

    Args:
        dataset: The predictions of all images. Each annotation has its score in `extra["score"]`.
        out: The output folder.
        kind: "ids" and "npz" are written into a folder of that name, "panoptic" into a folder of
            maps with ``panoptic.json`` beside it.
    """
    if kind == "panoptic":
        write_panoptic(dataset, out / "panoptic.json", out / "panoptic")
    else:
        {"ids": write_id_png, "npz": write_npz}[kind](dataset, out / kind)


def write_list(path: Path, parts: Iterable[bytes]) -> None:
    """Write a JSON list that may not fit in memory, whole or not at all.

    Args:
        path: The file, ``.json`` or ``.json.gz``.
        parts: Elements of the list as JSON, several separated by commas; empty parts are left out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        is_packed = path.suffix == ".gz"
        with gzip.open(temporary, "wb") if is_packed else temporary.open("wb") as file:
            file.write(b"[")
            comma = b"\n"
            for part in filter(None, parts):
                file.write(comma + part)
                comma = b",\n"
            file.write(b"]")


def _id_map(entities: Entities) -> np.ndarray:
    """Return a map (H, W) that is n + 1 where segment n is, and 0 elsewhere.

    Where segments overlap, the pixel belongs to the highest score, and of equal scores to the
    earlier.
    """
    if entities.id_map is not None:
        return entities.id_map
    order = np.argsort(entities.scores, kind="stable")
    masks = [entities.segmentations[idx] for idx in order]
    return rle.paint_id_map(masks, (order + 1).tolist(), *entities.size)


def _write_semantic(path: Path, entities: Entities, image: np.ndarray) -> None:
    png.write_labels(path, np.append(IGNORE, entities.category_ids)[_id_map(entities)])


def _write_drawing(path: Path, entities: Entities, image: np.ndarray) -> None:
    from entityseg_bench import visualize

    drawing = visualize.draw(image, entities.segmentations, scores=entities.scores.tolist())
    png.write_image(path, drawing, "PNG")


def _write_binary(path: Path, entities: Entities, image: np.ndarray) -> None:
    """Write one mask of all entities together and, in a folder beside it, one mask of each."""
    whole = np.zeros(entities.size, bool)
    folder = path.with_suffix("")
    if folder.is_dir():  # left by a stopped run, perhaps with more masks
        shutil.rmtree(folder)
    folder.mkdir()
    for idx, code in enumerate(entities.segmentations):
        mask = rle.decode(code)
        whole |= mask
        png.write_image(folder / f"{idx:03}.png", mask.astype(np.uint8) * 255, "PNG")
    png.write_image(path, whole.astype(np.uint8) * 255, "PNG")


FORMATS = {
    "binary": Format("binary", ".png", _write_binary),
    "drawings": Format("drawings", ".png", _write_drawing),
    "semantic": Format("semantic", ".png", _write_semantic),
}
