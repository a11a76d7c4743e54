"""Nobody sees anything of an account that is neither theirs nor shared with them, whatever they ask for."""

from __future__ import annotations

import inspect
import json
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.accounts.rights import Actor
from ctp.accounts.trading_accounts import ask_command, share_account
from ctp.accounts.visible import Visible
from ctp.errors import InputError, NotAllowed, NotFound
from ctp.storage import tables
from ctp.storage.database import Database
from tests.accounts.people import NOW, SHELL, Scene, set_scene

READERS: dict[str, dict[str, Any]] = {
    "account": {},
    "state": {},
    "orders": {},
    "trades": {},
    "ledger": {},
    "decisions": {},
    "equity": {},
    "candles": {"symbol": "BTC/USDT:USDT"},
    "parameter_versions": {},
    "code_pin": {},
    "commands": {},
    "reports": {},
    "shares": {},
    "key_hint": {},
}
WITHOUT_ACCOUNT = {"accounts", "find_account", "states", "command", "report", "may", "for_action"}


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return the scene, with one row of everything in both accounts."""
    made = set_scene(database)
    with database.transaction() as connection:
        for account_id in (made.minsus, made.alices):
            fill(connection, account_id)
    return made


def fill(connection: sa.Connection, account_id: int) -> None:
    """Write one row into every table that belongs to an account."""
    btc = "BTC/USDT:USDT"
    order_id = f"ctp-{account_id}"
    core = {"positions": [{"symbol": btc, "side": "long", "size": "0.01"}]}
    rows: list[tuple[sa.Table, dict[str, Any]]] = [
        (
            tables.account_states,
            {"status": "running", "core_state": json.dumps(core), "equity": 1000.0, "updated_at": NOW},
        ),
        (
            tables.orders,
            {
                "id": order_id,
                "symbol": btc,
                "purpose": "entry",
                "side": "buy",
                "type": "market",
                "size": Decimal("0.01"),
                "reduce_only": False,
                "reason": "entry_signal",
                "status": "filled",
                "planned_at": NOW,
                "updated_at": NOW,
            },
        ),
        (
            tables.ledger,
            {"kind": "fill", "time": NOW, "external_id": "1", "amount": Decimal(0), "asset": "USDT", "recorded_at": NOW},
        ),
        (
            tables.trades,
            {
                "symbol": btc,
                "side": "long",
                "entry_time": 1,
                "exit_time": 2,
                "exit_reason": "stop_loss",
                **dict.fromkeys(("entry_price", "exit_price", "size", "leverage", "margin", "stop_price"), 1.0),
                **dict.fromkeys(("fee", "funding", "pnl", "r_multiple"), 0.0),
                "entry_order_id": order_id,
            },
        ),
        (
            tables.decisions,
            {
                "symbol": btc,
                "candle_time": NOW,
                "outcome": "hold",
                "reason": "",
                "numbers": '{"rsi": 42.5}',
                "parameter_version": 1,
                "decided_at": NOW,
            },
        ),
        (tables.equity_samples, {"time": NOW, "equity": 1000.0, "balance": 1000.0}),
    ]
    for table, row in rows:
        connection.execute(sa.insert(table).values(account_id=account_id, **row))


def test_every_reader_is_in_the_list_of_this_test() -> None:
    """Whoever adds a method must decide here how it is kept apart."""
    public = {name for name, _ in inspect.getmembers(Visible, inspect.isfunction) if not name.startswith("_")}
    assert public == set(READERS) | WITHOUT_ACCOUNT


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("who", ["alice", "vera", "quinn", "olaf", "ada"])
def test_a_foreign_account_looks_like_none_at_all(database: Database, scene: Scene, reader: str, who: str) -> None:
    """The words are the same as for a number that nobody has."""
    with database.reading() as connection:
        visible = Visible(connection, scene.actors()[who])
        with pytest.raises(NotFound) as foreign:
            getattr(visible, reader)(scene.minsus, **READERS[reader])
        with pytest.raises(NotFound) as absent:
            getattr(visible, reader)(999_999, **READERS[reader])
    assert str(foreign.value).replace(str(scene.minsus), "N") == str(absent.value).replace("999999", "N")


@pytest.mark.parametrize("reader", READERS)
def test_the_owner_sees_their_own(database: Database, scene: Scene, reader: str) -> None:
    """Every reader works for the owner and for the shell."""
    with database.reading() as connection:
        for who in (scene.minsu, SHELL):
            getattr(Visible(connection, who), reader)(scene.minsus, **READERS[reader])


def test_rows_of_two_accounts_never_mix(database: Database, scene: Scene) -> None:
    """Each owner gets exactly one row of each kind, their own."""
    with database.reading() as connection:
        for who, own in ((scene.minsu, scene.minsus), (scene.alice, scene.alices)):
            visible = Visible(connection, who)
            assert [account.id for account in visible.accounts()] == [own]
            assert list(visible.states()) == [own]
            for rows in (visible.orders(own), visible.trades(own), visible.ledger(own)):
                assert [row["account_id"] for row in rows] == [own]
            assert [row.numbers for row in visible.decisions(own)] == [{"rsi": 42.5}]
            assert visible.equity(own) == [(NOW, 1000.0)]


def test_the_state_shows_what_is_open_now(database: Database, scene: Scene) -> None:
    """Positions come with the state, so that both are of one moment."""
    with database.reading() as connection:
        state = Visible(connection, scene.minsu).state(scene.minsus)
    assert state is not None and state.equity == 1000.0
    assert state.positions == ({"symbol": "BTC/USDT:USDT", "side": "long", "size": "0.01"},)


def test_a_share_shows_the_account_and_nothing_of_the_key(database: Database, scene: Scene) -> None:
    """A viewer looks on; a trader's share lets a viewer do no more than look."""
    with database.transaction() as connection:
        share_account(connection, scene.minsu, scene.minsus, scene.vera.user_id or 0, "trader", NOW)
        visible = Visible(connection, scene.vera)
        assert [(account.id, account.relation) for account in visible.accounts()] == [(scene.minsus, "trader")]
        assert len(visible.trades(scene.minsus)) == 1
        for forbidden in (visible.key_hint, visible.shares):
            with pytest.raises(NotAllowed):
                forbidden(scene.minsus)
        with pytest.raises(NotAllowed):
            ask_command(connection, scene.vera, scene.minsus, "pause", NOW)


