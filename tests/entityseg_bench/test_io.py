"""Files at the edge: opened, hashed, written whole or not at all."""

import gc
import gzip
import hashlib
import json
import math
import os
import subprocess
import sys
import warnings

import msgspec
import pytest

from entityseg_bench.io import (
    InputError,
    atomic_path,
    check_folder,
    check_writable,
    decode_json,
    open_regular,
    printable,
    read_bytes,
    read_text,
    sha256,
    trusted_cache,
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


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


@posix
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_devices_and_pipes_are_no_files(tmp_path, kind):
    path = tmp_path / "p.json"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    for use in (open_regular, read_bytes, sha256):
        with pytest.raises(InputError, match=r"p.json: it is no file, but a device or a pipe\."):
            use(path)


def test_a_name_with_a_zero_is_no_name():
    with pytest.raises(InputError, match="no name of a file"):
        read_bytes("a\0b.json")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_bytes(b"[" + b" " * 5000 + b"]")
    data = read_bytes(path)
    # What was read stays, whatever becomes of the file: a mapped one would kill the process.
    os.truncate(path, 0)
    assert data[-1:] == b"]"
    path.write_bytes(data)

    before = os.fstat
    cut = iter([True])

    def cut_after_the_first_look(descriptor):
        found = before(descriptor)
        if next(cut, False):
            os.truncate(path, 100)
        return found

    with open_regular(path) as file:
        monkeypatch.setattr("entityseg_bench.io.open_regular", lambda name: file)
        monkeypatch.setattr(os, "fstat", cut_after_the_first_look)
        with pytest.raises(InputError, match="it was changed while it was read"):
            read_bytes(path)


def test_what_a_terminal_would_obey_is_escaped():
    assert printable("a\x1b[2Jb\x07\n\x9b\u202e\ud800") == r"a\x1b[2Jb\x07\n\x9b\u202e\ud800"
    assert printable("Ünïcode 図.jpeg \\n") == "Ünïcode 図.jpeg \\n"
    error = InputError("\x1b]0;title\x07.json", "record\r3", "it is\nbroken.")
    assert str(error) == r"\x1b]0;title\x07.json: record\r3: it is\nbroken."
    assert error.file == "\x1b]0;title\x07.json"


def test_the_temporary_file_is_new_and_its_name_random(tmp_path):
    path = tmp_path / "a.txt"
    names = set()
    for _ in range(2):
        with atomic_path(path) as temporary:
            assert temporary.read_bytes() == b""
            assert temporary.is_file()
            assert not temporary.is_symlink()
            names.add(temporary.name)
            temporary.write_text("x")
    assert len(names) == 2
    assert names_in(tmp_path) == ["a.txt"]
    umask = os.umask(0o022)
    os.umask(umask)
    if os.name != "nt":
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_names_as_long_as_they_can_be_are_written(tmp_path):
    name = "ü" * 125 + ".json"
    write_json(tmp_path / name, [1])
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("name", ["folder", "file/a.json", "", "x" * 300])
def test_targets_that_cannot_be_are_found_before_the_work(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it cannot be written: "):
        check_writable(tmp_path / name)
    with pytest.raises(InputError, match="it cannot be written: "):
        write_json(tmp_path / name, [])
    assert names_in(tmp_path) == ["file", "folder"]


def test_targets_that_can_be_leave_no_trace(tmp_path):
    check_writable(tmp_path / "a.json")
    check_writable(tmp_path / "new/folder/a.json", makes_folders=True)
    check_writable(None, tmp_path / "b.json")
    check_folder(tmp_path / "new/folder")
    check_folder(tmp_path)
    assert names_in(tmp_path) == []


def test_a_folder_that_nobody_makes_has_to_be_there(tmp_path):
    with pytest.raises(InputError, match=r"new/a\.json: it cannot be written: No such file"):
        check_writable(tmp_path / "a.json", tmp_path / "new/a.json")
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/below/it"):
        with pytest.raises(InputError, match="it cannot be written: Not a directory"):
            check_folder(path)


@posix
def test_a_full_disk_is_said_of_the_target(tmp_path):
    """A limit on the size of files stands for the full disk."""
    script = (
        "import resource, signal, sys\n"
        "from entityseg_bench.io import InputError, atomic_path, write_json\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_json(sys.argv[1], list(range(1000)))\n"
        "except InputError as error:\n"
        "    print(error)\n"
        "try:\n"
        "    with atomic_path(sys.argv[1]) as path, path.open('wb') as file:\n"
        "        file.write(bytes(2000))\n"
        "except OSError as error:\n"
        "    print(error.filename)\n"
    )
    path = tmp_path / "a.json"
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    assert said[0].startswith(f"{path}: it cannot be written: File too large.")
    assert said[1] == str(path)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.json"]


def test_what_a_command_reads_is_not_written_over(tmp_path):
    for name in ("gt.json", "dt.json"):
        (tmp_path / name).write_text("[]")
    check_writable(tmp_path / "new.json", None, inputs=[tmp_path / "gt.json", None, "-"])
    for path in (tmp_path / "gt.json", tmp_path / "x/../gt.json"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="the command reads it"):
            check_writable(tmp_path / "new.json", path, inputs=[tmp_path / "gt.json"])
    with pytest.raises(InputError, match="two outputs have this name"):
        check_writable(tmp_path / "new.json", tmp_path / "x/../new.json")


@posix
def test_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for use in (check_writable, lambda path: write_json(path, [])):
        with pytest.raises(InputError, match="pipe: it cannot be written: It is a device or a"):
            use(tmp_path / "pipe")
    assert names_in(tmp_path) == ["pipe"]


def test_text_is_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\xc3\xa9\r\n")
    assert read_text(path) == "aé\r\n"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"a\.txt: it is not UTF-8"):
        read_text(path)


@posix
def test_a_cache_that_others_can_write_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTITYSEG_CACHE", str(tmp_path / "cache"))
    assert trusted_cache() == tmp_path / "cache"
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    for mode in (0o777, 0o770, 0o702):
        (tmp_path / "cache").chmod(mode)
        assert trusted_cache() is None
    (tmp_path / "cache").chmod(0o755)
    assert trusted_cache() == tmp_path / "cache"
