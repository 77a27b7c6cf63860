"""What runs functions on shards: this process, or Ray."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from entityseg_bench.io import InputError
from entityseg_bench.scale.ray_engine import OnRay

__all__ = ["Engine", "InOneProcess", "engine_of"]


class Engine(Protocol):
    """Run functions on shards, somewhere."""

    def share(self, value: Any) -> Any:
        """Return what stands for a value in the arguments of `run`, so that it is sent once."""

    def run(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]]
    ) -> Iterable[tuple[int, Any]]:
        """Yield the position and the result of each item, in any order.

        Raises:
            InputError: The first that one of them raises; the others are stopped.
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


class InOneProcess:
    """Run shards one after the other in this process."""

    def share(self, value: Any) -> Any:
        """Return the value itself."""
        return value

    def run(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield the position and the result of each item in their order."""
        for at, item in enumerate(items):
            yield at, work(*item)

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
