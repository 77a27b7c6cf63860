"""The look of every page: one style sheet, light and dark, wide and narrow, screen and paper."""

from collections.abc import Iterable
from html import escape

__all__ = ["page", "table"]

# Contrast of text on ground is at least 7, of muted text 4.5, of lines and marks 3 (WCAG 2.2).
STYLE = """
:root { color-scheme: light dark;
  --ground: #ffffff; --raised: #f6f7f9; --line: #dfe3e8; --grid: #eceff2;
  --text: #1b2026; --muted: #5a6472; --link: #1f5fa8;
  --a: #2468b0; --b: #b8540a; --c: #217a4b; --d: #8a4bb0; --soft: #2468b022;
  --shade: #1b20262e; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #15181c; --raised: #1d2126; --line: #363d46; --grid: #262b32;
  --text: #e8ebef; --muted: #a3adba; --link: #86b8f0;
  --a: #7ab3ee; --b: #f0a060; --c: #6cc795; --d: #c79be6; --soft: #7ab3ee2a;
  --shade: #000000b0; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 72rem; background: var(--ground);
  color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans",
  sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.015em; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3rem 0 .5rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .5rem 0 1rem; max-width: 46rem; }
sup { line-height: 0; font-size: .72em; }
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--a); outline-offset: 2px; }
.muted, figcaption, caption { color: var(--muted); font-size: .875rem; }
code { font: .875em ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 1rem 0 0; font-size: .9rem; }
.scroll { overflow-x: auto; margin: .6rem 0 1rem; background:
    linear-gradient(to left, var(--ground) 40%, transparent) right / 3rem 100% no-repeat local,
    linear-gradient(to left, var(--shade), transparent) right / 1rem 100% no-repeat scroll; }
/* Collapsed borders would stay behind when the first column does not scroll. */
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums;
  font-size: .925rem; }
caption { text-align: left; padding: 0 0 .4rem; }
th, td { padding: .38rem .7rem; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: .1rem; }
thead th { font-weight: 600; border-bottom: 2px solid var(--line); vertical-align: bottom; }
tbody th { font-weight: 400; }
tbody tr:hover { background: var(--raised); }
.scroll th:first-child { position: sticky; left: 0; z-index: 1; background: var(--ground); }
.scroll tbody tr:hover th { background: var(--raised); }
.n { text-align: right; }
.wrap { white-space: normal; min-width: 12rem; line-height: 1.35; }
.best { font-weight: 700; }
.second { text-decoration: underline; text-underline-offset: .2em; }
figure { margin: 1rem 0; }
svg { display: block; max-width: 100%; height: auto; font: 12px system-ui, "Liberation Sans",
  sans-serif; }
svg text { fill: var(--muted); }
svg .strong { fill: var(--text); }
svg .grid { stroke: var(--grid); }
svg .axis { stroke: var(--line); }
.wide svg { min-width: 34rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: .5rem 2rem; }
.cards { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; padding: 0; }
.cards > div { flex: 1 1 10rem; padding: .8rem 1rem; background: var(--raised);
  border-radius: .4rem; }
.cards dt { color: var(--muted); font-size: .875rem; }
.cards dd { margin: 0; font-variant-numeric: tabular-nums; }
.cards .big { font-size: 1.75rem; font-weight: 600; line-height: 1.25; }
img { display: block; max-width: 100%; height: auto; border-radius: .2rem; }
.controls { display: flex; flex-wrap: wrap; gap: .6rem 1.25rem; margin: 1.25rem 0 0;
  padding: .8rem 1rem; background: var(--raised); border-radius: .4rem; }
.controls label { font-size: .875rem; color: var(--muted); }
select, th button { font: inherit; color: var(--text); }
select { display: block; min-width: 8rem; padding: .3rem .4rem; background: var(--ground);
  border: 1px solid var(--line); border-radius: .3rem; }
th button { padding: 0; border: 0; background: none; cursor: pointer; font-weight: 600; }
th button::after { content: "\\2195"; display: inline-block; width: 1.1em; text-align: center;
  color: var(--muted); font-weight: 400; }
th[aria-sort=descending] button::after { content: "\\2193"; color: var(--a); }
th[aria-sort=ascending] button::after { content: "\\2191"; color: var(--a); }
.tag { padding: .05rem .45rem; border: 1px solid var(--line); border-radius: 1rem;
  font-size: .8rem; white-space: nowrap; }
.measured { border-color: var(--c); } .secondary { border-style: dashed; }
.doubtful { border-style: dotted; border-color: var(--b); }
[hidden] { display: none !important; }
.pictures { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .4rem; }
.pictures > div { max-width: min(100%, 22rem); }
.pictures img { width: auto; max-height: 21rem; }
.words { display: grid; grid-template-columns: max-content 1fr; gap: .45rem 1rem; margin: 1rem 0;
  align-content: start; font-size: .875rem; }
.words dd { margin: 0; color: var(--muted); }
summary { cursor: pointer; padding: .3rem 0; }
@media (max-width: 40rem) { body { padding: 1.5rem 1rem 3rem; } h1 { font-size: 1.5rem; }
  th, td, .wrap { padding: .375rem .3rem; line-height: 1.125rem; } table { font-size: .8rem; }
  .minor, th button::after { display: none; }
  tbody th { white-space: normal; min-width: 6rem; max-width: 8.5rem; }
  th[data-under]::after { content: attr(data-under); display: block; color: var(--muted); }
  .tag { padding: 0 .3rem; font-size: .75rem; } td.muted { font-size: inherit; }
  .wide svg { min-width: 0; max-width: calc(100% - 1.25rem); margin-left: .25rem;
    overflow: visible; font-size: 18px; } }
@media print { :root { color-scheme: light; --ground: #fff; --raised: #fff; --line: #bbb;
    --grid: #e4e4e4; --text: #000; --muted: #444; --link: #000; --a: #1d5796; --b: #9a4505;
    --c: #1a613c; --d: #6f3a90; --soft: #1d579622; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav, .controls { display: none; }
  .pictures { flex-wrap: nowrap; } .pictures > div { flex: 1 1 0; }
  .scroll { overflow: visible; background: none; } h2 { break-after: avoid; }
  figure, tr, .cards { break-inside: avoid; } .cards > div { border: 1px solid var(--line); } }
"""


def page(title: str, body: str, script: str = "") -> str:
    """Wrap a body into a whole HTML page that loads nothing."""
    tail = f"<script>{script}</script>\n" if script else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
{tail}</body>
</html>
"""


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], caption: str) -> str:
    """Lay out a table of words in the first column and numbers in the others.

    Args:
        heads: HTML, one a column.
        rows: HTML cells.
        caption: Text, above the table.
    """
    first, *others = heads
    head = f'<th scope="col">{first}</th>' + "".join(
        f'<th scope="col" class="n">{text}</th>' for text in others
    )
    lines = []
    for name, *cells in rows:
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row">{name}</th>{numbers}</tr>')
    text = escape(caption)
    title = f"<caption>{text.replace('^e', '<sup>e</sup>')}</caption>"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text}"><table>{title}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )
