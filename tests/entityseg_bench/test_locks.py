"""Locks: two processes, one target; what a dead process leaves."""

import os
import signal
import subprocess
import sys

import pytest

from entityseg_bench import locks
from entityseg_bench.io import atomic_path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the processes are killed by signals")


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def holder_of(code, *arguments):
    """Start a process that says when it has what it wants, and then waits."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from entityseg_bench import locks\n"
        "from entityseg_bench.io import atomic_path\n"
        f"with {code}:\n"
        "    print('has it', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"has it\n"
    return process


def ended(process, number=None):
    if number:
        process.send_signal(number)
    process.communicate()


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path):
    target = tmp_path / "out.json"
    process = holder_of("locks.locked(sys.argv[1])", target)
    said = f"process {process.pid} on .* is writing it"
    with pytest.raises(locks.Busy, match=said), locks.locked(target):
        pass
    ended(process, signal.SIGKILL)
    with locks.locked(target):
        assert names_in(tmp_path) == [".out.json.lock"]
    assert names_in(tmp_path) == []


def test_a_second_one_may_wait(tmp_path):
    target = tmp_path / "out.json"
    process = holder_of("locks.locked(sys.argv[1])", target)
    process.stdin.close()
    with locks.locked(target, wait=60):
        assert process.wait() == 0
    process.stdout.close()
    assert names_in(tmp_path) == []


def test_a_lock_is_of_the_target_and_not_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    with locks.locked("link"):
        for name in ("out", tmp_path / "x/../out"):
            with pytest.raises(locks.Busy), locks.locked(name):
                pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("keep")
    (tmp_path / ".out.lock").symlink_to("victim")
    with pytest.raises(OSError), locks.locked(tmp_path / "out"):
        pass
    assert (tmp_path / "victim").read_text() == "keep"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    code = "atomic_path(sys.argv[1])"
    dead, alive = (holder_of(code, tmp_path / name) for name in ("dead.txt", "alive.txt"))
    ended(dead, signal.SIGKILL)
    (tmp_path / ".mine.part").write_text("not of this kind")
    assert len(names_in(tmp_path)) == 3
    monkeypatch.setattr(locks, "_seen", set())
    with atomic_path(tmp_path / "new.txt"):
        left = [name.partition(".txt")[0] for name in names_in(tmp_path)]
        assert left == [".alive", ".mine.part", ".new"]
    ended(alive)
    assert names_in(tmp_path) == [".mine.part", "alive.txt", "new.txt"]


def test_a_temporary_file_that_was_taken_for_abandoned_is_made_anew(tmp_path, monkeypatch):
    real, paths = locks._lock, []

    def stolen(descriptor):
        paths.extend(tmp_path.iterdir())
        if len(paths) == 1:
            paths[0].unlink()
        return real(descriptor)

    monkeypatch.setattr(locks, "_lock", stolen)
    with locks.created(tmp_path, "x") as path:
        assert path.is_file()
        assert path != paths[0]
