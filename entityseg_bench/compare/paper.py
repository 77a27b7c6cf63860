"""A comparison as files for a paper: a LaTeX table and a CSV of every metric."""

import csv
import io
import math
from pathlib import Path

from entity_api.names import COMPARED, Metric
from entityseg_bench.compare.comparison import Comparison
from entityseg_bench.io import InputError, atomic_path, printable
from entityseg_bench.resampling import Interval

__all__ = ["comparison_csv", "comparison_tex", "csv_text", "tex_text", "write_text"]

TEX_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
               **{letter: "\\" + letter for letter in "&%$#_{}"}}  # fmt: skip

# What begins a formula in a spreadsheet; some take the wide forms for the others.
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def tex_text(text: str) -> str:
    """Escape what LaTeX would read as a command, and what ends a line or a paragraph."""
    return "".join(TEX_SPECIAL.get(letter, letter) for letter in printable(text))


def csv_text(text: str) -> str:
    """Mark a text as one where a spreadsheet would compute it; what it holds is one line."""
    text = printable(text)
    return f"'{text}" if text.startswith(FORMULA) else text


def comparison_csv(comparison: Comparison) -> str:
    """Write one line for each file and metric, in percent.

    Differences are from the first file, so its own lines leave those columns empty, as does a
    metric that there is nothing to measure for.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["file", "metric", "value", "low", "high",
         "difference", "difference_low", "difference_high", "p"]
    )  # fmt: skip
    for k, (label, metrics) in enumerate(zip(comparison.labels, comparison.metrics, strict=True)):
        for name, own in metrics.items():
            numbers = [100 * own.value, 100 * own.low, 100 * own.high]
            change = comparison.differences[k - 1].get(name) if k else None
            if change is None:
                numbers += [math.nan] * 4
            else:
                numbers += [100 * change.value, 100 * change.low, 100 * change.high, change.p]
            cells = ["" if math.isnan(number) else f"{number:.10g}" for number in numbers]
            writer.writerow([csv_text(label), name, *cells])
    return out.getvalue()


def comparison_tex(comparison: Comparison) -> str:
    """Write a ``table`` environment (package booktabs) with a row for each file.

    Under each number stands its confidence interval. The best number of a column is bold,
    judged as printed; where all files print the same number, none is.
    """
    names = [name for name in COMPARED if name in comparison.metrics[0]]
    heads = [Metric.parse(name).latex for name in names]
    best = {name: _best([own[name] for own in comparison.metrics]) for name in names}
    lines = [
        r"\begin{table}", r"  \centering",
        rf"  \caption{{In percent, with {100 * comparison.level:g}\,\% confidence intervals from "
        rf"{comparison.n_resamples} resamples of the images.}}",
        rf"  \begin{{tabular}}{{l{'r' * len(names)}}}", r"    \toprule",
        f"    {' & '.join(['Method', *heads])} \\\\", r"    \midrule",
    ]  # fmt: skip
    for label, metrics in zip(comparison.labels, comparison.metrics, strict=True):
        numbers = [_number(metrics[name], best[name]) for name in names]
        lines.append(f"    {' & '.join([tex_text(label), *numbers])} \\\\")
        ends = [_ends(metrics[name]) for name in names]
        lines.append(f"    {' & '.join(['', *ends]).lstrip()} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all, as UTF-8.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        what = f"it cannot be written: {error.strerror or error}."
        raise InputError(path, "", what, "Does its folder exist?") from None


def _best(values: list[Interval]) -> str | None:
    printed = {_printed(one.value) for one in values if not math.isnan(one.value)}
    return max(printed, key=float) if len(printed) > 1 else None


def _printed(value: float) -> str:
    return f"{100 * value:.1f}"


def _number(one: Interval, best: str | None) -> str:
    if math.isnan(one.value):
        return "--"
    text = _printed(one.value)
    return rf"\textbf{{{text}}}" if text == best else text


def _ends(one: Interval) -> str:
    if math.isnan(one.value):
        return ""
    return rf"{{\scriptsize [{_printed(one.low)}, {_printed(one.high)}]}}"
