"""How long a daily report of 200 trades takes, from the database to the stored page: `python benchmarks/report.py`.

Prints one JSON object; seconds by the clock and of the processor, the kernel's start included. The first run of a home also
makes the list of fonts, so it is told apart. Past months are left out: they are computed once and kept.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ctp.reports import make_report  # noqa: E402
from tests.reports.world import DAY, HOUR, NOW, Trading, World, add_account, make_world  # noqa: E402

TRADES, RUNS, BOUND_S = 200, 3, 20
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT", "XRP/USDT:USDT")


def main() -> None:
    """Trade a month, the last day busily, and make its report several times."""
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder))
        account = add_account(world, "alice", "busy", timeframe="5m", symbols=SYMBOLS)
        trading = Trading(world, account, NOW // HOUR * HOUR - 32 * DAY)
        trading.run(NOW // HOUR * HOUR - 34 * HOUR, 20)
        trading.run(NOW // HOUR * HOUR, 260)
        trading.save()
        runs = [measure(world, account) for _ in range(RUNS + 1)]
        world.database.close()
    holds = all(one["s"] <= BOUND_S for one in runs[1:])
    print(json.dumps({"first": runs[0], "runs": runs[1:], "bound_s": BOUND_S, "holds": holds}))


def measure(world: World, account: int) -> dict[str, float]:
    """Make the report once."""
    before, used = time.monotonic(), processor_s()
    row = make_report(world.settings, world.database, account, world.user("alice"), "daily", date(2026, 5, 1), world.clock)
    assert row.status == "done", row
    assert row.summary["trades"] >= TRADES, row.summary
    page = (world.settings.reports / row.file).stat().st_size
    world.clock.jump(1000)
    return {
        "s": round(time.monotonic() - before, 1),
        "processor_s": round(processor_s() - used, 1),
        "trades": row.summary["trades"],
        "page_kb": round(page / 1000),
    }


def processor_s() -> float:
    """Return the processor time of this process and the children that have ended."""
    told = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in told)


if __name__ == "__main__":
    main()
