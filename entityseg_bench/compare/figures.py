"""The figures of a comparison for a paper, as PDF and SVG.

Files are told apart by colour, and by dashes, hatches or marks besides, so that neither the
colour-blind nor a printer without colours loses one. matplotlib is imported when a figure is drawn
(``pip install 'entityseg-bench[plot]'``).
"""

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from entity_api import EvalResult
from entity_api.names import BY_SIZE, MAIN, Metric
from entityseg_bench.compare.comparison import Comparison
from entityseg_bench.errors import KINDS, ErrorSummary, find_errors, summarize
from entityseg_bench.io import InputError, atomic_path, printable
from entityseg_bench.score import Scoring
from entityseg_bench.score.curves import ap_by_iou, precision_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from entityseg_bench.scale.saved import SavedScoring

__all__ = ["Drawn", "write_figures"]

STYLE = "entityseg_bench.data.paper"
MARKS, HATCHES = "osD^v", ("", "///", "...", "xx", "\\\\\\")
# Of a name in a legend; longer ones leave no room for the drawing.
LONGEST_NAME = 20
AP_LABEL = "AP$^e$"


class Drawn(NamedTuple):
    """Hold what is drawn of a scored file: its curves, and where it loses AP^e."""

    result: EvalResult
    errors: ErrorSummary

    @classmethod
    def of(cls, scoring: Scoring) -> "Drawn":
        """Take a scoring with its matches kept."""
        return cls(scoring.result, find_errors(scoring))

    @classmethod
    def of_state(cls, saved: "SavedScoring") -> "Drawn":
        """Take a state that was made with its errors.

        Raises:
            ValueError: It was not.
        """
        if saved.errors is None:
            raise ValueError(
                "figures need the errors of a state: `entityseg errors --save-state` keeps them"
            )
        return cls(saved.state.finish(), summarize(saved.errors))


