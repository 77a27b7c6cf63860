"""Run shards on Ray, on this machine or on a cluster; the only module that imports Ray."""

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from entityseg_bench.io import InputError

__all__ = ["OnRay"]

# How often a shard is scored anew after a worker or a machine was lost with it.
RETRIES = 3
# Shards a core that are handed out at a time: enough that none waits, and few to hold.
SHARDS_A_CORE = 4
# A cluster's head that is not heard of for so long is taken for gone.
SECONDS_TO_ANSWER = 10


class OnRay:
    """Run functions as Ray tasks of one core each; as an `Engine` of `shards.evaluate_shards`.

    Args:
        address: Of a running cluster, "auto" for the one of this machine; None starts Ray here, or
            uses what the process is connected to already.
    """

    def __init__(self, address: str | None = None) -> None:
        import ray

        self._ray = ray
        _see(address)
        if not ray.is_initialized():
            try:
                ray.init(address=address, include_dashboard=None if address else False,
                         log_to_driver=False, configure_logging=False)  # fmt: skip
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise _unreachable(address, str(error).partition("\n")[0].rstrip(".")) from None

    def share(self, value: Any) -> Any:
        """Put a value where all machines can fetch it."""
        return self._ray.put(value)

    def run(
        self, work: Callable[..., Any], items: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield the position and the result of each item as they are finished.

        Raises:
            InputError: The first that one of them raises, or a shard that its workers were lost
                with every time; the others are stopped.
        """
        ray = self._ray
        task = ray.remote(work).options(num_cpus=1, max_retries=RETRIES)
        most = SHARDS_A_CORE * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        waiting = iter(enumerate(items))
        running: dict[Any, int] = {}
        try:
            while True:
                for at, item in waiting:
                    running[task.remote(*item)] = at
                    if len(running) == most:
                        break
                if not running:
                    return
                (ready,), _ = ray.wait(list(running), num_returns=1)
                at = running.pop(ready)
                yield at, self._result(ready, items[at])
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _result(self, reference: Any, item: tuple[Any, ...]) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        except errors.RayError as error:
            name = next((str(value) for value in item if hasattr(value, "suffix")), "a shard")
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
