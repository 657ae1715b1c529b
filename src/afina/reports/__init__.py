"""The report: one self-contained page about a run, in English or Spanish."""

from afina.reports.page import write_report

__all__ = ["write_report"]
