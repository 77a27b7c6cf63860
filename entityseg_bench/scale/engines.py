"""What runs functions on shards: this process, or Ray."""

import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from entityseg_bench.io import InputError
from entityseg_bench.scale.ray_engine import OnRay

__all__ = ["Engine", "InOneProcess", "engine_of", "in_order"]


class Engine(Protocol):
    """Run functions on shards, somewhere."""

    def share(self, value: Any) -> Any:
        """Return what stands for a value in the arguments of `run`, so that it is sent once."""

    def run(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]]
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield the position and the result of each item, in any order.

        Raises:
            InputError: That of the first item that raises one; no others are begun then.
        """

    def scatter(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]], n: int
    ) -> Iterable[tuple[int, tuple[Any, list[Any]]]]:
        """Run what returns one value and ``n`` parts, which stay where they are made.

        Yields:
            The position of an item, and the value with what stands for the parts in the arguments
            of `run`.

        Raises:
            InputError: As `run`.
        """

    def run_made(
        self,
        make: Callable[[], Callable[..., Any]],
        items: Sequence[tuple[Any, ...]],
        workers: int | None = None,
        on_gpu: bool = False,
    ) -> Iterable[tuple[int, Any]]:
        """Run as `run` does what each process makes once and keeps, such as a model.

        Args:
            make: Returns the function that is called with the items.
            items: Likewise.
            workers: Processes, if the engine has so many; None for all that it has.
            on_gpu: Whether each process has a GPU of its own; it has a core otherwise.

        Raises:
            InputError: As `run`; or there is no GPU.
        """


def in_order(
    engine: Engine,
    work: Callable[..., Any],
    items: Sequence[tuple[Any, ...]],
    done: Callable[[], None] | None = None,
    kept: Callable[[Any], Any] = lambda result: result,
) -> list[Any]:
    """Return the result of each item in its place.

    Args:
        engine: Runs the items.
        work: What is called with each.
        items: Arguments.
        done: Called after each.
        kept: What is kept of a result.

    Raises:
        InputError: As `Engine.run`.
    """
    found: dict[int, Any] = {}
    for at, result in engine.run(work, items):
        found[at] = kept(result)
        if done:
            done()
    return [found[at] for at in range(len(items))]


class Spilled(NamedTuple):
    """Stand for a value that lies on disk, and that a set larger than memory is made of."""

    path: Path

    @classmethod
    def of(cls, value: Any, folder: Path) -> "Spilled":
        """Write a value into a folder of this process's own."""
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
        return cls(Path(file.name))

    def value(self) -> Any:
        """Read the value."""
        with self.path.open("rb") as file:
            return pickle.load(file)


class InOneProcess:
    """Run shards one after the other in this process."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def share(self, value: Any) -> Any:
        """Return the value itself."""
        return value

    def run(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]]
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield the position and the result of each item in their order."""
        for at, item in enumerate(items):
            yield at, work(*(one.value() if isinstance(one, Spilled) else one for one in item))

    def scatter(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]], n: int
    ) -> Iterator[tuple[int, tuple[Any, list[Any]]]]:
        """Yield the value of each item, with its parts on disk."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="entityseg-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for at, (value, *parts) in self.run(work, items):
            yield at, (value, [Spilled.of(part, self._folder) for part in parts])

    def run_made(
        self,
        make: Callable[[], Callable[..., Any]],
        items: Sequence[tuple[Any, ...]],
        workers: int | None = None,
        on_gpu: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """Yield the position and the result of each item in their order."""
        if items:
            yield from self.run(make(), items)


def engine_of(text: str) -> Engine:
    """Return the engine that an option ``--engine`` names.

    Raises:
        InputError: There is none of this name, or no cluster answers.
    """
    name, _, address = text.partition("=")
    if name == "ray":
        return OnRay(address or None)
    if text != "local":
        hint = "Engines are local, ray and ray=ADDRESS."
        raise InputError("arguments", "", f"there is no engine {text!r}.", hint)
    return InOneProcess()
