"""The leaderboard as one static page: tables to search, sort and filter, and a plot."""

from typing import NamedTuple

from entity_api.names import MAIN
from entityseg_bench.layout import RESOLUTIONS, Resolution
from entityseg_bench.leaderboard.tables import (
    ABOUT_ORIGIN,
    Column,
    Row,
    Table,
    millions,
    percent,
)
from entityseg_bench.pages import render_page
from entityseg_bench.report.charts import COLOURS, Axis, Point, points

__all__ = ["to_html"]

SHAPES, SIGNS = ("round", "diamond", "square"), "\u25cf\u25c6\u25a0"
REPOSITORY = "https://github.com/entityseg-bench/entityseg-bench"


class Head(NamedTuple):
    """Hold the heading of one column of numbers; ``label`` is HTML."""

    label: str
    resolution: Resolution | None


class Number(NamedTuple):
    """Hold one number as it is sorted and as it is printed."""

    column: Column
    value: str
    text: str
    style: str


class Line(NamedTuple):
    """Hold one row of a table as the page shows it."""

    method: str
    backbone: str
    rank: int | str
    year: int | None
    parameters: int | None
    millions: str
    cells: list[Number]
    origin: str
    url: str
    source: str
    links: list[tuple[str, str]]
    note: int | None
    filled: str


class Part(NamedTuple):
    """Hold one table as the page shows it."""

    key: str
    title: str
    task: str
    columns: list[Head]
    rows: list[Line]
    has_years: bool
    notes: list[str]


class Key(NamedTuple):
    """Name one method of the plot."""

    name: str
    colour: str
    sign: str


class Plot(NamedTuple):
    """Hold the plot; ``svg`` is escaped already."""

    svg: str
    keys: list[Key]
    title: str


def to_html(tables: list[Table]) -> str:
    """Make the page; the same tables give the same bytes."""
    return render_page(
        "board.html",
        title="EntitySeg leaderboard",
        choices=choices(tables),
        plot=plot(tables[0]) if tables else None,
        tables=[part(table) for table in tables],
        origins=ABOUT_ORIGIN,
        repository=REPOSITORY,
    )


def choices(tables: list[Table]) -> dict[str, list[str]]:
    """List what can be chosen; without scripts the boxes stay hidden and everything is shown."""
    rows = [row for table in tables for row in table.rows]
    resolutions = {c.resolution for table in tables for c in table.columns if c.resolution}
    return {
        "task": list(dict.fromkeys(table.task for table in tables)),
        "resolution": sorted(resolutions, reverse=True),
        "backbone": sorted({row.backbone for row in rows}),
        "origin": [name for name in ABOUT_ORIGIN if any(row.origin == name for row in rows)],
    }


def filled(row: Row, columns: tuple[Column, ...]) -> str:
    """Say at which resolutions a row has a number."""
    return " ".join(sorted({c.resolution for c in columns if c in row.values and c.resolution}))


def plot(table: Table) -> Plot | None:
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
        return None
    x = Axis.around([mark.x for mark in marks], "parameters, millions")
    y = Axis.around([mark.y for mark in marks], "AP^e, %", zero=False)
    svg = points(marks, x, y, "AP^e against number of parameters")
    keys = [Key(name, COLOURS[k % 4], SIGNS[k % 3]) for k, name in enumerate(methods)]
    return Plot(svg, keys, table.title)


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
        data={
            "filled": filled(row, (column,)),
            "backbone": row.backbone,
            "origin": row.origin,
            "resolution": resolution,
        },
    )


def part(table: Table) -> Part:
    """Lay out one table."""
    heads = [Head(column.html, column.resolution) for column in table.columns]
    ranks = _ranks(table)
    notes = list(dict.fromkeys(row.note for row in table.rows if row.note))
    rows = [_line(table, row, ranks[k], notes) for k, row in enumerate(table.rows)]
    return Part(
        table.key,
        table.title,
        table.task,
        heads,
        rows,
        has_years=any(row.year for row in rows),
        notes=notes,
    )


def _ranks(table: Table) -> list[int | str]:
    """Rank rows by the last column, which they are sorted by; equal printed numbers share a rank.

    Rows without that number, and doubtful ones, have none; nor have rows over several data sets.
    """
    if not table.columns or table.columns[-1].dataset:
        return [""] * len(table.rows)
    column = table.columns[-1]
    ranked = [
        float(percent(row.values[column]))
        if column in row.values and row.origin != "doubtful" else None
        for row in table.rows
    ]  # fmt: skip
    known = [value for value in ranked if value is not None]
    return ["" if own is None else 1 + sum(value > own for value in known) for own in ranked]


def _line(table: Table, row: Row, rank: int | str, notes: list[str]) -> Line:
    cells = []
    for column in table.columns:
        value = row.values.get(column)
        text = "-" if value is None else percent(value)
        place = table.rank(column).get(text) if row.origin != "doubtful" else None
        style = {1: " best", 2: " second"}.get(place or 0, "")
        cells.append(Number(column, "" if value is None else f"{value:.10g}", text, style))
    return Line(
        method=row.method,
        backbone=row.backbone,
        rank=rank,
        year=row.year,
        parameters=row.parameters,
        millions=millions(row.parameters),
        cells=cells,
        origin=row.origin,
        url=row.url,
        source=row.source,
        links=list(row.links),
        note=notes.index(row.note) + 1 if row.note else None,
        filled=filled(row, table.columns),
    )
