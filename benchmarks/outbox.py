"""5,000 notices through failing channels and a worker that is killed: how many arrive, how often, how fast.

    python benchmarks/outbox.py [--events 5000] [--people 200] [--seed 1] [--kill-after 250] [--queue 100000]

Half go by mail to a real SMTP server, half to a strict Bot API, both on the loopback, at Telegram's pace (30 a second
over all). One call in ten fails: the channels answer 451, 500, 502 and 429 or break connections before they have taken
a message. The worker is a process of its own, killed with SIGKILL at a random moment after every so many arrivals (0:
never). Wanted: all arrive, at most 0.1 % twice, each of those across a kill. Then the time of one look at the outbox with
100,000 waiting deliveries.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ctp.notifiers.leasing import due_heads
from ctp.storage.database import Database
from ctp.storage.tables import contacts, deliveries, notices, users
from tests.notifiers.storm import storm

WANTED_REPEATED = 0.001
LOOKS = 20


def main() -> None:
    """Run the storm, then the look at a long queue; print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-after", type=int, default=250)
    parser.add_argument("--queue", type=int, default=100_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(
            storm(
                Path(folder),
                events=chosen.events,
                people=chosen.people,
                seed=chosen.seed,
                fault_share=0.1,
                kill_after=chosen.kill_after or None,
                patience_s=1800,
            )
        )
    lost = outcome.events - outcome.arrived
    good = lost == 0 and outcome.unexplained == 0 and outcome.repeated <= outcome.events * WANTED_REPEATED
    result = {**outcome._asdict(), "lost": lost, "ok": good, "look_ms": look_ms(chosen.queue)}
    print(json.dumps(result, indent=2))
    sys.exit(0 if good else 1)


def look_ms(waiting: int, people: int = 1000) -> float:
    """Return the median time of finding what is next when so many deliveries wait."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/ctp.db")
        database.migrate()
        person = {"password_hash": "x", "role": "trader", "created_at": 0}
        with database.transaction() as connection:
            connection.execute(sa.insert(users), [{"id": n, "name": f"u{n}", **person} for n in range(1, people + 1)])
            reached = {"channel": "telegram", "confirmed_at": 1, "updated_at": 1}
            connection.execute(
                sa.insert(contacts), [{"user_id": n, "address": str(n), **reached} for n in range(1, people + 1)]
            )
            told = {"kind": "system_error", "facts": "{}", "created_at": 0}
            ids = range(1, waiting + 1)
            rows = [{"id": n, "user_id": 1 + n % people, "deduplication_key": str(n), **told} for n in ids]
            connection.execute(sa.insert(notices), rows)
            queued = {"channel": "telegram", "status": "waiting", "due_at": 0}
            connection.execute(
                sa.insert(deliveries), [{"notice_id": n, "user_id": 1 + n % people, **queued} for n in ids]
            )
        times = []
        for _ in range(LOOKS):
            with database.reading() as connection:
                began = time.perf_counter()
                assert len(due_heads(connection, ["telegram"], 1)) == people
                times.append((time.perf_counter() - began) * 1000)
        database.close()
    return round(statistics.median(times), 2)


if __name__ == "__main__":
    main()