def write_figures(
    comparison: Comparison, scorings: Sequence[Scoring | Drawn], folder: str | Path
) -> list[Path]:
    """Draw precision against recall, AP^e by IoU threshold, error costs, sizes and calibration.

    Args:
        comparison: Of the scorings, as `compare` made it.
        scorings: The same files, scored with their matches kept; or what is drawn of them.
        folder: Made where it is missing.

    Returns:
        The files: each figure as PDF and SVG. The same numbers give the same bytes.

    Raises:
        InputError: The folder cannot be written to.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    drawn = [own if isinstance(own, Drawn) else Drawn.of(own) for own in scorings]
    errors, results = [own.errors for own in drawn], [own.result for own in drawn]
    comparison = dataclasses.replace(comparison, labels=[*map(shown_name, comparison.labels)])
    drawings: dict[str, Callable[[Axes], None]] = {
        "precision_recall": lambda axes: draw_precision(axes, comparison, results),
        "ap_by_iou": lambda axes: draw_by_iou(axes, comparison, results),
        "error_costs": lambda axes: draw_costs(axes, comparison, errors),
        "sizes": lambda axes: draw_sizes(axes, comparison),
        "calibration": lambda axes: draw_calibration(axes, comparison, errors),
    }
    folder, written = Path(folder), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Fonts stand in the PDF as letters, and nothing tells when a file was made.
        fixed = {"pdf.fonttype": 42, "svg.hashsalt": "entityseg", "svg.fonttype": "path"}
        with mpl.rc_context(), plt.style.context([STYLE, fixed]):
            for name, draw in drawings.items():
                figure, axes = plt.subplots()
                draw(axes)
                for ending in ("pdf", "svg"):
                    written.append(folder / f"{name}.{ending}")
                    stamp = {"CreationDate": None} if ending == "pdf" else {"Date": None}
                    # In memory: matplotlib fails in its own ways where the disk is full.
                    figure.savefig(data := io.BytesIO(), format=ending, metadata=stamp)
                    with atomic_path(written[-1]) as temporary:
                        temporary.write_bytes(data.getvalue())
                plt.close(figure)
    except OSError as error:
        what = f"it cannot be written: {error.strerror or error}."
        raise InputError(folder, "", what, "Name another folder.") from None
    return written


def draw_precision(axes: "Axes", comparison: Comparison, results: Sequence[EvalResult]) -> None:
    """Draw precision against recall at IoU .50, and thinner and dashed at .75."""
    for k, (label, one) in enumerate(zip(comparison.labels, results, strict=True)):
        recalls = one.params.rec_thrs
        for thr, style, width in ((0.5, "-", 1.6), (0.75, "--", 1.0)):
            precision = 100 * precision_at(one, thr)
            name = f"{label}, IoU .{round(100 * thr)}"
            axes.plot(recalls, precision, style, color=f"C{k}", linewidth=width, label=name)
    axes.set(xlabel="recall", ylabel="precision, %", xlim=(0, 1), ylim=(0, 102))
    _legend(axes)


def draw_by_iou(axes: "Axes", comparison: Comparison, results: Sequence[EvalResult]) -> None:
    """Draw AP^e at each IoU threshold."""
    for k, (label, one) in enumerate(zip(comparison.labels, results, strict=True)):
        thrs = one.params.iou_thrs
        axes.plot(thrs, 100 * ap_by_iou(one), marker=MARKS[k % 5], label=label)
    axes.set(xlabel="IoU threshold", ylabel=f"{AP_LABEL}, %")
    axes.set_ylim(bottom=0)
    _legend(axes)


def draw_costs(axes: "Axes", comparison: Comparison, errors: Sequence[ErrorSummary]) -> None:
    """Draw what correcting each kind of error alone would gain."""
    values = [[100 * one.costs[kind].cost for kind in KINDS] for one in errors]
    _bars(axes, comparison.labels, KINDS, values, across=True)
    axes.set_xlabel(f"cost in {AP_LABEL}, points")
    axes.invert_yaxis()


def draw_sizes(axes: "Axes", comparison: Comparison) -> None:
    """Draw AP^e by the size of entities, with intervals."""
    shown = [name for name in (MAIN, *BY_SIZE) if name in comparison.metrics[0]]
    names = ["all" if name == MAIN else Metric.parse(name).heading for name in shown]
    own = [[metrics[name] for name in shown] for metrics in comparison.metrics]
    values = [[100 * one.value for one in row] for row in own]
    spans = [
        100 * np.array([[one.value - one.low, one.high - one.value] for one in row]).T
        for row in own
    ]
    _bars(axes, comparison.labels, names, values, spans=spans)
    axes.set_ylabel(f"{AP_LABEL}, %")


def draw_calibration(axes: "Axes", comparison: Comparison, errors: Sequence[ErrorSummary]) -> None:
    """Draw the share of right predictions by score."""
    highest = 1.0
    for k, (label, one) in enumerate(zip(comparison.labels, errors, strict=True)):
        used = [own for own in one.calibration.bins if own.n]
        scores = [own.score for own in used]
        highest = max(highest, *scores, 0)
        shares = [100 * own.tp_rate for own in used]
        axes.plot(scores, shares, marker=MARKS[k % 5], label=label)
    if highest == 1:
        axes.plot([0, 1], [0, 100], ":", color="0.5", label="calibrated")
    axes.set(xlabel="score", ylabel="right at IoU .50, %", ylim=(0, 102))
    _legend(axes)


def shown_name(label: str) -> str:
    """Shorten a name, as of a path, and keep matplotlib from reading it as mathematics.

    One that begins with ``_`` would be left out.
    """
    if len(label) > LONGEST_NAME:
        label = f"{label[: LONGEST_NAME // 3]}…{label[-(2 * LONGEST_NAME // 3) :]}"
    name = printable(label).replace("$", r"\$")
    return f"\u200b{name}" if name.startswith("_") else name


def _legend(axes: "Axes") -> None:
    """Name the files above the drawing, where nothing is covered."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


def _bars(
    axes: "Axes",
    labels: Sequence[str],
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    spans: Sequence[Any] | None = None,
    across: bool = False,
) -> None:
    """Draw a group of bars for each name, one a file, upright or across."""
    at, thick = np.arange(len(names)), 0.8 / len(labels)
    for k, (label, own) in enumerate(zip(labels, values, strict=True)):
        where = at + (k - (len(labels) - 1) / 2) * thick
        style: dict[str, Any] = {"color": f"C{k}", "label": label, "hatch": HATCHES[k % 5]}
        style |= {"edgecolor": "white", "linewidth": 0.3}
        if across:
            axes.barh(where, own, thick, **style)
        else:
            axes.bar(where, own, thick, **style)
            if spans is not None:
                known = np.maximum(np.nan_to_num(spans[k]), 0)
                axes.errorbar(where, own, yerr=known, fmt="none", ecolor="0.2", elinewidth=0.7)
    if across:
        axes.set_yticks(at, names)
    else:
        axes.set_xticks(at, names)
    axes.grid(visible=False, axis="y" if across else "x")
    _legend(axes)
