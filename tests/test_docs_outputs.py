"""What README and docs print is what the commands print."""

import importlib.machinery
import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load_outputs():
    loader = importlib.machinery.SourceFileLoader("outputs", str(ROOT / "docs/outputs"))
    spec = importlib.util.spec_from_loader("outputs", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


outputs = load_outputs()
PAGES = [path.relative_to(ROOT).as_posix() for path in outputs.pages([])]
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands are bash's")
@pytest.mark.parametrize("name", PAGES)
def test_printed_outputs_are_real(name, tmp_path):
    page = outputs.Page(ROOT / name, tmp_path)
    if "baselines" in page.text and not HAS_TORCH:
        pytest.skip("torch is not installed")
    assert page.check()[1] == []


def test_pages_with_outputs_are_found():
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
    checked = [name for name, text in texts.items() if outputs.BLOCK.search(text)]
    assert {"README.md", "docs/score.md", "docs/compare.md"} <= set(checked)


def test_a_block_is_taken_apart():
    steps = outputs.steps_of("$ a \\\n    b\n1\n2\n$ c\n")
    assert steps == [outputs.Step("a \\\n    b", ["1", "2"]), outputs.Step("c", [])]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["AP  1.0", "done"], "AP 1.0\ndone\n", True),
        (["AP 1.0"], "AP 1.1", False),
        (["AP 1.0", "..."], "AP 1.0\nmore\nlines", True),
        (["AP 1.0", "..."], "AP 2.0\nmore", False),
        (["first", "...", "last"], "first x y last", True),
        (["first", "...", "last"], "first x y", False),
        (["a.c"], "abc", False),
    ],
)
def test_outputs_are_compared_by_words(shown, printed, same):
    assert outputs.fits(shown, printed) is same


def test_a_page_is_checked_and_written(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        "Text.\n\n<!-- before: echo 7 > number -->\n\n```console\n$ cat number\n8\n$ mkdir x\n"
        "$ cd x\n$ cat ../number\n7\n```\n"
        "\n<!-- not checked: no -->\n\n```console\n$ false\nx\n```\n",
        encoding="utf-8",
    )
    (tmp_path / "folder").mkdir()
    text, differences = outputs.Page(path, tmp_path / "folder").check()
    assert len(differences) == 1
    assert "--- shown\n8\n--- printed\n7" in differences[0]
    assert "$ cat number\n7\n$ mkdir x\n$ cd x\n$ cat ../number\n7\n" in text
    assert "$ false\nx\n" in text
