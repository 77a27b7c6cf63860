"""Runs every command that writes where it cannot: ``full_disks.py FOLDER``.

In a process of its own, for it forks: the imports are made once. Below a file nothing can be
written, a limit on the size of files stands for the full disk, and as another user a folder is
read-only. Each must end with 2 and one line, and what was there before must stay. Where there is
room for a small file alone, a command that ends with 0 must have written what it writes where all
is well.
"""

import contextlib
import io
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

from entityseg_bench.cli import main
from entityseg_bench.demo import write_demo
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.score import evaluate_files, result_record

NOBODY = 65534
NO_ROWS = '{"schema": 1, "sources": {}, "rows": []}'


def commands(root, target):
    """Give every command that writes, with a target in a folder."""
    gt = root / "set/annotations/entity_segmentation/entityv2_010203_entity_val.json"
    both = [str(gt), str(root / "dt.json")]
    images = ["--images", str(root / "set/images")]
    board = [str(root / "result.json"), "--model", "m", "--backbone", "b", "--dataset", "d"]
    board += ["--paper", "https://x", "--code", "https://x"]
    out = str(target / "out")
    yield ["evaluate", *both, "--json", f"{out}.json"]
    yield ["evaluate", *both, "--json", f"{out}.json.gz"]
    for kind in ("json", "tex", "csv"):
        yield ["compare", *both, both[1], "--resamples", "5", f"--{kind}", f"{out}.{kind}"]
    yield ["compare", *both, both[1], "--resamples", "5", "--figures", out, "--permutations", "0"]
    yield ["evaluate", *both, "--save-state", f"{out}.npz"]
    yield ["merge", str(root / "state.npz"), "--json", f"{out}.json", "--save-state", f"{out}.npz"]
    yield ["errors", *both, "--json", f"{out}.json"]
    yield ["validate", *both, "--json", f"{out}.json"]
    yield ["info", str(root / "set"), "--json", f"{out}.json"]
    yield ["info", str(root / "set"), "--plot", f"{out}.png"]
    yield ["report", *both, *images, "--resamples", "5", "--out", f"{out}.html"]
    yield ["visualize", *both, *images, "--out", out, "--limit", "1"]
    for kind in ("npz", "id-png", "panoptic", "semantic", "entity", "low", "parquet", "results"):
        yield ["convert", str(root / "set"), out, "--to", kind, "--jobs", "1", "--split", "val"]
    yield ["convert", str(gt), f"{out}.json.gz", "--to", "entity", "--jobs", "1"]
    yield ["corrupt", str(root / "set"), out, "--distance", "100"]
    yield ["demo", out, "--images", "8", "--size", "48,64", "--data-only"]
    yield ["leaderboard", "add", *board, "--dir", out, "--split", "val"]
    yield ["leaderboard", "build", "--dir", str(target), "--readme", str(target / "README.md")]


def end_of(arguments, prepare):
    """Run a command in a fork; return its exit code and what it says."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with open(reading, encoding="utf-8") as said:  # noqa: PTH123
            text = said.read()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text
    os.close(reading)
    said, code = io.StringIO(), 99
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            prepare()
            code = main(arguments)
    except BaseException:  # noqa: BLE001 - the parent tells of it
        said.write(traceback.format_exc())
    os.write(writing, said.getvalue().encode()[:60_000])
    os._exit(code)


def no_room():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def little_room():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))


def as_nobody():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def content(folder):
    """Return every file below a folder with its bytes; a link is none."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path: path.read_bytes() for path in files}


def check(arguments, prepare, target):
    before = content(target)
    code, said = end_of(arguments, prepare)
    lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
    assert (code, len(lines)) == (2, 1), (prepare.__name__, arguments, code, said)
    after = content(target)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    # A journal with its first line, or without, may stay: the next run goes on from there.
    assert all(path.name.endswith(".journal") for path in changed), (arguments, changed)


def check_little(arguments, well, folder):
    """See that a command with little room writes all, as where all is well, or says so."""
    code, said = end_of(arguments, little_room)
    assert code in (0, 1, 2) and "Traceback" not in said, (arguments, code, said)
    for path, data in content(folder).items():
        finished = not (path.name.startswith(".") or path.suffix in (".npz", ".json", ".html"))
        if finished and (well / path.relative_to(folder)).is_file():
            # Some files say when they were made, or where; images and maps do not.
            assert data == (well / path.relative_to(folder)).read_bytes(), (arguments, path)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    write_demo(root / "set", 12, size=(48, 64))
    gt = root / "set/annotations/entity_segmentation/entityv2_010203_entity_val.json"
    assert main(["convert", str(gt), str(root / "dt.json"), "--to", "results"]) == 0
    record = result_record(evaluate_files(gt, root / "dt.json"))
    (root / "result.json").write_text(json.dumps(record, default=str), encoding="utf-8")
    SavedScoring.of(evaluate_files(gt, root / "dt.json")).save(root / "state.npz")
    # Once where all is well: what a command imports on the way is there for the forks.
    (root / "well/out").mkdir(parents=True)
    (root / "well/published.json").write_text(NO_ROWS)
    for number, arguments in enumerate(commands(root, root / "well")):
        with contextlib.redirect_stdout(io.StringIO()):
            own = str(root / f"well/{number}")
            arguments = [text.replace(str(root / "well/out"), own) for text in arguments]
            assert main(arguments) in (0, 1), arguments
    n_checked = 0
    for kind, prepare in (("file", dict), ("full", no_room), ("closed", as_nobody)):
        for number, arguments in enumerate(commands(root, root / "nowhere")):
            folder = root / f"{kind}{number}"
            folder.mkdir()
            for name in ("out.json", "out.html", "published.json"):
                (folder / name).write_text(NO_ROWS)
            target = folder
            if kind == "file":
                target = folder / "out.json"
            elif kind == "closed":
                folder.chmod(0o555)
            arguments = [text.replace(str(root / "nowhere"), str(target)) for text in arguments]
            check(arguments, prepare, folder)
            folder.chmod(0o755)
            n_checked += 1
    for number, arguments in enumerate(commands(root, root / "nowhere")):
        folder = root / f"little{number}"
        folder.mkdir()
        own = str(folder / str(number))
        arguments = [text.replace(str(root / "nowhere/out"), own) for text in arguments]
        if own in " ".join(arguments):
            check_little(arguments, root / "well", folder)
            n_checked += 1
    print(n_checked)
