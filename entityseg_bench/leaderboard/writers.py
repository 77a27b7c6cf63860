"""Tables as Markdown, CSV and LaTeX."""

import csv
import io
import json
import re
from collections.abc import Sequence

from entity_api.names import DETAIL, PUBLISHED, Metric
from entityseg_bench.compare.paper import csv_text, tex_text
from entityseg_bench.leaderboard.tables import Column, Row, Table, millions, percent

__all__ = ["markdown_text", "to_csv", "to_json", "to_latex", "to_markdown"]


def to_markdown(table: Table, most: int | None = None) -> str:
    """Write a table with the best number bold, the second underlined, and notes below.

    Args:
        table: What is ranked.
        most: How many of its rows are written; None: all.
    """
    heads = [column.html for column in table.columns]
    lines = [
        f"| {' | '.join(['method', 'backbone', 'parameters', *heads, 'origin'])} |",
        f"|{'|'.join(['---', '---', '---:', *['---:'] * len(heads), '---'])}|",
    ]
    notes: list[str] = []
    for row in table.rows[:most]:
        cells = [markdown_text(row.method), markdown_text(row.backbone), millions(row.parameters)]
        for column in table.columns:
            cells.append(_ranked(table, row, column, ("**{}**", "<u>{}</u>")))
        origin = f"[{row.origin}]({_address(row.url)})"
        if row.note:
            notes.append(row.note) if row.note not in notes else None
            origin += f" <sup>{notes.index(row.note) + 1}</sup>"
        lines.append(f"| {' | '.join([*cells, origin])} |")
    if notes:
        lines += [
            "",
            *(f"<sup>{k}</sup> {markdown_text(note)}  " for k, note in enumerate(notes, 1)),
        ]
    return "\n".join(lines)


def _ranked(table: Table, row: Row, column: Column, styles: tuple[str, str]) -> str:
    if column not in row.values:
        return "-"
    text = percent(row.values[column])
    place = table.rank(column).get(text)
    if place is None or row.origin == "doubtful":
        return text
    return styles[place - 1].format(text)


def markdown_text(text: str) -> str:
    """Escape what Markdown, or HTML in it, would take for its own."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)


def _address(url: str) -> str:
    """Escape what would end an address in Markdown's brackets or cells."""
    return re.sub(r"[()|]", lambda found: f"%{ord(found[0]):02X}", url)


def to_csv(tables: Sequence[Table]) -> str:
    """Write one line a row and resolution, numbers in percent."""
    metrics = (*PUBLISHED[:2], *DETAIL, *PUBLISHED[2:])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["dataset", "split", "task", "class_aware", "resolution", "method", "backbone",
         "parameters", *metrics, "origin", "source", "url", "note"]
    )  # fmt: skip
    for table in tables:
        about = [table.split, table.task, str(table.class_aware).lower()]
        for row in table.rows:
            parts = dict.fromkeys((c.dataset, c.resolution) for c in row.values)
            for dataset, resolution in sorted(parts, key=str, reverse=True):
                own = [row.values.get(Column(metric, resolution, dataset)) for metric in metrics]
                writer.writerow(
                    [csv_text(dataset or table.dataset), *about, resolution or "",
                     csv_text(row.method), csv_text(row.backbone), row.parameters,
                     *("" if value is None else f"{value:.10g}" for value in own),
                     row.origin, csv_text(row.source), row.url, csv_text(row.note)]
                )  # fmt: skip
    return out.getvalue()


def to_json(tables: Sequence[Table]) -> str:
    """Write the tables with their rows in order, numbers in percent."""
    found = [
        {
            "title": table.title,
            "dataset": table.dataset,
            "split": table.split,
            "task": table.task,
            "class_aware": table.class_aware,
            "protocol": table.protocol,
            "rows": [
                {
                    "method": row.method,
                    "backbone": row.backbone,
                    "parameters": row.parameters,
                    "origin": row.origin,
                    "source": row.source,
                    "url": row.url,
                    "note": row.note,
                    "year": row.year,
                    "links": dict(row.links),
                    "values": [
                        {
                            "metric": c.metric,
                            "resolution": c.resolution,
                            "percent": value,
                            **({"dataset": c.dataset} if c.dataset else {}),
                        }
                        for c, value in row.values.items()
                    ],
                }
                for row in table.rows
            ],
        }
        for table in tables
    ]
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


LATEX_MARKS = {"measured": "", "first-party": "$^{a}$", "secondary": "$^{b}$",
               "doubtful": "$^{c}$"}  # fmt: skip


def to_latex(table: Table) -> str:
    """Write a ``table`` environment (package booktabs), best bold, second underlined."""
    heads = []
    for column in table.columns:
        label = tex_text(column.dataset) or Metric.parse(column.metric).latex
        heads.append(label + (rf"\textsubscript{{{column.letter}}}" if column.letter else ""))
    lines = [
        r"\begin{table}", r"  \centering",
        rf"  \caption{{{tex_text(table.title)}. {_legend(table)}}}",
        rf"  \label{{tab:{table.key}}}", rf"  \begin{{tabular}}{{ll{'r' * (1 + len(heads))}}}",
        r"    \toprule", f"    {' & '.join(['Method', 'Backbone', 'Parameters', *heads])} \\\\",
        r"    \midrule",
    ]  # fmt: skip
    for row in table.rows:
        cells = [tex_text(row.method) + LATEX_MARKS[row.origin], tex_text(row.backbone),
                 millions(row.parameters)]  # fmt: skip
        for column in table.columns:
            cells.append(_ranked(table, row, column, (r"\textbf{{{}}}", r"\underline{{{}}}")))
        line = " & ".join("--" if cell == "-" else cell for cell in cells)
        lines.append(rf"    {line} \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"])


def _legend(table: Table) -> str:
    letters = {c.letter: c.resolution for c in table.columns if c.resolution}
    parts = ["In percent"]
    parts += [f"{letter}: {resolution} resolution" for letter, resolution in letters.items()]
    present = {row.origin for row in table.rows}
    parts += [f"{LATEX_MARKS[origin]}{origin}" for origin in LATEX_MARKS
              if origin in present and LATEX_MARKS[origin]]  # fmt: skip
    return "; ".join(parts) + "."
