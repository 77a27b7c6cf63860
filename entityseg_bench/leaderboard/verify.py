"""Score the files behind a result again and compare to the last digit."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from entityseg_bench.formats import Inputs
from entityseg_bench.io import InputError, decode_json, read_bytes
from entityseg_bench.leaderboard.entries import ANYTHING, read_model
from entityseg_bench.leaderboard.schema import Files, converted

__all__ = ["Difference", "verify"]

# Field of the result, what is filed, what was found.
Difference = tuple[str, Any, Any]

COMPARED = ("task", "metrics", "own_metrics", "counts", "overlap")


def verify(
    path: str | Path, predictions: str | Path, gt: str | Path, inputs: Inputs | None = None
) -> list[Difference]:
    """Compare a result with a new scoring of its files.

    Args:
        path: What ``evaluate --json`` wrote, or a filed model: then its result for these files.
        predictions: Of any format that ``evaluate`` takes.
        gt: Ground truth of any type.
        inputs: What the two sides are, where they do not say it.

    Returns:
        What differs, hashes of the files first; empty when nothing does.

    Raises:
        InputError: A filed model has no result for these files, or one cannot be scored.
    """
    from entity_api import EvalParams
    from entityseg_bench.score import evaluate_files, result_record

    params = EvalParams(threads=min(os.cpu_count() or 1, 8))
    found = result_record(evaluate_files(gt, predictions, params, inputs=inputs))
    filed = choose(Path(path), found)
    return list(differences(comparable(filed), comparable(found)))


def choose(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Return a plain result, or the one of a filed model that was made from the same files."""
    raw = decode_json(path, read_bytes(path), ANYTHING)
    if "results" not in raw:
        missing = [key for key in ("files", *COMPARED) if key not in raw]
        if missing:
            raise InputError(path, missing[0], "it is missing.", "Is this a result?")
        converted(path, raw["files"], Files)
        return raw
    results = [filed.result for filed in read_model(path).results]
    for result in results:
        if hashes(result) == hashes(found):
            return result
    if len(results) == 1:
        return results[0]
    raise InputError(
        path, "results", "none of them was made from these two files.", "Compare their sha256."
    )


def hashes(record: dict[str, Any]) -> dict[str, str]:
    """Return the hash of each side; names may change, bytes may not."""
    return {side: file["sha256"] for side, file in record["files"].items()}


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Return what two scorings of the same files must agree in."""
    return {"sha256": hashes(record), **{key: record.get(key) for key in COMPARED}}


def differences(filed: Any, found: Any, where: str = "") -> Iterator[Difference]:
    """Yield every place in which two JSON values are not one and the same."""
    if isinstance(filed, dict) and isinstance(found, dict):
        for key in [*filed, *(key for key in found if key not in filed)]:
            place = f"{where}.{key}" if where else key
            yield from differences(filed.get(key), found.get(key), place)
    elif filed != found:
        yield where, filed, found
