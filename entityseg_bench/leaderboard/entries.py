"""The files behind the leaderboard: published rows with their sources, and scored results."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from entity_api.names import MAIN
from entityseg_bench.io import InputError, decode_json, locked, read_bytes, write_json
from entityseg_bench.layout import Resolution, Split
from entityseg_bench.leaderboard.known import check_known
from entityseg_bench.leaderboard.schema import (
    SCHEMA,
    FiledResult,
    ModelFile,
    Published,
    ResultFile,
    converted,
)

__all__ = ["add", "read_model", "read_models", "read_published"]

# How long one process waits while another files a result, seconds.
PATIENCE = 30.0
LONGEST_NAME = 100
# Names that are devices on Windows, whatever follows their dot.
DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10)))
)

PUBLISHED = msgspec.json.Decoder(Published)
MODEL = msgspec.json.Decoder(ModelFile)
ANYTHING = msgspec.json.Decoder(dict[str, Any])


def read_published(path: str | Path) -> Published:
    """Read the published rows.

    Raises:
        InputError: The file breaks the schema, or a row names a source that is not listed.
    """
    published = decode_json(path, read_bytes(path), PUBLISHED)
    for idx, row in enumerate(published.rows):
        if row.source not in published.sources:
            known = ", ".join(published.sources)
            raise InputError(
                path, f"rows[{idx}]", f"there is no source {row.source!r}.", f"There are {known}."
            )
        if row.mark == "doubtful" and not row.note:
            raise InputError(path, f"rows[{idx}]", "a doubtful row has no note.", "Say why.")
    return published


def read_model(path: str | Path) -> ModelFile:
    """Read and check one filed model.

    Raises:
        InputError: It breaks the schema, or is filed under another name than its own.
    """
    path = Path(path)
    model = decode_json(path, read_bytes(path), MODEL)
    own = (model.split, file_name(model.model))
    if (path.parent.name, path.name) != own:
        raise InputError(path, "model", "the file is not where its content belongs.",
                         f"Move it to {'/'.join(own)}.")  # fmt: skip
    for filed in model.results:
        _check_protocol(path, filed.parsed(path))
        check_known(path, model.dataset, model.split, filed.parsed(path))
    return model


def read_models(folder: str | Path) -> Iterator[tuple[Path, ModelFile]]:
    """Yield every filed model below ``results``, by split and name.

    Raises:
        InputError: As `read_model`, or two results of one table that were scored against different
            ground truth.
    """
    first: dict[tuple[Any, ...], tuple[str, Path]] = {}
    for path in sorted(Path(folder).glob("*/*.json")):
        model = read_model(path)
        for filed in model.results:
            result = filed.parsed(path)
            gt = result.files.ground_truth.sha256
            table = (model.dataset, model.split, result.task, filed.resolution)
            known, where = first.setdefault(table, (gt, path))
            if known != gt:
                raise InputError(
                    path,
                    f"{result.task}, {filed.resolution} resolution",
                    f"it was scored against another ground truth than {where}.",
                    "Score both against the same file, or file one under another --dataset.",
                )
        yield path, model


def add(
    result_path: str | Path,
    folder: str | Path,
    *,
    model: str,
    method: str,
    backbone: str,
    paper: str,
    code: str,
    dataset: str,
    parameters: int | None = None,
    split: Split | None = None,
    resolution: Resolution | None = None,
    year: int | None = None,
    weights: str | None = None,
    predictions: str | None = None,
) -> Path:
    """File a result under ``<folder>/results/<split>/<model>.json``.

    A model has one result for each task and resolution: the new one takes the place of an earlier
    one. Split and resolution are read from the name of the ground truth where they are None.

    Args:
        result_path: What ``entityseg evaluate --json`` wrote.
        folder: The leaderboard.
        model: Name of the trained network, for example ``cropformer_swin_tiny_3x``.
        method: Name in the tables.
        backbone: Name in the tables.
        paper: Address.
        code: Address.
        dataset: Name; results on different data never share a table.
        parameters: Number of the model's parameters.
        split: train or val.
        resolution: high or low.
        year: In which the method came out.
        weights: Address of the trained network.
        predictions: Address of what was scored.

    Returns:
        The file.

    Raises:
        InputError: The result breaks the schema or the protocol, or is of unknown origin, or the
            file is another model's.
    """
    result_path, folder = Path(result_path), Path(folder)
    raw = decode_json(result_path, read_bytes(result_path), ANYTHING)
    result: ResultFile = converted(result_path, raw, ResultFile)
    _check_protocol(result_path, result)
    words = _words(result_path, result, {"split": split, "resolution": resolution})
    check_known(result_path, dataset, words["split"], result)
    path = folder / "results" / words["split"] / file_name(model)
    new = FiledResult(words["resolution"], raw)
    about = {"model": model, "method": method, "backbone": backbone, "paper": paper, "code": code}
    entry: ModelFile = converted(
        result_path,
        {
            "schema": SCHEMA,
            **about,
            "dataset": dataset,
            "split": words["split"],
            "parameters": parameters,
            "results": [],
            "year": year,
            "weights": weights,
            "predictions": predictions,
        },
        ModelFile,
    )
    with locked(path, wait=PATIENCE):
        results = [new, *_others(path, entry, (result.task, new.resolution))]
        results.sort(key=lambda one: (one.result["task"], one.resolution))
        write_json(path, msgspec.structs.replace(entry, results=results), indent=2)
    return path


def _words(
    result_path: Path, result: ResultFile, said: dict[str, Split | Resolution | None]
) -> dict[str, Any]:
    """Settle split and resolution: what was said, and what the ground truth's name tells."""
    name = result.files.ground_truth.name
    named = words_of(name)
    words: dict[str, Any] = {}
    for key, given in said.items():
        words[key] = given or named.get(key)
        if given and named and given != named[key]:
            what, hint = f"{name} is {named[key]} by its name, not {given}.", ""
        elif words[key] is None:
            what, hint = f"its name, {name}, does not tell the {key}.", f"Say it with --{key}."
        else:
            continue
        raise InputError(result_path, "files.ground_truth", what, hint)
    return words


