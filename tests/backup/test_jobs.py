"""What is done by the clock, the rehearsal, and how backups stand."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from ctp.backup.drill import rehearse
from ctp.backup.jobs import backup_jobs, check_age, verify_all
from ctp.backup.state import DRILL, REMOTE, backup_state, last_check
from ctp.clock import ManualClock
from ctp.config import DatabaseSettings, Settings
from ctp.errors import BackupDamaged, DataDamaged, StorageUnavailable
from ctp.i18n import text
from ctp.reports.backups import BackupSection
from ctp.scheduler import history
from ctp.storage.tables import account_states, ledger, users
from tests.backup.made import HOUR, NOW, back_up, filled_home, home_at, opened
from tests.backup.restored_bot import BUSY
from tests.trading.rig import trading_rig, walk

SEOUL = ZoneInfo("Asia/Seoul")


def test_the_schedule_is_the_one_that_was_promised(tmp_path: Path, sqlite_template: Path) -> None:
    """Full at 02:00, incremental every four hours, settings on Sunday, clean-up and rehearsal monthly."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=1)
    with opened(settings) as database:
        jobs = {job.name: job for job in backup_jobs(settings, database)}
    due = {
        name: datetime.fromtimestamp(job.schedule.next_after(NOW) / 1000, SEOUL).strftime("%a %d %H:%M")
        for name, job in jobs.items()
    }
    now = datetime.fromtimestamp(NOW / 1000, SEOUL)
    assert now.strftime("%a %d %H:%M") == "Fri 15 17:00"
    assert due == {
        "backup_full": "Sat 16 02:00",
        "backup_incremental": "Fri 15 21:00",
        "backup_config": "Sun 17 02:30",
        "backup_verify": "Sun 17 03:00",
        "backup_prune": "Mon 01 04:00",
        "backup_drill": "Mon 01 04:30",
        "backup_age": "Fri 15 18:00",
    }


