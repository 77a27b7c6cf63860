"""Runs the command where Python has no more than on Windows: ``as_on_windows.py ROOT``.

What other libraries need of the system is imported first. Then the names that only POSIX has go, no
link is made, a file that is open is neither renamed, replaced nor removed, and all of the two
packages is imported and used. ROOT is a data set of the demo; what is written stands in ``out`` in
it, and in ``air`` beside it. For Linux, which tells what files are open.
"""

import contextlib
import errno
import importlib
import importlib.abc
import os
import pkgutil
import signal
import sys
import types
from pathlib import Path

PACKAGES = ("entity_api", "entityseg_bench")
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
SIGNALS = {"SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "pthread_sigmask", "pthread_kill", "sigwait"}
CALLS = {
    *("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_CLOEXEC", "getuid", "geteuid", "getgid"),
    *("fork", "forkpty", "killpg", "setsid", "getpgid", "mkfifo", "mknod", "nice", "uname", "sync"),
    *("sched_getaffinity", "statvfs", "chown", "lchown", "pread", "pwrite", "fchmod", "sysconf"),
}
# What the modules need of the only module that Windows has for itself.
LOCKING = {"LK_NBLCK": 2, "locking": lambda descriptor, mode, n_bytes: None}


class Hidden(importlib.abc.MetaPathFinder):
    """Say of the modules of POSIX that they do not exist."""

    def find_spec(self, name, path, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"there is no {name} on Windows", name=name)


def is_open(path):
    """Tell whether this process has a file open, or mapped into memory."""
    path = Path(os.path.realpath(path))
    for link in Path("/proc/self/fd").iterdir():
        # The descriptor of the listing itself is closed by now.
        with contextlib.suppress(FileNotFoundError):
            if link.readlink() == path:
                return True
    return f" {path}\n" in Path("/proc/self/maps").read_text(encoding="utf-8")


def refusing(call):
    """Return a call that refuses files which are open."""

    def checked(*paths, **options):
        for path in paths:
            if is_open(path):
                raise PermissionError(errno.EACCES, "another has the file open", str(path))
        return call(*paths, **options)

    return checked


def no_link(*paths, **options):
    """Refuse a link, which needs rights there."""
    raise OSError(errno.EPERM, "a required privilege is not held", str(paths[0]))


def import_all():
    """Import each module of the packages; return how many there are."""
    found = 0
    for name in PACKAGES:
        package = importlib.import_module(name)
        for info in pkgutil.walk_packages(package.__path__, f"{name}."):
            # Its modules want detectron2 itself.
            if not info.name.startswith("entityseg_bench.integrations."):
                importlib.import_module(info.name)
                found += 1
    return found


def hide():
    """Take away what Windows lacks, and the packages that were imported before it went."""
    for name, module in [*sys.modules.items()]:
        # Compiled modules cannot be imported twice, and what they need is the compiler's concern.
        is_compiled = str(getattr(module, "__file__", "")).endswith((".so", ".pyd"))
        if name in MODULES or (name.partition(".")[0] in PACKAGES and not is_compiled):
            del sys.modules[name]
    sys.meta_path.insert(0, Hidden())
    for module, names in ((signal, SIGNALS), (os, CALLS)):
        for name in names & vars(module).keys():
            delattr(module, name)
    os.O_BINARY = 0
    for name in ("rename", "replace", "remove", "unlink"):
        setattr(os, name, refusing(getattr(os, name)))
    os.symlink = no_link
    sys.modules["msvcrt"] = types.ModuleType("msvcrt")
    vars(sys.modules["msvcrt"]).update(LOCKING)
    sys.platform = "win32"


def main(root):
    n_modules = import_all()
    hide()
    assert import_all() == n_modules > 100
    from entityseg_bench.cli import main

    gt = root / "annotations/entity_segmentation/entityv2_010203_entity_val.json"
    dt = root / "predictions/classical_layers_val.json"
    whole, out = ("--split", "val", "--jobs", "1"), root / "out"
    for arguments in (
        ["evaluate", gt, dt, "--json", out / "result.json", "--save-state", out / "state.npz"],
        ["evaluate", gt, dt, "--json", out / "result.json", "--max-memory", "900MB"],
        ["merge", out / "state.npz", "--json", out / "merged.json"],
        ["validate", gt, dt],
        ["errors", gt, dt],
        ["compare", gt, dt, dt, "--resamples", "5", "--csv", out / "table.csv"],
        ["convert", dt, out / "maps", "--to", "id-png", "--gt", gt, "--jobs", "1"],
        ["evaluate", gt, out / "maps", "--json", out / "of_maps.json"],
        ["convert", root, out / "panoptic", "--to", "panoptic", *whole],
        ["convert", root, out / "npz", "--to", "npz", *whole],
        ["info", root, "--json", out / "info.json"],
        ["visualize", gt, dt, "--images", root, "--out", out / "drawn", "--limit", "1"],
        ["demo", out / "demo", "--images", "8", "--size", "48,64", "--data-only"],
        ["corrupt", root, root.parent / "air", "--distance", "100"],
        ["report", gt, dt, "--images", root, "--resamples", "5", "--out", out / "page.html"],
    ):
        code = main([str(one) for one in arguments])
        assert code == 0, (arguments, code)
    assert not [path for path in root.rglob(".*") if path.suffix in (".lock", ".part")]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
