"""Daily, weekly and monthly reports: extracted for one reader, rendered by a notebook, stored and told.

Loaded when first used, so that a notebook kernel that draws a report does not load what reads the database.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctp.reports.asked import make_asked
    from ctp.reports.due import DueReport, due_reports
    from ctp.reports.make import ReportRow, make_report
    from ctp.reports.sections import DEFAULT_SECTIONS, Section

_HOMES = {
    "DEFAULT_SECTIONS": "ctp.reports.sections",
    "DueReport": "ctp.reports.due",
    "ReportRow": "ctp.reports.make",
    "Section": "ctp.reports.sections",
    "due_reports": "ctp.reports.due",
    "make_asked": "ctp.reports.asked",
    "make_report": "ctp.reports.make",
}

__all__ = [
    "DEFAULT_SECTIONS",
    "DueReport",
    "ReportRow",
    "Section",
    "due_reports",
    "make_asked",
    "make_report",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the file it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ctp.reports' has no attribute {name!r}; it has " + ", ".join(__all__))
    return getattr(importlib.import_module(_HOMES[name]), name)
