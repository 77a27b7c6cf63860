"""EntityMetric: score a model image by image, in one process or in several."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entity_api.counts import RLEError
from entity_api.dense import array_of, code_masks, scores_of
from entity_api.distributed import gather, own_rank
from entityseg_bench.categories import Task
from entityseg_bench.check import Problem
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import Inputs
from entityseg_bench.formats.matching import match_ids
from entityseg_bench.formats.png import read_rgb
from entityseg_bench.io import InputError, collector_paused
from entityseg_bench.layout import ImageFiles, Resolution, Split
from entityseg_bench.scale.condensed import Condensed, Predicted, classes_of, table_of
from entityseg_bench.score import BENCHMARK, Scoring, Sides, evaluate_sides
from entityseg_bench.score.in_memory import open_truth
from entityseg_bench.score.protocols import protocol_of
from entityseg_bench.types import ImageInfo

__all__ = ["EntityMetric", "MetricImage"]

# Fields of a mask's record that say how sure it is, the first that is there.
SCORES = ("score", "predicted_iou")


@dataclasses.dataclass(frozen=True)
class MetricImage:
    """Describe an image that is to be predicted; height and width are in pixels."""

    id: int | str
    file_name: str
    height: int
    width: int
    files: ImageFiles | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def path(self) -> Path:
        """File of the image.

        Raises:
            InputError: It is not there, or nothing says where images are.
        """
        if self.files is None:
            hint = "Say it: EntityMetric(..., images=FOLDER)."
            raise InputError("EntityMetric", _named(self), "nothing says where images are.", hint)
        return self.files.find(ImageInfo(self.id, self.file_name, self.height, self.width))

    def read(self) -> NDArray[np.uint8]:
        """Read the image, (height, width, 3) RGB in 0..255.

        Raises:
            InputError: It is not there or unreadable.
        """
        # A copy: PyTorch takes arrays that may be written only.
        return read_rgb(self.path).copy()


class EntityMetric:
    """Gather predictions image by image and score them as ``entityseg evaluate`` does.

    Masks are coded as soon as they come, so memory does not grow with their pixels; `condense` lets
    go of the codes, too. Images that are never updated count as missed. The result does not depend
    on the order of the updates.

    Args:
        source: Ground truth: the folder of a data set, a path of anything that ``entityseg
            evaluate`` takes, a COCO dictionary, or an `EntityDataset`.
        split: Of a data set's folder: train or val.
        resolution: Of a data set's folder: high or low.
        task: Type of the ground truth, where it does not say it.
        images: Folder of the images, where the source's own does not hold them.
        params: What to measure.
        protocol: Name of a protocol of `entityseg_bench.score.protocols`; what it sets goes before
            ``params``.

    Attributes:
        images: The images to predict, each with ``id``, ``path``, ``height`` and ``width``.

    Raises:
        InputError: Ground truth that cannot be read.

    >>> metric = EntityMetric({"images": [{"id": 7, "height": 4, "width": 6}], "annotations": [
    ...     {"image_id": 7, "segmentation": {"size": [4, 6], "counts": [0, 24]}}]})
    >>> for image in metric.images:
    ...     metric.update(image.id, np.ones((1, 4, 6), bool), [0.9])
    >>> round(metric.compute().metrics["APe"], 6)
    1.0
    """

    def __init__(
        self,
        source: Any,
        split: Split = "val",
        resolution: Resolution = "high",
        task: Task | None = None,
        images: str | Path | None = None,
        params: EvalParams | None = None,
        protocol: str = BENCHMARK,
    ) -> None:
        self._protocol = protocol_of(protocol)
        inputs = Inputs(task=task, split=split, resolution=resolution)
        with collector_paused():
            opened = open_truth(source, inputs)
            self._gt, self._truth_notes = self._protocol.truth(opened.segments.read())
        self._read = {"ground_truth": opened.read} if opened.read else {}
        self._params = params or EvalParams()
        files = None
        if images is not None:
            files = ImageFiles(Path(images), resolution, opened.part)
        elif isinstance(source, EntityDataset):
            files = source.image_files
        elif isinstance(source, str | Path):
            path = Path(source)
            files = ImageFiles(path if path.is_dir() else path.parent, resolution, opened.part)
        self.images: Sequence[MetricImage] = tuple(
            MetricImage(im.id, im.file_name, im.height, im.width, files) for im in self._gt.images
        )
        self._position = {image.id: idx for idx, image in enumerate(self.images)}
        self._found: dict[int, Predicted] = {}
        self._condensed: list[Condensed] = []
        self._notes: dict[str, None] = {}

    def __len__(self) -> int:
        """Return how many images have been updated."""
        return len(self._all)

    @property
    def _all(self) -> dict[int, Predicted]:
        """Position of an image -> what was predicted on it, masks or none."""
        found = dict(self._found)
        for one in self._condensed:
            found |= one.found
        return found

    def __repr__(self) -> str:
        n = sum(len(one.scores) for one in self._all.values())
        return (
            f"EntityMetric({self._gt.task}, {len(self)} of {len(self.images)} images updated, "
            f"{n} predictions)"
        )

    def update(
        self, image_id: int | str, masks: Any, scores: Any = None, category_ids: Any = None
    ) -> None:
        """Take in the predictions of one image; no masks at all are predictions, too.

        Args:
            image_id: Id of the image in the ground truth.
            masks: An array or tensor (N, H, W), a list of masks (H, W), run-length codes, or
                dictionaries with ``segmentation`` and a score, as SAM's automatic mask generator
                returns them.
            scores: (N,), higher is surer; None where the masks are dictionaries: then ``score`` or
                SAM's ``predicted_iou`` of each.
            category_ids: (N,) for the metrics with classes.

        Raises:
            InputError: An unknown image, one that was updated before, a mask of another size, a
                score that is not finite. Nothing is taken in then.
        """
        idx = self._position_of(image_id)
        image = self.images[idx]
        if idx in self._found or any(idx in one.found for one in self._condensed):
            what = "it was updated before."
            raise InputError("EntityMetric", _named(image), what, "Update each image once.")
        listed = isinstance(masks, Sequence) and not isinstance(masks, str)
        if listed and len(masks) and all(_is_record(mask) for mask in masks):
            masks, scores = self._of_records(image, masks, scores)
        if scores is None:
            if len(masks):
                what = f"its {len(masks)} masks have no scores."
                raise InputError("EntityMetric", _named(image), what, "Give a score for each.")
            scores = ()
        self._found[idx] = _coded(image, masks, scores, category_ids)

    def _position_of(self, image_id: Any) -> int:
        number = array_of(image_id)
        image_id = image_id if number is None or number.size != 1 else number.item()
        try:
            return self._position[image_id]
        except (KeyError, TypeError):
            name = str(image_id) if isinstance(image_id, str | Path) else None
            found = match_ids([name] if name else [], self._gt.images, "EntityMetric")
            if name in found.where:
                self._notes.update(dict.fromkeys(found.notes))
                return found.where[name]
            what = f"there is no image {image_id!r} among the {len(self.images)} images."
            hint = f"Ids are those of the ground truth, as {next(iter(self._position), None)!r}."
            raise InputError("EntityMetric", "", what, hint) from None

    def _of_records(
        self, image: MetricImage, records: Sequence[Mapping[str, Any]], scores: Any
    ) -> tuple[list[Any], Any]:
        """Take masks and scores out of dictionaries, as mask generators write them."""
        masks = [record["segmentation"] for record in records]
        if scores is not None:
            return masks, scores
        for key in SCORES:
            if all(key in record for record in records):
                if key != "score":
                    self._notes[f"score = {key}: the masks have no score of their own."] = None
                return masks, [record[key] for record in records]
        what = f"its masks have no {' and no '.join(SCORES)}."
        raise InputError("EntityMetric", _named(image), what, "Give scores beside them.")

    def reset(self) -> None:
        """Forget all predictions; the ground truth stays."""
        self._found.clear()
        self._condensed.clear()
        self._notes.clear()

    def condense(self) -> "EntityMetric":
        """Score what was taken in so far, forget its masks, and return this metric.

        What is left of a prediction is some 30 bytes, whatever its mask was: for sets larger than
        memory, and before a metric is pickled. More can follow, and the result is the same in every
        bit; but `compute` takes no other params then, and its result has neither matches nor masks.

        Raises:
            InputError: Something that cannot be scored.
        """
        if self._found:
            self._condensed.append(self._part(self._found))
            self._found = {}
        return self

    def _part(self, found: Mapping[int, Predicted]) -> Condensed:
        with collector_paused():
            settled, only = self._protocol.settled(self._params), self._only
            return Condensed.of(self._gt, found, settled, only)

    @property
    def _only(self) -> bool:
        """Whether images without predictions are left out."""
        return self._protocol.predicted_images_only

    def merge(self, other: "EntityMetric") -> "EntityMetric":
        """Take in what another metric on the same ground truth has gathered, and return this one.

        Both are scored by the params of this one, and merge without their masks: see `condense`.

        Raises:
            InputError: The ground truth is another one, both have an image, or the other was
                condensed by other params.
        """
        if self._identity != other._identity:
            raise InputError("EntityMetric", "merge", "the two have different ground truth.")
        for idx in sorted(self._all.keys() & other._all.keys()):
            what = "both metrics were updated with it."
            raise InputError("EntityMetric", _named(self.images[idx]), what)
        own = [self._part(other._found)] if other._found else []
        parts = [*self.condense()._condensed, *other._condensed, *own]
        self._condensed = [Condensed.merge(parts)] if parts else []
        self._notes.update(other._notes)
        return self

    @functools.cached_property
    def _identity(self) -> str:
        """Hash of what is scored against."""
        gt, digest = self._gt, hashlib.sha256()
        digest.update(repr([image.id for image in gt.images]).encode())
        counts = gt.counts
        for column in (gt.sizes, gt.image_idx, gt.category_ids, gt.iscrowd, gt.areas):
            digest.update(np.ascontiguousarray(column).tobytes())
        for idx in range(len(gt)):
            code = counts[idx]
            digest.update(code.encode() if isinstance(code, str) else bytes(memoryview(code)))
            digest.update(b"\n")
        return digest.hexdigest()

    def synchronize(self) -> "EntityMetric":
        """Gather what all ranks of torch.distributed have, in each of them, and return this metric.

        All ranks must call it; without several of them nothing happens. Each rank scores its own
        images, and states without masks go around: see `condense`. Samplers repeat images to give
        each rank as many: one that several ranks have is taken once. Where ranks differ in it, that
        of the lowest is taken, and the result says so.

        Raises:
            InputError: Ranks have different ground truth or params, something that cannot be
                scored, or images were condensed on several ranks, and not all of them alike.
        """
        own = {idx: one.digest for idx, one in self._all.items()}
        said = gather((self._identity, own, self._notes))
        if len(said) == 1:
            return self
        ranks: dict[int, int] = {}
        differ = set()
        for rank, (identity, digests, notes) in enumerate(said):
            if identity != self._identity:
                what = f"rank {rank} has other ground truth than this one."
                raise InputError("EntityMetric", "synchronize", what)
            for idx, digest in digests.items():
                if said[ranks.setdefault(idx, rank)][1][idx] != digest:
                    differ.add(idx)
            self._notes.update(notes)
        if differ:
            what = (
                f"{len(differ)} images were predicted by several ranks, and not alike: the lowest"
            )
            self._notes[f"{what} rank's predictions are scored."] = None
        mine = {idx for idx, rank in ranks.items() if rank == own_rank()}
        parts: list[Condensed] = []
        # What is raised on one rank is told to all: none waits for it.
        for part in gather(self._share(mine)):
            if isinstance(part, InputError):
                raise part
            parts += part
        self._found, self._condensed = {}, [Condensed.merge(parts)] if parts else []
        return self

    def _share(self, mine: set[int]) -> list[Condensed] | InputError:
        """Return what this rank has of the images that it is to score, or why it cannot."""
        found = {idx: one for idx, one in self._found.items() if idx in mine}
        try:
            share = [self._part(found)] if found else []
        except InputError as error:
            return error
        for part in self._condensed:
            if not part.found.keys() - mine:
                share.append(part)
            elif part.found.keys() & mine:
                what = "images were condensed on several ranks, and not all of them alike."
                return InputError("EntityMetric", "synchronize", what, "Update each image once.")
        return share

    def compute(self, params: EvalParams | None = None) -> Scoring:
        """Score what was taken in so far; more can follow.

        Args:
            params: What to measure, instead of what the constructor was given.

        Raises:
            InputError: A rule of ``entityseg evaluate`` is broken.
        """
        notes = [Problem("EntityMetric", "", note, "", "warning") for note in self._notes]
        dt = table_of(self._gt, self._all)
        with collector_paused():
            notes = [*self._truth_notes, *notes]
            read, name = dict(self._read), self._protocol.name
            sides = Sides(self._gt, dt, classes_of(dt), notes, read, name)
            settled = self._protocol.settled(params or self._params)
            if not self._condensed:
                return evaluate_sides(sides, settled, None, self._only, False)
            self._condensed[0].check_params(settled, self._gt)
            parts = [*self._condensed, *([self._part(self._found)] if self._found else [])]
            return Condensed.merge(parts).scoring(sides, settled, self._only)


def _named(image: MetricImage) -> str:
    name = f" ({image.file_name})" if image.file_name else ""
    return f"image {image.id!r}{name}"


def _is_record(mask: Any) -> bool:
    """Tell whether a mask comes with what is known of it."""
    return isinstance(mask, Mapping) and "segmentation" in mask


def _coded(image: MetricImage, masks: Any, scores: Any, category_ids: Any) -> Predicted:
    """Code the predictions of an image.

    Raises:
        InputError: One that cannot be scored.
    """
    try:
        codes = code_masks(masks, (image.height, image.width))
    except RLEError as error:
        where = f"{_named(image)}, mask {error.idx}"
        raise InputError("EntityMetric", where, f"{error}.") from None
    try:
        own = scores_of(scores, len(codes))
        classes = np.full(len(codes), -1.0)
        if category_ids is not None:
            classes = scores_of(category_ids, len(codes))
    except ValueError as error:
        raise InputError("EntityMetric", _named(image), f"{error}.") from None
    for idx in np.flatnonzero(~np.isfinite(own)).tolist():
        where = f"{_named(image)}, mask {idx}"
        raise InputError("EntityMetric", where, f"its score {own[idx]} is not finite.")
    if not np.array_equal(classes, np.round(classes)):
        raise InputError("EntityMetric", _named(image), "its category ids are no whole numbers.")
    return Predicted.of([code["counts"] for code in codes], own, classes.astype(np.int64))
