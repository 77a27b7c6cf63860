"""Charts as inline SVG: lines, bars and points, in the colours of the page's style sheet."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = [
    "COLOURS",
    "Axis",
    "Bar",
    "Effect",
    "Point",
    "Series",
    "bars",
    "forest",
    "lines",
    "points",
]

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 42
# Colours of the style sheet, in the order in which series take them.
COLOURS = ("a", "b", "c", "d", "e")


@dataclasses.dataclass(frozen=True)
class Axis:
    """Hold one axis: its ends, the values to mark, and what it measures."""

    low: float
    high: float
    ticks: Sequence[float]
    label: str
    digits: int = 0

    @classmethod
    def around(cls, values: Sequence[float], label: str, zero: bool = True) -> "Axis":
        """Make an axis with round ends around some values; from 0 where ``zero``."""
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = (0.0 if zero else min(known)), max(known)
        step = nice_step((high - low) or abs(high) or 1.0)
        low, high = math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step
        if low == high:
            high = low + step
        ticks = [low + k * step for k in range(round((high - low) / step) + 1)]
        return cls(low, high, ticks, label, max(0, -math.floor(math.log10(step) + 1e-9)))


def nice_step(span: float, most: int = 6) -> float:
    """Return the least of 1, 2, 5 times a power of ten that cuts a span into few parts."""
    power = 10 ** math.floor(math.log10(span / most))
    return next(power * k for k in (1, 2, 5, 10) if span / (power * k) <= most)


@dataclasses.dataclass(frozen=True)
class Series:
    """Hold one line: N points, its colour's position, and whether it is dashed or has marks.

    ``low`` and ``high`` bound a band around it.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int = 0
    dashed: bool = False
    marks: bool = False
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclasses.dataclass(frozen=True)
class Bar:
    """Hold one bar: its label, its values (one a series) and the text beside each.

    ``spans`` bounds each value: (low, high) or None.
    """

    label: str
    values: Sequence[float]
    texts: Sequence[str]
    spans: Sequence[tuple[float, float] | None] = ()


@dataclasses.dataclass(frozen=True)
class Point:
    """Hold one mark of a scatter plot: a filled or hollow ``shape`` (round, square, diamond).

    ``label`` stands beside it, right or ``left``; ``data`` are attributes of its group.
    """

    x: float
    y: float
    title: str
    shape: str = "round"
    filled: bool = True
    colour: int = 0
    label: str = ""
    left: bool = False
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Frame:
    """Carry the mapping from values to pixels, and draw grid, ticks and labels."""

    def __init__(self, x: Axis, y: Axis, width: int = WIDTH, height: int = HEIGHT) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel of a value; y runs upward."""
        across = (x - self.x.low) / (self.x.high - self.x.low)
        up = (y - self.y.low) / (self.y.high - self.y.low)
        return (
            LEFT + across * (self.width - LEFT - RIGHT),
            self.height - BOTTOM - up * (self.height - TOP - BOTTOM),
        )

    def svg(self, marks: Sequence[str], title: str) -> str:
        """Draw the frame with marks in it."""
        left, bottom = self.at(self.x.low, self.y.low)
        right, top = self.at(self.x.high, self.y.high)
        out = []
        for value in self.y.ticks:
            y = self.at(self.x.low, value)[1]
            out.append(_line(left, y, right, y, "grid"))
            out.append(_text(left - 7, y + 4, f"{value:.{self.y.digits}f}", "end"))
        for value in self.x.ticks:
            x = self.at(value, self.y.low)[0]
            out.append(_line(x, bottom, x, bottom + 4, "axis"))
            out.append(_text(x, bottom + 17, f"{value:.{self.x.digits}f}", "middle"))
        out.append(_line(left, bottom, right, bottom, "axis"))
        out.append(_text((left + right) / 2, self.height - 5, self.x.label, "middle", "strong"))
        middle = (top + bottom) / 2
        out.append(
            f'<text class="strong" text-anchor="middle" '
            f'transform="translate(12 {middle:.1f}) rotate(-90)">{_words(self.y.label)}</text>'
        )
        return wrap([*out, *marks], title, self.width, self.height)


def wrap(parts: Sequence[str], title: str, width: int, height: int) -> str:
    """Make an SVG element that is read out as one picture."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">\n' + "\n".join(parts) + "\n</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_words(text)}</text>'


