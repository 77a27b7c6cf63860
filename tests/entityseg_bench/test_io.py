"""Files at the edge: opened, hashed, written whole or not at all."""

import gc
import gzip
import hashlib
import json
import math
import warnings

import msgspec
import pytest

from entityseg_bench.io import (
    InputError,
    atomic_path,
    decode_json,
    read_bytes,
    sha256,
    write_json,
)

NUMBERS = msgspec.json.Decoder(list[int])


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_read_plain_and_packed(tmp_path):
    for name, content in (("a.json", b"[1, 2]"), ("a.json.gz", gzip.compress(b"[1, 2]"))):
        path = tmp_path / name
        path.write_bytes(content)
        data = read_bytes(path)
        assert bytes(data) == b"[1, 2]"
        assert decode_json(path, data, NUMBERS) == [1, 2]
    # Known by its first bytes, not by its name.
    path = tmp_path / "b.json"
    path.write_bytes(gzip.compress(b"[3]"))
    assert bytes(read_bytes(str(path))) == b"[3]"


def test_read_errors(tmp_path):
    (tmp_path / "entityseg_val.json").write_text("[]")
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"[1, 2, 3]" * 50)[:-12])
    (tmp_path / "bent.json.gz").write_bytes(b"\x1f\x8b" + b"x" * 50)
    for name, what in (
        ("entityseg_vla.json", "no such file. Beside it stand: entityseg_val.json"),
        ("nowhere/a.json", "does not exist either"),
        ("empty.json", "the file is empty. Write it again."),
        ("cut.json.gz", "the gzip is broken"),
        ("bent.json.gz", "the gzip is broken"),
        ("", "it cannot be read: Is a directory"),
    ):
        with pytest.raises(InputError) as caught:
            read_bytes(tmp_path / name)
        assert what in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (b"[1, 2", "", "the JSON breaks off at its end, byte 5. Is the file whole?"),
        (b"[1,, 2]", "", "(byte 3)"),
        (b"[1] 2", "", "trailing characters"),
        (b"\xef\xbb\xbf[1]", "", "(byte 0)"),
        (b"\xff\xfe[1]", "", "(byte 0)"),
        (b'[1, "2"]', "[1]", "Expected `int`, got `str`."),
        (b'{"a": 1}', "", "Expected `array`, got `object`."),
        (b"[NaN]", "", "(byte 1)"),
    ],
)
def test_decode_errors(data, where, what):
    with pytest.raises(InputError) as caught:
        decode_json("some.json", data, NUMBERS)
    assert caught.value.file == "some.json"
    assert caught.value.where == where
    assert what in str(caught.value)
    assert gc.isenabled()


def test_an_error_reads_as_a_sentence():
    error = InputError("a.json", "record 3", "it is broken.", "Mend it.")
    assert str(error) == "a.json: record 3: it is broken. Mend it."
    assert str(InputError("a.json", "", "it is broken.")) == "a.json: it is broken."


def test_hash_is_of_the_bytes_on_disk(tmp_path):
    path = tmp_path / "a.json.gz"
    write_json(path, [1, 2])
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_write(tmp_path):
    content = {"a": [1, 2.5, None, "\u00e9"], "missing": math.nan}
    expected = {**content, "missing": None}
    path = tmp_path / "a.json"
    write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == expected
    write_json(path, content, indent=2)
    assert path.read_text(encoding="utf-8").startswith('{\n  "a": [\n')
    packed = tmp_path / "a.json.gz"
    write_json(packed, content)
    assert json.loads(gzip.decompress(packed.read_bytes())) == expected
    before = packed.read_bytes()
    write_json(packed, content)
    assert packed.read_bytes() == before
    assert names_in(tmp_path) == ["a.json", "a.json.gz"]


def test_write_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("ne")
        assert temporary.parent == path.parent
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    with pytest.raises(TypeError):
        write_json(path, object())
    assert path.read_text() == "new"


def test_write_where_nothing_can_be(tmp_path):
    with pytest.raises(InputError, match=r"no.json: it cannot be written: No such file"):
        write_json(tmp_path / "nowhere" / "no.json", [])
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder.json: it cannot be written"):
        write_json(tmp_path / "folder.json", [])
    assert names_in(tmp_path) == ["folder.json"]


def test_no_file_is_left_open(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[1]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read_bytes(path)
        assert decode_json(path, data, NUMBERS) == [1]
        del data
        gc.collect()
