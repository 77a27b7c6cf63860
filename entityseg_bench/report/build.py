"""Files in, one self-contained HTML report out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from entityseg_bench import __version__
from entityseg_bench.check import Problem
from entityseg_bench.formats import Inputs
from entityseg_bench.io import atomic_path
from entityseg_bench.pages import render_page
from entityseg_bench.report import losses, sections
from entityseg_bench.report.blocks import Section
from entityseg_bench.report.findings import Findings, choose_images, gather, moved_images
from entityseg_bench.report.gallery import gallery, image_list, list_heads
from entityseg_bench.report.pictures import Pictures
from entityseg_bench.report.verdict import verdicts
from entityseg_bench.report.viewer import ViewerData, index_of, packed, thresholds_of

__all__ = ["render", "write_report"]

# Of what a page may take, the most that the pictures which need no script get, together and each.
GALLERY_SHARE, GALLERY_BYTES = 0.4, 180_000


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
    assets: bool = False,
    progress: Callable[[int, int], None] | None = None,
    inputs: Inputs | None = None,
    warn: Callable[[Problem], None] | None = None,
) -> Path:
    """Score one to five prediction files and write the report about them.

    Args:
        gt_path: Ground truth of any type, as for `entityseg_bench.score.evaluate_files`.
        dt_paths: One to five files or folders of predictions, likewise; the others are compared
            with the first.
        out: The HTML file.
        images: Folder of the images; without it the report shows masks alone.
        threads: Images scored at once.
        n_resamples: Of the bootstrap.
        n_pictures: Images a group (worst, median, best).
        max_bytes: Which the pictures keep the file below.
        assets: Write the images of the viewer into a folder beside the page, larger than fits into
            it: ``report_assets`` for ``report.html``.
        progress: Called with (images finished, images to go through), anew for each pass.
        inputs: What the files are, where they do not say it.
        warn: Takes what is unusual of each prediction file, but scored.

    Raises:
        InputError: A file that cannot be scored, or an image that is missing.
    """
    out = Path(out)
    findings = gather(gt_path, dt_paths, threads, n_resamples, progress=progress, inputs=inputs)
    for problem in dict.fromkeys(p for side in findings.sides for p in side.scoring.warnings):
        if warn is not None:
            warn(problem)
    folder = out.with_name(f"{out.stem}_assets") if assets and images else None
    if folder:
        folder.mkdir(exist_ok=True)
    html = render(
        findings, Path(images) if images else None, n_pictures, max_bytes, folder, progress
    )
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8", newline="\n")
    return out


def render(
    findings: Findings,
    images: Path | None,
    n_pictures: int = 4,
    max_bytes: int = 10_000_000,
    assets: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Make the page; the same files give the same bytes."""
    sides = findings.sides
    names = [side.name for side in sides]
    groups: dict[str, list[int]] = {}
    if images is not None:
        for other in sides[1:]:
            groups |= moved_images(sides[0], other, n_pictures)
        groups |= choose_images(sides[0], n_pictures)
    shown = {idx for idxs in groups.values() for idx in idxs}
    values: dict[str, Any] = {
        "title": " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))),
        "gt_name": sides[0].scoring.gt.path.name,
        "verdicts": verdicts(findings),
        "cards": sections.cards(sides[0]) if len(sides) == 1 else [],
        "first": _sections(
            Section("Difference", sections.difference(findings)),
            Section("Headline", sections.headline(sides)),
            Section("Curves", sections.curves(sides)),
            Section("Sizes and images", sections.sizes(sides)),
        ),
        "kinds": losses.kind_lines(sides),
        "file_keys": sections.keys_of(sides),
        "thrs": thresholds_of(sides[0]),
        "error_tables": losses.error_tables(sides),
        "second": _sections(
            Section("Scores", losses.scores(sides)),
            Section("Overlap", sections.overlap(sides, shown)),
        ),
        "last": _sections(Section("Provenance", sections.provenance(findings, __version__))),
        "names": names,
        "heads": list_heads(sides),
        "images": image_list(sides, shown),
        "n_images": len(sides[0].scoring.gt.images),
        "sizes": sides[0].by_image.sizes[1:],
        "index": packed(index_of(sides)),
        "groups": [],
        "lines": [],
    }
    # A twentieth is left for what cannot be foreseen to the byte.
    budget = int(0.95 * max_bytes) - len(render_page("report.html", **values).encode())
    if shown and images is not None:
        most = min(int(GALLERY_SHARE * budget), GALLERY_BYTES * len(shown) * (1 + len(sides)))
        found = gallery(sides, groups, Pictures(sides, images, most, len(shown)))
        values["groups"] = found
        budget -= sum(len(picture.uri) for group in found for one in group.images
                      for picture in one.pictures)  # fmt: skip
    values["lines"] = ViewerData(sides, images, max(budget, 0), assets).lines(progress)
    return render_page("report.html", **values)


def _sections(*found: Section) -> list[Section]:
    """Keep the sections that have something in them."""
    return [section for section in found if section.blocks]
