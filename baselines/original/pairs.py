"""Keys and values behind a command of the original, which change what its file says."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from baselines.original.keys import unknown_keys
from entityseg_bench.io import atomic_path

__all__ = ["is_key", "read_pairs", "with_pairs"]

# Keys of other models that its README passes along; none of them is read by these models.
PASSED_OVER = ("MODEL.CONDINST.",)
NAME = "config_given.yaml"


def is_key(text: str) -> bool:
    """Say whether a word is a key of the original's files, such as ``SOLVER.BASE_LR``."""
    return text == "OUTPUT_DIR" or ("." in text and text.partition(".")[0].isupper())


def read_pairs(words: Sequence[str]) -> dict[str, str]:
    """Read ``KEY VALUE ...``; keys of other models are passed over with a word.

    Raises:
        ValueError: A key without a value, or keys that are not known, all named.
    """
    if len(words) % 2:
        raise ValueError(f"{' '.join(words)}: keys and values do not come in pairs")
    given = dict(zip(words[::2], words[1::2], strict=True))
    for key in [key for key in given if key.startswith(PASSED_OVER)]:
        print(f"{key} is of another model, and passed over", file=sys.stderr)
        del given[key]
    unknown = unknown_keys([key for key in given if key != "OUTPUT_DIR"])
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(unknown)}")
    return given


def with_pairs(config: str | Path, pairs: Mapping[str, str], folder: Path) -> str:
    """Write a file that is based on another and changes some keys; without any, give the other.

    Args:
        config: File of the original.
        pairs: Key -> value as it was typed; what reads as a Python literal is one.
        folder: Where the file is written.

    Returns:
        Path of the file to read.
    """
    # A file that is missing is named as it was typed, by whoever reads it.
    if not pairs or not Path(config).is_file():
        return str(config)
    content: dict[str, Any] = {"_BASE_": str(Path(config).resolve())}
    for key, value in pairs.items():
        *groups, name = key.split(".")
        place = content
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    # JSON is YAML, and quotes whatever was typed.
    with atomic_path(folder / NAME) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")
    return str(folder / NAME)
