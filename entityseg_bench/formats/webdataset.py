"""WebDataset: a tar archive of one JSON an image, in SA-1B's form, and perhaps the image beside it.

Read by unpacking (`entityseg_bench.scale.sources`), as SA-1B's own archives are.
"""

import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from entityseg_bench.formats.coco import annotation_row, image_row
from entityseg_bench.formats.parquet import SplitImages
from entityseg_bench.formats.rows import image_bytes
from entityseg_bench.io import InputError, atomic_path

__all__ = ["write_webdataset"]


def write_webdataset(dataset: SplitImages, path: str | Path, embed_images: bool = False) -> None:
    """Write a data set as one archive; equal data sets give equal bytes.

    Args:
        dataset: Entity annotations: the form has no table of categories.
        path: The archive, ``.tar``.
        embed_images: Put the image files beside the annotations.

    Raises:
        InputError: Another annotation type, an image file that is missing, or two images whose
            names differ in their endings alone.
    """
    if dataset.task != "entity":
        what = f"{dataset.task} annotations have classes, for which WebDataset has no place here."
        raise InputError(dataset.where_from, "", what, "Write Parquet.")
    keys: dict[str, str] = {}
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for idx, image in enumerate(dataset.images):
            # A key ends at the first full stop of the name, as readers of WebDataset take it.
            name = PurePosixPath(image.file_name.lstrip("/"))
            key = str(name.with_name(name.stem.replace(".", "_")))
            if ".." in name.parts or keys.setdefault(key, image.file_name) != image.file_name:
                what = f"in the archive it would be called as {keys.get(key)} is."
                raise InputError(dataset.where_from, f"image {image.file_name}", what)
            row = image_row(image)
            row["image_id"] = row.pop("id")
            rows = [annotation_row(one) for one in dataset.annotations(idx)]
            _add(tar, f"{key}.json", msgspec.json.encode({"image": row, "annotations": rows}))
            if embed_images:
                _add(tar, f"{key}{name.suffix}", image_bytes(dataset.image_path(image)))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    content: IO[bytes] = io.BytesIO(data)
    tar.addfile(member, content)
