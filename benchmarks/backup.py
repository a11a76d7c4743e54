"""Our archives beside borg and restic on one database of 100 MB: size and time of full, incremental and restore.

    python benchmarks/backup.py [--megabytes 100] [--json]

Prints one table; peers that are not installed are left out by name. Also measured: how long a writer of the bot's kind
waits for its commit while a full backup runs, against how long it waits otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from ctp.backup.create import make_backup
from ctp.backup.keys import BackupKeys
from ctp.backup.pieces import open_archive
from ctp.backup.restore import build_file
from ctp.backup.target import LocalTarget
from ctp.config import Settings
from ctp.storage.database import Database
from ctp.storage.tables import accounts, decisions, equity_samples, ledger, live_candles, orders, trades, users

HOUR = 3_600_000
START = 1_735_689_600_000
NOW = START + 400 * 24 * HOUR
LIMITS = {"full_s": 3.0, "full_mb": 35.0, "incremental_s": 2.0, "incremental_mb": 1.0, "restore_s": 5.0}
COMMITS = 400
NUMBERS = ("rsi", "close", "volume_ratio", "equity", "budget", "room", "stop", "balance")


class Result(NamedTuple):
    """What one program needed."""

    name: str
    full_s: float
    full_mb: float
    incremental_s: float
    incremental_mb: float
    restore_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ctp-backup-") as folder:
        base = Path(folder) / "base"
        make_home(base, arguments.megabytes)
        size = (base / "ctp.db").stat().st_size / 1e6
        results = [measure_ours(Path(folder), base)]
        missing = []
        for name, measure in (("borg", measure_borg), ("restic", measure_restic)):
            if shutil.which(name):
                results.append(measure(Path(folder), base))
            else:
                missing.append(name)
        waits = measure_waiting(Path(folder), base)
    document = {
        "database_mb": round(size, 1),
        "results": [{name: _rounded(value) for name, value in one._asdict().items()} for one in results],
        "left_out": [f"{name} is not installed" for name in missing],
        "commit_ms": waits,
        "limits": LIMITS,
    }
    print(json.dumps(document, indent=2) if arguments.json else table(document, results))
    ours = results[0]._asdict()
    failed = [f"{name} {ours[name]:.2f} > {limit}" for name, limit in LIMITS.items() if ours[name] > limit]
    if failed and arguments.megabytes <= 100:
        sys.exit("past the limit: " + ", ".join(failed))


def _rounded(value: float | str) -> float | str:
    """Return a number as it is printed."""
    return value if isinstance(value, str) else round(value, 3)


def table(document: dict[str, object], results: list[Result]) -> str:
    """Return what people read."""
    lines = [f"{document['database_mb']} MB of SQLite, then 1 % appended", ""]
    lines.append(f"{'':10}{'full s':>9}{'full MB':>9}{'+1 % s':>9}{'+1 % MB':>9}{'restore s':>11}")
    for one in results:
        lines.append(
            f"{one.name:10}{one.full_s:9.2f}{one.full_mb:9.2f}{one.incremental_s:9.2f}{one.incremental_mb:9.3f}{one.restore_s:11.2f}"
        )
    lines += ["", *map(str, document["left_out"])]  # type: ignore[call-overload]
    lines.append(f"a commit takes (ms): {document['commit_ms']}")
    return "\n".join(lines)


# --- the database -----------------------------------------------------------------------------------------------------


def make_home(home: Path, megabytes: float) -> None:
    """Make a database as months of trading leave it, of about this size."""
    home.mkdir()
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    database.migrate()
    chance = random.Random(1)
    with database.transaction() as connection:
        connection.execute(sa.insert(users).values(id=1, name="minsu", password_hash="x", role="trader", created_at=0))
        for number in range(1, 21):
            connection.execute(
                sa.insert(accounts).values(
                    id=number, user_id=1, name=f"account {number}", exchange="binanceusdm", mode="paper",
                    symbols='["BTC/USDT:USDT"]', timeframe="1h", quote="USDT", created_at=0,
                )
            )  # fmt: skip
    units = int(megabytes * 1e6 / 735)
    write(database, chance, 0, units)
    database.close()


def write(database: Database, chance: random.Random, first: int, units: int) -> None:
    """Write so many hours of one account: a decision, a candle, an equity sample; now and then a trade."""
    made: dict[sa.Table, list[dict[str, object]]] = {}
    for number in range(first, first + units):
        account, hour = number % 20 + 1, number // 20
        at, price = START + hour * HOUR, 60_000 * chance.lognormvariate(0, 0.2)
        numbers = {name: price * chance.random() for name in NUMBERS}
        made.setdefault(decisions, []).append(
            {"account_id": account, "symbol": "BTC/USDT:USDT", "candle_time": at, "outcome": "hold", "reason": "hold",
             "numbers": json.dumps(numbers), "parameter_version": 1, "decided_at": at}
        )  # fmt: skip
        made.setdefault(equity_samples, []).append({"account_id": account, "time": at, "equity": price, "balance": price * 1.1})
        made.setdefault(live_candles, []).append(
            {"exchange": "binanceusdm", "market": "paper", "symbol": f"C{account}/USDT", "timeframe": "1h", "time": at,
             "open": price, "high": price * 1.01,
             "low": price * 0.99, "close": price * 1.001, "volume": chance.random() * 1e4, "closed": True}
        )  # fmt: skip
        if number % 4 == 0:
            order = f"ctp{account}-{account * 7919:010x}-{at // 1000:x}-e0"  # as core.orders names them
            made.setdefault(orders, []).append(
                {"id": order, "account_id": account, "symbol": "BTC/USDT:USDT", "purpose": "entry", "side": "buy",
                 "type": "market", "size": 1, "reduce_only": False,
                 "reason": "entry_signal", "status": "filled", "exchange_id": str(number),
                 "filled": 1, "candle_time": at, "planned_at": at, "updated_at": at, "plan": json.dumps(numbers)}
            )  # fmt: skip
            made.setdefault(ledger, []).append(
                {"account_id": account, "kind": "fill", "symbol": "BTC/USDT:USDT", "time": at, "order_id": order,
                 "external_id": str(number), "side": "buy", "price": round(price), "size": 1, "amount": 3, "asset": "USDT",
                 "reason": "entry_signal", "recorded_at": at}
            )  # fmt: skip
            made.setdefault(trades, []).append(
                {"account_id": account, "symbol": "BTC/USDT:USDT", "side": "long", "entry_time": at, "entry_price": price,
                 "exit_time": at + HOUR, "exit_price": price * 1.01, "size": 1.0, "leverage": 2.0, "margin": price / 2,
                 "stop_price": price * 0.98, "fee": 3.1, "funding": 0.0, "pnl": price * 0.01, "r_multiple": chance.random(),
                 "exit_reason": "take_profit", "entry_order_id": order}
            )  # fmt: skip
    with database.transaction() as connection:
        for found in (decisions, equity_samples, live_candles, orders, ledger, trades):
            if found in made:
                connection.execute(sa.insert(found), made[found])


def append_a_percent(home: Path) -> None:
    """Append one per cent of every table."""
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    with database.reading() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one()
    write(database, random.Random(2), count + 20, count // 100)
    database.close()


def fresh(folder: Path, base: Path, name: str) -> Path:
    """Return a copy of the database's folder."""
    home = folder / name
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(base, home)
    return home


