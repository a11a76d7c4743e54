"""One person's data: out, in again here and elsewhere, and archives that want to do harm."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import stat
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import machine
from ctp.accounts.trading_accounts import NewAccount, create_account, share_account
from ctp.accounts.users import add_user, find_user
from ctp.accounts.vault import ExchangeKey, KeyPermissions, Vault
from ctp.backup import user_files, user_import
from ctp.backup.user_export import export_user
from ctp.backup.user_import import import_user
from ctp.config import DatabaseSettings, Settings
from ctp.errors import InputError, NotAllowed
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.storage.tables import (
    account_states,
    accounts,
    ledger,
    metadata,
    notices,
    orders,
    parameter_versions,
    reports,
    trades,
    users,
)
from tests.backup.killing import kill_at_every_point
from tests.backup.made import NOW, content_of
from tests.backup.restored_bot import BUSY
from tests.trading.rig import trading_rig, walk

ME = machine("cli")
CANARY = "CANARY-api-secret"
PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the database of a person whose account has traded and is flat, and of another person."""
    folder = tmp_path_factory.mktemp("traded")

    async def trade() -> None:
        async with trading_rig(folder, {"BTC/USDT:USDT": walk(5, 300, 60_000.0, tick=0.1)}, history=100) as rig:
            account = rig.add_account(["BTC/USDT:USDT"], strategy=BUSY, risk={"max_drawdown": 1})
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.advance([account], 12)
            assert await rig.command(account, "close_all") == "done"
            await rig.stop_bot()

    asyncio.run(trade())
    database = Database(f"sqlite:///{folder / 'ctp.db'}")
    vault = Vault(Settings(home=folder).keys)
    with database.transaction() as connection:
        other = add_user(connection, ME, "mallory", accept_password("a long password", "mallory"), "trader", NOW)
        wanted = NewAccount("secret account", "binance", "paper", ("BTC/USDT",), "1h")
        theirs = create_account(connection, ME, other.id, wanted, NOW)
        share_account(connection, ME, theirs.id, 1, "viewer", NOW)
        row = {"kind": "system_error", "facts": "{}", "urgent": False, "created_at": 1}
        shared = {"user_id": 1, "account_id": theirs.id, "deduplication_key": "mallory's"}
        connection.execute(sa.insert(notices).values({**row, **shared}))
        connection.execute(sa.update(accounts).where(accounts.c.id == 1).values(name="rsi"))
        for account, reader, file in ((1, 1, "1/mine.html"), (theirs.id, 1, "2/secret.html"), (1, other.id, "1/mallory.html")):
            report = {"account_id": account, "user_id": reader, "kind": "daily", "period": "2026-01-02", "language": "ko"}
            connection.execute(sa.insert(reports).values({**report, "status": "done", "file": file, "created_at": 1}))
            (folder / "reports" / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / "reports" / file).write_text("mine" if "mine" in file else "secret account of mallory")
        outside = {"account_id": 1, "user_id": 1, "kind": "weekly", "period": "2026-01-01", "language": "ko"}
        connection.execute(
            sa.insert(reports).values({**outside, "status": "done", "file": "../keys/fernet.keys", "created_at": 1})
        )
        key = ExchangeKey("CANARY-api-key-0001", CANARY)
        vault.store(connection, ME, 1, key, KeyPermissions(may_trade=True, may_withdraw=False), NOW)
    database.close()
    return folder


@pytest.fixture
def exported(traded: Path, tmp_path: Path) -> Path:
    """Return alice's export."""
    database = Database(f"sqlite:///{traded / 'ctp.db'}")
    export_user(Settings(home=traded), database, ME, "alice", tmp_path / "alice.zip", NOW, passphrase=PASSPHRASE)
    database.close()
    return tmp_path / "alice.zip"


