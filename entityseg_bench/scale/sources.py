"""Which shards a name, a folder or a pattern stands for."""

import glob
from pathlib import Path

from entityseg_bench.io import InputError

__all__ = ["find_shards"]


def find_shards(path: str | Path) -> list[Path]:
    """List the shards that a pattern, a folder or a file names, by name.

    Raises:
        InputError: There is none.
    """
    text = str(path)
    if glob.has_magic(text) and not Path(text).exists():
        anchor = Path(text).anchor
        found = sorted(Path(anchor or ".").glob(text[len(anchor) :]))
    elif Path(text).is_dir():
        found = sorted(one for one in Path(text).iterdir() if not one.name.startswith("."))
    else:
        return [Path(text)]
    if not found:
        raise InputError(path, "", "there is no shard.", "Name a folder, or a pattern in quotes.")
    return found
