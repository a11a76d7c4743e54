"""Make a report in a process that is killed at a named point: `python -m tests.reports.killing HOME ACCOUNT READER`.

Imports once, forks for each point, and prints one line of JSON for each: how the child ended, and which rows of `reports` and
notices there are afterwards. The page itself is a stand-in; the files, the row and the notice are real.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ctp.clock import ManualClock
from ctp.config import Settings
from ctp.reports import make as making
from ctp.reports.child import Failure
from ctp.storage.database import Database
from ctp.storage.tables import notices, reports
from tests.reports.world import NOW

POINTS = ("extracted", "rendered", "page", "chart", "row", "notice", "committed", "end")


def die(point: str, wanted: str) -> None:
    """End as if by SIGKILL when this is the point."""
    if point == wanted:
        os.kill(os.getpid(), signal.SIGKILL)


def make(home: Path, account: int, reader: int, wanted: str) -> None:
    """Make the report, dying at the point."""

    def stand_in(module: str, arguments: Any, *, scratch: Path, **_: Any) -> Failure | None:
        if module == "ctp.reports.evidence":
            Path(arguments[1]).write_text('{"state": "none"}')
            die("extracted", wanted)
            return None
        (scratch / "report.html").write_text("<p>page</p>")
        (scratch / "chart.png").write_bytes(b"png")
        figures = {"pnl": "1.25", "equity": "10001.25", "trades": 1, "wins": 1, "month_return": 0.01, "findings": []}
        (scratch / "summary.json").write_text(json.dumps(figures))
        die("rendered", wanted)
        return None

    def after(function: Callable[..., Any], point: Callable[[Any], str]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            die(point(arguments[0]), wanted)
            return result

        return called

    points = {".html": "page", ".png": "chart"}
    making.run_module = stand_in  # type: ignore[assignment]
    making.write_whole = after(making.write_whole, lambda file: points.get(Path(file).suffix, ""))
    making._write_row = after(making._write_row, lambda _: "row")
    making._tell = after(making._tell, lambda _: "notice")
    making._forget_older = after(lambda *_, **__: None, lambda _: "committed")
    settings = Settings(home=home)
    database = Database(settings.database_url)
    making.make_report(settings, database, account, reader, "daily", "2026-05-01", ManualClock(NOW))
    database.close()


def main(home: Path, account: int, reader: int) -> None:
    """Go through the points; the last one is none."""
    for point in POINTS:
        child = os.fork()
        if child == 0:
            make(home, account, reader, point)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        database = Database(Settings(home=home).database_url)
        with database.reading() as connection:
            rows = connection.execute(sa.select(reports.c.status, reports.c.file, reports.c.chart)).all()
            told = connection.scalar(sa.select(sa.func.count()).where(notices.c.kind == "daily_report"))
        database.close()
        signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        print(json.dumps({"point": point, "signal": signalled, "rows": [list(row) for row in rows], "told": told}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
