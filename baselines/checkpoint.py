"""Read and write checkpoints: this package's own, and published weights.

Own checkpoints are safetensors files with the configuration in the metadata. Published weights keep
the names they were published with. Only tensors and arrays are read; no code in a file is executed.
"""

import codecs
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from baselines.build import build_model
from baselines.config import ModelConfig, config_from_dict, config_to_dict
from baselines.guess import FUSION, guess_presets
from baselines.pickles import load_arrays, refusal
from baselines.weights import PUBLISHED, find_weights, list_weights
from entityseg_bench.io import InputError, atomic_path, open_regular

__all__ = [
    "KeyReport",
    "compare_keys",
    "load_checkpoint",
    "load_weights",
    "read_config",
    "read_weights",
    "rename_keys",
    "save_checkpoint",
]

Weights = dict[str, Tensor]

HEAD_PREFIXES = ("backbone.", "sem_seg_head.")

# Entries that the models here do not have: constants of the loss, tables that the model computes
# itself, counters, and the classifiers of ImageNet models.
IGNORED = re.compile(
    r"^criterion\w*\.empty_weight$|relative_position_index$|attn_mask$|num_batches_tracked$"
    r"|^pixel_(mean|std)$|^(backbone\.)?(stem\.fc|fc|head|norm)\.(weight|bias)$"
)

# What the readers raise on files that are truncated, or that hold no weights.
READ_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    UnicodeError,
    ImportError,
    AssertionError,
    SystemError,
    MemoryError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
)

# (pattern, replacement), in this order: the names of torchvision's ResNet become those of
# detectron2's conversion, and the learnable queries of early Mask2Former files get their later
# name. No pattern occurs in other names.
RENAMES = (
    (r"^(conv1|bn1)\.", r"stem.\1."),
    (r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}."),
    (r"\bbn(\d)\.", r"conv\1.norm."),
    (r"\bdownsample\.0\.", "shortcut."),
    (r"\bdownsample\.1\.", "shortcut.norm."),
    (r"\bstatic_query\.", "query_feat."),
)


