"""A published row, end to end: what it needs, predictions, scores, the published number."""

import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from entityseg_bench.categories import TASKS, Task
from entityseg_bench.io import InputError, decode_json, read_bytes, write_json
from entityseg_bench.layout import PART_FOLDERS, SPLITS, Resolution
from entityseg_bench.stopping import run_child

__all__ = [
    "Need",
    "RowName",
    "is_whole",
    "measured_numbers",
    "needs",
    "predict",
    "published_numbers",
    "row_name",
]

METHODS = {"mask2former": "Mask2Former", "cropformer": "CropFormer"}
BACKBONES = {"swin_tiny": "Swin-T", "swin_large": "Swin-L", "hornet": "HorNet-L", "R_50": "R50"}
# What `baselines.predict` writes of each type, as `evaluate` reads it.
OUTPUTS: dict[Task, str] = {
    "entity": "results.json",
    "instance": "results.json",
    "semantic": "semantic",
    "panoptic": "panoptic.json",
}


@dataclass(frozen=True)
class RowName:
    """How a preset is called in the tables, and which type of annotations it is scored on."""

    method: str
    backbone: str
    task: Task


@dataclass(frozen=True)
class Need:
    """One thing that a row needs: what was found, or, if it is missing, how to get it."""

    what: str
    found: str
    missing: str = ""


def row_name(preset: str) -> RowName:
    """Read the name of a row off the name of a preset, such as ``cropformer_swin_tiny_3x``.

    Raises:
        InputError: It does not begin with the name of a method.
    """
    method, _, rest = preset.partition("_")
    if method not in METHODS:
        raise InputError(
            preset, "", "it is no preset of Mask2Former or CropFormer.",
            "List them: entityseg models.",
        )  # fmt: skip
    task: Task = next((task for task in TASKS if rest.endswith(f"_{task}")), "entity")
    backbone = next((name for key, name in BACKBONES.items() if rest.startswith(key)), rest)
    return RowName(METHODS[method], backbone, task)


def needs(root: Path, weights: str, task: Task, resolutions: Sequence[Resolution]) -> list[Need]:
    """Look for everything that a row needs; nothing is fetched.

    Args:
        root: Of the data set.
        weights: File or name.
        task: Type of annotations.
        resolutions: Some of "high", "low".
    """
    return [
        _torch(),
        _weights(weights),
        *(_data(root, task, resolution) for resolution in resolutions),
    ]


def _torch() -> Need:
    if importlib.util.find_spec("torch"):
        return Need("torch", "installed")
    return Need("torch", "", "run: pip install 'entityseg-bench[baselines]'")


def _weights(weights: str) -> Need:
    # This package does not import the models.
    command = [sys.executable, "-m", "baselines.weights", weights, "--where"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return Need(f"weights {weights}", "", lines[-1] if lines else "they are not found")
    return Need(f"weights {weights}", done.stdout.strip())


def _data(root: Path, task: Task, resolution: Resolution) -> Need:
    from entityseg_bench.dataset import EntityDataset

    what = f"{task} val, {resolution} resolution"
    hint = f"get it with: entityseg download {root}"
    try:
        dataset = EntityDataset.open(root, task, "val", resolution)
    except InputError as error:
        return Need(what, "", f"{str(error).splitlines()[0]} {hint}")
    missing = 0
    for image in dataset.images:
        try:
            dataset.image_path(image)
        except InputError:
            missing += 1
    if missing:
        return Need(what, "", f"{missing} of {len(dataset)} images are not there; {hint}")
    return Need(what, f"{len(dataset)} images")


def predict(
    preset: str,
    weights: str,
    root: Path,
    resolution: Resolution,
    out: Path,
    options: Sequence[str] = (),
) -> Path:
    """Predict on the validation images with ``python -m baselines.predict``.

    A run that was stopped goes on where it was, and one that has ended is not done again.

    Args:
        preset: Its name.
        weights: File or name.
        root: Of the data set.
        resolution: Of the images.
        out: Folder of the predictions.
        options: More of the command, such as ``("--device", "cuda")``.

    Returns:
        What ``entityseg evaluate`` takes.

    Raises:
        InputError: The command did not run to its end; it has printed why.
    """
    found = out / OUTPUTS[row_name(preset).task]
    command = ["baselines.predict", preset, "--weights", weights, "--images", str(root)]
    command += ["--split", "val", "--resolution", resolution, "--out", str(out), *options]
    note = out / "done.json"
    if found.exists() and _noted(note) == command:
        return found
    code = run_child([sys.executable, "-m", *command])
    if code:
        raise InputError(out, "", f"predicting with {preset} ended with exit code {code}.")
    write_json(note, command)
    return found


def _noted(note: Path) -> Any:
    """Read which command has made an output; one that cannot be read is none."""
    try:
        return decode_json(note, read_bytes(note), msgspec.json.Decoder())
    except InputError:
        return None


def published_numbers(
    folder: Path, row: RowName, resolution: Resolution
) -> tuple[dict[str, float], str]:
    """Look up what was published of a row.

    Args:
        folder: Of the leaderboard, with ``published.json``.
        row: Its name.
        resolution: Of the images.

    Returns:
        Metric to percent, as printed, and the address of the source; nothing where there is none.
    """
    from entityseg_bench.leaderboard.entries import read_published

    path = folder / "published.json"
    if not path.is_file():
        return {}, ""
    published = read_published(path)
    for mark in ("first-party", "doubtful"):
        for found in published.rows:
            name = RowName(found.method, found.backbone, found.task)
            is_it = name == row and found.resolution == resolution and found.mark == mark
            if is_it and found.dataset == "EntitySeg":
                numbers = {str(metric): value for metric, value in found.percent.items()}
                return numbers, published.sources[found.source].url
    return {}, ""


def measured_numbers(result: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Give the percentages of a result that are compared: the type's own, else AP and AP^e."""
    own = (result.get("own_metrics") or {}).get("all") or result["metrics"]
    values = {name: own.get(name) for name in names}
    return {name: 100 * value for name, value in values.items() if value is not None}


def is_whole(root: Path, task: Task, resolution: Resolution) -> bool:
    """Say whether train and val together have as many images as the data set's parts.

    The folders of the parts are called after the number of their images; only part 01 has classes.
    """
    from entityseg_bench.dataset import EntityDataset

    parts = PART_FOLDERS.values() if task == "entity" else [PART_FOLDERS["01"]]
    try:
        found = sum(len(EntityDataset.open(root, task, split, resolution)) for split in SPLITS)
    except InputError:
        return False
    return found == sum(int(name.rpartition("_")[2]) for name in parts)
