"""Weights by name: small models of the demo set's images, and the published ones."""

from pathlib import Path

from baselines.weights.published import PUBLISHED, fetch_published, folder_of

__all__ = ["PUBLISHED", "find_weights", "list_weights"]

_FOLDER = Path(__file__).parent
_SUFFIX = ".safetensors"


def list_weights() -> list[str]:
    """List the names of the weights that come with the package, in alphabetical order."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in _FOLDER.glob(f"*{_SUFFIX}"))


def find_weights(name: str | Path, fetch: bool = True) -> Path:
    """Return the file that is meant by a path, or by a name.

    A file of that name wins, so that a name never hides a file of the user's. Then come the names
    of :func:`list_weights`, then the published ones.

    Args:
        name: Path or name.
        fetch: Download published weights that are not here yet; else such a name is taken for a
            path.

    Raises:
        InputError: Published weights are named and cannot be fetched.
    """
    if not Path(name).exists():
        if str(name) in list_weights():
            return _FOLDER / f"{name}{_SUFFIX}"
        if fetch and folder_of(str(name)):
            return fetch_published(str(name))
    return Path(name)