def _words(text: str) -> str:
    """Escape a text and raise the e of AP^e."""
    return escape(text).replace(
        "^e", '<tspan dy="-4" font-size="9">e</tspan><tspan dy="4">\u200b</tspan>'
    )


def lines(series: Sequence[Series], x: Axis, y: Axis, title: str) -> str:
    """Draw lines; a value that is not finite interrupts its line."""
    frame, marks = Frame(x, y), []
    for one in series:
        colour = f"var(--{COLOURS[one.colour]})"
        if one.low is not None and one.high is not None:
            ring = [
                *zip(one.xs, one.high, strict=True),
                *list(zip(one.xs, one.low, strict=True))[::-1],
            ]
            if all(math.isfinite(value) for _, value in ring):
                corners = "L".join("{:.1f} {:.1f}".format(*frame.at(*pair)) for pair in ring)
                marks.append(f'<path d="M{corners}Z" fill="{colour}" fill-opacity=".14"/>')
        path, pen = [], "M"
        for px, py in zip(one.xs, one.ys, strict=True):
            if not math.isfinite(py):
                pen = "M"
                continue
            path.append("{}{:.1f} {:.1f}".format(pen, *frame.at(px, py)))
            pen = "L"
        dash = ' stroke-dasharray="5 3"' if one.dashed else ""
        marks.append(
            f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-linejoin="round"{dash}/>'
        )
        if one.marks:
            for px, py in zip(one.xs, one.ys, strict=True):
                if math.isfinite(py):
                    cx, cy = frame.at(px, py)
                    text = f"{one.name}: {py:.{y.digits + 1}f} at {px:g}"
                    marks.append(
                        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" fill="{colour}">'
                        f"<title>{escape(text)}</title></circle>"
                    )
    return frame.svg(marks, title)


def bars(groups: Sequence[Bar], title: str, unit: str = "") -> str:
    """Draw horizontal bars, one group below the other, each with its number beside it."""
    thick, gap, label_width, text_width = 20, 18, 128, 96
    if max((len(bar.values) for bar in groups), default=1) > 2:
        thick = 14
    finite = [value for bar in groups for value in bar.values if math.isfinite(value)]
    reach = [edge for bar in groups for span in bar.spans if span for edge in span]
    axis = Axis.around([0.0, *finite, *reach], unit, zero=min([0.0, *finite, *reach]) >= 0)
    plot = WIDTH - label_width - text_width
    scale = plot / (axis.high - axis.low)
    zero = label_width - axis.low * scale
    out, y = [], 4.0
    for bar in groups:
        tall = thick * len(bar.values)
        out.append(_text(label_width - 10, y + tall / 2 + 4, bar.label, "end", "strong"))
        for k, value in enumerate(bar.values):
            top = y + k * thick
            end = zero
            if math.isfinite(value):
                left, end = sorted((zero, zero + value * scale))
                out.append(
                    f'<rect x="{left:.1f}" y="{top + 1:.1f}" width="{end - left:.1f}" '
                    f'height="{thick - 2}" rx="1" fill="var(--{COLOURS[k]})"/>'
                )
            span = bar.spans[k] if k < len(bar.spans) else None
            if span and all(math.isfinite(edge) for edge in span):
                low, high = (zero + edge * scale for edge in span)
                middle = top + thick / 2
                out.append(
                    f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 3:.1f}v6'
                    f'M{high:.1f} {middle - 3:.1f}v6" stroke="var(--text)" fill="none"/>'
                )
                end = max(end, high)
            out.append(_text(end + 6, top + thick / 2 + 4, bar.texts[k]))
        y += tall + gap
    out.append(_line(zero, 0, zero, y - gap + 4, "axis"))
    return wrap(out, title, WIDTH, round(y - gap + 8))


