"""Fill a template of this folder; the same values give the same bytes."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

__all__ = ["raise_marks", "render_page"]

HERE = Path(__file__).parent


def render_page(template: str, **values: Any) -> str:
    """Make a self-contained page: the style sheet and the scripts stand in it.

    Args:
        template: Name of a template in this folder, such as ``report.html``.
        values: What it shows. Text is escaped; what a template marks as safe, such as a chart, must
            have been escaped by whoever made it.
    """
    return _templates().get_template(template).render(**values)


@functools.cache
def _templates() -> "jinja2.Environment":
    """Set up the templates, each of which is compiled once for all pages."""
    import jinja2

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters["marks"] = raise_marks
    pages.filters["breaks"] = breaks
    pages.globals["file"] = read_part
    return pages


def raise_marks(text: object) -> "Markup":
    """Escape a text and raise the e of AP^e."""
    from markupsafe import Markup, escape

    return Markup(str(escape(text)).replace("^e", "<sup>e</sup>"))


def breaks(text: object) -> "Markup":
    """Escape a text and let it be broken behind underscores, as names of files are."""
    from markupsafe import Markup, escape

    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def read_part(name: str) -> "Markup":
    """Return a style sheet or script of this folder, to stand in a page as it is."""
    from markupsafe import Markup

    return Markup((HERE / name).read_text(encoding="utf-8"))