def timed(work: Callable[[], object]) -> float:
    """Return the seconds a piece of work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def size_of(folder: Path) -> float:
    """Return a folder's megabytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


# --- the programs -----------------------------------------------------------------------------------------------------


def measure_ours(folder: Path, base: Path) -> Result:
    """Measure ctp: full and incremental including reading back, restore including the comparison with the archive."""
    home = fresh(folder, base, "ours")
    settings, target = Settings(home=home), LocalTarget(home / "backups")
    database = Database(settings.database_url)
    full_s = timed(lambda: make_backup(settings, database, target, "full", NOW))
    full_mb = size_of(home / "backups")
    append_a_percent(home)
    made = []
    incremental_s = timed(lambda: made.append(make_backup(settings, database, target, "incremental", NOW + HOUR)))
    incremental_mb = size_of(home / "backups") - full_mb
    archive = open_archive(target, made[0].manifest.id, BackupKeys(settings.keys))
    restore_s = timed(lambda: build_file(archive, folder / "restored.db"))
    database.close()
    return Result("ctp", full_s, full_mb, incremental_s, incremental_mb, restore_s)


def snapshot(home: Path) -> None:
    """Copy the database as its own tool does; the peers need a file that does not change."""
    source, copy = sqlite3.connect(home / "ctp.db"), sqlite3.connect(home / "snapshot.db")
    source.backup(copy)
    copy.close()
    source.close()