@pytest.fixture
def fresh(tmp_path: Path, sqlite_template: Path) -> Settings:
    """Return a server nobody uses yet."""
    home = tmp_path / "fresh"
    home.mkdir()
    (home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    return Settings(home=home, database=DatabaseSettings(url=f"sqlite:///{home / 'ctp.db'}"))


def password(name: str) -> Any:
    """Return a password for somebody new."""
    return accept_password("a very long password", name, 4)


def take_in(settings: Settings, file: Path, **more: Any) -> Any:
    """Import a file."""
    database = Database(settings.database_url)
    try:
        more = {"password": password, "passphrase": PASSPHRASE} | more
        return import_user(database, Vault(settings.keys), ME, file, NOW, **more)
    finally:
        database.close()


def test_an_export_holds_all_of_one_person_and_nothing_of_others(exported: Path) -> None:
    """No secret in the clear, no other name, CSV with every trade."""
    with zipfile.ZipFile(exported) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    everything = b"".join(contents.values())
    for secret in (b"CANARY", b"mallory", b"secret account", b"password_hash", b"$2b$"):
        assert secret not in everything, secret
    assert exported.stat().st_mode & 0o077 == 0
    table = list(csv.DictReader(io.StringIO(contents["csv/trades.csv"].decode("utf-8-sig"))))
    assert table and {row["mode"] for row in table} == {"SIMULATED"} and table[0]["currency"] == "USDT"
    assert table[0]["opened"].endswith("+09:00")
    assert [name for name in contents if name.startswith("reports/")] == ["reports/daily-2026-01-02-account-1.html"]
    fills = list(csv.DictReader(io.StringIO(contents["csv/fills.csv"].decode("utf-8-sig"))))
    rows = [json.loads(line) for line in contents["data/ledger.jsonl"].splitlines()]
    assert len(fills) == len(rows) and Decimal(fills[1]["size"]) == Decimal(rows[1]["size"])


def test_a_fresh_server_gets_everything_with_the_same_numbers(traded: Path, exported: Path, fresh: Settings) -> None:
    """Orders keep their names, the keys open, the account waits for Start; the balance is the ledger's."""
    done = take_in(fresh, exported)
    assert (done.user, done.is_new_user, done.accounts, done.keys) == ("alice", True, {"rsi": 1}, 1)
    before, after = Database(f"sqlite:///{traded / 'ctp.db'}"), Database(fresh.database_url)
    with before.reading() as one, after.reading() as other:
        for table in (orders, ledger, trades):
            query = sa.select(*(column for column in table.columns if column.name != "id" or table is orders))
            mine = query.where(table.c.account_id == 1).order_by(table.c.id)
            assert one.execute(mine).all() == other.execute(mine).all()
        state = other.execute(sa.select(account_states)).one()
        assert (state.status, state.status_reason) == ("paused", "restored")
        assert Vault(fresh.keys).open_key(other, 1).secret == CANARY
    before.close()
    after.close()


def test_another_server_gives_new_numbers_to_everything(exported: Path, traded: Path, tmp_path: Path) -> None:
    """Into the very server it came from, for another person: the orders are named after the new account."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "ctp.db").write_bytes((traded / "ctp.db").read_bytes())
    settings = Settings(home=copy)
    done = take_in(settings, exported, name="alice2", passphrase="")
    number = done.accounts["rsi"]
    assert number not in (1, 2) and done.keys == 0
    database = Database(settings.database_url)
    with database.reading() as connection:
        ids = connection.scalars(sa.select(orders.c.id).where(orders.c.account_id == number)).all()
        assert ids and all(one.startswith(f"ctp{number}-") for one in ids)
        pointed = connection.scalars(sa.select(ledger.c.order_id).where(ledger.c.account_id == number)).all()
        assert {one for one in pointed if one} <= set(ids)
        newest = connection.scalar(sa.select(sa.func.max(ledger.c.id)).where(ledger.c.account_id == number))
        state = connection.execute(sa.select(account_states).where(account_states.c.account_id == number)).one()
        assert state.ledger_id <= newest and state.ledger_id > 0
    database.check(thorough=True)
    database.close()
    with pytest.raises(InputError, match="has an account of this name already"):
        take_in(settings, exported, name="alice2")


def test_a_dry_run_says_the_same_and_changes_nothing(exported: Path, fresh: Settings) -> None:
    """And a person who is new needs a password."""
    database = Database(fresh.database_url)
    before = content_of(database)
    done = take_in(fresh, exported, dry_run=True)
    assert done.accounts == {"rsi": 1} and content_of(database) == before
    with pytest.raises(InputError, match="needs a password"):
        take_in(fresh, exported, password=None)
    with pytest.raises(InputError, match="passphrase"):
        take_in(fresh, exported, passphrase="wrong passphrase!")
    assert content_of(database) == before
    database.close()


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None], *, rehash: bool = True) -> Path:
    """Return a copy of an export whose files were changed, with right hashes unless told otherwise."""
    import hashlib

    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    manifest = json.loads(contents["manifest.json"])
    if rehash:
        for name in manifest["files"]:
            if name in contents:
                manifest["files"][name]["sha256"] = hashlib.sha256(contents[name]).hexdigest()
                if name.startswith("data/"):
                    manifest["files"][name]["rows"] = contents[name].count(b"\n")
        contents["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return target


def edit(table: str, **values: Any) -> Callable[[dict[str, bytes]], None]:
    """Return a change of the first row of a table; `...` takes a value away."""

    def change(contents: dict[str, bytes]) -> None:
        lines = contents[f"data/{table}.jsonl"].splitlines()
        row = {**json.loads(lines[0]), **values}
        lines[0] = json.dumps({name: value for name, value in row.items() if value is not ...}).encode()
        contents[f"data/{table}.jsonl"] = b"".join(line + b"\n" for line in lines)

    return change


def manifest(**values: Any) -> Callable[[dict[str, bytes]], None]:
    """Return a change of the manifest."""

    def change(contents: dict[str, bytes]) -> None:
        contents["manifest.json"] = json.dumps({**json.loads(contents["manifest.json"]), **values}).encode()

    return change


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "path traversal": (lambda c: c.update({"../../etc/passwd": b"x"}), "does not belong"),
    "absolute path": (lambda c: c.update({"/etc/passwd": b"x"}), "does not belong"),
    "another version": (manifest(schema="9999"), "schema"),
    "another format": (manifest(format=2), "schema"),
    "a nested path": (lambda c: c.update({"data/data/trades.jsonl": b""}), "does not belong"),
    "a report elsewhere": (lambda c: c.update({"reports/../../x.html": b"x"}), "does not belong"),
    "a table that is none": (lambda c: c.update({"data/sessions.jsonl": b"{}\n"}), "does not belong"),
    "no manifest rows": (lambda c: c.pop("data/ledger.jsonl"), "is missing"),
    "formula as name": (edit("accounts", name="=cmd|' /C calc'!A0"), "formula"),
    "foreign account": (edit("orders", account_id=2), "not in the export|not named"),
    "unknown column": (edit("accounts", password_hash="x"), "not what the table has"),
    "a row without a column": (edit("trades", pnl=...), "is missing in a row"),
    "text in a number": (edit("trades", pnl="1"), "does not fit"),
    "a number no double holds": (edit("trades", pnl=10**400), "does not fit"),
    "infinite": (edit("account_states", equity=float("inf")), "does not fit"),
    "a very long name": (manifest(user="9" * 5000), "longer than a name"),
    "decimal that is none": (edit("ledger", amount="NaN"), "must be a decimal"),
    "exponent bomb": (edit("ledger", amount="1e999999999"), "must be a decimal"),
    "long text": (edit("notices", kind="k" * 5000), "does not fit"),
    "eleven times leverage": (edit("parameter_versions", risk_parameters='{"max_leverage": 11}'), "leverage"),
    "five per cent": (edit("parameter_versions", risk_parameters='{"risk_per_trade": 0.05}'), "risk_per_trade"),
    "order under another name": (edit("orders", id="ctp1-0000000000-0-e0"), "not named|not in the export"),
    "broken state": (edit("account_states", core_state='{"pending": [999999], "entry_orders": {}}'), "not in the export"),
    "state that is none": (edit("account_states", core_state="[[["), "no data of ours|not"),
    "not JSON": (lambda c: c.update({"data/trades.jsonl": b"{]\n"}), "not one of ours"),
    "deep JSON": (lambda c: c.update({"data/trades.jsonl": b"[" * 100_000 + b"\n"}), "not one of ours"),
    "a list as row": (lambda c: c.update({"data/trades.jsonl": b"[]\n"}), "one JSON object"),
    "unknown exchange": (edit("accounts", exchange="mtgox"), "exchange"),
    "mode": (edit("accounts", mode="real"), "mode"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_sentence_and_nothing_changes(
    attack: str, exported: Path, fresh: Settings, tmp_path: Path
) -> None:
    """Each with right hashes, as an attacker would make them."""
    change, said = HOSTILE[attack]
    database = Database(fresh.database_url)
    before = content_of(database)
    file = rewritten(exported, tmp_path / "hostile.zip", change)
    with pytest.raises((InputError, NotAllowed), match=said) as caught:
        take_in(fresh, file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert content_of(database) == before
    database.close()


def test_a_wrong_hash_a_link_a_bomb_and_ten_million_rows_are_refused(
    exported: Path, fresh: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is unpacked."""
    wrong = rewritten(exported, tmp_path / "wrong.zip", edit("ledger", amount="0"), rehash=False)
    with pytest.raises(InputError, match="SHA-256"):
        take_in(fresh, wrong)
    link = tmp_path / "link.zip"
    with zipfile.ZipFile(link, "w") as archive:
        entry = zipfile.ZipInfo("manifest.json")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match="is a link"):
        take_in(fresh, link)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr("data/ledger.jsonl", b"\0" * (20 << 20))
    with pytest.raises(InputError, match="more than allowed"):
        take_in(fresh, bomb)
    table_of_contents = tmp_path / "long.zip"
    with zipfile.ZipFile(table_of_contents, "w") as archive:
        for number in range(15_000):
            archive.writestr(f"{number:060}", b"")
    with pytest.raises(InputError, match="table of contents is too long"):
        take_in(fresh, table_of_contents)
    strange = tmp_path / "strange.zip"
    with zipfile.ZipFile(strange, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("manifest.json", "{}")
    with pytest.raises(InputError, match="compressed in a way"):
        take_in(fresh, strange)
    monkeypatch.setattr(user_files, "_MOST_LINE", 100)
    monkeypatch.setattr(user_files, "_BLOCK", 50)
    with pytest.raises(InputError, match="a line of more than 100 bytes"):
        take_in(fresh, exported)
    monkeypatch.undo()
    monkeypatch.setattr(user_files, "MOST_ROWS", 10)
    with pytest.raises(InputError, match="may have 10 rows"):
        take_in(fresh, exported)
    for content in (b"", b"PK\x03\x04", exported.read_bytes()[:-200]):
        broken = tmp_path / "broken.zip"
        broken.write_bytes(content)
        with pytest.raises(InputError, match="not a ZIP"):
            take_in(fresh, broken)


def test_a_live_account_comes_in_only_with_an_override(exported: Path, fresh: Settings, tmp_path: Path) -> None:
    """The door to live is the same for every way in."""
    live = rewritten(exported, tmp_path / "live.zip", edit("accounts", mode="live"))
    with pytest.raises(NotAllowed, match="override"):
        take_in(fresh, live)
    assert take_in(fresh, live, override="moved from the old server").accounts == {"rsi": 1}
    database = Database(fresh.database_url)
    with database.reading() as connection:
        row = connection.execute(sa.select(parameter_versions)).one()
    database.close()
    assert (row.verdict, row.override) == (None, "moved from the old server")


def test_of_what_another_server_found_only_red_comes_along(exported: Path, fresh: Settings, tmp_path: Path) -> None:
    """A green verdict in a file proves nothing here; a red one keeps a live account shut, whatever is said."""
    green = edit("parameter_versions", verdict="green", fingerprint="f" * 64, override="their own")
    live = edit("accounts", mode="live")
    forged = rewritten(exported, tmp_path / "green.zip", lambda files: (green(files), live(files))[0])
    with pytest.raises(NotAllowed, match="override"):
        take_in(fresh, forged)
    red = edit("parameter_versions", verdict="red", fingerprint="f" * 64)
    shut = rewritten(exported, tmp_path / "red.zip", lambda files: (red(files), live(files))[0])
    with pytest.raises(NotAllowed, match="red may go to paper only"):
        take_in(fresh, shut, override="moved")
    take_in(fresh, rewritten(exported, tmp_path / "paper.zip", green))
    database = Database(fresh.database_url)
    with database.reading() as connection:
        row = connection.execute(sa.select(parameter_versions)).one()
    database.close()
    assert (row.verdict, row.fingerprint, row.override) == (None, None, "")


def test_an_account_with_something_open_keeps_its_number_or_stays_out(
    exported: Path, traded: Path, tmp_path: Path
) -> None:
    """Its orders at the exchange are named after it."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "ctp.db").write_bytes((traded / "ctp.db").read_bytes())
    is_open = rewritten(exported, tmp_path / "open.zip", edit("orders", status="open"))
    with pytest.raises(NotAllowed, match="close them first"):
        take_in(Settings(home=copy), is_open, name="alice2")


def test_an_import_killed_at_any_step_leaves_everything_or_nothing(exported: Path, fresh: Settings) -> None:
    """SIGKILL; the second try succeeds."""
    file = fresh.home / "ctp.db"
    saved = file.read_bytes()

    def reset() -> None:
        for ending in ("-wal", "-shm"):
            (fresh.home / f"ctp.db{ending}").unlink(missing_ok=True)
        file.write_bytes(saved)

    for point in kill_at_every_point(lambda c: take_in(fresh, exported, checkpoint=c), reset=reset):
        database = Database(fresh.database_url)
        with database.reading() as connection:
            counted = {name: sa.select(sa.func.count()).select_from(table) for name, table in metadata.tables.items()}
            found = {name: connection.scalar(query) for name, query in counted.items()}
            assert bool(found["users"]) == bool(found["ledger"]) == (point == "committed"), (point, found)
        database.check(thorough=True)
        database.close()
        if point != "committed":
            assert take_in(fresh, exported).accounts == {"rsi": 1}


def test_people_export_their_own_data_only(traded: Path, tmp_path: Path) -> None:
    """An operator makes backups without reading them; a trader has their own export."""
    database = Database(f"sqlite:///{traded / 'ctp.db'}")
    with database.reading() as connection:
        mallory = find_user(connection, "mallory")
        assert connection.scalar(sa.select(users.c.name).where(users.c.id == 1)) == "alice"
    actor = ME._replace(user_id=mallory.id, name="mallory", role="trader", door="web")
    with pytest.raises(NotAllowed, match="their own data only"):
        export_user(Settings(home=traded), database, actor, "alice", tmp_path / "x.zip", NOW)
    with pytest.raises(InputError, match="at least 12"):
        export_user(Settings(home=traded), database, ME, "alice", tmp_path / "x.zip", NOW, passphrase="short")
    assert not (tmp_path / "x.zip").exists()
    database.close()


def test_a_large_import_waits_until_the_bot_is_down(
    exported: Path, fresh: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has one writer: a bot that cannot write would take no entries meanwhile."""
    monkeypatch.setattr(user_import, "_MOST_BESIDE_THE_BOT", 10)
    database = Database(fresh.database_url)
    with database.transaction() as connection:
        beat(connection, "bot", NOW)
    with pytest.raises(NotAllowed, match="stop the services first"):
        take_in(fresh, exported)
    with database.transaction() as connection:
        beat(connection, "bot", NOW - 60_000)
    assert take_in(fresh, exported).accounts == {"rsi": 1}
    database.close()


def test_a_row_that_lacks_what_may_be_empty_comes_in_as_empty(exported: Path, fresh: Settings, tmp_path: Path) -> None:
    """Rows of one table need not have the same names."""
    file = rewritten(exported, tmp_path / "fewer.zip", edit("orders", exchange_id=...))
    assert take_in(fresh, file).accounts == {"rsi": 1}
