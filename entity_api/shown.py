"""What results look like at the prompt and in a notebook: one screen, whatever they hold."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Shown", "html_table", "in_short"]

LONGEST = 60


class Shown:
    """Show a dataclass as a line a field: small values as they are, arrays and lists by size."""

    def __repr__(self) -> str:
        lines = [f"  {name}: {text}" for name, text in self._fields_in_short()]
        return "\n".join([type(self).__name__, *lines])

    def _repr_html_(self) -> str:
        return html_table([("", type(self).__name__), *self._fields_in_short()])

    def _fields_in_short(self) -> list[tuple[str, str]]:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return [(field.name, in_short(getattr(self, field.name))) for field in fields]


def in_short(value: Any) -> str:
    """Describe a value in at most some 60 letters.

    >>> in_short(np.zeros((3, 4)))
    'float64 (3, 4)'
    >>> in_short(list(range(1000)))
    '1,000 values, first 0'
    """
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, Shown):
        return type(value).__name__
    text = repr(value)
    if len(text) <= LONGEST and "\n" not in text:
        return text
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, list(value)[:4]))
        return _cut(f"{len(value):,} keys: {keys}{', ...' if len(value) > 4 else ''}")
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _cut(f"{len(value):,} values, first {in_short(value[0])}")
    return _cut(text if isinstance(value, str) else type(value).__name__)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def html_table(rows: Sequence[Sequence[str]], n_heads: int = 1) -> str:
    """Write rows of text as a small HTML table; the first is its head.

    Args:
        rows: Of as many cells each.
        n_heads: How many cells a row begins with that are headings, set to the left.
    """
    # Imported where it is used, so that the command line starts at once.
    from html import escape

    lines = []
    for k, row in enumerate(rows):
        cells = [
            f"<{'th' if k == 0 or c < n_heads else 'td'}"
            f' style="text-align:{"left" if c < n_heads else "right"}">{escape(cell)}'
            f"</{'th' if k == 0 or c < n_heads else 'td'}>"
            for c, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"
