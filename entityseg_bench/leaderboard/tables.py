"""Published and measured rows joined into tables."""

import dataclasses
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Literal

from entity_api.names import BOARD, Metric
from entityseg_bench.categories import TASKS, Task
from entityseg_bench.layout import Resolution
from entityseg_bench.leaderboard.schema import ModelFile, Published, Source

__all__ = ["ABOUT_ORIGIN", "Column", "Row", "Table", "collect", "millions", "percent"]

Origin = Literal["measured", "first-party", "secondary", "doubtful"]

RESOLUTION_LETTERS: dict[Resolution | None, str] = {"low": "L", "high": "H", None: ""}

TITLES = {
    ("entity", False): "Entities",
    ("instance", True): "Instances, class-aware",
    ("semantic", True): "Semantic classes",
    ("panoptic", True): "Panoptic segments, class-aware",
    ("instance", False): "Instances as entities",
    ("semantic", False): "Semantic regions as entities",
    ("panoptic", False): "Panoptic segments as entities",
}

AVERAGE_RECALL = "Average recall at 1,000 masks (AR@1000), by data set"

ABOUT_ORIGIN = {
    "measured": "scored with this toolkit from the prediction file, whose hash is filed",
    "first-party": "printed by the authors of the benchmark",
    "secondary": "printed by another paper or project, by its own measurement",
    "doubtful": "left open or since corrected by its source; takes no part in the ranking",
}


@dataclasses.dataclass(frozen=True)
class Column:
    """Name one column of numbers."""

    metric: str
    resolution: Resolution | None
    # Of a table over several data sets; empty where the table is of one.
    dataset: str = ""

    @property
    def letter(self) -> str:
        """L, H, or nothing for data of one resolution."""
        return RESOLUTION_LETTERS[self.resolution]

    @property
    def html(self) -> str:
        """Heading in HTML and Markdown."""
        if self.dataset:
            return escape(self.dataset)
        return f"{Metric.parse(self.metric).html} {self.letter}".rstrip()


@dataclasses.dataclass(frozen=True)
class Row:
    """Hold one line of a table; ``values`` are percent, rounded only when written."""

    method: str
    backbone: str
    parameters: int | None
    origin: Origin
    source: str
    url: str
    values: dict[Column, float]
    note: str = ""
    year: int | None = None
    links: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """Hold the rows that may be compared: one data set, split, task and kind of metric."""

    dataset: str
    split: str
    task: Task
    class_aware: bool
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    protocol: str = "entityseg"

    @property
    def key(self) -> str:
        """Name the table in addresses: letters and hyphens."""
        if self.protocol != "entityseg":
            return self.protocol
        kind = "" if self.task == "entity" or self.class_aware else "-as-entities"
        words = f"{self.dataset}-{self.split}-{self.task}{kind}".lower()
        return "".join(letter if letter.isalnum() else "-" for letter in words)

    @property
    def title(self) -> str:
        """Name the table for people."""
        if self.protocol != "entityseg":
            return AVERAGE_RECALL
        return f"{TITLES[self.task, self.class_aware]}: {self.dataset} {self.split}"

    def rank(self, column: Column) -> dict[str, int]:
        """Return the places 1 and 2 of a column by its printed numbers; ties share a place."""
        printed = {percent(row.values[column]) for row in self.rows
                   if column in row.values and row.origin != "doubtful"}  # fmt: skip
        if len(printed) < 2:
            return {}
        return {text: place for place, text in enumerate(sorted(printed, key=float)[:-3:-1], 1)}


def percent(value: float) -> str:
    """Print a percentage as the published tables do."""
    return f"{value:.1f}"


def millions(parameters: int | None) -> str:
    """Print a number of parameters."""
    return "-" if parameters is None else f"{parameters / 1e6:.1f} M"


