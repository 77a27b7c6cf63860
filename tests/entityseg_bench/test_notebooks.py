"""The notebooks: stripped in the repository, and running from top to bottom on the demo set."""

import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = ("01_dataset", "02_evaluate", "03_compare", "04_baselines")
SECONDS_A_CELL = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Copy the notebooks to where they may write, with the demo set beside them."""
    pytest.importorskip("nbclient", reason="nbclient runs the notebooks: extra [test]")
    from entityseg_bench.demo import predict_val, write_demo

    copy = tmp_path_factory.mktemp("run") / "notebooks"
    shutil.copytree(FOLDER, copy)
    write_demo(copy / "entityseg_demo")
    predict_val(copy / "entityseg_demo")
    return copy


def test_these_are_the_notebooks():
    assert tuple(path.stem for path in sorted(FOLDER.glob("*.ipynb"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs(name):
    nbformat = pytest.importorskip("nbformat", reason="nbformat reads notebooks: extra [test]")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(folder, name, monkeypatch):
    if name == "04_baselines":
        pytest.importorskip("torch", reason="the baselines need torch: extra [baselines]")
    import nbformat
    from nbclient import NotebookClient

    # Zeromq's sockets are closed after pytest has looked for open ones; the kernel is another
    # process, whose warnings are its own.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=SECONDS_A_CELL, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert not [one for one in outputs if one.get("name") == "stderr"]
    pictures = [one for one in outputs if "image/png" in one.get("data", {})]
    assert len(pictures) >= 2
    assert [one for one in outputs if one.output_type == "execute_result"]
