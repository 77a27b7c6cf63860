"""A scoring as a small file that merges with those of other images: for many machines."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult, EvalState, StateError
from entity_api.state import join_images
from entity_api.state_file import read_arrays, write_arrays
from entity_api.state_room import Room
from entityseg_bench import __version__
from entityseg_bench.errors.judgements import Judgements
from entityseg_bench.io import InputError, atomic_path
from entityseg_bench.score import (
    SCHEMA,
    Scoring,
    overlap_record,
    parameters_record,
    plain,
)
from entityseg_bench.score.type_counts import TypeCounts

__all__ = ["SavedScoring", "merge_files"]

# Version of the file: raised when something in it changes its meaning. 1 was NPZ.
VERSION = 2
COUNTS = ("images", "ground_truth", "predictions")

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class SavedScoring:
    """Hold what the result JSON needs of the scorings of some shards.

    Attributes:
        task: Type of the ground truth.
        shards: What was read for each: side -> name and hash.
        counts: Images, annotations and predictions of all.
        warnings: Of all.
        score_from: What the scores were, as in the result JSON; None where there are none.
        file_names: Of the images of ``state``.
        some_images: Whether images without predictions were left out.
        state: For AP and AP^e.
        boundary: For Boundary AP and AP^e, where they were asked for.
        own: For the type's metric; None for entities, which have none.
        errors: For the kinds and costs of errors, where they were asked for.
    """

    task: str
    shards: list[dict[str, dict[str, str]]]
    counts: dict[str, int]
    warnings: list[str]
    score_from: str | None
    file_names: list[str]
    some_images: bool
    state: EvalState
    boundary: EvalState | None
    own: TypeCounts | None
    errors: Judgements | None = None

    @classmethod
    def of(cls, scoring: Scoring, judged: Judgements | None = None) -> "SavedScoring":
        """Keep of a scoring, made as a part, what merging needs.

        Args:
            scoring: Of a part of a set, or of all of it.
            judged: Of the same, where errors are to be kept.

        Raises:
            StateError: A class-aware scoring without ``EvalParams.category_ids``.
        """
        images = scoring.gt.images
        ids, names = [image.id for image in images], {image.id: image.file_name for image in images}
        state = EvalState.of(scoring.result, ids)
        groups = scoring.result.groups
        # Place among all images by rising id -> place among those that were scored.
        places = np.cumsum(np.isin(groups.place.argsort(), groups.images)) - 1
        return cls(
            task=scoring.sides.task,
            shards=[scoring.sides.files()],
            counts=dict(zip(COUNTS, (len(ids), len(scoring.gt), len(scoring.dt)), strict=True)),
            warnings=[str(problem) for problem in scoring.warnings],
            # What holds no predictions may be merged with any.
            score_from=scoring.dt.score_from if len(scoring.dt) else None,
            file_names=[names[image_id] for image_id in state.image_ids],
            some_images=scoring.result.params.image_ids is not None,
            state=state,
            boundary=EvalState.of(scoring.boundary, ids) if scoring.boundary else None,
            own=scoring.counts.at(places) if scoring.counts else None,
            errors=judged.at(places[groups.place]) if judged else None,
        )

    @staticmethod
    def merge(parts: "Sequence[SavedScoring]") -> "SavedScoring":
        """Join the scorings of shards; their order makes no difference.

        Raises:
            StateError: They do not belong together, or an image is in two of them.
        """
        if not parts:
            raise StateError("there is no state to merge")
        if len({part.task for part in parts}) > 1:
            raise StateError("states are of ground truth of several types")
        score_from = {part.score_from for part in parts} - {None}
        if len(score_from) > 1:
            raise StateError("scores were taken from several keys")
        if len({part.some_images for part in parts}) > 1:
            raise StateError("some states leave out images without predictions, the others do not")
        boundaries = _all_or_none([part.boundary for part in parts], "Boundary AP")
        own = _all_or_none([part.own for part in parts], "the type's own metric")
        errors = _all_or_none([part.errors for part in parts], "errors")
        shards = [shard for part in parts for shard in part.shards]
        _, positions = join_images([part.state.image_ids for part in parts])
        names = [name for part in parts for name in part.file_names]
        return SavedScoring(
            task=parts[0].task,
            shards=sorted(shards, key=json.dumps),
            counts={name: sum(part.counts[name] for part in parts) for name in COUNTS},
            warnings=sorted(text for part in parts for text in part.warnings),
            score_from=next(iter(score_from), None),
            file_names=[names[idx] for idx in np.argsort(np.concatenate(positions)).tolist()],
            some_images=parts[0].some_images,
            state=EvalState.merge([part.state for part in parts]),
            boundary=EvalState.merge(boundaries) if boundaries else None,
            own=TypeCounts.merge(own, positions) if own else None,
            errors=Judgements.merge(errors, positions) if errors else None,
        )

    def kept(self, room: Room) -> "SavedScoring":
        """Return the scoring with what it has of each detection in some room."""
        boundary = self.boundary.kept(room) if self.boundary else None
        return dataclasses.replace(self, state=self.state.kept(room), boundary=boundary)

    def record(self, result: EvalResult, boundary: EvalResult | None) -> dict[str, Any]:
        """Make the result JSON, as `result_record` does, with the files of every shard.

        Args:
            result: ``state``, finished.
            boundary: ``boundary`` likewise.
        """
        parameters = parameters_record(result.params)
        if self.some_images:
            parameters["images"] = len(self.state.image_ids)
        return {
            "schema": SCHEMA,
            "toolkit": {"name": "entityseg-bench", "version": __version__},
            "task": self.task,
            "metrics": plain(result.metrics),
            "own_metrics": self.own.metrics().record() if self.own else None,
            "boundary_metrics": plain(boundary.metrics) if boundary else None,
            "parameters": parameters,
            "files": self.files(),
            "shards": self.shards,
            "score_from": self.score_from or "score",
            "counts": self.counts,
            "overlap": overlap_record(result.overlap, self.state.image_ids),
            "warnings": self.warnings,
        }

    def files(self) -> dict[str, dict[str, str]]:
        """Name and hash each side; of several files the hash is that of their sorted hashes."""
        if len(self.shards) == 1:
            return self.shards[0]
        found = {}
        for side in self.shards[0]:
            hashes = sorted(shard[side]["sha256"] for shard in self.shards)
            digest = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
            found[side] = {"name": f"{len(hashes)} files", "sha256": digest}
        return found

    def save(self, path: str | Path) -> None:
        """Write the file (Parquet); one that is there already is replaced in one step."""
        about = {name: getattr(self, name) for name in HEAD} | {"version": VERSION}
        parts: dict[str, EvalState | TypeCounts | Judgements | None] = {
            name: getattr(self, name) for name in PARTS
        }
        for name, part in parts.items():
            about[name] = None if part is None else part.about()
        names = np.frombuffer(json.dumps(self.file_names).encode(), np.uint8)
        arrays: dict[str, NDArray[Any]] = {"file_names": names}
        for name, part in parts.items():
            if part is not None:
                arrays |= {f"{name}/{key}": values for key, values in part.arrays().items()}
        with atomic_path(path) as temporary:
            write_arrays(temporary, arrays, about)

    @classmethod
    def load(cls, path: str | Path) -> "SavedScoring":
        """Read what `save` wrote.

        Raises:
            InputError: A file that is no saved scoring.
        """
        try:
            arrays, about = read_arrays(path)
            if about.get("version") != VERSION:
                raise StateError(f"it is of version {about.get('version')}, not {VERSION}")
            if not about["shards"]:
                raise StateError("it names no shard")
            own = {name: _of(arrays, f"{name}/") for name in PARTS}
            state = EvalState.of_arrays(own["state"])
            errors = about["errors"]
            return cls(
                task=str(about["task"]),
                shards=[
                    {
                        side: {key: str(shard[side][key]) for key in ("name", "sha256")}
                        for side in ("ground_truth", "predictions")
                    }
                    for shard in about["shards"]
                ],
                counts={name: int(about["counts"][name]) for name in COUNTS},
                warnings=[str(text) for text in about["warnings"]],
                score_from=None if about["score_from"] is None else str(about["score_from"]),
                file_names=[str(name) for name in json.loads(arrays["file_names"].tobytes())],
                some_images=bool(about["some_images"]),
                state=state,
                boundary=EvalState.of_arrays(own["boundary"]) if own["boundary"] else None,
                own=TypeCounts.of_file(about["own"], own["own"], len(state.image_ids))
                if about["own"]
                else None,
                errors=Judgements.of_file(errors, own["errors"], state.params) if errors else None,
            ).checked()
        except (
            ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError,
        ) as error:  # fmt: skip
            raise InputError(
                path, "", f"it is no saved scoring: {error}.", "evaluate --save-state writes them."
            ) from None

    def checked(self) -> "SavedScoring":
        """Return the scoring itself.

        Raises:
            StateError: It is not of one set of images.
        """
        ids = self.state.image_ids
        if len(self.file_names) != len(ids):
            raise StateError(f"it has {len(self.file_names)} names for {len(ids)} images")
        if self.boundary and self.boundary.image_ids != ids:
            raise StateError("its Boundary AP is of other images")
        if self.own and self.own.task != self.task:
            raise StateError(f"its counts are of {self.own.task} ground truth")
        errors = self.errors
        images = [errors.image, errors.entity_image] if errors else []
        for own in images:
            if own.size and (own.min() < 0 or own.max() >= len(ids)):
                raise StateError("its errors are of other images")
        return self


# What the file holds as arrays.
PARTS = ("state", "boundary", "own", "errors")
# What the head of the file holds as it is.
HEAD = ("task", "shards", "counts", "warnings", "score_from", "some_images")


def _all_or_none(parts: Sequence[T | None], what: str) -> list[T]:
    """Return the parts if all are there, nothing if none is.

    Raises:
        StateError: Some are.
    """
    found = [part for part in parts if part is not None]
    if len(found) not in (0, len(parts)):
        raise StateError(f"some states have {what}, the others have none")
    return found


def _of(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): own for name, own in arrays.items() if name.startswith(prefix)
    }


def merge_files(paths: Sequence[str | Path]) -> SavedScoring:
    """Read saved scorings and merge them.

    Raises:
        InputError: A file that is none, or files that do not belong together.
    """
    room = Room()
    parts = [SavedScoring.load(path).kept(room) for path in paths]
    try:
        return SavedScoring.merge(parts)
    except StateError as error:
        raise InputError("states", "", f"{error}.", "Merge states of disjoint shards.") from None
