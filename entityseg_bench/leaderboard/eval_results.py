"""Filed results as a model repository of the Hugging Face hub holds them: ``.eval_results``.

The format is that of ``docs/hub/eval-results.md`` of hub-docs, which is still being worked on.
"""

import json
import re
from pathlib import Path

from entity_api.names import BOARD, MAIN, Metric
from entityseg_bench.categories import Task
from entityseg_bench.io import InputError, atomic_path
from entityseg_bench.leaderboard.entries import read_model
from entityseg_bench.leaderboard.schema import FiledResult, ModelFile, ResultFile

__all__ = ["DATASET_IDS", "eval_results", "export_eval_results", "task_id"]

# Name of a data set on the board -> its repository on the hub.
DATASET_IDS = {"EntitySeg": "qqlu1992/Adobe_EntitySeg"}
# Name of a repository on the hub, with its owner's.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def task_id(task: Task, resolution: str) -> str:
    """Name a task as the data set's ``eval.yaml`` lists it (see docs/eval.yaml)."""
    return f"{task}_{resolution}"


def headline(result: ResultFile) -> tuple[str, float] | None:
    """Return the metric that stands for a result, in percent: AP^e, or the type's own.

    Returns:
        Its name and value; None where the type's own metric was left out.
    """
    if result.task == "entity":
        return Metric.parse(MAIN).text, 100 * (result.metrics[MAIN] or 0.0)
    name = BOARD[result.task][0]
    value = result.class_aware().get(name)
    return None if value is None else (name, 100 * value)


def eval_results(model: ModelFile, path: Path, dataset_id: str, date: str) -> str:
    """Write a model's results as YAML, an entry each.

    Args:
        model: As filed on the board.
        path: Its file, for errors.
        dataset_id: Repository of the data set on the hub.
        date: Day of the scoring, ``YYYY-MM-DD``.

    Raises:
        InputError: None of its results has a headline number.
    """
    entries = [_entry(model, filed, path, dataset_id, date) for filed in model.results]
    found = [entry for entry in entries if entry]
    if not found:
        raise InputError(path, "results", "none has a number that a model page shows.")
    return "\n".join(found) + "\n"


def _entry(
    model: ModelFile, filed: FiledResult, path: Path, dataset_id: str, date: str
) -> str | None:
    result = filed.parsed(path)
    number = headline(result)
    if number is None:
        return None
    name, value = number
    notes = (
        f"{name} in percent, {model.split}, {filed.resolution} resolution; {result.toolkit.name} "
        f"{result.toolkit.version}; predictions sha256 {result.files.predictions.sha256}"
    )
    # A JSON string is one of YAML, too.
    return f"""- dataset:
    id: {json.dumps(dataset_id)}
    task_id: {json.dumps(task_id(result.task, filed.resolution))}
  value: {round(value, 4)}
  date: {json.dumps(date)}
  source:
    url: {json.dumps(model.code)}
    name: {json.dumps(model.method, ensure_ascii=False)}
  notes: {json.dumps(notes)}"""


def export_eval_results(
    model_path: str | Path, repository: str | Path, date: str, dataset_id: str | None = None
) -> Path:
    """Write ``.eval_results/entityseg.yaml`` into a copy of a model repository.

    Args:
        model_path: A filed model of the board.
        repository: Folder of the model repository.
        date: Day of the scoring, ``YYYY-MM-DD``.
        dataset_id: Repository of the data set on the hub, where its name does not tell it.

    Returns:
        The file.

    Raises:
        InputError: The model's file is broken, or nothing tells the data set's repository.
    """
    path = Path(model_path)
    model = read_model(path)
    known = dataset_id or DATASET_IDS.get(model.dataset)
    if known is None:
        what = f"nothing is known of a repository of {model.dataset!r} on the hub."
        raise InputError(path, "dataset", what, "Say it: --dataset-id OWNER/NAME.")
    if not REPOSITORY.fullmatch(known):
        raise InputError("arguments", "--dataset-id", f"{known!r} is not OWNER/NAME.")
    target = Path(repository) / ".eval_results" / "entityseg.yaml"
    text = eval_results(model, path, known, date)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        temporary.write_bytes(text.encode())
    return target
