"""`ctp doctor`: look at everything a run needs; say what is wrong and how to mend it. Changes nothing.

Each check is a function that returns findings; none of them raises for what it was made to find.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from ctp.cli.doctor_backups import look_at_backups
from ctp.cli.doctor_home import look_at_home
from ctp.cli.doctor_lab import look_at_lab
from ctp.cli.doctor_machine import look_at_machine
from ctp.cli.doctor_outside import look_outside
from ctp.cli.findings import Finding
from ctp.cli.output import Json, print_json, print_table, working
from ctp.config import Settings, load_settings


def doctor(
    as_json: Json = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody outside this machine.")] = False,
) -> None:
    """Check machine, home, database, keys, services, backups, exchanges, mail and Telegram; exit 1 when something is wrong."""
    settings = load_settings()
    with working("Looking", quiet=as_json):
        findings = list(examine(settings, offline=offline))
    if as_json:
        print_json({"ok": all(f.verdict != "wrong" for f in findings), "findings": findings})
    else:
        print_table("", ("", "subject", "found", "what to do"), [_row(f) for f in findings], empty="")
    if any(finding.verdict == "wrong" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings, *, offline: bool = False) -> Iterator[Finding]:
    """Look at everything, cheapest first."""
    yield from look_at_machine(settings)
    yield from look_at_home(settings)
    yield from look_at_backups(settings, offline=offline)
    yield look_at_lab(settings)
    if not offline:
        yield from look_outside(settings)


def _row(finding: Finding) -> tuple[str, str, str, str]:
    """Return a finding as a table row."""
    sign = {"ok": "ok", "warning": "!", "wrong": "WRONG"}[finding.verdict]
    return sign, finding.subject, finding.found, finding.remedy
