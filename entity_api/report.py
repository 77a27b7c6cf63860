"""A result as a text table."""

import math

from entity_api.result import EvalResult

__all__ = ["text_table"]


def text_table(result: EvalResult) -> str:
    """Lay out the metrics in percent: AP as submitted, AP^e with overlaps removed.

    A metric that there is nothing to measure for is printed as a dash.
    """
    metrics = result.metrics
    names = [name for name in metrics if not name.startswith(("APe", "ARe"))]
    rows = [("AP^e", "e"), ("AP", "")] if result.disjoint is not None else [("AP", "")]
    kinds = {"AP": "average precision", "AR": "average recall"}
    blocks = []
    for kind, title in kinds.items():
        own = [name for name in names if name.startswith(kind)]
        lines = [f"{title:28}" + "".join(f"{_heading(name):>8}" for name in own)]
        for label, mark in rows:
            what = "overlaps removed" if mark else "masks as submitted"
            label = label.replace("AP", kind)
            cells = "".join(f"{_percent(metrics[kind + mark + name[2:]]):>8}" for name in own)
            lines.append(f"{label:6}{what:22}{cells}")
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, _overlap_line(result)]).rstrip()


def _heading(name: str) -> str:
    rest = name[2:]
    words = {
        "": "all IoU",
        "50": "IoU .50",
        "75": "IoU .75",
        "s": "small",
        "m": "medium",
        "l": "large",
    }
    if name.startswith("AR") and rest.isdigit():
        return f"top {rest}"
    return words.get(rest, rest.lstrip("_"))


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _overlap_line(result: EvalResult) -> str:
    overlap = result.overlap
    if overlap is None:
        return ""
    if not overlap.n_images:
        return "No predictions overlap: AP^e and AP are one and the same."
    pairs = f"{overlap.pairs.sum():,} pairs of masks, " if (overlap.pairs >= 0).all() else ""
    hidden = int(overlap.hidden.sum())
    note = f" {hidden:,} masks are hidden whole by others: AP^e leaves them out." if hidden else ""
    return (
        f"Predictions overlap in {overlap.n_images:,} of {len(overlap.pixels):,} images: {pairs}"
        f"{overlap.pixels.sum():,} pixels, {100 * overlap.share:.2f} % of all covered."
        + note.replace(" ", "\n", 1)
    )
