"""Predictions of an image that lie in several shards: gathered by image, and scored then."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api.counts import bare
from entity_api.state_room import Room
from entityseg_bench.formats.arrow import SizedMasks
from entityseg_bench.io import InputError, collector_paused
from entityseg_bench.scale.addresses import is_address
from entityseg_bench.scale.engines import Engine, in_order
from entityseg_bench.scale.parts import Head, Part, Truth, read_shard, refuse_kinds, score_part
from entityseg_bench.scale.sources import Shard
from entityseg_bench.score import Sides
from entityseg_bench.table import Segments
from entityseg_bench.types import Origin

__all__ = ["COPY_HINT", "score_spread"]

COPY_HINT = "Is one of them a copy? An image may be in several shards, a prediction in one."

# Bytes of predictions that go from one shard to one bucket, at least: smaller parts would be held
# by the process that was started. And how many buckets there are at most.
PART, MOST_BUCKETS = 1 << 18, 256
# What a shard at an address is taken to hold, which is not asked for.
FAR_BYTES = 64 << 20

Ints = NDArray[np.int64]


class Piece(NamedTuple):
    """Hold the predictions of a shard on the images of a bucket.

    Attributes:
        rows: (N,) where in the shard they stand.
        image_idx: (N,) their images.
        category_ids: (N,).
        scores: (N,).
        sizes: (N, 2) height and width of each mask.
        codes: (N,) its compressed run lengths.
    """

    rows: Ints
    image_idx: Ints
    category_ids: Ints
    scores: NDArray[np.float64]
    sizes: Ints
    codes: list[bytes]


def score_spread(
    truth: Truth, shared: Any, shards: Sequence[Shard], engine: Engine, done: Callable[[], None]
) -> tuple[list[Head], list[Part]]:
    """Score predictions whose images lie in several shards.

    Each shard of predictions is read once and dealt out into buckets of images, a bucket being some
    neighbouring shards of ground truth; then each bucket is scored.

    Args:
        truth: All images.
        shared: What stands for them in the arguments of the engine.
        shards: Of the predictions; of one image they rank in the order of their shards.
        engine: Runs the shards.
        done: Called after each shard.

    Returns:
        What each shard says, and the scorings of the images.

    Raises:
        InputError: A bad record, or a prediction that stands in two shards.
    """
    n_bytes = sum(map(_size_of, shards))
    n = min(len(truth.shards), MOST_BUCKETS, math.isqrt(n_bytes // PART) + 1)
    cuts = np.linspace(0, len(truth.shards), n + 1).astype(np.int64)
    found: dict[int, tuple[Head, list[Any]]] = {}
    for at, result in engine.scatter(deal_out, [(shared, shard, cuts) for shard in shards], n):
        found[at] = result
        done()
    heads = [found[at][0] for at in range(len(shards))]
    about = _joined(shards, heads)
    items = []
    for bucket in range(n):
        pieces = [found[at][1][bucket] for at in range(len(shards))]
        items.append((shared, cuts[bucket : bucket + 2], list(shards), about, *pieces))
    room = Room()
    parts = in_order(
        engine, score_bucket, items, kept=lambda own: [part.kept(room) for part in own]
    )
    return heads, [part for own in parts for part in own]


def _size_of(shard: Shard) -> int:
    if is_address(shard.address):
        return FAR_BYTES
    return sum(path.stat().st_size for path in shard.paths())


def _joined(shards: Sequence[Shard], heads: Sequence[Head]) -> Head:
    """Say of all shards what `Head` says of one.

    Raises:
        InputError: They do not belong together.
    """
    refuse_kinds(shards, heads, spread=True)
    hashes = sorted(head.files["sha256"] for head in heads)
    files = {"name": f"{len(heads)} files"}
    files["sha256"] = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    first = next((head for head in heads if len(head.share.n)), heads[0])
    return first._replace(files=files, warnings=[])


def deal_out(truth: Truth, shard: Shard, cuts: Ints) -> tuple[Any, ...]:
    """Read a shard of predictions; return its head, and a piece for each bucket."""
    with collector_paused(), read_shard(truth, shard) as (sides, head):
        dt = sides.dt
        buckets = np.searchsorted(truth.starts[cuts], dt.image_idx, side="right") - 1
        pieces = [_piece(dt, np.flatnonzero(buckets == k)) for k in range(len(cuts) - 1)]
        return head, *pieces


def _piece(dt: Segments, rows: Ints) -> Piece:
    # What is not of its image's size was refused when the shard was read.
    counts = dt.counts
    return Piece(
        rows,
        dt.image_idx[rows],
        dt.category_ids[rows],
        dt.scores[rows],
        dt.sizes[dt.image_idx[rows]].reshape(-1, 2),
        [_code(counts[row]) for row in rows.tolist()],
    )


def _code(counts: Any) -> bytes:
    """Return compressed counts without the quotes of JSON, in which they may lie in a file."""
    found = counts.encode() if isinstance(counts, str) else bytes(counts)
    if not found.startswith(b'"'):
        return found
    if b"\\" not in found:
        return found[1:-1]
    # Most writers escape nothing but backslashes.
    marked = found[1:-1].replace(b"\\\\", b"\0")
    return bare(found).encode() if b"\\" in marked else marked.replace(b"\0", b"\\")


def score_bucket(
    truth: Truth, cuts: Ints, shards: Sequence[Shard], about: Head, *pieces: Piece
) -> list[Part]:
    """Score the images of some shards of ground truth with what all shards of predictions say."""
    with collector_paused():
        owners = np.repeat(np.arange(len(pieces)), [len(piece.rows) for piece in pieces])
        rows = np.concatenate([piece.rows for piece in pieces])
        _refuse_copies(truth, shards, owners, pieces)
        dt = Segments.make(
            truth.images.images,
            np.concatenate([piece.image_idx for piece in pieces]),
            SizedMasks(
                [code for piece in pieces for code in piece.codes],
                np.concatenate([piece.sizes for piece in pieces]),
            ),
            [None] * len(rows),
            category_ids=np.concatenate([piece.category_ids for piece in pieces]),
            scores=np.concatenate([piece.scores for piece in pieces]),
            predicted=True,
            categories=truth.images.categories,
            task=truth.images.task,
            where_from=", ".join(str(shard) for shard in shards[:3]),
            score_from=about.score_from,
            origin=Origin(list(map(str, shards)), owners, rows),
        )
        sides = Sides(truth.images, dt, about.classes, [], {})
        return [
            score_part(truth, k, np.arange(*truth.starts[k : k + 2].tolist()), sides, about.files)
            for k in range(*cuts.tolist())
        ]


def _refuse_copies(
    truth: Truth, shards: Sequence[Shard], owners: Ints, pieces: Sequence[Piece]
) -> None:
    """Refuse an image of which two shards hold one prediction: one of them is a copy."""
    image_idx = np.concatenate([piece.image_idx for piece in pieces])
    rows = (
        row
        for piece in pieces
        for row in zip(piece.scores.tolist(), piece.category_ids.tolist(), piece.codes, strict=True)
    )
    seen: dict[tuple[Any, ...], int] = {}
    for owner, at, row in zip(owners.tolist(), image_idx.tolist(), rows, strict=True):
        first = seen.setdefault((at, *row), owner)
        if first != owner:
            image_id = truth.images.images[at].id
            what = f"the same prediction is in {shards[first].name}, too."
            raise InputError(str(shards[owner]), f"image_id {image_id!r}", what, COPY_HINT)
