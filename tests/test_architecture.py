"""The house as it is drawn: imports run one way, the command line stays light, files stay small."""

import ast
import graphlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("entity_api", "entityseg_bench", "baselines")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]

# What each package may import of the others, and of the outside at the top of a module.
BELOW = {
    "entity_api": set(),
    "entityseg_bench": {"entity_api"},
    "baselines": {"entity_api", "entityseg_bench"},
}
LIGHT = {"entity_api": {"numpy"}, "entityseg_bench": {"numpy", "msgspec"}}
# The verbs that are the front door of the models: called, they import `baselines`, and nothing else
# of this package does.
FRONT_DOOR = {f"entityseg_bench/commands/{verb}.py" for verb in ("models", "predict", "train")}
ONLY_IN_BASELINES = {"torch", "torchvision", "safetensors", "transformers"}
# What `entityseg evaluate` must not load: seconds of start, and extras that need not be there; and
# what of Python's own takes milliseconds that are a tenth of scoring a validation set.
SLOW = {
    "concurrent", "difflib", "hashlib", "logging", "multiprocessing",
    "secrets", "socket", "subprocess", "tempfile",
}  # fmt: skip
HEAVY = {
    "torch", "matplotlib", "pandas", "pyarrow", "datasets", "skimage", "PIL", "scipy",
    "transformers", "pycocotools", "jinja2",
}  # fmt: skip
# The packages for those who work in detectron2, and the only ones that import it.
BRIDGES = {
    "detectron2": (
        "entityseg_bench/integrations/detectron2/",
        "baselines/integrations/detectron2/",
    ),
}
# A class that inherits from the library's own; imported only by the function that makes one. And
# what is imported only by those who have the library.
DEFERRED = {
    "entityseg_bench/huggingface/builder.py",
    *(name for name in NAMES if name.startswith(BRIDGES["detectron2"])),
}
MOST_LINES = 400
MOST_FUNCTION_LINES = 60  # without its docstring


def package_of(path):
    return path.relative_to(ROOT).parts[0]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(path):
    return ast.parse(path.read_bytes(), filename=str(path))


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def nodes_within(tree, chosen):
    """Return the ids of the nodes inside those that are chosen."""
    inner = set()
    for node in ast.walk(tree):
        if chosen(node):
            inner.update(map(id, ast.walk(node)))
    return inner


def imports_of(path):
    """Yield (top-level package, whether at the top of the module, line) of each import."""
    tree = parse(path)
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    # What only runs when called, or is only read by type checkers, costs nothing at import.
    lazy = nodes_within(tree, lambda n: isinstance(n, functions) or is_for_type_checkers(n))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written in full"
            names = [node.module]
        else:
            continue
        for name in names:
            yield name.partition(".")[0], id(node) not in lazy, node.lineno


def ancestors(name):
    parts = name.split(".")
    return {".".join(parts[:k]) for k in range(1, len(parts))}


def modules_imported_by(path, modules):
    """Name the modules that one imports, anywhere in it, and the packages that run for it.

    Its own packages, which have begun to run before it does, count where they are named; so does
    what only type checkers read.
    """
    tree, own = parse(path), module_name(path)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            named = (inside & modules) or {node.module}
        else:
            continue
        for name in named & modules:
            found |= {name} | (ancestors(name) - ancestors(own))
    return found - {own}


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_run_one_way(path):
    package = package_of(path)
    allowed = BELOW[package] | {package}
    for name, at_top, line in imports_of(path):
        if name == "baselines" and str(path.relative_to(ROOT)) in FRONT_DOOR:
            assert not at_top, f"{path}:{line} imports {name} at the top"
            continue
        assert name not in set(PACKAGES) - allowed, f"{path}:{line} imports {name}"
        if package != "baselines":
            assert name not in ONLY_IN_BASELINES, f"{path}:{line} imports {name}"


def test_imports_make_no_circle():
    """Late imports count too: a function imports late to start at once, not to close a circle."""
    compiled = {path.with_suffix(".py") for one in PACKAGES for path in (ROOT / one).rglob("*.pyx")}
    modules = {module_name(path) for path in [*MODULES, *compiled]}
    graph = {module_name(path): modules_imported_by(path, modules) for path in MODULES}
    assert "entityseg_bench.formats.coco" in graph["entityseg_bench.formats.entityseg"]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def contracted(graph, package):
    """Make one node of each folder of a package; a module beside the folders is its own."""
    folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir()}

    def node(name):
        first = ".".join(name.split(".")[:2])
        return first if first.partition(".")[2] in folders else name

    out = {}
    for name, imported in graph.items():
        inside = {node(other) for other in imported if other.partition(".")[0] == package}
        if name.partition(".")[0] == package:
            out.setdefault(node(name), set()).update(inside - {node(name)})
    return out


