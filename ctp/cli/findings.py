"""What the doctor finds: one line for each thing looked at."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["ok", "warning", "wrong"]


class Finding(NamedTuple):
    """One thing looked at: what was found, and what to do when it is not ok."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""