@dataclasses.dataclass(frozen=True)
class Effect:
    """Hold one line of a forest plot: a value, its interval and the text beside it.

    ``heading`` stands in a line of its own above it.
    """

    label: str
    value: float
    low: float
    high: float
    text: str
    colour: int = 0
    heading: str = ""


def forest(effects: Sequence[Effect], title: str, unit: str) -> str:
    """Draw differences with their intervals below each other, around a line at zero.

    A difference whose interval holds zero is hollow.
    """
    tall, top, label_width, text_width, width = 24, 8, 92, 112, WIDTH
    ends = [edge for one in effects for edge in (one.value, one.low, one.high)]
    axis = Axis.around([0.0, *ends], unit, zero=False)
    scale = (width - label_width - text_width) / (axis.high - axis.low)

    def at(value: float) -> float:
        return label_width + (value - axis.low) * scale

    bottom = top + tall * (len(effects) + sum(bool(one.heading) for one in effects))
    out = [
        _line(at(tick), top, at(tick), bottom + 4, "grid")
        + _text(at(tick), bottom + 18, f"{tick:+.{axis.digits}f}" if tick else "0", "middle")
        for tick in axis.ticks
    ]
    out.append(_line(at(0), top, at(0), bottom, "zero"))
    y = top - tall / 2
    for one in effects:
        colour = f"var(--{COLOURS[one.colour]})"
        if one.heading:
            y += tall
            out.append(_text(0, y + 4, one.heading, kind="strong"))
        y += tall
        out.append(_text(label_width - 12, y + 4, one.label, "end", "strong"))
        if not math.isfinite(one.value):
            continue
        known = math.isfinite(one.low) and math.isfinite(one.high)
        if known:
            out.append(
                f'<path d="M{at(one.low):.1f} {y:.1f}H{at(one.high):.1f}" stroke="{colour}" '
                f'stroke-width="2"/>'
            )
        sure = known and not one.low <= 0 <= one.high
        out.append(
            f'<circle cx="{at(one.value):.1f}" cy="{y:.1f}" r="4.5" stroke="{colour}" '
            f'stroke-width="2" fill="{colour if sure else "var(--ground)"}"/>'
        )
        out.append(_text(width - text_width + 12, y + 4, one.text))
    out.append(_text((label_width + width - text_width) / 2, bottom + 36, unit, "middle", "strong"))
    return wrap(out, title, width, bottom + 44)


SHAPES = {
    "round": "M{l} {y}A{r} {r} 0 1 0 {h} {y}A{r} {r} 0 1 0 {l} {y}Z",
    "square": "M{l} {t}H{h}V{b}H{l}Z",
    "diamond": "M{x} {t}L{h} {y}L{x} {b}L{l} {y}Z",
}


def points(marks: Sequence[Point], x: Axis, y: Axis, title: str) -> str:
    """Draw a scatter plot; each point tells its title where the pointer rests on it."""
    frame, out = Frame(x, y, 760, 380), []
    for point in marks:
        px, py = frame.at(point.x, point.y)
        size = {"round": 5.0, "square": 4.6, "diamond": 6.2}[point.shape]
        places = {"x": px, "y": py, "l": px - size, "h": px + size, "t": py - size,
                  "b": py + size, "r": size}  # fmt: skip
        path = SHAPES[point.shape].format(**{key: f"{value:.1f}" for key, value in places.items()})
        colour = f"var(--{COLOURS[point.colour]})"
        fill = colour if point.filled else "var(--ground)"
        beside, anchor = (-size - 5, "end") if point.left else (size + 5, "start")
        data = "".join(f' data-{key}="{escape(value)}"' for key, value in point.data.items())
        label = _text(px + beside, py + 4, point.label, anchor) if point.label else ""
        out.append(
            f'<g{data}><path d="{path}" fill="{fill}" stroke="{colour}" '
            f'stroke-width="2"><title>{escape(point.title)}</title></path>{label}</g>'
        )
    return frame.svg(out, title)