def test_an_account_is_found_by_number_name_and_owner(database: Database, scene: Scene) -> None:
    """Both have an account called main: the shell must say whose."""
    with database.reading() as connection:
        shell = Visible(connection, SHELL)
        assert shell.find_account(str(scene.alices)).id == scene.alices
        assert shell.find_account("alice/main").id == scene.alices
        with pytest.raises(InputError, match="alice/main, minsu/main"):
            shell.find_account("main")
        assert Visible(connection, scene.minsu).find_account("main").id == scene.minsus
        for hidden in ("alice/main", str(scene.alices), "nonsense", "9" * 30):
            with pytest.raises(NotFound):
                Visible(connection, scene.minsu).find_account(hidden)


def test_a_command_is_seen_by_those_who_see_the_account_and_by_who_asked(database: Database, scene: Scene) -> None:
    """An administrator follows the Close all they asked for, though they cannot see the account."""
    with database.transaction() as connection:
        mine = ask_command(connection, scene.minsu, scene.minsus, "pause", NOW)
        adas = ask_command(connection, scene.ada, scene.minsus, "close_all", NOW)
        assert Visible(connection, scene.minsu).command(adas.id).kind == "close_all"
        assert Visible(connection, scene.ada).command(adas.id).kind == "close_all"
        for who in (scene.ada, scene.alice):
            with pytest.raises(NotFound):
                Visible(connection, who).command(mine.id)


def test_a_report_is_seen_by_its_reader_while_they_see_the_account(database: Database, scene: Scene) -> None:
    """Not by the owner when it was made for another, and by nobody once the share has ended."""
    with database.transaction() as connection:
        share_account(connection, scene.minsu, scene.minsus, scene.vera.user_id or 0, "viewer", NOW)
        row = {"account_id": scene.minsus, "kind": "daily", "period": "2026-01-01", "language": "ko", "status": "done"}
        veras = connection.execute(
            sa.insert(tables.reports).values(user_id=scene.vera.user_id, created_at=NOW, **row).returning(tables.reports.c.id)
        ).scalar_one()
        assert [one.id for one in Visible(connection, scene.vera).reports()] == [veras]
        assert Visible(connection, scene.vera).report(veras).period == "2026-01-01"
        for place, found in ((("2026-01-02", 0), [veras]), (("2026-01-01", veras), [])):
            assert [one.id for one in Visible(connection, scene.vera).reports(before=place)] == found
        for who in (scene.minsu, scene.alice, scene.ada, scene.olaf):
            assert Visible(connection, who).reports() == []
            with pytest.raises(NotFound):
                Visible(connection, who).report(veras)
        connection.execute(sa.delete(tables.account_shares))
        assert Visible(connection, scene.vera).reports() == []
        with pytest.raises(NotFound):
            Visible(connection, scene.vera).report(veras)


def test_a_made_up_actor_without_role_rights_sees_nothing(database: Database, scene: Scene) -> None:
    """An operator who owns an account from earlier days sees it no more."""
    demoted = Actor(scene.minsu.user_id, "minsu", "operator", None, "web")
    with database.reading() as connection:
        assert Visible(connection, demoted).accounts() == []
        with pytest.raises(NotFound):
            Visible(connection, demoted).account(scene.minsus)