def measure_borg(folder: Path, base: Path) -> Result:
    """Measure borg with its own chunker, zstd 3 and BLAKE2."""
    environment = {"BORG_PASSPHRASE": "x", "BORG_BASE_DIR": str(folder / "borg-base")}
    environment |= {"BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    repository, out = folder / "borg", folder / "borg-out"
    out.mkdir()
    shell(["borg", "init", "-e", "repokey-blake2", str(repository)], folder, environment)

    def create(home: Path, name: str) -> None:
        snapshot(home)
        shell(["borg", "create", "-C", "zstd,3", f"{repository}::{name}", "snapshot.db"], home, environment)

    return _measure("borg", folder, base, repository, create,
                    lambda: shell(["borg", "extract", f"{repository}::second"], out, environment))  # fmt: skip


def measure_restic(folder: Path, base: Path) -> Result:
    """Measure restic as it comes."""
    environment = {"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(folder / "restic-cache")}
    repository, out = folder / "restic", folder / "restic-out"
    shell(["restic", "init", "-r", str(repository)], folder, environment)

    def create(home: Path, _name: str) -> None:
        snapshot(home)
        shell(["restic", "-r", str(repository), "backup", "snapshot.db"], home, environment)

    back = ["restic", "-r", str(repository), "restore", "latest", "--target", str(out)]
    return _measure("restic", folder, base, repository, create, lambda: shell(back, folder, environment))


def _measure(
    name: str, folder: Path, base: Path, repository: Path, create: Callable[[Path, str], None], back: Callable[[], None]
) -> Result:
    """Measure a peer on the same file and the same appended rows."""
    home = fresh(folder, base, f"{name}-home")
    before = size_of(repository)
    full_s = timed(lambda: create(home, "first"))
    full = size_of(repository)
    append_a_percent(home)
    incremental_s = timed(lambda: create(home, "second"))
    return Result(name, full_s, full - before, incremental_s, size_of(repository) - full, timed(back))


def shell(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run a peer's command."""
    subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True, capture_output=True)


# --- the bot meanwhile ------------------------------------------------------------------------------------------------


def measure_waiting(folder: Path, base: Path) -> dict[str, float]:
    """Measure a small commit's time, alone and while full backups run in another process; milliseconds."""
    home = fresh(folder, base, "waiting")
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    alone = commit_times(database, 10_000_000, lambda: False)
    ended = threading.Event()
    environment = {**os.environ, "CTP_HOME": str(home), "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}

    def keep_backing_up() -> None:
        try:
            for _ in range(3):
                command = ["nice", "-n", "10", sys.executable, "-m", "ctp", "backup", "full"]
                subprocess.run(command, env=environment, check=True, capture_output=True)
        finally:
            ended.set()

    thread = threading.Thread(target=keep_backing_up)
    thread.start()
    during = commit_times(database, 20_000_000, lambda: not ended.is_set())
    thread.join()
    database.close()
    p99 = lambda times: sorted(times)[int(len(times) * 0.99)] * 1000  # noqa: E731
    result = {"p99_alone": p99(alone), "p99_during_backup": p99(during), "ratio": p99(during) / p99(alone)}
    return {name: round(value, 2) for name, value in result.items()}


def commit_times(database: Database, number: int, goes_on: Callable[[], bool]) -> list[float]:
    """Return how long commits like the bot's take, up to fifty a second."""
    times: list[float] = []
    chance = random.Random(3)
    while len(times) < COMMITS or goes_on():
        number += 20
        times.append(timed(lambda n=number: write(database, chance, n, 3)))  # type: ignore[misc]
        time.sleep(0.02)
    return times


if __name__ == "__main__":
    main()