def test_jobs_run_and_their_results_stand_on_the_page(tmp_path: Path, sqlite_template: Path) -> None:
    """Full, incremental, settings, verification, clean-up; then a damaged pack is told."""
    settings = home_at(tmp_path / "home")
    (settings.home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    with opened(settings) as database:
        jobs = {job.name: job for job in backup_jobs(settings, database)}
        with database.transaction() as connection:
            assert not backup_state(settings, connection, NOW).is_good
            connection.execute(sa.insert(users).values(name="root", password_hash="x", role="admin", created_at=0))
            assert backup_state(settings, connection, NOW).is_late
            history.register(connection, {"backup_incremental": ("every 14400 s", NOW + 4 * HOUR)}, NOW)
        for number, name in enumerate(("full", "incremental", "config", "verify", "drill", "prune")):
            jobs[f"backup_{name}"].run(NOW + number)
        with database.reading() as connection:
            state = backup_state(settings, connection, NOW + HOUR)
        assert (state.full.at, state.incremental.at, state.configuration.at, state.points) == (NOW, NOW + 1, NOW + 2, 3)
        assert state.is_good and not state.is_late and state.chain == 2
        assert state.damaged == () and state.next_at == NOW + 4 * HOUR
        assert state.verification is not None and state.verification.summary == "3 backups read back, 0 damaged"
        assert state.drill is not None and state.drill.ok
        pack = next(settings.backups.glob("*-full.pack"))
        pack.write_bytes(pack.read_bytes()[:-5])
        jobs["backup_age"].run(NOW + 26 * HOUR)
        with pytest.raises(DataDamaged, match="the newest is 26 hours old, allowed are 26; make one: ctp backup full"):
            jobs["backup_age"].run(NOW + 26 * HOUR + 60_000)
        with pytest.raises(BackupDamaged, match="full"):
            verify_all(settings, database, NOW + HOUR)
        with database.reading() as connection:
            state = backup_state(settings, connection, NOW + HOUR)
            section = BackupSection(settings, ManualClock(NOW + HOUR)).tell(connection, 1, None)  # type: ignore[arg-type]
        assert section.sentence == "report.backups.attention" and section.facts["damaged"] == 2
        assert "2027-01-15 17:00" in text(section.sentence, "ko", **section.facts)
        assert len(state.damaged) == 2  # the incremental one stands on it
        assert state.verification is not None and not state.verification.ok


def test_a_rehearsal_recomputes_every_balance_and_finds_what_was_tampered_with(tmp_path: Path) -> None:
    """A real account with trades; then a balance, then an old ledger row are changed behind our back."""

    async def trade() -> Settings:
        columns = {"BTC/USDT:USDT": walk(5, 300, 60_000.0, tick=0.1)}
        async with trading_rig(tmp_path, columns, history=100) as rig:
            account = rig.add_account(list(columns), strategy=BUSY, risk={"max_drawdown": 1})
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.advance([account], 12)
            assert rig.trades(account)
            await rig.stop_bot()
            return rig.settings.model_copy(update={"database": DatabaseSettings(url=f"sqlite:///{tmp_path / 'ctp.db'}")})

    settings = asyncio.run(trade())
    back_up(settings, "full", NOW)
    with opened(settings) as database:
        found = rehearse(settings, database, NOW)
        assert (found.ok, found.accounts) == (True, 1), found.problems
        with database.transaction() as connection:
            connection.execute(sa.update(account_states).values(balance=account_states.c.balance + 1))
        back_up(settings, "full", NOW + HOUR)
        found = rehearse(settings, database, NOW + HOUR)
        assert not found.ok and "recomputed from its ledger" in found.problems[0].said
        with database.transaction() as connection:
            noted = last_check(connection, DRILL)
            assert noted is not None and not noted.ok and noted.facts["problems"] == [found.problems[0].said]
            for secret in ("account 1:", str(round(connection.scalar(sa.select(account_states.c.balance))))):
                assert secret not in noted.summary + found.problems[0].said, "operators see no account and no money"
            connection.execute(sa.update(account_states).values(balance=account_states.c.balance - 1))
        back_up(settings, "full", NOW + 2 * HOUR)
        with database.transaction() as connection:
            connection.execute(sa.delete(ledger).where(ledger.c.id == 2))
        found = rehearse(settings, database, NOW + 2 * HOUR)
        assert not found.ok and "table ledger" in found.problems[0].said


def test_a_new_installation_is_not_late_before_its_first_day_is_over(tmp_path: Path, sqlite_template: Path) -> None:
    """Afterwards it is, also when a whole folder of backups has gone."""
    settings = home_at(tmp_path / "home")
    (settings.home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    with opened(settings) as database:
        with database.transaction() as connection:
            row = {"name": "root", "password_hash": "x", "role": "admin", "created_at": NOW}
            connection.execute(sa.insert(users).values(row))
        check_age(settings, database, NOW + 25 * HOUR)
        with pytest.raises(DataDamaged, match="there is none, allowed are 26"):
            check_age(settings, database, NOW + 27 * HOUR)
        back_up(settings, "full", NOW + 28 * HOUR)
        check_age(settings, database, NOW + 29 * HOUR)
        with pytest.raises(DataDamaged, match="no restore was rehearsed"):
            back_up(settings, "full", NOW + 41 * 24 * HOUR + 28 * HOUR)
            check_age(settings, database, NOW + 41 * 24 * HOUR + 28 * HOUR)


def test_how_the_copy_to_the_second_place_went_is_written_down(tmp_path: Path, sqlite_template: Path) -> None:
    """Copied, and then out of reach: the local backup is made all the same, and the job fails."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=2, remote=f"file://{tmp_path}/second")
    with opened(settings) as database:
        jobs = {job.name: job for job in backup_jobs(settings, database)}
        jobs["backup_full"].run(NOW)
        with database.reading() as connection:
            noted = last_check(connection, REMOTE)
        assert noted is not None and noted.ok and noted.facts == {"copied": 1}
        (tmp_path / "second").rename(tmp_path / "gone")
        (tmp_path / "second").write_text("a file where the folder was")
        with pytest.raises((StorageUnavailable, BackupDamaged)):
            jobs["backup_incremental"].run(NOW + HOUR)
        with database.reading() as connection:
            state = backup_state(settings, connection, NOW + HOUR)
        assert state.remote is not None and not state.remote.ok and not state.is_good
        assert (state.points, state.damaged) == (2, ())
