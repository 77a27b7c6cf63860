"""What a section of a report is made of: plain values, which the templates lay out and escape."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Block", "Cell", "Chart", "Charts", "Details", "Heading", "Item", "Items", "Key",
           "Section", "Table", "Text", "number", "points", "span"]  # fmt: skip


class Cell(NamedTuple):
    """Hold a cell that is more than text: a link, muted, the best of its row, or two lines."""

    text: str
    href: str = ""
    muted: bool = False
    best: bool = False
    under: str = ""


class Table(NamedTuple):
    """Hold a table of words in the first column and numbers in the others."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str
    kind: Literal["table"] = "table"


class Key(NamedTuple):
    """Name one series of a chart; ``colour`` is a letter of the style sheet."""

    name: str
    colour: str
    dashed: bool = False


class Chart(NamedTuple):
    """Hold a drawn chart; ``svg`` is escaped already."""

    svg: str
    keys: Sequence[Key]
    caption: str


class Charts(NamedTuple):
    """Hold charts that stand beside each other where there is room."""

    charts: Sequence[Chart]
    kind: Literal["charts"] = "charts"


class Text(NamedTuple):
    """Hold a paragraph, and what leads it in bold."""

    text: str
    lead: str = ""
    kind: Literal["text"] = "text"


class Heading(NamedTuple):
    """Hold a heading within a section."""

    text: str
    kind: Literal["heading"] = "heading"


class Item(NamedTuple):
    """Hold one line of a list."""

    text: str
    lead: str = ""
    code: str = ""


class Items(NamedTuple):
    """Hold a list."""

    items: Sequence[Item]
    kind: Literal["list"] = "list"


class Details(NamedTuple):
    """Hold blocks that are folded up."""

    summary: str
    blocks: "Sequence[Table | Charts | Text | Heading | Items]"
    kind: Literal["details"] = "details"


Block: TypeAlias = Table | Charts | Text | Heading | Items | Details


class Section(NamedTuple):
    """Hold what stands under one heading of the page."""

    title: str
    blocks: Sequence[Block]

    @property
    def key(self) -> str:
        """Name the section in addresses: letters and hyphens."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def number(value: float) -> str:
    """Print a fraction as a percentage, a dash where nothing was measured."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def points(value: float, sign: str = "") -> str:
    """Print a difference in points, a dash where nothing was measured."""
    return "-" if math.isnan(value) else f"{100 * value:{sign}.1f}"


def span(low: float, high: float, sign: str = "") -> str:
    """Print the ends of an interval, nothing where there is none."""
    return "" if math.isnan(low) else f"{points(low, sign)} to {points(high, sign)}"
