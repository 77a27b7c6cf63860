"""The leaderboard as one static page: tables to sort and filter, and a plot."""

from html import escape

from entity_api.names import MAIN, Metric
from entityseg_bench.layout import RESOLUTIONS, Resolution
from entityseg_bench.leaderboard.tables import (
    ABOUT_ORIGIN,
    Column,
    Row,
    Table,
    millions,
    percent,
)
from entityseg_bench.report.charts import COLOURS, Axis, Point, points
from entityseg_bench.report.style import page

__all__ = ["to_html"]

SHAPES, SIGNS = ("round", "diamond", "square"), "\u25cf\u25c6\u25a0"

INTRO = """<p>AP<sup>e</sup> is COCO's mask AP over entities without classes, after overlaps between
the predictions of an image are removed; AP is the same with the masks as predicted. L is low
resolution (short side 800), H the original pixels. All numbers are percent; bold is the best of
its column, underlined the second. Numbers of different data sets, tasks or metrics never share a
table.</p>"""

# Rows and columns bear what they are as data attributes; choosing only hides, sorting only moves.
SCRIPT = """
const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
const choose = name => document.getElementById("choose-" + name).value;
function show() {
  const task = choose("task"), resolution = choose("resolution"),
    backbone = choose("backbone"), origin = choose("origin");
  const fits = (wanted, own) => !wanted || !own || own.split(" ").includes(wanted);
  // Marks of the plot are SVG, which has the attribute but no property `hidden`.
  each("[data-resolution]", one => one.toggleAttribute("hidden",
    !fits(resolution, one.dataset.resolution)));
  each("[data-filled]", one => one.toggleAttribute("hidden", !fits(resolution, one.dataset.filled)
    || backbone && backbone != one.dataset.backbone || origin && origin != one.dataset.origin));
  each("section[data-task]", part => part.hidden = !fits(task, part.dataset.task)
    || !part.querySelector("tbody tr:not([hidden])"));
  const count = document.querySelectorAll("section:not([hidden]) tbody tr:not([hidden])").length;
  document.getElementById("count").textContent = count + (count == 1 ? " row" : " rows");
}
function sort(head) {
  const table = head.closest("table"), body = table.tBodies[0];
  const place = [...head.parentNode.children].indexOf(head), number = head.classList.contains("n");
  const falling = head.ariaSort ? head.ariaSort != "descending" : number;
  table.querySelectorAll("th[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const key = row => row.cells[place].dataset.value ?? row.cells[place].textContent;
  const order = (one, other) => {
    const a = key(one), b = key(other);
    if (number && (a === "" || b === "")) return (a === "") - (b === "");
    return (falling ? -1 : 1) * (number ? a - b : a.localeCompare(b, "en"));
  };
  body.append(...[...body.rows].sort(order));
}
each(".controls select", box => box.addEventListener("change", show));
each("th button", button => button.addEventListener("click", () => sort(button.parentNode)));
document.querySelector(".controls").hidden = false;
show();
"""


def to_html(tables: list[Table]) -> str:
    """Make the page; the same tables give the same bytes."""
    body = [
        "<header><h1>EntitySeg leaderboard</h1>",
        INTRO,
        "</header>",
        "<main>",
        controls(tables),
        *(plot(table) for table in tables[:1]),
        *(section(table) for table in tables),
        origins(),
        "</main>",
    ]
    return page("EntitySeg leaderboard", "\n".join(body), SCRIPT)


def controls(tables: list[Table]) -> str:
    """Make the boxes that filter; without scripts they stay hidden and everything is shown."""
    rows = [row for table in tables for row in table.rows]
    resolutions = {c.resolution for table in tables for c in table.columns if c.resolution}
    choices: dict[str, list[str]] = {
        "task": list(dict.fromkeys(table.task for table in tables)),
        "resolution": sorted(resolutions, reverse=True),
        "backbone": sorted({row.backbone for row in rows}),
        "origin": [name for name in ABOUT_ORIGIN if any(row.origin == name for row in rows)],
    }
    parts = []
    for name, values in choices.items():
        options = "".join(f'<option value="{escape(v)}">{escape(v)}</option>' for v in values)
        parts.append(
            f'<label for="choose-{name}">{name}<select id="choose-{name}">'
            f'<option value="">all</option>{options}</select></label>'
        )
    count = '<p class="muted" role="status" id="count" style="align-self:end;margin:0 0 .4rem"></p>'
    return f'<div class="controls" hidden>{"".join(parts)}{count}</div>'


def filters(row: Row, columns: tuple[Column, ...]) -> str:
    """Write what a row is chosen by."""
    filled = {column.resolution for column in columns if column in row.values}
    own = " ".join(sorted(resolution for resolution in filled if resolution))
    return f' data-filled="{own}" data-backbone="{escape(row.backbone)}" data-origin="{row.origin}"'