def collect(published: Published, models: Iterable[tuple[Path, ModelFile]]) -> list[Table]:
    """Join published and measured rows into tables.

    The columns of a table are those that at least one of its rows fills. Rows go by the last
    column, best first, and within equals by name.
    """
    found: dict[tuple[str, str, Task, bool], list[Row]] = {}
    joined: dict[tuple[object, ...], dict[Column, float]] = {}
    for row in (one for one in published.rows if one.protocol == "entityseg"):
        table = (row.dataset, row.split, row.task, row.task != "entity")
        key = (*table, row.method, row.backbone, row.source, row.mark, row.note, row.parameters)
        values = {Column(metric, row.resolution): value for metric, value in row.percent.items()}
        if key in joined:
            joined[key].update(values)
            continue
        joined[key] = values
        source = published.sources[row.source]
        found.setdefault(table, []).append(
            Row(
                row.method,
                row.backbone,
                row.parameters,
                row.mark,
                source.title,
                source.url,
                values,
                row.note,
                source.year,
                links_of(source),
            )
        )
    for path, model in models:
        for task, class_aware, measured in measured_rows(path, model):
            found.setdefault((model.dataset, model.split, task, class_aware), []).append(measured)
    tables = [_table(*key, rows) for key, rows in found.items()]

    def own_data_first(one: Table) -> tuple[bool, str, bool, bool, int]:
        as_entities = one.task != "entity" and not one.class_aware
        own = one.dataset == "EntitySeg"
        return not own, one.dataset, one.split != "val", as_entities, TASKS.index(one.task)

    return [*sorted(tables, key=own_data_first), *average_recall(published)]


def average_recall(published: Published) -> list[Table]:
    """Join the rows of AR@1000 into one table, a column a data set, EntitySeg last."""
    rows = [row for row in published.rows if row.protocol == "ar1000"]
    names = dict.fromkeys(row.dataset for row in rows)
    columns = tuple(
        Column("AR1000", None, name) for name in sorted(names, key=lambda name: name == "EntitySeg")
    )
    joined: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (row.method, row.backbone, row.source, row.mark, row.note)
        source = published.sources[row.source]
        own = Row(
            row.method, row.backbone, row.parameters, row.mark, source.title, source.url, {},
            row.note,
        )  # fmt: skip
        values = joined.setdefault(key, own).values
        values[Column("AR1000", None, row.dataset)] = row.percent["AR1000"]

    def best_first(row: Row) -> tuple[list[float], str, str]:
        return [-row.values.get(column, -1) for column in columns[::-1]], row.method, row.backbone

    found = tuple(sorted(joined.values(), key=best_first))
    return [Table("", "val", "entity", False, columns, found, "ar1000")] if found else []


def measured_rows(path: Path, model: ModelFile) -> Iterable[tuple[Task, bool, Row]]:
    """Yield a model's rows: its results of one task and kind, both resolutions together."""
    values: dict[tuple[Task, bool], dict[Column, float]] = {}
    notes: dict[Task, list[str]] = {}
    for filed in model.results:
        result, letter = filed.parsed(path), RESOLUTION_LETTERS[filed.resolution]
        for class_aware, metrics in ((False, result.metrics), (True, result.class_aware())):
            own = {Column(name, filed.resolution): 100 * value for name, value in metrics.items()
                   if value is not None}  # fmt: skip
            if own:
                values.setdefault((result.task, class_aware), {}).update(own)
        n = result.overlap.images
        what = f"overlap in {n} of {result.counts.images} images" if n else "do not overlap"
        if n and result.schema == 1:
            what += ", APe by the earlier rule for hidden masks until scored again"
        notes.setdefault(result.task, []).append(f"masks {what} ({letter})")
    for (task, class_aware), own in values.items():
        yield (
            task,
            class_aware,
            Row(
                model.method,
                model.backbone,
                model.parameters,
                "measured",
                model.model,
                model.paper,
                own,
                "; ".join(notes[task]),
                model.year,
                links_of(model),
            ),
        )


def links_of(about: Source | ModelFile) -> tuple[tuple[str, str], ...]:
    """Name what a row leads to: paper, code, and of a filed model weights and predictions."""
    names = ("paper", "code", "weights", "predictions")
    known = ((name, getattr(about, name, None)) for name in names)
    return tuple((name, url) for name, url in known if url)


def _table(dataset: str, split: str, task: Task, class_aware: bool, rows: list[Row]) -> Table:
    shown = BOARD[task] if task == "entity" or class_aware else BOARD["entity"]
    resolutions: tuple[Resolution | None, ...] = ("low", "high", None)
    possible = [Column(metric, resolution) for resolution in resolutions for metric in shown]
    columns = tuple(column for column in possible if any(column in row.values for row in rows))

    def best_first(row: Row) -> tuple[list[float], str, str]:
        # AP^e at high resolution decides, then what stands left of it.
        return [-row.values.get(column, -1) for column in columns[::-1]], row.method, row.backbone

    return Table(dataset, split, task, class_aware, columns, tuple(sorted(rows, key=best_first)))
