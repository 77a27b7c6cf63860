"""Archives: what is unpacked, and what is refused as a whole."""

import io
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from entityseg_bench.download.unpack import unpack
from entityseg_bench.io import InputError


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def tarred(path, members):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def everything(inner: PurePosixPath) -> PurePosixPath:
    return inner


@pytest.mark.parametrize(("make", "suffix"), [(zipped, ".zip"), (tarred, ".tar.gz")])
def test_files_are_written_and_bystanders_left_out(tmp_path, make, suffix):
    members = [("a/x.jpg", b"x"), ("b.jpg", b"b"), ("__MACOSX/b.jpg", b"?"), ("a/._x.jpg", b"?")]
    archive = make(tmp_path / f"in{suffix}", members)
    assert unpack(archive, tmp_path / "out", everything) == 2
    found = {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes()
             for p in (tmp_path / "out").rglob("*") if p.is_file()}  # fmt: skip
    assert found == {"a/x.jpg": b"x", "b.jpg": b"b"}


@pytest.mark.parametrize(("make", "suffix"), [(zipped, ".zip"), (tarred, ".tar.gz")])
@pytest.mark.parametrize("name", ["../out.jpg", "/out.jpg", "a/../../out.jpg", "C:/out.jpg"])
def test_no_path_leaves_the_folder(tmp_path, make, suffix, name):
    archive = make(tmp_path / f"in{suffix}", [("good.jpg", b"good"), (name, b"bad")])
    with pytest.raises(InputError, match="leads out of the folder"):
        unpack(archive, tmp_path / "a" / "b", everything)
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "in.tar", "w") as file:
        info = tarfile.TarInfo("link.jpg")
        info.type, info.linkname = kind, "/etc/hostname"
        file.addfile(info)
    with pytest.raises(InputError, match="a link or a device"):
        unpack(tmp_path / "in.tar", tmp_path / "out", everything)


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("link.jpg")
    info.external_attr = 0o120777 << 16
    archive = zipped(tmp_path / "in.zip", [(info, "/etc/hostname")])
    with pytest.raises(InputError, match="a link or a device"):
        unpack(archive, tmp_path / "out", everything)


@pytest.mark.parametrize(("make", "suffix"), [(zipped, ".zip"), (tarred, ".tar.gz")])
def test_bombs_are_refused_before_anything_is_written(tmp_path, make, suffix):
    archive = make(tmp_path / f"in{suffix}", [("a.jpg", b"a"), ("zeros.jpg", bytes(20_000_000))])
    with pytest.raises(InputError, match="unpacks to over 200 times its size"):
        unpack(archive, tmp_path / "out", everything)
    assert not (tmp_path / "out").exists()


def test_two_members_of_one_file_are_refused(tmp_path):
    archive = zipped(tmp_path / "in.zip", [("A.jpg", b"1"), ("a.jpg", b"2")])
    with pytest.raises(InputError, match=r"another member is a\.jpg"):
        unpack(archive, tmp_path / "out", everything)


def test_a_broken_archive_is_said(tmp_path):
    (tmp_path / "in.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="the archive is broken"):
        unpack(tmp_path / "in.zip", tmp_path / "out", everything)


def test_what_is_there_is_not_written_again(tmp_path):
    archive = zipped(tmp_path / "in.zip", [("a.jpg", b"1234"), ("b.jpg", b"5678")])
    unpack(archive, tmp_path / "out", everything)
    before = (tmp_path / "out/a.jpg").stat().st_mtime_ns
    (tmp_path / "out/b.jpg").write_bytes(b"5")
    assert unpack(archive, tmp_path / "out", everything) == 2
    assert (tmp_path / "out/a.jpg").stat().st_mtime_ns == before
    assert (tmp_path / "out/b.jpg").read_bytes() == b"5678"
