"""The names of metrics: how they are built, what they are called in print, where they are shown.

A name is a kind (AP), a mark (e: overlaps removed) and what is left (50, s, 100). A metric column
is added here alone: in `averages`, which every result, interval and test computes by, and in the
lists below, from which every table, page, log and file takes names, labels and order.
"""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

__all__ = [
    "BOARD",
    "BY_SIZE",
    "COMPARED",
    "DETAIL",
    "HEADLINE",
    "KINDS",
    "LETTERS",
    "LOGGED",
    "MAIN",
    "MARKS",
    "PUBLISHED",
    "TESTED",
    "Average",
    "Metric",
    "PublishedName",
    "as_submitted",
    "averages",
]

# Mark of a name -> what was scored, in the order in which tables print them.
MARKS = {"e": "overlaps removed", "": "masks as submitted"}
# Kinds that carry a mark; others (PQ, mIoU) are whole names.
KINDS = {"AP": "average precision", "AR": "average recall"}
# Labels of COCO's area ranges -> the letter in the metric's name.
LETTERS = {"small": "s", "medium": "m", "large": "l"}
SIZES = {letter: label for label, letter in LETTERS.items()}


class Metric(NamedTuple):
    """Hold the parts of a metric's name.

    >>> Metric.parse("APe50")
    Metric(kind='AP', mark='e', rest='50')
    >>> Metric("AP", "e", "s").name
    'APes'
    """

    kind: str
    mark: str = ""
    rest: str = ""

    @classmethod
    def parse(cls, name: str) -> "Metric":
        """Take a name apart; one of another kind than AP and AR stays whole."""
        found = re.fullmatch(rf"({'|'.join(KINDS)})(e?)(.*)", name)
        return cls(*found.groups()) if found else cls(name)

    @property
    def name(self) -> str:
        """The name in files and in Python: ``APe50``."""
        return f"{self.kind}{self.mark}{self.rest}"

    def marked(self, mark: str) -> "Metric":
        """Return the same metric of masks as submitted ("") or with overlaps removed ("e")."""
        return self._replace(mark=mark)

    @property
    def text(self) -> str:
        """The label of plain text: ``AP^e50``."""
        return f"{self.kind}{f'^{self.mark}' if self.mark else ''}{self.rest}"

    @property
    def html(self) -> str:
        """The label of HTML and Markdown: ``AP<sup>e</sup>`` and what is left behind it."""
        return f"{self.kind}{f'<sup>{self.mark}</sup>' if self.mark else ''}{self.rest}"

    @property
    def latex(self) -> str:
        """The label of LaTeX, with what is left as a subscript."""
        above = rf"\textsuperscript{{{self.mark}}}" if self.mark else ""
        below = self.rest.replace("_", r"\_")
        return self.kind + above + (rf"\textsubscript{{{below}}}" if below else "")

    @property
    def heading(self) -> str:
        """What the rest means, as the heading of a column: ``IoU .50``, ``small``, ``top 100``."""
        if self.kind == "AR" and self.rest.isdigit():
            return f"top {self.rest}"
        words = {"": "all IoU", "50": "IoU .50", "75": "IoU .75", **SIZES}
        return words.get(self.rest, self.rest.lstrip("_"))

    @property
    def phrase(self) -> str:
        """The label and what it means: ``AP^e at IoU .50``."""
        label = self._replace(rest="").text
        if self.kind not in KINDS:
            return label
        if self.rest in ("50", "75"):
            return f"{label} at IoU .{self.rest}"
        if self.kind == "AR" and self.rest.isdigit():
            return f"{label}, {self.rest} predictions an image"
        if not self.rest:
            return label if self.mark else f"{label}, masks as submitted"
        return f"{label}, {self.heading}"


class Average(NamedTuple):
    """Say what a metric is the mean of: precision (AP), or recall (AR).

    Attributes:
        kind: AP or AR.
        area: Position of the area range.
        iou_thr: The one IoU threshold; None for the mean over all.
        max_det: Predictions of an image that count; None for as many as AP counts.
    """

    kind: str
    area: int = 0
    iou_thr: float | None = None
    max_det: int | None = None


def averages(labels: Iterable[str], max_dets: Iterable[int], mark: str = "") -> dict[str, Average]:
    """Name COCO's numbers in their order, and say what each is the mean of.

    Args:
        labels: Of the area ranges, without the first, "all".
        max_dets: Predictions of an image that count.
        mark: "" or "e".

    Returns:
        ``AP AP50 AP75``, AP of each range, AR of each number of predictions, AR of each range.
    """
    sizes = [(LETTERS.get(label, f"_{label}"), k) for k, label in enumerate(labels, 1)]
    own = {Metric("AP", mark): Average("AP")}
    for iou_thr in (0.5, 0.75):
        own[Metric("AP", mark, str(round(100 * iou_thr)))] = Average("AP", iou_thr=iou_thr)
    own |= {Metric("AP", mark, letter): Average("AP", area) for letter, area in sizes}
    own |= {Metric("AR", mark, str(n)): Average("AR", max_det=n) for n in max_dets}
    own |= {Metric("AR", mark, letter): Average("AR", area) for letter, area in sizes}
    return {metric.name: average for metric, average in own.items()}


def as_submitted(names: Iterable[str]) -> list[str]:
    """Leave out the names that bear a mark."""
    return [name for name in names if not Metric.parse(name).mark]


# The benchmark's own number: AP^e.
MAIN = "APe"
# What is drawn by the size of an entity.
BY_SIZE = ("APes", "APem", "APel")
# First table of the report.
HEADLINE = ("APe", "APe50", "APe75", "AP", "AP50", "AP75", "ARe100")
# Tables of a comparison, as text and as LaTeX.
COMPARED = ("APe", "APe50", "APe75", *BY_SIZE, "ARe100", "AP")
# Metrics whose differences are tested; the rest have intervals only.
TESTED = ("APe", "AP", *BY_SIZE)
# What the CSV of the leaderboard adds to the columns of its tables.
DETAIL = ("APe50", "APe75", *BY_SIZE)
# What published rows of the leaderboard may have. Average recall at 1,000 masks is another metric
# of another protocol: it has a table of its own.
PublishedName = Literal["AP", "APe", "mIoU", "PQ", "SQ", "RQ", "AR1000"]
PUBLISHED: tuple[PublishedName, ...] = get_args(PublishedName)
# Columns of the leaderboard by annotation type, in order.
BOARD = {"entity": ("AP", "APe"), "instance": ("AP",), "semantic": ("mIoU",),
         "panoptic": ("PQ", "SQ", "RQ")}  # fmt: skip
# Line of a training log.
LOGGED = ("APe", "APe50")
