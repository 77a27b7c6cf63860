"""Runs that are killed, stopped, or meet a full disk or each other: nothing is lost or mixed up."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entityseg_bench.cli import main
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo
from entityseg_bench.formats.identity import digest, identity
from entityseg_bench.io import InputError
from entityseg_bench.parallel import Journal, in_order

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the processes are killed by signals")

SCALE = 20 if os.environ.get("ENTITYSEG_DEEP") else 1
SETUPS = Path(__file__).resolve().parents[1] / "setups"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "set", 12, size=(64, 96))


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def done_with(path: Path, identity: dict[str, object]) -> list[object]:
    with Journal(path, identity) as journal:
        return list(journal.results())


def begun(path: Path) -> bytes:
    """Write a journal of three results."""
    with Journal(path, {"a": 1}) as journal:
        for result in ([1], {"b": "\n"}, 3):
            journal.append(result)
    return path.read_bytes()


def test_a_journal_goes_on_after_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "j"
    text = begun(path)
    assert text.count(b"\n") == 4
    results = [[1], {"b": "\n"}, 3]
    for size in range(len(text) + 1):
        path.write_bytes(text[:size])
        n_whole = max(text[:size].count(b"\n") - 1, 0)
        assert done_with(path, {"a": 1}) == results[:n_whole]
        assert text.startswith(path.read_bytes())
    assert names_in(tmp_path) == ["j"]


@pytest.mark.parametrize("left", [b"", b"{", b"\0" * 40, b"[]\n", b"\xff\n[1]\n", b'{"x":1}\n'])
def test_a_journal_whose_beginning_is_torn_begins_anew(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(left)
    assert done_with(path, {"a": 1}) == []
    text = begun(path)
    # Zeros that a loss of power left in the place of a line.
    second = text.splitlines(keepends=True)[2]
    path.write_bytes(text.replace(second, bytes(len(second) - 1) + b"\n"))
    assert done_with(path, {"a": 1}) == [[1]]


def test_the_journal_of_another_run_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "j"
    text = begun(path)
    with pytest.raises(InputError, match=r"of something else is here, with another a, c\. Repeat"):
        Journal(path, {"a": 2, "c": None, "d": 1} | {"d": None, "c": 1})
    assert path.read_bytes() == text
    assert done_with(path, {"a": 1}) == [[1], {"b": "\n"}, 3]


def test_a_journal_is_one_run_s(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", {"a": 1})
    with pytest.raises(InputError, match=rf"j: process {os.getpid()} on .* is writing it\. Wait"):
        Journal(tmp_path / "j", {"a": 1})
    journal.finish()
    assert names_in(tmp_path) == []


def test_a_run_that_failed_may_be_tried_again(tmp_path: Path) -> None:
    def fail(idx: int) -> int:
        if idx == 2:
            raise ZeroDivisionError
        return idx

    journal = Journal(tmp_path / "j", {"a": 1})
    with pytest.raises(ZeroDivisionError):
        journal.run(fail, 3, 1)
    with Journal(tmp_path / "j", {"a": 1}) as again:
        assert again.n_done == 2
        again.run(str, 3, 1)
        assert list(again.results()) == [0, 1, "2"]


@pytest.mark.parametrize("task", ["entity", "semantic", "panoptic"])
def test_two_sources_have_two_identities(demo: Path, tmp_path: Path, task: str) -> None:
    root = tmp_path / "copy"
    shutil.copytree(demo, root)
    code = (
        "import sys\n"
        "from entityseg_bench.dataset import EntityDataset\n"
        "from entityseg_bench.formats.identity import identity\n"
        "source = EntityDataset.open(sys.argv[1], sys.argv[2])\n"
        "print(identity(source, 'x')['content'])\n"
    )

    def elsewhere() -> str:
        command = [sys.executable, "-c", code, str(root), task]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def here() -> str:
        return str(identity(EntityDataset.open(root, task), "x")["content"])  # type: ignore[arg-type]

    first = here()
    assert first == here() == elsewhere()
    # As long and as old as before, and another file.
    for path in [*root.rglob("*.json"), *root.rglob("*.png")]:
        found = path.stat()
        copy = path.with_name("copy")
        shutil.copyfile(path, copy)
        copy.replace(path)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert here() == elsewhere() != first


def test_a_digest_is_of_all_that_is_held(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    values = [1, 1.5, "1", None, [1], {"1": 1}, tmp_path, tmp_path / "a", tmp_path / "none", len]
    assert len({digest(value) for value in values}) == len(values)
    before = digest([tmp_path / "a"])
    assert digest([tmp_path / "a"]) == before
    (tmp_path / "a").write_text("12")
    assert digest([tmp_path / "a"]) != before
    folder = digest(tmp_path)
    (tmp_path / "b").write_text("")
    assert digest(tmp_path) == folder


def test_killed_at_any_moment_and_on_a_full_disk(demo: Path, tmp_path: Path) -> None:
    rounds = 12 * SCALE
    done = subprocess.run(
        [
            *(sys.executable, str(SETUPS / "killed_runs.py"), str(rounds), str(tmp_path)),
            *("convert", "--to", "npz", "--jobs", "1", str(demo)),
        ],
        capture_output=True,
        text=True,
        timeout=60 * SCALE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= rounds // 2


def test_no_command_can_write(tmp_path: Path) -> None:
    """Below a file, on a full disk, and in a folder that is another's."""
    # pytest's folders are closed to others, and the commands run as one.
    for folder in (tmp_path, *tmp_path.parents[:2]) if os.getuid() == 0 else ():
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(SETUPS / "full_disks.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.splitlines()[-1]) >= 60


def start(*arguments: object) -> "subprocess.Popen[bytes]":
    """Start a command in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "entityseg_bench.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def alive(session: int) -> list[int]:
    """List the processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def wait_for(true: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
@pytest.mark.parametrize(
    ("number", "to_all", "code"),
    [
        (signal.SIGTERM, False, 143),
        (signal.SIGINT, True, 130),
        (signal.SIGHUP, True, 129),
        (signal.SIGKILL, False, -signal.SIGKILL),
    ],
)
def test_a_signal_ends_every_process(tmp_path: Path, number: int, to_all: bool, code: int) -> None:
    """A terminal sends Ctrl-C to every process of the command; other signals go to the first."""
    # More than is done before the signal comes, on a busy machine, too.
    source = write_demo(tmp_path / "set", 120, size=(200, 300))
    # Under ``nohup`` the command would ignore what these tests ignore.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        process = start("convert", source, tmp_path / "out", "--to", "npz", "--jobs", "2")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(lambda: list((tmp_path / "out").rglob("*.npz")))
    assert len(alive(process.pid)) > 2
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    if number != signal.SIGKILL:  # then Python's own helper says what is left
        assert said.decode() == "entityseg convert: stopped\n"
    wait_for(lambda: not alive(process.pid))
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "npz", "--jobs", "1"]) == 0
    left = [path for path in (tmp_path / "out").rglob(".*") if path.is_file()]
    assert left == []


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start("demo", tmp_path / "set", "--images", "40", "--size", "100,150")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(lambda: list((tmp_path / "set").rglob("*.jpg")))
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_signal_while_a_command_is_imported() -> None:
    script = (
        "import os, signal, sys, importlib\n"
        "from entityseg_bench import cli\n"
        "def broken_off(name):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "cli.importlib.import_module = broken_off\n"
        "sys.exit(cli.main(['evaluate', 'gt', 'pred']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"entityseg: stopped\n")


def killed(idx: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return idx


def test_a_process_that_is_killed_is_said() -> None:
    with pytest.raises(InputError, match=r"one of the processes was killed.*--jobs"):
        list(in_order(killed, range(4), 2))


def test_two_commands_one_target(demo: Path, tmp_path: Path) -> None:
    assert main(["convert", str(demo), str(tmp_path / "alone"), "--to", "npz", "--jobs", "1"]) == 0
    both = [
        start("convert", demo, tmp_path / "both", "--to", "npz", "--jobs", "1") for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[1].decode() for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 2]), said
    if codes == [0, 2]:
        (refusal,) = filter(None, said)
        assert "is writing it. Wait for it, or stop it." in refusal
        assert refusal.count("\n") == 1
    for split in ("train", "val"):
        indices = [
            json.loads((tmp_path / name / f"entity_{split}/annotations.json").read_text())
            for name in ("alone", "both")
        ]
        assert indices[0] == indices[1]


def test_a_target_that_cannot_be_is_one_line(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for target in ("npz", "parquet", "panoptic"):
        command = ["convert", str(demo), str(tmp_path / "file/out"), "--to", target]
        assert main([*command, "--jobs", "1"]) == 2
        out, said = capsys.readouterr()
        assert out == ""
        assert said.startswith(f"entityseg convert: {tmp_path / 'file'}")
        assert said.count("\n") == 1


def test_low_images_are_those_of_the_source(demo: Path, tmp_path: Path) -> None:
    """Another data set with images of the same names, written into the same folder."""
    other = write_demo(tmp_path / "other", 12, seed=5, size=(64, 96))
    for source, target in ((demo, "both"), (other, "both"), (other, "alone")):
        command = ["convert", str(source), str(tmp_path / target), "--to", "low", "--jobs", "1"]
        assert main(command) == 0
    for path in (tmp_path / "alone/images_lr").rglob("*.jpg"):
        same = tmp_path / "both" / path.relative_to(tmp_path / "alone")
        assert same.read_bytes() == path.read_bytes()
    assert not list(tmp_path.rglob("*.journal"))


def test_a_link_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "j").symlink_to("precious")
    with pytest.raises(InputError, match=r"it is a link, and no journal"):
        Journal(tmp_path / "j", {"a": 1})
    assert (tmp_path / "precious").read_text() == "mine"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"it is no journal"):
        Journal(tmp_path / "pipe", {"a": 1})


def test_a_journal_without_results_is_anybody_s(tmp_path: Path) -> None:
    Journal(tmp_path / "j", {"a": 1}).close()
    assert done_with(tmp_path / "j", {"a": 2}) == []


CHILD = """
import sys
from entityseg_bench.stopping import exit_code, run_child
try:
    run_child([sys.executable, "-c", sys.argv[1]])
except KeyboardInterrupt as error:
    sys.exit(exit_code(error))
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)\n"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
@pytest.mark.parametrize("deaf", [False, True])
def test_a_command_that_another_runs_ends_with_it(deaf: bool) -> None:
    work = (DEAF if deaf else "print(1, flush=True); import time\n") + "time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, work], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert not alive(process.pid)
    process.stdout.close()