def test_folders_make_no_circle():
    """No two folders import each other, nor does one get back to itself through others."""
    modules = {module_name(path) for path in MODULES}
    imported = {module_name(path): modules_imported_by(path, modules) for path in MODULES}
    graph = contracted(imported, "entityseg_bench")
    assert "entityseg_bench.formats" in graph["entityseg_bench.score"]
    assert "entityseg_bench.check" in graph["entityseg_bench.formats"]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_a_circle_of_folders_is_found():
    graph = {
        "entityseg_bench.formats.coco": {"entityseg_bench.score"},
        "entityseg_bench.score": {"entityseg_bench.formats.npz"},
        "entityseg_bench.formats.npz": {"entityseg_bench.formats.coco"},
    }
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(contracted(graph, "entityseg_bench")).prepare()


@pytest.mark.parametrize(
    "path",
    [ROOT / name for name in NAMES if name.partition("/")[0] in LIGHT and name not in DEFERRED],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_only_light_libraries_at_the_top(path):
    """Whatever else a function needs it imports itself."""
    package = package_of(path)
    allowed = LIGHT[package] | BELOW[package] | {package} | set(sys.stdlib_module_names)
    for name, at_top, line in imports_of(path):
        assert name in allowed or not at_top, f"{path}:{line} imports {name} at the top"


@pytest.mark.parametrize("library", BRIDGES)
def test_a_library_stays_behind_its_bridge(library):
    """Nothing else imports it, nor the bridge: who has not got it misses nothing else."""
    for path, name in zip(MODULES, NAMES, strict=True):
        if name.startswith(BRIDGES[library]):
            continue
        bridges = tuple(bridge.rstrip("/").replace("/", ".") for bridge in BRIDGES[library])
        for node in ast.walk(parse(path)):
            module = getattr(node, "module", None) if isinstance(node, ast.ImportFrom) else None
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for found in [*names, *([module] if module else [])]:
                assert found.partition(".")[0] != library, f"{name} imports {found}"
                assert not found.startswith(bridges), f"{name} imports {found}"


def test_kernels_import_numpy_and_each_other_only():
    for path in (ROOT / "entity_api").glob("*.p[yx][xd]"):
        for text in path.read_text().splitlines():
            words = text.split()
            if words[:1] in (["import"], ["cimport"], ["from"]) and not text.startswith(" "):
                package = words[1].partition(".")[0]
                assert package in {"numpy", "libc", "cpython", "entity_api", "libcpp"}, text


def test_no_module_is_called_after_nothing():
    vague = {"utils", "util", "misc", "common", "core", "helpers", "helper", "tools", "base"}
    parts = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not parts & vague


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node):
                length -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_modules_say_what_they_are(path):
    if path.stat().st_size:
        assert ast.get_docstring(parse(path)), f"{path} has no docstring"


def public_modules(package):
    """Give the modules whose names users may import from; verbs are run by name."""
    return [
        path for path in MODULES
        if package_of(path) == package and path.stat().st_size
        and not path.stem.startswith("_") and path.parent.name != "commands"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [path for package in PACKAGES for path in public_modules(package)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_public_names_are_listed(path):
    """Each module says what is public of it (__all__), and has it."""
    listed = [
        node.value for node in parse(path).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]  # fmt: skip
    assert listed, f"{path} has no __all__"
    names = ast.literal_eval(listed[0])
    assert len(names) == len(set(names))
    if package_of(path) != "baselines" and str(path.relative_to(ROOT)) not in DEFERRED:
        module = importlib.import_module(module_name(path))
        missing = [name for name in names if not hasattr(module, name)]
        assert not missing


def loaded_by(code, *args):
    """Return the top-level packages that a fresh interpreter loads by running code."""
    script = f"{code}\nimport sys, json\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "code",
    [
        "import entity_api",
        "import entityseg_bench",
        "import entityseg_bench.cli",
        "from entityseg_bench.cli import main; main([])",
        "from entityseg_bench.cli import main; main(['models'])",
        "import entityseg_bench.score, entityseg_bench.validate, entityseg_bench.dataset",
    ],
)
def test_importing_stays_light(code):
    assert not loaded_by(code) & HEAVY


@pytest.mark.parametrize("verb", ["evaluate", "validate"])
def test_scoring_a_file_stays_light(verb, data):
    code = "import sys; from entityseg_bench.cli import main; assert main(sys.argv[1:]) == 0"
    paths = [data / f"eval/setA_{side}.json.gz" for side in ("gt", "pred")]
    assert not loaded_by(code, verb, *paths) & HEAVY


def test_scoring_starts_at_once(data):
    code = "import sys; from entityseg_bench.cli import main; assert main(sys.argv[1:]) == 0"
    paths = [data / f"eval/setA_{side}.json.gz" for side in ("gt", "pred")]
    # numpy before 2 brings some of them along.
    assert not (loaded_by(code, "evaluate", "--quiet", *paths) - loaded_by("import numpy")) & SLOW


def test_the_public_face():
    """Few names, each of them there."""
    import entity_api

    assert {"EvalParams", "EvalResult", "evaluate", "remove_overlaps"} <= set(entity_api.__all__)
    assert len(entity_api.__all__) <= 20
    for name in entity_api.__all__:
        assert getattr(entity_api, name).__doc__
