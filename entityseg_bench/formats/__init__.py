"""Every format that is read or written: one table, one look at a path, one way to open it."""

import contextlib
import dataclasses
import functools
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from entityseg_bench.check import Report, stop
from entityseg_bench.formats.json_files import needs_all, read_json
from entityseg_bench.formats.maps import files_below
from entityseg_bench.formats.opened import INDEX, Inputs, Opened, Side
from entityseg_bench.formats.png import highest_apart, holds_classes
from entityseg_bench.io import InputError, open_regular
from entityseg_bench.table import Segments

__all__ = [
    "FORMATS",
    "Format",
    "Inputs",
    "Opened",
    "gt_format",
    "gt_formats",
    "open",
    "prediction_formats",
    "sniff",
]

# JSON of COCO's kinds is told apart by what stands near the start, the middle and the end of a
# file: every image has it, so it is not far.
WINDOW = 1 << 16

ID_OPTIONS = "--pred-format id-png (0 = nothing, each other value a segment)"
SEMANTIC_OPTIONS = "--pred-format semantic (each value a class, 255 = none)"
NOT_CLASSES = "their values are no classes 0..254, 255, or differ by channel"
# How many maps are read to tell ids from classes.
SAMPLE = 8
# Formats whose predictions are a folder.
FOLDERS = ("id-png", "npz", "sam", "semantic")


