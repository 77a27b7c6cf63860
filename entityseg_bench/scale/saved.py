"""A scoring as a small file that merges with those of other images: for many machines."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult, EvalState, StateError
from entity_api.state_arrays import read_arrays
from entityseg_bench import __version__
from entityseg_bench.io import InputError, atomic_path
from entityseg_bench.score import (
    SCHEMA,
    Scoring,
    overlap_record,
    parameters_record,
    plain,
)

__all__ = ["SavedScoring", "merge_files"]

# Version of the file: raised when something in it changes its meaning.
VERSION = 1
COUNTS = ("images", "ground_truth", "predictions")

NOT_MERGED = "the type's own metric is not merged from states"


@dataclasses.dataclass(frozen=True)
class SavedScoring:
    """Hold what the result JSON needs of the scorings of some shards.

    Attributes:
        task: Type of the ground truth.
        shards: What was read for each: side -> name and hash.
        counts: Images, annotations and predictions of all.
        warnings: Of all.
        score_from: What the scores were, as in the result JSON.
        state: For AP and AP^e.
        boundary: For Boundary AP and AP^e, where they were asked for.
    """

    task: str
    shards: list[dict[str, dict[str, str]]]
    counts: dict[str, int]
    warnings: list[str]
    score_from: str | None
    state: EvalState
    boundary: EvalState | None

    @classmethod
    def of(cls, scoring: Scoring) -> "SavedScoring":
        """Keep of a scoring what merging needs.

        Raises:
            StateError: A class-aware scoring without ``EvalParams.category_ids``.
        """
        ids = [image.id for image in scoring.gt.images]
        return cls(
            task=scoring.sides.task,
            shards=[scoring.sides.files()],
            counts=dict(zip(COUNTS, (len(ids), len(scoring.gt), len(scoring.dt)), strict=True)),
            warnings=[str(problem) for problem in scoring.warnings],
            score_from=scoring.dt.score_from,
            state=EvalState.of(scoring.result, ids),
            boundary=EvalState.of(scoring.boundary, ids) if scoring.boundary else None,
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
        # Parts without predictions have no scores.
        score_from = {part.score_from for part in parts} - {None}
        if len(score_from) > 1:
            raise StateError("scores were taken from several keys")
        boundaries = [part.boundary for part in parts if part.boundary is not None]
        if len(boundaries) not in (0, len(parts)):
            raise StateError("some states have Boundary AP, the others have none")
        shards = [shard for part in parts for shard in part.shards]
        return SavedScoring(
            task=parts[0].task,
            shards=sorted(shards, key=json.dumps),
            counts={name: sum(part.counts[name] for part in parts) for name in COUNTS},
            warnings=sorted(text for part in parts for text in part.warnings),
            score_from=next(iter(score_from), None),
            state=EvalState.merge([part.state for part in parts]),
            boundary=EvalState.merge(boundaries) if boundaries else None,
        )

    def record(self, result: EvalResult, boundary: EvalResult | None) -> dict[str, Any]:
        """Make the result JSON, as `result_record` does, with the files of every shard.

        Args:
            result: ``state``, finished.
            boundary: ``boundary`` likewise.
        """
        left_out = None if self.task == "entity" else {"left_out": NOT_MERGED}
        return {
            "schema": SCHEMA,
            "toolkit": {"name": "entityseg-bench", "version": __version__},
            "task": self.task,
            "metrics": plain(result.metrics),
            "own_metrics": left_out,
            "boundary_metrics": plain(boundary.metrics) if boundary else None,
            "parameters": parameters_record(result.params),
            "files": self.files(),
            "shards": self.shards,
            "score_from": self.score_from,
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
        """Write the file (NPZ); one that is there already is replaced in one step."""
        head = {"version": VERSION, "task": self.task, "shards": self.shards}
        head |= {"counts": self.counts, "warnings": self.warnings, "score_from": self.score_from}
        arrays: dict[str, NDArray[Any]] = {
            "scoring": np.frombuffer(json.dumps(head).encode(), np.uint8)
        }
        for name, state in (("state", self.state), ("boundary", self.boundary)):
            if state is not None:
                arrays |= {f"{name}/{key}": values for key, values in state.arrays().items()}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "SavedScoring":
        """Read what `save` wrote.

        Raises:
            InputError: A file that is no saved scoring.
        """
        try:
            arrays = read_arrays(path)
            head = json.loads(arrays["scoring"].tobytes())
            if head["version"] != VERSION:
                raise StateError(f"it is of version {head['version']}, not {VERSION}")
            if not head["shards"]:
                raise StateError("it names no shard")
            boundary = _of(arrays, "boundary/")
            return cls(
                task=str(head["task"]),
                shards=[
                    {
                        side: {key: str(shard[side][key]) for key in ("name", "sha256")}
                        for side in ("ground_truth", "predictions")
                    }
                    for shard in head["shards"]
                ],
                counts={name: int(head["counts"][name]) for name in COUNTS},
                warnings=[str(text) for text in head["warnings"]],
                score_from=None if head["score_from"] is None else str(head["score_from"]),
                state=EvalState.of_arrays(_of(arrays, "state/")),
                boundary=EvalState.of_arrays(boundary) if boundary else None,
            )
        except (
            ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError,
        ) as error:  # fmt: skip
            raise InputError(
                path, "", f"it is no saved scoring: {error}.", "evaluate --save-state writes them."
            ) from None


def _of(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): own for name, own in arrays.items() if name.startswith(prefix)
    }


def merge_files(paths: Sequence[str | Path]) -> SavedScoring:
    """Read saved scorings and merge them.

    Raises:
        InputError: A file that is none, or files that do not belong together.
    """
    parts = [SavedScoring.load(path) for path in paths]
    try:
        return SavedScoring.merge(parts)
    except StateError as error:
        raise InputError("states", "", f"{error}.", "Merge states of disjoint shards.") from None