@dataclass(frozen=True)
class KeyReport:
    """Say which entries of a file fit a model.

    Attributes:
        matched: Names that fit.
        missing: Names that the model has and the file lacks.
        unexpected: Names that the file has and the model lacks.
        mis_shaped: (name, shape in the file, shape in the model).
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mis_shaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def is_complete(self) -> bool:
        """True if the file holds exactly the weights of this model."""
        return not (self.missing or self.unexpected or self.mis_shaped)

    def __str__(self) -> str:
        shapes = [f"{name} {theirs} for {ours}" for name, theirs, ours in self.mis_shaped]
        lines = [f"{len(self.matched)} entries fit"]
        for title, names in (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", shapes),
        ):
            if names:
                shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                lines.append(f"{len(names)} {title}: {shown}")
        if self.missing and all(name.startswith(FUSION) for name in self.missing):
            lines.append(
                "what is missing is CropFormer's fusion block: these are Mask2Former weights"
            )
        return "; ".join(lines)


def read_weights(path: str | Path) -> Weights:
    """Read the tensors of a file, under the names they have there.

    It reads safetensors, PyTorch's formats (tensors only) and detectron2's pickles of numpy arrays,
    and tells them by their content. From a training checkpoint it takes the model. If there is no
    file of this name, it may be the name of weights that come with the package, or of published
    ones.

    Raises:
        InputError: There is no such file, its format is another, it is broken or tries to run code,
            or it holds no weights.
    """
    path = find_weights(path)
    try:
        content = _read(path)
    except FileNotFoundError:
        known = ", ".join([*list_weights(), *PUBLISHED])
        raise InputError(
            path, "", "there is no such file of weights.", f"By name alone there are: {known}."
        ) from None
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        reason = _reason(error)
        raise InputError(
            path,
            "",
            f"it is refused: {reason}.",
            "Files of weights may hold tensors and arrays only.",
        ) from None
    except READ_ERRORS as error:
        raise InputError(
            path, "", f"it holds no weights, or is broken: {_reason(error)}.", "Copy it again."
        ) from None
    weights = _tensors(_unwrap(content))
    if not weights:
        raise InputError(path, "", "there are no weights in it.")
    return weights


def rename_keys(weights: Mapping[str, Tensor]) -> Weights:
    """Rename published weights to the names of the models here, and drop all other entries.

    It knows the original's models (the models here use their names), early Mask2Former files,
    models wrapped for data parallelism, and ImageNet backbones: Swin and HorNet as their authors
    publish them, ResNet-50 as detectron2 and torchvision do.
    """
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    is_backbone = not any(name.startswith(HEAD_PREFIXES) for name in weights)
    renamed = {}
    for name, tensor in weights.items():
        if IGNORED.search(name):
            continue
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        renamed[f"backbone.{name}" if is_backbone else name] = tensor
    return renamed


def compare_keys(weights: Mapping[str, Tensor], model: nn.Module) -> KeyReport:
    """Compare the names and shapes of renamed weights with those of a model."""
    ours = {name: value for name, value in model.state_dict().items() if not IGNORED.search(name)}
    both = [name for name in ours if name in weights]
    return KeyReport(
        matched=tuple(name for name in both if weights[name].shape == ours[name].shape),
        missing=tuple(name for name in ours if name not in weights),
        unexpected=tuple(name for name in weights if name not in ours),
        mis_shaped=tuple(
            (name, tuple(weights[name].shape), tuple(ours[name].shape))
            for name in both
            if weights[name].shape != ours[name].shape
        ),
    )


def load_weights(model: nn.Module, path: str | Path, *, partial: bool = False) -> KeyReport:
    """Load a file of weights, published or our own, into a model.

    Args:
        model: It is changed in place, and only if no error is raised.
        path: The file.
        partial: Load what fits and leave the rest as it is. This is for training that starts from
            other weights: an ImageNet backbone, COCO-Entity weights with another head, or
            Mask2Former's weights for CropFormer.

    Returns:
        Which entries fitted and which did not.

    Raises:
        InputError: As `read_weights`; or the weights are not this model's (with `partial`: none
            of them fits).
    """
    weights = rename_keys(read_weights(path))
    report = compare_keys(weights, model)
    if not report.matched or not (partial or report.is_complete):
        likely = guess_presets(weights)
        raise InputError(
            path,
            "",
            f"the weights are not this model's: {report}.",
            f"They look like {' or '.join(likely)}." if likely else "",
        )
    model.load_state_dict({name: weights[name] for name in report.matched}, strict=False)
    return report


def save_checkpoint(
    path: str | Path, model: nn.Module, config: ModelConfig, notes: Mapping[str, str] | None = None
) -> None:
    """Write a model's weights and its configuration as safetensors, whole or not at all.

    Args:
        path: The file.
        model: The model whose weights are written.
        config: The configuration that builds this model; it goes into the metadata as JSON.
        notes: More metadata, such as the preset's name or the step.
    """
    # Tensors that share memory are cloned, because the format does not allow shared memory.
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        state[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    metadata = {**(notes or {}), "format": "pt", "config": json.dumps(config_to_dict(config))}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(state, temporary, metadata)
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata of a safetensors file by key, in place.

    The library writes it in a different order each time. With sorted metadata, equal weights give
    equal bytes.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        file.seek(8)
        # The format aligns the tensors with spaces at the end of the header.
        file.write(text.ljust(size))


def read_config(path: str | Path) -> ModelConfig | None:
    """Read the configuration from a checkpoint of this package; None from any other file.

    Raises:
        InputError: The file has a configuration that this version cannot read.
    """
    path = find_weights(path)
    if not path.is_file() or not _is_safetensors(path):
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("config")
        return None if text is None else config_from_dict(json.loads(text))
    except (
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        safetensors.SafetensorError,
    ) as error:
        raise InputError(path, "metadata", f"its configuration cannot be read: {error}.") from None


def load_checkpoint(path: str | Path) -> nn.Module:
    """Build the model that a checkpoint of this package describes, and load its weights.

    Raises:
        InputError: It is no checkpoint of this package, or its weights do not fit its
            configuration.
    """
    config = read_config(path)
    if config is None:
        raise InputError(
            path, "", "it is no checkpoint of this package.", "Name the preset of its weights."
        )
    model = build_model(config)
    load_weights(model, path)
    return model


def _is_safetensors(path: Path) -> bool:
    with open_regular(path) as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{"


def _read(path: Path) -> Any:
    """Read a file; its first bytes tell the format."""
    if _is_safetensors(path):
        return safetensors.torch.load_file(path)
    with open_regular(path) as file:
        start = file.read(32)
        file.seek(0)
        is_zip = start.startswith(b"PK")
        if is_zip:
            _check_zip(file)
        # Before version 1.6, PyTorch's files begin with a pickled number.
        is_legacy = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little") in start
        if not is_zip and not is_legacy:
            return load_arrays(file)
    # Training checkpoints hold numpy scalars in their schedulers, and some weights are arrays.
    with torch.serialization.safe_globals(_numpy_globals()):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def _check_zip(file: BinaryIO) -> None:
    """See that a file of PyTorch's unpacks to no more than it is: it never packs its parts.

    Raises:
        zipfile.BadZipFile: It is no zip, or one part is packed.
    """
    with zipfile.ZipFile(file) as archive:
        packed = [part.filename for part in archive.infolist() if part.compress_type]
    if packed:
        raise zipfile.BadZipFile(f"{packed[0]} in it is packed, as PyTorch does not")


def _numpy_globals() -> list[Any]:
    """Return what numpy arrays and scalars are pickled with, also under numpy 1's names."""
    makers = {"_reconstruct": np.empty(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    old = [(maker, f"numpy.core.multiarray.{name}") for name, maker in makers.items()]
    return [np.ndarray, np.dtype, codecs.encode, *makers.values(), *old, *kinds]


def _reason(error: Exception) -> str:
    """Shorten an error: PyTorch's message goes on to advise loading without the safety check."""
    text = str(error)
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if wanted:
        return refusal(wanted[1])
    return re.split(r"\.\s|\n", text)[0].rstrip(".") or type(error).__name__


def _unwrap(content: Any) -> Any:
    """Take the model out of a training checkpoint."""
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    return content


def _tensors(content: Any) -> Weights:
    if not isinstance(content, Mapping):
        return {}
    return {
        str(name): value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        for name, value in content.items()
        if isinstance(value, Tensor | np.ndarray)
    }
