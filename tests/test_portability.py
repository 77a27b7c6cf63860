"""Text is UTF-8 with `\\n` on every platform, whatever the locale and the folder's name."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entityseg_bench.cli import main

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    path
    for package in ("entity_api", "entityseg_bench", "baselines")
    for path in (ROOT / package).rglob("*.py")
)
# The modes of `open` whose files hold text.
TEXT_MODES = {"r", "w", "a", "x", "rt", "wt", "at", "xt", "r+", "w+"}


def text_calls(tree):
    """Yield (call, whether it writes) for each call that reads or writes a text file."""
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
        if call.func.attr in ("read_text", "write_text"):
            yield call, call.func.attr == "write_text"
        elif call.func.attr == "open" and modes and modes[0] in TEXT_MODES:
            yield call, modes[0][0] != "r"


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_text_is_utf8_with_one_line_end(path):
    for call, writes in text_calls(ast.parse(path.read_bytes())):
        named = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        # "utf-8-sig" reads UTF-8 with or without a byte order mark.
        assert named.get("encoding") in ("'utf-8'", "'utf-8-sig'"), (
            f"{path}:{call.lineno} names no encoding"
        )
        # Lists of maps, which `formats` writes, are read with either line end.
        if writes and "formats" not in path.parts:
            assert named.get("newline") == "'\\n'", f"{path}:{call.lineno} names no line end"


def test_the_check_sees_text_calls():
    calls = "p.write_text(t)\np.read_text()\np.open('w')\np.open('wb')\np.open()\ndata.open(x)\n"
    assert [writes for _, writes in text_calls(ast.parse(calls))] == [True, False, True]


@pytest.fixture(scope="module")
def ascii_locale(tmp_path_factory):
    """Return a folder whose name no ASCII locale can write, and the environment of such a one."""
    env = dict(os.environ, LC_ALL="C", PYTHONUTF8="0", PYTHONPATH=str(ROOT), MPLBACKEND="Agg")
    env.pop("PYTHONIOENCODING", None)
    return tmp_path_factory.mktemp("locale") / "Größe 図 1", env


def run(ascii_locale, *command):
    """Run a module in the folder, which must succeed; give what it prints."""
    folder, env = ascii_locale
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=folder, env=env, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"Traceback" not in done.stderr
    return done.stdout


def test_the_verbs_in_an_ascii_locale(ascii_locale):
    """Names travel as the bytes that they are; what is written can be read by anyone."""
    folder, _ = ascii_locale
    cli = "entityseg_bench.cli"
    data = folder / "däta"
    run(ascii_locale, cli, "demo", data, "--images", 8, "--size", "96,128")
    gt = data / "annotations/entity_segmentation/entityv2_010203_entity_val.json"
    dt = data / "predictions/classical_layers_val.json"
    table = run(ascii_locale, cli, "evaluate", gt, dt)
    assert table == run(ascii_locale, cli, "evaluate", gt.relative_to(folder), dt)
    run(ascii_locale, cli, "evaluate", gt, dt, "--json", folder / "résult.json")
    result = json.loads((folder / "résult.json").read_text(encoding="utf-8"))
    assert 0 < result["metrics"]["APe"] < 1
    run(ascii_locale, cli, "validate", gt, dt)
    run(ascii_locale, cli, "report", gt, dt, "--images", data, "--out", folder / "páge.html")
    page = (folder / "páge.html").read_bytes()
    assert b"\r" not in page and "AP" in page.decode("utf-8")
    run(ascii_locale, cli, "convert", dt, folder / "máps", "--to", "id-png", "--gt", gt)
    assert b"AP^e" in run(ascii_locale, cli, "evaluate", gt, folder / "máps")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells what files are open")
def test_the_verbs_with_no_more_than_windows_has(tmp_path):
    """No module of POSIX, no link, and no file renamed or removed while it is open."""
    root = tmp_path / "set"
    assert main(["demo", str(root), "--images", "8", "--size", "96,128"]) == 0
    (root / "out").mkdir()
    script = ROOT / "tests/setups/as_on_windows.py"
    env = dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND="Agg")
    done = subprocess.run([sys.executable, "-W", "error", script, root], env=env, text=True,
                          capture_output=True, encoding="utf-8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    gt = root / "annotations/entity_segmentation/entityv2_010203_entity_val.json"
    dt = root / "predictions/classical_layers_val.json"
    assert main(["evaluate", str(gt), str(dt), "--json", str(tmp_path / "here.json")]) == 0
    there = [root / "out" / name for name in ("result.json", "merged.json")]
    here, *others = (
        json.loads(path.read_text(encoding="utf-8"))["metrics"]
        for path in (tmp_path / "here.json", *there)
    )
    assert here["APe"] > 0 and others == [here, here]
