"""Arrays of states in temporary files: equal bits, and memory that does not hang on detections."""

import errno
import os
import tempfile
import tracemalloc

import numpy as np
import pytest

from entity_api import EvalParams, EvalState, state_ranges, state_room
from entity_api.state_arrays import bare
from entity_api.state_room import Room

PER_IMAGE = 400


def draw(first, n_images):
    """Draw the state of some images; scores are of few values, so that many are equal."""
    rng = np.random.default_rng(first)
    scores = np.sort(rng.integers(0, 500, (n_images, PER_IMAGE)), axis=1)[:, ::-1] / 512
    patterns = np.unique(rng.integers(0, 3, (30, 80)).astype(np.uint8), axis=0)
    n = n_images * PER_IMAGE
    return EvalState(
        params=bare(EvalParams()),
        category_ids=[-1],
        image_ids=[*range(first, first + n_images)],
        overlap=np.ones((n_images, 4), np.int64),
        group_category=np.zeros(n_images, np.int64),
        group_image=np.arange(n_images),
        n_gt=np.full((n_images, 4), PER_IMAGE),
        n_dt=np.full(n_images, PER_IMAGE),
        scores=scores.reshape(-1),
        codes=rng.integers(0, len(patterns), n).astype(np.int32),
        patterns=patterns.reshape(-1, 2, 4, 10),
    )


def merged(n_states, n_images=50):
    """Merge states, each let go of as soon as it is kept, and finish what they make."""
    room = Room()
    parts = [draw(k * n_images, n_images).kept(room) for k in range(n_states)]
    state = EvalState.merge(parts)
    return state, state.finish()


def test_files_give_the_bits_of_memory(monkeypatch):
    in_memory, whole = merged(5)
    monkeypatch.setattr(state_room, "HELD", 0)
    monkeypatch.setattr(state_room, "BLOCK", 1000)
    monkeypatch.setattr(state_ranges, "AT_ONCE", 777)
    in_files, found = merged(5)
    for one in (in_files.scores, in_files.codes):
        while isinstance(one.base, np.ndarray):
            one = one.base
        assert one.base is not None  # a mapped file
    assert in_files.scores.tobytes() == in_memory.scores.tobytes()
    assert in_files.codes.tobytes() == in_memory.codes.tobytes()
    assert 0 < whole.metrics["APe"] < 1
    for kind in ("submitted", "disjoint"):
        for name in ("precision", "recall", "scores"):
            sides = [getattr(getattr(one, kind), name) for one in (found, whole)]
            assert sides[0].tobytes() == sides[1].tobytes()


def test_memory_does_not_grow_with_detections(monkeypatch):
    monkeypatch.setattr(state_room, "HELD", 1 << 17)
    monkeypatch.setattr(state_room, "BLOCK", 1 << 16)
    monkeypatch.setattr(state_ranges, "AT_ONCE", 4096)
    peaks = {}
    for n_states in (10, 40):
        tracemalloc.start()
        merged(n_states)
        peaks[n_states] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # 30 states more have 600,000 detections more, 8 MB of scores, codes and ranks.
    assert peaks[40] - peaks[10] < 3 << 20


def test_small_arrays_lie_in_memory_one_after_the_other(monkeypatch):
    monkeypatch.setattr(state_room, "BLOCK", 64)
    monkeypatch.setattr(state_room, "HELD", 200)
    room = Room()
    arrays = [room.kept(np.arange(k, k + n)) for k, n in enumerate((3, 0, 5, 2, 40, 1, 1))]
    short = room.kept(np.arange(3, dtype=np.int8))
    last = room.kept(np.array([0.5]))
    assert [own.tolist() for own in arrays] == [
        list(range(k, k + n)) for k, n in enumerate((3, 0, 5, 2, 40, 1, 1))
    ]
    assert (short.tolist(), last.tolist()) == ([0, 1, 2], [0.5])
    assert last.ctypes.data % 8 == 0


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot be asked")
def test_a_full_disk_is_told_before_it_is_written_to(monkeypatch):
    number = errno.ENOSPC

    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(state_room, "HELD", 0)
    monkeypatch.setattr(os, "posix_fallocate", fails)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        Room().array(10, np.int64)
    assert caught.value.filename == tempfile.gettempdir()
    number = errno.EOPNOTSUPP  # of the file system: then it is written
    assert Room().kept(np.arange(9)).tolist() == list(range(9))
    monkeypatch.delattr(os, "posix_fallocate")
    assert Room().kept(np.arange(9)).tolist() == list(range(9))
