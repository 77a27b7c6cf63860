"""COCO content from wherever a program has it: a path, a `COCO` object, or the content itself."""

import json
from pathlib import Path
from typing import Any

from entity_api.coco import read_json

__all__ = ["loaded"]


def loaded(source: Any, what: str) -> Any:
    """Return the content of a path or of an object with ``dataset``; all else as it is.

    Args:
        source: Path of JSON, plain or ``.gz``; an object as `COCO` is; or anything.
        what: What it is meant for, for errors.

    Raises:
        ValueError: The file is no JSON.
        OSError: It cannot be read.

    >>> from entity_api import COCO
    >>> loaded(COCO({"images": []}), "ground truth")
    {'images': []}
    """
    if isinstance(source, str | Path):
        try:
            content = read_json(source)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{what}: {source} is no JSON: {error}") from None
        if isinstance(content, str):
            # Else it would be taken for a path in its turn.
            raise ValueError(f"{what}: {source} holds a text and nothing else")
        return content
    return getattr(source, "dataset", source)
