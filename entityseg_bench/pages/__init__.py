"""Whole HTML pages from templates: one style sheet, nothing loaded, everything escaped."""

from entityseg_bench.pages.build import render_page

__all__ = ["render_page"]
