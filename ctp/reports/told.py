"""Everything the parts of a page are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ctp.reports.extracted import Extract
from ctp.reports.figures import Figures
from ctp.reports.findings import Finding
from ctp.reports.words import Words


class Told(NamedTuple):
    """An extract, what follows from it, and the words of its reader."""

    extract: Extract
    figures: Figures
    findings: Sequence[Finding]
    words: Words
