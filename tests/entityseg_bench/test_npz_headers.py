"""Sizes of arrays are known before they are unpacked."""

import numpy as np
import pytest

from entityseg_bench.formats.npz_headers import check_npz_headers
from entityseg_bench.io import InputError


def test_headers_say_shape_kind_and_size(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, masks=np.zeros((3, 4, 5), np.uint8), size=np.array([4, 33]))
    found = check_npz_headers(path, {"masks": 60, "size": 16, "scores": 0})
    assert found.keys() == {"masks", "size"}
    assert (found["masks"].shape, found["masks"].dtype, found["masks"].n_bytes) == (
        (3, 4, 5), np.uint8, 60,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"a.npz: masks: \(3, 4, 5\) of uint8 are 60 bytes"):
        check_npz_headers(path, {"masks": 59})


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, masks=np.zeros((1 << 22,), np.uint8))
    with pytest.raises(InputError, match="are 4194304 bytes; it may have 1000"):
        check_npz_headers(path, {"masks": 1000})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip"])
def test_what_is_no_npz(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="it is no file of arrays"):
        check_npz_headers(path, {"masks": 1000})
    with pytest.raises(InputError, match="no such file"):
        check_npz_headers(tmp_path / "b.npz", {})


def test_objects_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, ids=np.array([{}], object))
    with pytest.raises(InputError, match="ids: it holds Python objects"):
        check_npz_headers(path, {"ids": 1000})
