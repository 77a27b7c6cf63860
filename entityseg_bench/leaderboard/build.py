"""Write every table and the page from the files, or tell which are stale."""

from pathlib import Path

from entityseg_bench.io import InputError, atomic_path, read_text
from entityseg_bench.leaderboard.entries import read_models, read_published
from entityseg_bench.leaderboard.page import to_html
from entityseg_bench.leaderboard.tables import ABOUT_ORIGIN, Table, collect
from entityseg_bench.leaderboard.writers import (
    markdown_text,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)

__all__ = ["BEGIN", "END", "render", "stale", "write"]

# What stands between these lines of a README is replaced by the first rows of the first table.
README_ROWS = 10
BEGIN, END = "<!-- leaderboard: begin -->", "<!-- leaderboard: end -->"

HEAD = """# Leaderboard

Made by `entityseg leaderboard build` from [published.json](published.json) and the files in
[results](results); [docs/submit.md](../docs/submit.md) tells how to add a row. The same tables:
[page](index.html) to sort and filter, [CSV](leaderboard.csv), [LaTeX](leaderboard.tex),
[JSON](leaderboard.json).

Numbers are percent. L is low resolution (short side 800), H the original pixels. AP<sup>e</sup> is
AP with overlaps between predictions removed, AP is that of the masks as predicted. **Bold** is the
best of a column, <u>underlined</u> the second.
"""


def render(folder: Path, readme: Path | None) -> dict[Path, str]:
    """Compute the content of every generated file.

    Args:
        folder: The leaderboard: ``published.json`` and ``results``.
        readme: A file whose marked part shows the first table; None, or one without the marks, is
            left alone.

    Raises:
        InputError: A file breaks its schema, or the README has one mark alone.
    """
    published = read_published(folder / "published.json")
    tables = collect(published, read_models(folder / "results"))
    files = {
        folder / "README.md": "\n".join([HEAD, *map(_part, tables), _origins()]),
        folder / "leaderboard.csv": to_csv(tables),
        folder / "leaderboard.json": to_json(tables),
        folder / "leaderboard.tex": "\n\n".join(map(to_latex, tables)) + "\n",
        folder / "index.html": to_html(tables),
    }
    if readme is not None and readme.is_file() and tables:
        text = read_text(readme)
        marked = _replace_marked(readme, text, _best_rows(tables[0]))
        if marked is not None:
            files[readme] = marked
    return files


def _best_rows(table: Table) -> str:
    """Write the first rows of a table, and say how many there are."""
    n = len(table.rows)
    more = f"\n\nThe first {README_ROWS} of {n} rows." if n > README_ROWS else ""
    return to_markdown(table, README_ROWS) + more


def _part(table: Table) -> str:
    return f"## {markdown_text(table.title)}\n\n{to_markdown(table)}\n"


def _origins() -> str:
    lines = [f"- *{name}*: {text}" for name, text in ABOUT_ORIGIN.items()]
    return "\n".join(["## Where the numbers come from", "", *lines, ""])


def _replace_marked(path: Path, text: str, content: str) -> str | None:
    if BEGIN not in text and END not in text:
        return None
    head, begun, rest = text.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise InputError(path, "", f"it does not have {BEGIN} before {END}.", "Write both.")
    return f"{head}{BEGIN}\n\n{content}\n\n{END}{tail}"


def stale(files: dict[Path, str]) -> list[Path]:
    """Return the files on disk that differ from what they should hold."""
    return [path for path, text in files.items()
            if not path.is_file() or path.read_bytes() != text.encode()]  # fmt: skip


def write(files: dict[Path, str]) -> None:
    """Write each file whole or not at all."""
    for path, text in files.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(text.encode())
