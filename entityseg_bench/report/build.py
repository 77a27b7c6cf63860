"""Files in, one self-contained HTML report out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from pathlib import Path

from entityseg_bench import __version__
from entityseg_bench.check import Problem
from entityseg_bench.formats import Inputs
from entityseg_bench.io import atomic_path
from entityseg_bench.report import losses, sections
from entityseg_bench.report.findings import Findings, Side, choose_images, gather, moved_images
from entityseg_bench.report.gallery import gallery, image_list
from entityseg_bench.report.pictures import Pictures
from entityseg_bench.report.style import STYLE, page

__all__ = ["render", "write_report"]

INTRO = """<p class="muted">AP<sup>e</sup> is COCO's mask AP over entities without classes, after
overlaps between the predictions of an image are removed; AP takes the masks as submitted. Numbers
are percent, areas pixels.</p>"""


def write_report(
    gt_path: str | Path,
    dt_paths: Sequence[str | Path],
    out: str | Path,
    images: str | Path | None = None,
    *,
    threads: int = 1,
    n_resamples: int = 1000,
    n_pictures: int = 4,
    max_bytes: int = 10_000_000,
    progress: Callable[[int, int], None] | None = None,
    inputs: Inputs | None = None,
    warn: Callable[[Problem], None] | None = None,
) -> Path:
    """Score one or two prediction files and write the report about them.

    Args:
        gt_path: Ground truth, as `evaluate_files` takes it.
        dt_paths: One or two prediction files.
        out: The HTML file.
        images: Folder of the images; without it the report has no pictures.
        threads: Images scored at once.
        n_resamples: Of the bootstrap.
        n_pictures: Images a group (worst, median, best).
        max_bytes: Which the pictures keep the file below.
        progress: Called with (images finished, images to go through), anew for each pass.
        inputs: What the files are, where they do not say it.
        warn: Takes what is unusual of each prediction file, but scored.

    Raises:
        InputError: A file that cannot be scored, or an image that is missing.
    """
    findings = gather(gt_path, dt_paths, threads, n_resamples, progress=progress, inputs=inputs)
    for problem in dict.fromkeys(p for side in findings.sides for p in side.scoring.warnings):
        if warn is not None:
            warn(problem)
    html = render(findings, Path(images) if images else None, n_pictures, max_bytes)
    out = Path(out)
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8", newline="\n")
    return out


def render(
    findings: Findings,
    images: Path | None,
    n_pictures: int = 4,
    max_bytes: int = 10_000_000,
) -> str:
    """Make the page; the same files give the same bytes."""
    sides = findings.sides
    groups: dict[str, list[int]] = {}
    if images is not None:
        if len(sides) > 1:
            groups |= moved_images(sides[0], sides[1], n_pictures)
        groups |= choose_images(sides[0], n_pictures)
    shown = {idx for idxs in groups.values() for idx in idxs}
    parts = write_sections(findings, shown)
    if shown and images is not None:
        # A twentieth is left for what stands around the pictures.
        rest = sum(map(len, parts.values())) + len(STYLE)
        pictures = Pictures(sides, images, int(0.95 * max_bytes) - rest, len(shown))
        parts["Images"] = gallery(sides, groups, pictures)
    title = " and ".join(side.name for side in sides)
    return page(title, write_body(title, sides, parts))


def write_sections(findings: Findings, shown: Collection[int]) -> dict[str, str]:
    """Write the sections in their order, those without content empty; the pictures come later."""
    sides = findings.sides
    return {
        "Headline": sections.headline(sides),
        "Difference": sections.difference(findings),
        "Curves": sections.curves(sides),
        "Sizes and images": sections.sizes(sides),
        "Errors": losses.errors(sides),
        "Scores": losses.scores(sides),
        "Overlap": sections.overlap(sides, shown),
        "Images": "",
        "Every image": image_list(sides, shown),
        "Provenance": sections.provenance(findings, __version__),
    }


def write_body(title: str, sides: Sequence[Side], parts: Mapping[str, str]) -> str:
    """Put the sections that have content under their headings, below links to them."""
    names = [name for name, content in parts.items() if content]
    links = "".join(f'<a href="#{_key(name)}">{name}</a>' for name in names)
    body = [
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="muted">scored against {escape(sides[0].scoring.gt.path.name)}</p>',
        INTRO,
        f'<nav aria-label="sections">{links}</nav></header>',
        "<main>",
        *([sections.cards(sides[0])] if len(sides) == 1 else []),
        *(
            f'<section aria-labelledby="{_key(name)}"><h2 id="{_key(name)}">{name}</h2>\n'
            f"{parts[name]}</section>"
            for name in names
        ),
        "</main>",
    ]
    return "\n".join(body)


def _key(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
