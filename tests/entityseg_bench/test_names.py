"""Names from files stay inside their folder."""

import os

import pytest

from entityseg_bench.io import InputError
from entityseg_bench.names import inside


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "sub/a.jpg", "a..b.jpg", "..a.jpg", "Ünïcode 図.jpeg", "a/./b.jpg", "xx:y.jpg"],
)
def test_names_of_the_folder(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "sub/../../a.jpg",
        "sub/../a.jpg",
        "..",
        "/etc/passwd",
        "//server/share/a.jpg",
        "C:/a.jpg",
        "c:a.jpg",
        "C:\\a.jpg",
        "..\\a.jpg",
        "\\\\server\\share\\a.jpg",
        "\\a.jpg",
    ],
)
def test_names_that_lead_out(tmp_path, name):
    with pytest.raises(InputError, match=r"image 3: .* leads out of this folder\..*allow-outside"):
        inside(tmp_path, name, "image 3")
    assert inside(tmp_path, name, allow_outside=True) == tmp_path / name


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "sub/" + "ü" * 200, "\ud800.jpg"])
def test_names_of_no_file(tmp_path, name):
    for allowed in (False, True):
        with pytest.raises(InputError, match=r"no name of a file|is the most") as caught:
            inside(tmp_path, name, "image 3", allow_outside=allowed)
        assert len(str(caught.value)) < len(str(tmp_path)) + 150


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_count_as_what_they_lead_to(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "secret").mkdir()
    for name, target in (
        ("in.jpg", "a.jpg"),
        ("out.jpg", "../secret/a.jpg"),
        ("up", "../secret"),
        ("circle", "circle"),
    ):
        (folder / name).symlink_to(target)
    assert inside(folder, "in.jpg") == folder / "in.jpg"
    for name in ("out.jpg", "up/a.jpg"):
        with pytest.raises(InputError, match="leads out"):
            inside(folder, name)
    (tmp_path / "link").symlink_to("images")
    assert inside(tmp_path / "link", "a.jpg") == tmp_path / "link/a.jpg"