class Look:
    """Say what can be seen of a path without reading it whole."""

    def __init__(self, path: Path, side: Side | None) -> None:
        self.path = path
        self.side = side
        self.is_dir = path.is_dir()
        self.suffix = path.suffix

    @functools.cached_property
    def data(self) -> bytes:
        """The content of a file, text in UTF-8."""
        return read_json(self.path)

    @functools.cached_property
    def head(self) -> bytes:
        """The first bytes of a file, without space before them."""
        return self._windows((0,), 256)[0].lstrip()

    @functools.cached_property
    def windows(self) -> bytes:
        """The start, the middle and the end of a file; all of it where these say nothing."""
        found = b" ".join(self._windows((0, 0.5, 1), WINDOW))
        marks = (b'"segmentation"', b'"segments_info"')
        return found if any(mark in found for mark in marks) else self.data

    def _windows(self, shares: Sequence[float], n: int) -> list[bytes]:
        """Read n bytes at some places of a file, given as shares of its size."""
        with contextlib.suppress(OSError), open_regular(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            if size and not needs_all(file.read(4)):
                return [_read_at(file, int(share * max(size - n, 0)), n) for share in shares]
        # Packed, of another encoding, or not to be read: then the reader says why.
        places = [int(share * max(len(self.data) - n, 0)) for share in shares]
        return [self.data[at : at + n] for at in places]

    def says(self, word: str) -> bool:
        """Tell whether JSON has a key, as far as can be seen."""
        return f'"{word}"'.encode() in self.windows

    def holds(self, ending: str) -> bool:
        """Tell whether a file in or below a folder ends so, in any case; hidden ones do not."""
        found = (path.name.lower() for path in self.path.rglob("*.*"))
        return any(name.endswith(ending) and not name.startswith(".") for name in found)

    def is_indexed(self) -> bool:
        """Tell whether a folder has the index of id maps or NPZ."""
        return self.is_dir and (self.path / INDEX).is_file()

    def is_json(self) -> bool:
        """Tell whether a file may be JSON."""
        return not self.is_dir and self.suffix != ".txt"

    def is_pickle(self) -> bool:
        """Tell whether a file is a pickle of protocol 2 to 5, or one of torch.save."""
        if self.is_dir:
            return False
        head = self.head
        zipped = head.startswith(b"PK\x03\x04") and b"data.pkl" in head
        return zipped or (head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"))

    def is_export(self) -> bool:
        """Tell an export for Hugging Face's data sets, or a shard of one."""
        if self.is_dir:
            return any(self.path.glob("*/*.meta.json"))
        if not self.head.startswith(b"PAR1"):
            return False
        return self.side == "gt" or bool(module_of("parquet").holds_annotations(self.path))

    def has_arrays(self) -> bool:
        """Tell an NPZ file, or a folder of them without an index."""
        if self.is_dir:
            return not self.is_indexed() and self.holds(".npz")
        return self.head.startswith(b"PK\x03\x04") and b".npy" in self.head

    def is_results(self) -> bool:
        """Tell whether JSON is predictions: any is where predictions are asked for."""
        bare = self.head.startswith(b"[") or (self.says("score") and not self.says("images"))
        return self.side == "dt" or (self.side is None and bare)


def _read_at(file: BinaryIO, at: int, n: int) -> bytes:
    file.seek(at)
    return file.read(n)


class Format(NamedTuple):
    """Describe a format: how it is told, which module reads and writes it, what it is good for.

    Attributes:
        name: As users write it.
        module: Module of this package that has ``open_gt`` and, for predictions, ``open_dt``.
        tells: From a look at a path to whether it is of this format; the first in `FORMATS` wins.
        opener: Function of the module that opens it without ground truth.
        gt: Whether it holds annotations.
        dt: Whether it holds predictions.
        target: Whether it is written.
        records: Whether predictions are records with fields, one of which may be the score, and
            may name no image.
    """

    name: str
    module: str
    tells: Callable[[Look], bool]
    opener: str = "open_gt"
    gt: bool = True
    dt: bool = True
    target: bool = True
    records: bool = False


FORMATS = {
    one.name: one
    for one in (
        Format("npz", "npz", lambda seen: seen.is_indexed() and seen.holds(".npz")),
        Format("id-png", "id_maps", lambda seen: seen.is_indexed()),
        Format(
            "parquet", "parquet",
            lambda seen: seen.is_export(), dt=False,
        ),
        Format(
            "cityscapes", "cityscapes",
            lambda seen: seen.is_dir and seen.holds("_gtfine_instanceids.png"),
            dt=False, target=False,
        ),
        Format("ade20k", "ade20k", lambda seen: False, dt=False, target=False),
        Format("semantic", "semantic", lambda seen: seen.suffix == ".txt" and not seen.is_dir),
        Format(
            "sam", "sam", lambda seen: seen.is_dir and module_of("sam").tells(seen.path, seen.side),
            target=False, records=True,
        ),
        Format("entityseg", "entityseg", lambda seen: seen.is_dir, dt=False, target=False),
        Format(
            "npz-images", "npz.images", lambda seen: seen.has_arrays(),
            gt=False, target=False, records=True,
        ),
        Format(
            "arrow", "arrow",
            lambda seen: not seen.is_dir and seen.head.startswith((b"PAR1", b"ARROW1")),
            opener="open_results", gt=False, records=True,
        ),
        Format(
            "detectron2", "detectron2", lambda seen: seen.is_pickle(),
            opener="open_results", gt=False, target=False, records=True,
        ),
        Format("panoptic", "panoptic", lambda seen: seen.is_json() and seen.says("segments_info")),
        Format(
            "results", "coco", lambda seen: seen.is_json() and seen.is_results(),
            opener="open_results", gt=False, records=True,
        ),
        Format(
            "coco", "coco",
            lambda seen: seen.is_json() and (seen.side == "gt" or seen.says("annotations")),
            dt=False,
        ),
    )
}  # fmt: skip


def prediction_formats() -> tuple[str, ...]:
    """Return the names of the formats that hold predictions."""
    return tuple(one.name for one in FORMATS.values() if one.dt)


def gt_formats() -> tuple[str, ...]:
    """Return the names of the formats that hold annotations."""
    return tuple(one.name for one in FORMATS.values() if one.gt)


def sniff(path: Path, side: Side | None = None) -> str:
    """Tell the format of a path.

    Args:
        path: A file or folder.
        side: What it is asked for as; None for either.

    Raises:
        InputError: There is no such file, or its format cannot be told.
    """
    seen = Look(path, side)
    if not seen.is_dir and not seen.head:
        raise InputError(path, "", "the file holds nothing but space.")
    for one in FORMATS.values():
        fits = {"gt": one.gt, "dt": one.dt, None: True}[side]
        if fits and one.tells(seen):
            return one.name
    hint = f"Say it: --from {'|'.join(FORMATS)}."
    raise InputError(path, "", "its format cannot be told.", hint)


def open(
    path: str | Path,
    inputs: Inputs | None = None,
    truth: Segments | None = None,
    *,
    whole: bool = True,
    some_images: bool = False,
    report: Report = stop,
) -> Opened:
    """Open ground truth or, where ``truth`` is given, predictions for it.

    Args:
        path: A file or folder of any format.
        inputs: What the user says of it.
        truth: Ground truth of the predictions: it gives images, sizes and categories.
        whole: Read every field of annotations; scoring does without.
        some_images: Whether predictions may lack the maps of some images.
        report: Takes the faults that something is left of the file without.

    Raises:
        InputError: It cannot be told what it is, it is not what the user says, its maps are
            missing, or it is broken.
    """
    path, inputs = Path(path), inputs or Inputs()
    if truth is None:
        name = inputs.gt_format or gt_format(path, inputs)
        opener = getattr(module_of(name), FORMATS[name].opener)
        opened: Opened = opener(path, inputs, whole=whole, report=report)
        return opened
    said: tuple[str, list[str]] | None = (inputs.pred_format, []) if inputs.pred_format else None
    name, notes = said or pred_format(path, truth)
    if name in FOLDERS and not path.is_dir():
        raise InputError(path, "", f"{name} predictions are a folder.", "Name the folder.")
    for option, said_of in (("--image-id", inputs.image_id), ("--score-from", inputs.score_from)):
        if said_of is not None and not FORMATS[name].records:
            what = f"{option} {said_of} is for predictions that are records; this is {name}."
            raise InputError(path, "", what, f"Leave {option} out.")
    opened = module_of(name).open_dt(path, truth, inputs, some_images=some_images, report=report)
    return dataclasses.replace(opened, notes=[*notes, *opened.notes])


def module_of(name: str) -> Any:
    """Import the module of a format."""
    return importlib.import_module(f"entityseg_bench.formats.{FORMATS[name].module}")


def gt_format(path: Path, inputs: Inputs) -> str:
    """Tell the format of ground truth; a folder of class maps is told from a data set's.

    Raises:
        InputError: It cannot be told.
    """
    found = sniff(path, "gt")
    if found == "entityseg" and any(one.suffix.lower() == ".png" for one in path.iterdir()):
        wanted = (inputs.split, inputs.resolution, inputs.parts)
        if not any(module_of("entityseg").tasks_below(path, wanted)):
            return "semantic"
    return found


def pred_format(path: Path, truth: Segments) -> tuple[str, list[str]]:
    """Tell the format of predictions; also how that was decided, where they could be another.

    Raises:
        InputError: It cannot be told.
    """
    seen = Look(path, "dt")
    if not seen.is_dir:
        return sniff(path, "dt"), []
    for one in FORMATS.values():
        if one.dt and one.tells(seen):
            return one.name, []
    maps = files_below(path, ".png")
    name, notes = _format_of_maps(path, maps, truth)
    sizes = {(image.height, image.width) for image in truth.images}
    if name == "id-png" and (top := highest_apart(sorted(maps)[:SAMPLE], sizes)):
        notes.append(
            f"the value {top} of these id maps is a segment: if it says that there is none, write "
            "0 for it, and each other value plus 1."
        )
    return name, notes


def _format_of_maps(path: Path, maps: list[Path], truth: Segments) -> tuple[str, list[str]]:
    """Tell a folder of class maps from one of id maps, and say how; see `pred_format`."""
    if not maps:
        what = f"there are no PNG maps in this folder, nor an index ({INDEX}) of id maps or NPZ."
        hint = "Predictions are results JSON, panoptic JSON, or a folder of PNG maps or NPZ."
        raise InputError(path, "", what, hint)
    if any(is_deep(map_) for map_ in maps):
        some = sorted(maps)[:SAMPLE]
        # Ids in three channels are not grey, but for few; in 16 bits they may be either.
        if truth.task == "semantic" and all(map(holds_classes, some)):
            return "semantic", [f"read as class maps; if they are id maps, say {ID_OPTIONS}."]
        sure = truth.task != "semantic"
        return "id-png", [] if sure else [f"read as id maps: {NOT_CLASSES}."]
    if truth.task == "panoptic":
        raise InputError(
            path,
            "",
            "these maps of 8 bits may be class maps or id maps.",
            f"Say which: {SEMANTIC_OPTIONS} or {ID_OPTIONS}; or name a panoptic JSON.",
        )
    if truth.task == "semantic":
        return "semantic", [f"read as class maps; if they are id maps, say {ID_OPTIONS}."]
    return "id-png", [f"read as id maps; if they are class maps, say {SEMANTIC_OPTIONS}."]


def is_deep(path: Path) -> bool:
    """Tell whether a PNG has 16 bits or colours, as maps of ids have and class maps have not."""
    try:
        with open_regular(path) as file:
            head = file.read(26)
    except OSError as error:
        raise InputError(path, "", f"the map cannot be read: {error.strerror}.") from None
    # Bit depth and colour type of the IHDR chunk; 2 is RGB.
    return len(head) == 26 and (head[24] == 16 or head[25] == 2)
