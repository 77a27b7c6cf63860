"""The published weights by name: which folder of the gated repository holds them."""

import functools
from pathlib import Path, PurePosixPath

from entityseg_bench.download.hub import HubFile, fetch, list_files, page
from entityseg_bench.io import InputError, cache_folder

__all__ = ["PUBLISHED", "fetch_published", "find_file", "folder_of"]

_ROOT = "CropFormer_model"

# Name here, in small letters -> folder. Names are those of the presets; what a folder is called
# is taken too.
PUBLISHED = {
    "coco_pretrained_weights": "Entity_Segmentation/COCO_Pretrained_Weights",
    "cropformer_hornet_3x": "Entity_Segmentation/CropFormer_hornet_3x",
    "cropformer_swin_large_3x": "Entity_Segmentation/CropFormer_swin_large_w7_3x",
    "cropformer_swin_tiny_3x": "Entity_Segmentation/CropFormer_swin_tiny_3x",
    "mask2former_hornet_3x": "Entity_Segmentation/Mask2Former_hornet_3x",
    "mask2former_hornet_3x_lr": "Entity_Segmentation/Mask2Former_hornet_3x",
    "mask2former_swin_large_3x": "Entity_Segmentation/Mask2Former_swin_large_w7_3x",
    "mask2former_swin_tiny_3x": "Entity_Segmentation/Mask2Former_swin_tiny_3x",
    "mask2former_swin_large_instance": "Instance_Segmentation/Mask2Former_swin_large_w12",
    "mask2former_swin_tiny_instance": "Instance_Segmentation/Mask2Former_swin_tiny",
    "mask2former_swin_large_semantic": "Semantic_Segmentation/Mask2Former_Swin_Large",
    "mask2former_swin_tiny_semantic": "Semantic_Segmentation/Mask2Former_Swin_Tiny",
    "mask2former_swin_large_w12_panoptic": "Panoptic_Segmentation/Mask2Former_Swin_Large_w12",
    "mask2former_swin_tiny_panoptic": "Panoptic_Segmentation/Mask2Former_Swin_Tiny",
}
_ENTITY = "Entity_Segmentation/"


def folder_of(name: str) -> str | None:
    """Return the folder of the repository that a name means, None for no published name.

    Args:
        name: A key of `PUBLISHED` or the name of an entity model's folder, in large or small
            letters; ``NAME/FILE.pth`` names one of several files of a folder.
    """
    asked = name.partition("/")[0].lower()
    folders = {f.rpartition("/")[2].lower(): f for f in PUBLISHED.values() if f.startswith(_ENTITY)}
    folder = PUBLISHED.get(asked) or folders.get(asked)
    return f"{_ROOT}/{folder}" if folder else None


def find_file(name: str) -> HubFile:
    """Find the file of weights that a published name means, by listing its folder.

    Args:
        name: As `folder_of` takes it.

    Raises:
        InputError: No access, no network, or the folder does not hold exactly one file of weights.
    """
    folder = folder_of(name)
    if folder is None:
        raise InputError(name, "", f"no published weights are called so: {', '.join(PUBLISHED)}.")
    wanted = name.partition("/")[2]
    found = [file for file in list_files(folder) if file.path.endswith((".pth", ".pkl"))]
    chosen = [file for file in found if PurePosixPath(file.path).name == wanted] or found
    if len(chosen) != 1 or (wanted and not chosen[0].path.endswith(f"/{wanted}")):
        names = [PurePosixPath(file.path).name for file in found]
        listed = ", ".join(names) or "none"
        base = name.partition("/")[0]
        raise InputError(
            page(), folder, f"it holds {len(found)} files of weights: {listed}.",
            f"Name one of them: {base}/{names[0]}." if names else "Has it been renamed?",
        )  # fmt: skip
    return chosen[0]


@functools.cache
def fetch_published(name: str) -> Path:
    """Return the file of published weights, from a cache or downloaded.

    Weights that were fetched before are taken without a network.

    Raises:
        InputError: As `find_file`, or they cannot be fetched.
    """
    cache = cache_folder() / "weights"
    try:
        return fetch(find_file(name), cache)
    except InputError:
        folder = cache / (folder_of(name) or "")
        kept = sorted(folder.glob(name.partition("/")[2] or "*.p[tk][hl]"))
        if len(kept) == 1:
            return kept[0]
        raise