def plot(table: Table) -> str:
    """Draw AP^e against parameters, a shape a method, filled at high resolution."""
    drawn = [row for row in table.rows if row.parameters and row.origin != "doubtful"]
    methods = sorted({row.method for row in drawn})
    marks = [
        _point(row, resolution, methods.index(row.method))
        for row in drawn
        for resolution in RESOLUTIONS
        if Column(MAIN, resolution) in row.values
    ]
    if not marks:
        return ""
    x = Axis.around([mark.x for mark in marks], "parameters, millions")
    y = Axis.around([mark.y for mark in marks], "AP^e, %", zero=False)
    keys = " &ensp; ".join(
        f'<span style="color:var(--{COLOURS[k % 4]})">{SIGNS[k % 3]}</span> {escape(method)}'
        for k, method in enumerate(methods)
    )
    return (
        f'<figure><div class="scroll wide">'
        f"{points(marks, x, y, 'AP^e against number of parameters')}</div>\n"
        f"<figcaption>{keys} &ensp; filled: high resolution, hollow: low.<br>AP<sup>e</sup> "
        f"against the number of parameters, {escape(table.title)}.</figcaption></figure>"
    )


def _point(row: Row, resolution: Resolution, k: int) -> Point:
    column, name = Column(MAIN, resolution), f"{row.method} {row.backbone}"
    value, high = row.values[column], resolution == "high"
    return Point(
        (row.parameters or 0) / 1e6,
        value,
        f"{name}, {resolution} resolution: {percent(value)} ({row.origin})",
        SHAPES[k % 3],
        high,
        k % 4,
        label=row.backbone if high or Column(MAIN, "high") not in row.values else "",
        left=k % 2 == 1,
        attributes=filters(row, (column,)) + f' data-resolution="{resolution}"',
    )


def section(table: Table) -> str:
    """Write one table under its heading."""
    heads = [
        _head("method"),
        _head("backbone", ' class="minor"'),
        _head("parameters", ' class="n minor"'),
    ]
    for column in table.columns:
        label = Metric.parse(column.metric).html
        heads.append(_head(f"{label} {column.letter}".rstrip(), f' class="n"{_resolution(column)}'))
    heads.append(_head("origin"))
    if any(row.note for row in table.rows):
        heads.append('<th scope="col">note</th>')
    lines = [_row(table, row) for row in table.rows]
    title = escape(table.title)
    return (
        f'<section data-task="{table.task}" aria-labelledby="{table.key}">'
        f'<h2 id="{table.key}">{title}</h2>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{table.key}"><table>'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>"
        "</table></div></section>"
    )


def _head(label: str, attributes: str = "") -> str:
    return f'<th scope="col"{attributes}><button type="button">{label}</button></th>'


def _row(table: Table, row: Row) -> str:
    cells = [
        # On a narrow page the backbone stands under the name.
        f'<th scope="row" data-under="{escape(row.backbone)}">{escape(row.method)}</th>',
        f'<td class="minor">{escape(row.backbone)}</td>',
        f'<td class="n minor" data-value="{row.parameters or ""}">{millions(row.parameters)}</td>',
    ]
    for column in table.columns:
        value = row.values.get(column)
        text = "-" if value is None else percent(value)
        place = table.rank(column).get(text) if row.origin != "doubtful" else None
        style = {1: " best", 2: " second"}.get(place or 0, "")
        key = "" if value is None else f"{value:.10g}"
        cells.append(f'<td class="n{style}" data-value="{key}"{_resolution(column)}>{text}</td>')
    cells.append(
        f'<td><a class="tag {row.origin}" href="{escape(row.url)}" title="{escape(row.source)}">'
        f"{row.origin}</a></td>"
    )
    if any(other.note for other in table.rows):
        cells.append(f'<td class="wrap muted">{escape(row.note)}</td>')
    return f"<tr{filters(row, table.columns)}>{''.join(cells)}</tr>"


def _resolution(column: Column) -> str:
    return f' data-resolution="{column.resolution}"' if column.resolution else ""


def origins() -> str:
    """Explain the marks."""
    parts = [f'<li><span class="tag {name}">{name}</span> {text}</li>'
             for name, text in ABOUT_ORIGIN.items()]  # fmt: skip
    return (
        "<h2>Where the numbers come from</h2>\n"
        f'<ul style="list-style:none;padding:0;line-height:2">{"".join(parts)}</ul>\n'
        '<p class="muted">Average-recall figures are another metric and stand in no column here. '
        "AP<sup>e</sup> on instance, semantic or panoptic ground truth has tables of its own. The "
        "page is made by <code>entityseg leaderboard build</code> from the files beside it.</p>"
    )
