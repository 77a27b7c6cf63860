"""What a conversion is of: by this a run that broke off is known again."""

from pathlib import Path
from typing import Any

from entityseg_bench.table import AnnotatedImages

__all__ = ["identity"]


def identity(dataset: AnnotatedImages, target: str) -> dict[str, Any]:
    """Describe a conversion: its source by name, size and time, and what it is written as."""
    files = []
    for name in dataset.where_from.split(", "):
        path = Path(name)
        if path.is_file():
            stat = path.stat()
            files.append([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
    return {
        "files": files,
        "target": target,
        "task": dataset.task,
        "images": len(dataset.images),
        "categories": len(dataset.categories),
    }
