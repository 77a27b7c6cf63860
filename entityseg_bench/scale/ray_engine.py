"""Run shards on Ray, on this machine or on a cluster; the only module that imports Ray."""

import collections
import contextlib
import functools
import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from entityseg_bench.io import InputError
from entityseg_bench.scale.sources import Shard

__all__ = ["OnRay"]

# How often a shard is scored anew after a worker or a machine was lost with it.
RETRIES = 3
# Shards a core that are handed out at a time: enough that none waits, and few to hold.
SHARDS_A_CORE = 4
# A cluster's head that is not heard of for so long is taken for gone.
SECONDS_TO_ANSWER = 10


# What takes an item and returns the reference of its result.
Place = Callable[..., Any]


class Kept:
    """Hold in a process of its own what is made once; the actor of `OnRay.run_made`."""

    def __init__(self, folder: str, make: Callable[[], Callable[..., Any]]) -> None:
        self._folder, self._make = folder, make
        self._made: Callable[..., Any] | None = None

    def call(self, *item: Any) -> Any:
        """Make it with the first item: what is raised meanwhile comes back as that item's."""
        self._made = self._made or _call_in(self._folder, self._make)
        return self._made(*item)


class Shared:
    """Stand for a value of `OnRay.share`, which a process keeps from one shard to the next."""

    _kept: ClassVar[dict[Any, Any]] = {}

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def value(self) -> Any:
        """Fetch the value, or take what was fetched before."""
        import ray

        if self._reference not in self._kept:
            self._kept.clear()
            self._kept[self._reference] = ray.get(self._reference)
        return self._kept[self._reference]


def _call_in(folder: str, work: Callable[..., Any], *item: Any) -> Any:
    """Call a function where the driver was started, so that relative paths mean the same."""
    with contextlib.suppress(OSError):  # a machine without this folder may have all other paths
        os.chdir(folder)
    return work(*(one.value() if isinstance(one, Shared) else one for one in item))


def _keep_off_stdout(worker: Any) -> None:
    """Let Ray tell of lost workers on standard error: its standard output is the result's.

    Args:
        worker: Ray's own module of the driver, which knows no option for it.
    """
    tell = getattr(worker, "print_to_stdstream", None)
    if tell is None or getattr(tell, "off_stdout", False):
        return

    def on_stderr(data: dict[str, Any], *args: Any, **options: Any) -> None:
        tell({**data, "is_err": True}, *args, **options)

    on_stderr.off_stdout = True  # type: ignore[attr-defined]
    worker.print_to_stdstream = on_stderr


