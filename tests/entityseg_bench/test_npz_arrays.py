"""Sizes of arrays are known before they are unpacked."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from entityseg_bench.formats.npz.arrays import opened_npz
from entityseg_bench.io import InputError


def test_headers_and_arrays(tmp_path):
    path = tmp_path / "a.npz"
    masks = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    np.savez_compressed(path, masks=masks, size=np.array([4, 33]), turned=np.asfortranarray(masks))
    with opened_npz(path) as arrays:
        found = arrays.headers
        assert found.keys() == {"masks", "size", "turned"}
        assert (found["masks"].shape, found["masks"].dtype) == ((3, 4, 5), np.uint8)
        for name in ("masks", "turned"):
            assert np.array_equal(arrays.read(name, 60), masks)
            assert np.array_equal(list(arrays.rows(name, 2)), masks[:2])
            assert np.array_equal(list(arrays.rows(name, 9)), masks)
        assert arrays.read("size", 16).tolist() == [4, 33]
        with pytest.raises(InputError, match=r"masks: uint8 of shape \(3, 4, 5\) are 60 bytes; 59"):
            arrays.read("masks", 59)


def test_a_row_at_a_time_is_in_memory(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, masks=np.zeros((64, 1 << 20), np.uint8))
    tracemalloc.start()
    with opened_npz(path) as arrays:
        for row in arrays.rows("masks", 64):
            assert not row.any()
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip"])
def test_what_is_no_npz(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"it is no file of masks"), opened_npz(path):
        pass
    with pytest.raises(InputError, match=r"no such file"), opened_npz(tmp_path / "b.npz"):
        pass


def refused(path, match):
    with pytest.raises(InputError, match=match), opened_npz(path) as arrays:
        for name in arrays.headers:
            arrays.read(name, 1000)
            list(arrays.rows(name, 1000))


def test_objects_and_odd_shapes_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, ids=np.array([{}], object))
    refused(path, r"ids: object of shape \(1,\) is not read")
    for shape in ((-1,), (-4, -4), (2, -3)):
        write_member(path, array(shape))
        refused(path, r"a: uint8 of shape .* is not read")
    write_member(path, array((1 << 62, 1 << 62)))
    refused(path, "are the most")


def array(shape, content=b"", version=(1, 0), length=None):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    packing = "<H" if version == (1, 0) else "<I"
    size = struct.pack(packing, len(text) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + size + text + content


def write_member(path, content, packing=zipfile.ZIP_DEFLATED, names=("a.npy",)):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name in names:
            archive.writestr(name, content)


def test_what_is_missing_is_not_made_up(tmp_path):
    path = tmp_path / "a.npz"
    write_member(path, array((9,), bytes(8)))
    refused(path, "ends after 8 of 9 bytes")


def test_a_header_as_long_as_memory_is_not_read(tmp_path):
    path = tmp_path / "a.npz"
    write_member(path, array((1,), bytes(1 << 26), (2, 0), 1 << 30))
    tracemalloc.start()
    refused(path, "it is no file of masks")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 << 20


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_without_a_bound_are_refused(tmp_path, packing):
    path = tmp_path / "a.npz"
    write_member(path, array((1,), bytes(1)), packing)
    refused(path, "packed in a way that NumPy does not write")


def test_many_members_and_names_twice_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    content = io.BytesIO()
    np.lib.format.write_array(content, np.zeros(1))
    for names in ([f"{k}.npy" for k in range(65)], ["a.npy", "a"]):
        write_member(path, content.getvalue(), names=names)
        refused(path, f"{len(names)} arrays are too many, or share names")


@pytest.mark.parametrize("n", [1, 2])
def test_arrays_in_columns_are_read_as_they_are(n, tmp_path):
    """Masks of run-length codes come in columns, and one of them alone is saved so."""
    path = tmp_path / "a.npz"
    masks = np.arange(n * 12).reshape(n, 3, 4)
    np.savez(path, masks=np.asfortranarray(masks))
    with opened_npz(path) as arrays:
        assert arrays.headers["masks"].fortran_order
        assert (np.stack(list(arrays.rows("masks", n))) == masks).all()
