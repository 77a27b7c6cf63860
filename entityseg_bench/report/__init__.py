"""The HTML report: one page about one prediction file, or up to five side by side."""

from entityseg_bench.report.build import write_report

__all__ = ["write_report"]
