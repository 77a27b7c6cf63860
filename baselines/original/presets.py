"""A configuration file of the original as a preset and what differs from it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.config import ModelConfig
from baselines.original.keys import read_settings
from baselines.original.mapping import config_from_detectron2, subsets, train_from_detectron2
from baselines.original.yaml_reader import read_yaml
from baselines.presets import PRESETS, Preset
from baselines.train_config import TrainConfig
from entityseg_bench.io import InputError

__all__ = ["OriginalConfig", "read_original"]


@dataclass(frozen=True)
class OriginalConfig:
    """What a configuration file of the original asks for.

    Attributes:
        preset: Name of the preset that is nearest to it.
        model: Configuration of the network.
        train: Configuration of the training.
        differences: What the file changes of the preset, each as ``--set`` takes it.
        notes: What the file says that the command line has to.
    """

    preset: str
    model: ModelConfig
    train: TrainConfig
    differences: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        changed = f" with {' '.join(self.differences)}" if self.differences else ""
        return "\n".join((f"preset {self.preset}{changed}", *self.notes))


def read_original(path: str | Path, training: bool = True) -> OriginalConfig:
    """Read a YAML file of the original, with the files it is based on; detectron2 is not needed.

    Args:
        path: The file.
        training: Whether its settings for training are wanted; else those of the preset stand, and
            what the training here does not know is no error.

    Raises:
        InputError: As `read_yaml`; or the file has keys that are not known, all of which are
            named, or asks for what is not here. Of files that the original's README names and did
            not publish, the preset is named.
    """
    path = Path(path)
    unpublished = (
        path.stem.replace("3x", "coco_person") if "coco_person" in str(path) else path.stem
    )
    if unpublished in PRESETS and PRESETS[unpublished].is_recipe and not path.exists():
        what = "there is no such file, and the original has published none of this name."
        raise InputError(path, "", what, f"The preset {unpublished} is this package's own recipe.")
    cfg = read_yaml(path)
    try:
        model = config_from_detectron2(cfg)
        train = train_from_detectron2(cfg) if training else None
    except ValueError as error:
        raise InputError(path, "", f"{error}.") from None
    name = _nearest(model, train, path.stem)
    differences = _differences(PRESETS[name], model, train)
    train = train or PRESETS[name].train
    return OriginalConfig(name, model, train, tuple(differences), tuple(_notes(cfg, training)))


def _refuse_unpublished(path: Path) -> None:
    """Name the preset that stands for a file which the original names and did not publish."""
    persons = "coco_person" in path.parts
    name = path.stem.replace("_3x", "_coco_person") if persons else path.stem
    if name in PRESETS and PRESETS[name].is_recipe:
        what = "there is no such file, and the original has published none of this name."
        raise InputError(path, "", what, f"The preset {name} is this package's own recipe.")


def _nearest(model: ModelConfig, train: TrainConfig | None, stem: str) -> str:
    """Pick the preset with the fewest differences, of several the one of the file's name."""

    def distance(name: str) -> tuple[bool, int, bool]:
        preset = PRESETS[name]
        # A backbone of another kind cannot be expressed as a change of fields.
        other_kind = type(preset.model.backbone) is not type(model.backbone)
        return other_kind, len(_differences(preset, model, train)), name != stem

    # A file is of a recipe only if it is called so.
    return min((n for n in PRESETS if n == stem or not PRESETS[n].is_recipe), key=distance)


def _differences(preset: Preset, model: ModelConfig, train: TrainConfig | None) -> list[str]:
    changes = _changes("model", preset.model, model)
    return changes if train is None else changes + _changes("train", preset.train, train)


def _changes(prefix: str, before: Any, now: Any) -> list[str]:
    """List the fields in which two configurations differ, as ``key=value``."""
    if type(before) is not type(now):
        return [f"{prefix}={now!r}"]
    changes = []
    for field in dataclasses.fields(now):
        key = f"{prefix}.{field.name}"
        old, new = getattr(before, field.name), getattr(now, field.name)
        if dataclasses.is_dataclass(new):
            changes += _changes(key, old, new)
        elif old != new:
            changes.append(f"{key}={_text(new)}")
    return changes


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_text, value)) if isinstance(value, tuple) else str(value)


def _notes(cfg: dict[str, Any], training: bool) -> list[str]:
    """Say what of the file the commands here take from their own options."""
    settings = read_settings(cfg)
    notes = []
    if training and settings["MODEL.WEIGHTS"]:
        notes.append(f"MODEL.WEIGHTS {settings['MODEL.WEIGHTS']} is not read: name --weights")
    for key in ("DATASETS.TRAIN", "DATASETS.TEST") if training else ():
        named = zip(settings[key], subsets(settings, key), strict=True)
        strange = [name for name, subset in named if subset is None]
        if strange:
            notes.append(f"{key} {', '.join(strange)}: no EntitySeg; name the data's files")
    if any(subset and subset.resolution == "low" for subset in subsets(settings, "DATASETS.TEST")):
        notes.append("DATASETS.TEST is of low resolution: predict with --resolution low")
    return notes
