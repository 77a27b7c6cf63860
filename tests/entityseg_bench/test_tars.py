"""Archives that are not whole, or hold what is no file, are refused: nothing is left out."""

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from drawn_sides import drawn_sides

from entityseg_bench import cli
from entityseg_bench.download.unpack import unpack
from entityseg_bench.io import InputError

N_IMAGES = 6


@pytest.fixture
def members(tmp_path, monkeypatch):
    """Give name -> bytes of a JSON an image, beside predictions."""
    monkeypatch.chdir(tmp_path)
    truth, predictions = drawn_sides(N_IMAGES)
    Path("pred.json").write_text(json.dumps(predictions), encoding="utf-8")
    found = {}
    for image in truth["images"]:
        rows = [one for one in truth["annotations"] if one["image_id"] == image["id"]]
        content = {"image": {**image, "image_id": image["id"]}, "annotations": rows}
        found[f"{image['id']}.json"] = json.dumps(content).encode()
    return found


def add(tar, name, data, **fields):
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def packed(members, *more):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            add(tar, name, data)
        for name, data, fields in more:
            add(tar, name, data, **fields)
    return file.getvalue()


def last_header(data, name):
    return data.rindex(name.encode() + b"\0")


def broken_header(members):
    data = bytearray(packed(members))
    data[last_header(data, "5.json") + 150] ^= 1
    return bytes(data)


def cut_between(members):
    data = packed(members)
    return data[: last_header(data, "5.json")]


def two_in_one(members):
    rows = list(members.items())
    return packed(dict(rows[:3])) + packed(dict(rows[3:]))


def said_size(members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "7.json", members["0.json"], pax_headers={"size": "-2048"})
    return data.getvalue()


def many_heads(members):
    """Headers of headers, each of which tells of the next one."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 512
    head = info.tobuf(tarfile.USTAR_FORMAT) + b"9 a=bcde\n".ljust(512, b"\0")
    return head * 3000 + packed(members)


def with_size(kind, size):
    """Put behind the members a header that states a size of less than nothing, or too much."""

    def write(members):
        info = tarfile.TarInfo("7.json")
        info.type = kind
        header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        header[124:136] = (size % 256**11 | (255 if size < 0 else 128) << 88).to_bytes(12, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        data = packed(members).rstrip(b"\0")
        return data + bytes(-len(data) % 512) + bytes(header) + bytes(1024)

    return write


CASES = {
    "broken header": (broken_header, "it is broken, or another archive is joined to it"),
    "cut between members": (cut_between, "breaks off"),
    "two in one": (two_in_one, "it is broken, or another archive is joined to it"),
    "twice": (lambda members: packed(members, ("0.json", members["1.json"], {})), "twice"),
    "twice, in other words": (
        lambda members: packed(members, ("./0.json", members["1.json"], {})), "twice",
    ),
    "hard link": (
        lambda members: packed(
            members, ("7.json", b"", {"type": tarfile.LNKTYPE, "linkname": "0.json"})
        ),
        "7.json is a link or a device",
    ),
    "link out": (
        lambda members: packed(
            members, ("7.json", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})
        ),
        "7.json is a link or a device",
    ),
    "device": (
        lambda members: packed(members, ("7.json", b"", {"type": tarfile.CHRTYPE})), "7.json",
    ),
    "less than nothing": (with_size(tarfile.REGTYPE, -512), ""),
    "far less": (with_size(tarfile.REGTYPE, -(1 << 40)), ""),
    "a head of less than nothing": (with_size(tarfile.XHDTYPE, -512), ""),
    "a name of less than nothing": (with_size(tarfile.GNUTYPE_LONGNAME, -512), ""),
    "a head that says less than nothing": (said_size, ""),
    "heads of heads": (many_heads, ""),
    "more than there is": (with_size(tarfile.REGTYPE, 1 << 50), ""),
    "a head of more than there is": (with_size(tarfile.XHDTYPE, 1 << 50), ""),
    "above": (lambda members: packed(members, ("../7.json", members["0.json"], {})), "7.json"),
    "file as a folder": (
        lambda members: packed(members, ("0.json/7.json", members["0.json"], {})), "unpacked",
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", CASES)
def test_what_is_not_whole_is_refused(members, capsys, make):
    write, words = CASES[make]
    Path("gt.tar").write_bytes(packed(members))
    options = ["pred.json", "--engine", "local", "--quiet"]
    assert cli.main(["evaluate", "gt.tar", *options]) == 0
    Path("gt.tar").write_bytes(write(members))
    for verb in ("evaluate", "errors"):
        assert cli.main([verb, "gt.tar", *options]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "gt.tar: it cannot be unpacked" in error
        assert words in error
    assert not Path("7.json").exists()


def test_holes_are_no_annotations(members, capsys):
    """A file of a few bytes in the archive, and of a terabyte on the disk."""
    with Path("7.json").open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    if subprocess.run(["tar", "-Scf", "gt.tar", "7.json"], check=False).returncode:
        pytest.skip("tar knows no files with holes")
    assert cli.main(["evaluate", "gt.tar", "pred.json", "--engine", "local"]) == 2
    assert "7.json has holes" in capsys.readouterr().err


@pytest.mark.parametrize("make", ["broken header", "cut between members", "two in one"])
def test_downloads_are_unpacked_whole_or_not_at_all(members, tmp_path, make):
    path = tmp_path / "parts.tar"
    path.write_bytes(CASES[make][0](members))
    with pytest.raises(InputError, match="the archive is broken"):
        unpack(path, tmp_path / "out", lambda inner: inner)
    assert not (tmp_path / "out").exists()


def test_a_file_alone_is_what_it_is_without_its_archive(members, capsys):
    truth, _ = drawn_sides(N_IMAGES)
    Path("gt.json").write_text(json.dumps(truth))
    predictions = Path("pred.json").read_bytes()
    Path("gt.tar").write_bytes(packed({"set/gt.json": Path("gt.json").read_bytes()}))
    Path("pred.tar").write_bytes(packed({"pred.json": predictions}))
    printed = []
    for gt, dt in (("gt.json", "pred.json"), ("gt.tar", "pred.tar")):
        assert cli.main(["evaluate", gt, dt, "--engine", "local", "--quiet"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
