"""Whether an image is in two shards, told by hashes of 8 bytes: the ids may be many millions."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["hashes_of", "shards_that_share"]


def hashes_of(image_ids: Iterable[int | str]) -> NDArray[np.int64]:
    """Hash ids; numbers and texts that look alike are told apart."""
    digests = (hashlib.blake2b(repr(one).encode(), digest_size=8).digest() for one in image_ids)
    return np.frombuffer(b"".join(digests), np.int64)


def shards_that_share(shards: Sequence[NDArray[np.int64]]) -> list[tuple[int, int]]:
    """List pairs of shards, the earlier first, of which two hashes are equal.

    They almost certainly hold an image both; whoever refuses them looks at the ids themselves. A
    shard that holds an image twice is a pair of itself.
    """
    hashes = np.concatenate([np.zeros(0, np.int64), *shards])
    owners = np.repeat(np.arange(len(shards)), [len(own) for own in shards])
    order = np.argsort(hashes, kind="stable")
    (twice,) = np.nonzero(np.diff(hashes[order]) == 0)
    return [(int(owners[order[at]]), int(owners[order[at + 1]])) for at in twice.tolist()]
