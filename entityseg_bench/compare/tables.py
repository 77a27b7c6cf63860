"""A comparison as text."""

import math
from collections.abc import Sequence

from entity_api.names import COMPARED
from entityseg_bench.compare.comparison import Comparison, Difference, image_counts
from entityseg_bench.resampling import Interval

__all__ = ["comparison_table"]


def comparison_table(comparison: Comparison, n_images: int = 10) -> str:
    """Lay out a comparison as text, in percent.

    Args:
        comparison: As `compare` made it.
        n_images: Images to list for each file that is compared with the first.
    """
    shown = [name for name in COMPARED if name in comparison.metrics[0]]
    blocks = [_metrics_block(comparison, shown)]
    for k in range(1, len(comparison.labels)):
        blocks.append(_difference_block(comparison, k, shown))
        blocks.append(_images_block(comparison, k, n_images))
    return "\n\n".join(blocks)


def _metrics_block(comparison: Comparison, shown: Sequence[str]) -> str:
    width = max(24, *(len(label) + 2 for label in comparison.labels))
    lines = [f"{'metric':8}" + "".join(f"{label:>{width}}" for label in comparison.labels)]
    for name in shown:
        cells = [_with_ends(own[name]) for own in comparison.metrics]
        lines.append(f"{name:8}" + "".join(f"{cell:>{width}}" for cell in cells))
    note = (
        f"[{100 * comparison.level:g} % confidence interval, "
        f"{comparison.n_resamples:,} resamples of the images]"
    )
    return "\n".join([*lines, note])


def _difference_block(comparison: Comparison, k: int, shown: Sequence[str]) -> str:
    changes = comparison.differences[k - 1]
    title = f"{comparison.labels[k]} minus {comparison.labels[0]}"
    lines = [f"{title}\n{'metric':8}{'difference':>24}{'p':>10}"]
    for name in shown:
        p = changes[name].p
        tail = "" if math.isnan(p) else f"{p:10.4f}"
        lines.append(f"{name:8}{_with_ends(changes[name], '+'):>24}{tail}")
    if comparison.n_permutations:
        lines.append(f"[p: paired permutation test, {comparison.n_permutations:,} exchanges]")
    return "\n".join(lines)


def _images_block(comparison: Comparison, k: int, n_images: int) -> str:
    counts = image_counts(comparison.changes(k))
    lines = ["Images by their own AP: " + ", ".join(f"{n:,} {what}" for what, n in counts.items())]
    moves = comparison.moved(k, n_images)
    if moves:
        lines.append(f"{'moved most':>12}{'from':>8}{'to':>8}{'change':>8}{'entities':>10}")
    for move in moves:
        lines.append(
            f"{move.image_id!s:>12}{100 * move.first:8.2f}{100 * move.second:8.2f}"
            f"{100 * move.change:+8.2f}{move.n_gt:10}  {move.file_name}".rstrip()
        )
    return "\n".join(lines)


def _with_ends(value: Interval | Difference, sign: str = "") -> str:
    if math.isnan(value.value):
        return "-"
    ends = f"[{100 * value.low:{sign}.2f}, {100 * value.high:{sign}.2f}]"
    return f"{100 * value.value:{sign}.2f} {ends}"
