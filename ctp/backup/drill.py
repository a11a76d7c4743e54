"""The monthly rehearsal: restore the newest backup into a scratch folder and see whether it would do.

Checked are the archive, the file's integrity and references, every account's balance recomputed from its ledger, and that
what is append-only in the living database begins with what the archive holds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from ctp.backup.keys import BackupKeys
from ctp.backup.pieces import open_archive
from ctp.backup.points import LATEST, find_point
from ctp.backup.restore import build_file
from ctp.backup.shapes import read_shapes
from ctp.backup.state import DRILL, note_check
from ctp.backup.target import LocalTarget
from ctp.config import Settings
from ctp.core.memory import load
from ctp.core.trader import start_account, start_trader
from ctp.core.types import Market
from ctp.errors import CtpError, DataDamaged
from ctp.market.series import timeframe_ms
from ctp.storage import migrations
from ctp.storage.database import Database
from ctp.storage.tables import account_states, accounts, ledger
from ctp.trading import rows
from ctp.trading.fold import Fact, Memory, Terms, fold
from ctp.trading.parameters import read_parameters

APPEND_ONLY = ("audit_log", "ledger", "trades")
_TOLERANCE = 1e-6  # of a balance; sums of doubles in another order


class Problem(NamedTuple):
    """What a rehearsal found wrong."""

    said: str  # for operators: no account's name and no money
    detail: str = ""  # for who owns the server


class Drill(NamedTuple):
    """What a rehearsal found."""

    backup: str
    ok: bool
    accounts: int  # whose balance was recomputed
    rows: int
    problems: tuple[Problem, ...]

    def summary(self) -> str:
        """Return it in one sentence."""
        if self.ok:
            return f"{self.backup} restores: {self.rows} rows, {self.accounts} balances recomputed"
        return f"{self.backup} does not restore well: {self.problems[0].said}"


def rehearse(settings: Settings, database: Database, now_ms: int, backup: str = LATEST) -> Drill:
    """Rehearse a restore, note the result, and return it; a backup that would not do is a result, not an error."""
    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    point = find_point(target, backup)
    problems: list[Problem] = []
    count = total = 0
    with tempfile.TemporaryDirectory(prefix="drill-", dir=settings.cache) as folder:
        file = Path(folder) / "ctp.db"
        try:
            archive = open_archive(target, point.id, keys)
            total = archive.manifest.rows
            build_file(archive, file)
            restored = Database(f"sqlite:///{file}")
            try:
                with restored.transaction() as connection:
                    migrations.upgrade(connection)
                restored.check(thorough=True)
                with restored.reading() as connection, database.reading() as living:
                    count = _check_balances(connection, problems)
                    _compare_with_living(connection, living, problems)
            finally:
                restored.close()
        except CtpError as error:
            problems.append(Problem(str(error)))
    found = Drill(point.id, not problems, count, total, tuple(problems))
    with database.transaction() as connection:
        said = [problem.said for problem in problems[:20]]
        note_check(
            connection, DRILL, point.id, now_ms, found.ok, found.summary(), rows=total, accounts=count, problems=said
        )
    return found


def _check_balances(connection: sa.Connection, problems: list[Problem]) -> int:
    """Recompute every started account's balance from its ledger; returns how many."""
    query = sa.select(accounts, account_states.c.core_state, account_states.c.balance).join_from(accounts, account_states)
    count = 0
    for row in connection.execute(query).all():
        if row.core_state == "{}" or row.balance is None:
            continue
        try:
            found = recompute_balance(connection, row.id, row.core_state, row.timeframe, row.quote)
        except (CtpError, KeyError, ValueError, TypeError) as error:
            problems.append(Problem(f"account number {row.id}: its state cannot be read", f"{row.name}: {error}"))
            continue
        count += 1
        if abs(found - row.balance) > _TOLERANCE * max(1.0, abs(row.balance)):
            said = f"account number {row.id}: its balance is not the one recomputed from its ledger"
            problems.append(Problem(said, f"{row.name}: {row.balance}, recomputed {found}"))
    return count


def recompute_balance(connection: sa.Connection, account_id: int, core_state: str, timeframe: str, quote: str) -> float:
    """Return an account's balance by booking its whole ledger again, from nothing."""
    plain = load(core_state)
    symbols = tuple(sorted(plain["markets"]))
    markets = tuple(_market(plain["markets"][symbol]) for symbol in symbols)
    strategy = read_parameters(connection, account_id, is_perpetual=bool(markets[0].is_perpetual)).strategy
    fresh = (start_trader(strategy),) * len(symbols)
    memory = Memory(symbols, fresh, start_account(0.0), {}, {}, 0, 0, ())
    columns = [ledger.c[name] for name in Fact._fields]
    found = connection.execute(sa.select(*columns).where(ledger.c.account_id == account_id).order_by(ledger.c.id))
    facts = tuple(Fact(**row._mapping) for row in found)
    plans, purposes = rows.orders_behind(connection, facts, memory)
    folded = fold(memory, facts, plans, purposes, Terms(markets, timeframe_ms(timeframe), strategy, quote))
    return float(folded.memory.account.balance)


def _market(plain: dict[str, object]) -> Market:
    """Return a stored market."""
    if set(plain) != set(Market._fields):
        raise DataDamaged("account_states.core_state", "has no complete market", "restore another backup")
    return Market(**{name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()})  # type: ignore[arg-type]


def _compare_with_living(restored: sa.Connection, living: sa.Connection, problems: list[Problem]) -> None:
    """Compare what is only ever appended to: the living tables must begin with the restored ones."""
    shapes = read_shapes(restored)
    for name in APPEND_ONLY:
        columns = ", ".join(f'"{column}"' for column in shapes[name].columns)
        last = restored.exec_driver_sql(f'SELECT MAX(id) FROM "{name}"').scalar()  # noqa: S608
        if last is None:
            continue
        query = sa.text(f'SELECT {columns} FROM "{name}" WHERE id <= :last ORDER BY id')  # noqa: S608
        then = [tuple(row) for row in restored.execute(query, {"last": last})]
        now = [tuple(row) for row in living.execute(query, {"last": last})]
        if then != now:
            differing = sum(1 for pair in zip(then, now, strict=False) if pair[0] != pair[1]) + abs(len(then) - len(now))
            problems.append(
                Problem(f"table {name}: {differing} of {len(then)} archived rows are not what the living one has")
            )
