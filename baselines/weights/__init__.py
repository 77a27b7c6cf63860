"""The trained weights that come with the package: small models of the demo set's images."""

from pathlib import Path

__all__ = ["find_weights", "list_weights"]

_FOLDER = Path(__file__).parent
_SUFFIX = ".safetensors"


def list_weights() -> list[str]:
    """List the names of the weights that come with the package, in alphabetical order."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in _FOLDER.glob(f"*{_SUFFIX}"))


def find_weights(name: str | Path) -> Path:
    """Give the file that is meant by a path, or by a name out of :func:`list_weights`.

    A file of that name wins, so that what comes with the package never hides one of the user's.
    """
    if not Path(name).exists() and str(name) in list_weights():
        return _FOLDER / f"{name}{_SUFFIX}"
    return Path(name)