class OnRay:
    """Run functions as Ray tasks of one core each; as an `Engine` of `shards.evaluate_shards`.

    Args:
        address: Of a running cluster, "auto" for the one of this machine; None starts Ray here, or
            uses what the process is connected to already.
    """

    def __init__(self, address: str | None = None) -> None:
        import ray

        self._ray = ray
        # Ray would tell of what is raised where nobody waits for more, once something was raised.
        os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
        _keep_off_stdout(ray._private.worker)
        _see(address)
        if not ray.is_initialized():
            try:
                ray.init(address=address, include_dashboard=None if address else False,
                         log_to_driver=False, configure_logging=False)  # fmt: skip
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise _unreachable(address, str(error).partition("\n")[0].rstrip(".")) from None

    def share(self, value: Any) -> Any:
        """Put a value where all machines can fetch it, each process once."""
        return Shared(self._ray.put(value))

    def run(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]]
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield the position and the result of each item as they are finished.

        Raises:
            InputError: The first that one of them raises, or a shard that its workers were lost
                with every time; no others are begun then.
        """
        for at, _, result in self._results(self._places(self._task(work)), items):
            yield at, result

    def scatter(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]], n: int
    ) -> Iterator[tuple[int, tuple[Any, list[Any]]]]:
        """Yield the value of each item and the references of its parts, as they are finished."""
        task, parts = self._task(work, num_returns=n + 1), {}

        def place(*item: Any) -> Any:
            first, *others = task(*item)
            parts[first] = others
            return first

        for at, first, result in self._results(self._places(place), items):
            yield at, (result, parts.pop(first))

    def _task(self, work: Callable[..., Any], **options: Any) -> Place:
        name = getattr(work, "__name__", "shard")
        task = self._ray.remote(_call_in).options(
            name=name, num_cpus=1, max_retries=RETRIES, **options
        )
        return functools.partial(task.remote, str(Path.cwd()), work)

    def _places(self, place: Place) -> list[Place]:
        """Return what takes as many tasks as are handed out at a time."""
        return [place] * (SHARDS_A_CORE * self._count("CPU"))

    def run_made(
        self,
        make: Callable[[], Callable[..., Any]],
        items: Sequence[tuple[Any, ...]],
        workers: int | None = None,
        on_gpu: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """Yield as `run` does, from actors; see `engines.Engine.run_made`."""
        n = self._count("GPU" if on_gpu else "CPU")
        if not n:
            what = "no machine of the cluster has a GPU."
            raise InputError("--engine ray", "", what, "--device cpu takes cores.")
        needs = {"num_gpus": 1, "num_cpus": 1} if on_gpu else {"num_cpus": 1}
        kept = self._ray.remote(Kept).options(
            **needs, max_restarts=-1, max_task_retries=RETRIES, max_concurrency=1
        )
        actors: list[Any] = [
            kept.remote(str(Path.cwd()), make) for _ in range(min(n, workers or n, len(items)))
        ]
        try:
            places = [actor.call.remote for actor in actors]
            for at, _, result in self._results(places, items):
                yield at, result
        finally:
            for actor in actors:
                self._ray.kill(actor)

    def _count(self, kind: str) -> int:
        """Return how many cores or GPUs the cluster has; there is a core at least."""
        return max(int(self._ray.cluster_resources().get(kind, 0)), kind == "CPU")

    def _results(
        self, places: Sequence[Place], items: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any, Any]]:
        """Yield the position, the reference and the result of each item as they are finished.

        What was handed out when nobody asks for more is finished for nobody: Ray 2.60 ends the
        whole process where a task is cancelled in the moment in which it is finished.

        Args:
            places: What takes an item each, and is free for another one then.
            items: The items.

        Raises:
            InputError: That of the first item that raises one, whichever is finished first.
        """
        free, waiting = list(places), collections.deque(enumerate(items))
        # The reference of a result -> the item's position, and what took it.
        running: dict[Any, tuple[int, Place]] = {}
        while waiting or running:
            while waiting and free:
                at, item = waiting.popleft()
                place = free.pop()
                running[place(*item)] = at, place
            (ready,), _ = self._ray.wait(list(running), num_returns=1)
            at, place = running.pop(ready)
            free.append(place)
            try:
                result = self._result(ready, items[at])
            except InputError as error:
                # Those before it were handed out before it.
                for earlier, (own, _) in sorted(running.items(), key=lambda one: one[1][0]):
                    if own < at:
                        self._result(earlier, items[own])
                raise error from None
            yield at, ready, result

    def _result(self, reference: Any, item: tuple[Any, ...]) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        except errors.RayError as error:
            name = next(
                (str(value) for value in item if isinstance(value, Path | Shard)), "a shard"
            )
            what = f"its worker was lost {RETRIES + 1} times ({type(error).__name__})."
            raise InputError(name, "", what, "Is there memory enough for a shard?") from None


def _see(address: str | None) -> None:
    """Refuse HOST:PORT where nobody answers; Ray would wait for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    try:
        with socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER):
            pass
    except (OSError, OverflowError) as error:
        raise _unreachable(address, getattr(error, "strerror", None) or str(error)) from None


def _unreachable(address: str | None, reason: str) -> InputError:
    hint = "Start a cluster with ray start --head, or name no address."
    what = f"no Ray cluster can be reached: {reason}."
    return InputError(f"--engine ray={address}" if address else "--engine ray", "", what, hint)