def _others(path: Path, entry: ModelFile, slot: tuple[str, str]) -> list[FiledResult]:
    """Return a model's filed results but that of one (task, resolution)."""
    if not path.is_file():
        return []
    filed = read_model(path)
    if filed.model != entry.model:
        what = f"the results of another model, {filed.model!r}, have this name."
        raise InputError(path, "model", what, "File one of them under another --model.")
    if filed.dataset != entry.dataset:
        raise InputError(
            path,
            "dataset",
            f"results of this model on {filed.dataset} are filed here, and these are on "
            f"{entry.dataset}.",
            "File one of them under another --model.",
        )
    return [old for old in filed.results if (old.parsed(path).task, old.resolution) != slot]


def file_name(model: str) -> str:
    """Return the file name of a model, another one for each model and on every system.

    A name of small letters, digits and underscores is that of its file. What is left out of
    another one, or cut off, is stood for by eight digits of its hash.
    """
    plain = re.sub(r"[^a-z0-9.]+", "_", model.lower()).strip("_.")[:LONGEST_NAME]
    if plain != model or plain.partition(".")[0] in DEVICES:
        digits = hashlib.sha256(model.encode(errors="backslashreplace")).hexdigest()[:8]
        plain = f"{plain}_{digits}".lstrip("_")
    return plain + ".json"


def words_of(gt_name: str) -> dict[str, str]:
    """Read split and resolution from a ground-truth file's name; {} where it tells none.

    Both naming worlds of the data set are known: ``entityv2_01_instances_val_lr.json`` and
    ``entityseg_insseg_val_lr.json``.
    """
    name = gt_name.lower().removesuffix(".gz").removesuffix(".json").removesuffix(".txt")
    split = re.search(r"_(train|val)(?=_|$)", name)
    if split is None or not name.startswith(("entityv2_", "entityseg_")):
        return {}
    return {"split": split[1], "resolution": "low" if name.endswith("_lr") else "high"}


def _check_protocol(path: Path, result: ResultFile) -> None:
    """Refuse results that another protocol has given: their numbers compare with nothing here."""
    from entity_api import EvalParams, evaluate

    usual, own = EvalParams(), result.parameters
    ranges = {label: tuple(ends) for label, ends in usual.area_ranges.items()}
    rules = {
        "iou_thrs": own.iou_thrs == list(usual.iou_thrs),
        "area_ranges": dict(own.area_ranges) == ranges,
        "protocol": own.protocol == "entityseg",
        "max_dets": own.max_dets == list(usual.max_dets),
        "ap_max_det": own.ap_max_det in (None, usual.ap_limit),
        "overlap_rule": own.overlap_rule == usual.overlap_rule,
        "iou_type": own.iou_type == "segm",
        "images": own.images == "all",
        # What is aware of classes stands in own_metrics, beside AP^e.
        "class_aware": not own.class_aware,
    }
    for name, holds in rules.items():
        if not holds:
            raise InputError(
                path,
                f"parameters.{name}",
                "the leaderboard takes the benchmark's own setting alone.",
                "Score again without options.",
            )
    nothing: dict[str, Any] = {"images": [], "annotations": []}
    unknown = result.metrics.keys() - evaluate(nothing, [], usual).metrics.keys()
    if unknown:
        what = "the benchmark has no such metric."
        raise InputError(path, f"metrics.{min(unknown)}", what, "Score again without options.")
    if result.metrics.get(MAIN) is None:
        raise InputError(path, f"metrics.{MAIN}", "it is missing.", "Score with overlaps removed.")
