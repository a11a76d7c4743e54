"""Trading accounts are made within bounds, change only by right, and every change is in the audit log."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.accounts.audit import read_audit
from ctp.accounts.trading_accounts import (
    append_parameters,
    ask_command,
    create_account,
    revert_parameters,
    set_capital,
    share_account,
    unshare_account,
)
from ctp.accounts.visible import Visible
from ctp.errors import InputError, NotAllowed, NotFound, StateConflict
from ctp.storage import tables
from ctp.storage.database import Database
from tests.accounts.people import NOW, SHELL, Scene, new_account, set_scene


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people and two accounts."""
    return set_scene(database)


def deeds(connection: sa.Connection) -> list[tuple[str | None, str, str]]:
    """Return the audit log since the scene was set, oldest first."""
    rows = reversed(read_audit(connection, SHELL))
    return [
        (deed.user_name, deed.action, deed.door)
        for deed in rows
        if not deed.action.startswith("user.") and deed.action != "account.create"
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "12"}, "name"),
        ({"name": "main"}, "name"),  # taken
        ({"exchange": "mtgox"}, "exchange"),
        ({"mode": "demo"}, "mode"),
        ({"timeframe": "7m"}, "timeframe"),
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("BTCUSDT",)}, "symbols"),
        ({"symbols": ("BTC/USDT",)}, "symbols"),  # spot on a perpetual exchange
        ({"symbols": ("BTC/USDT:BTC",)}, "symbols"),
        ({"symbols": ("BTC/USDT:USDT", "BTC/USDT:USDT")}, "symbols"),
        ({"symbols": ("BTC/USDT:USDT", "BTC/USDC:USDC")}, "symbols"),
        ({"symbols": ("NOPE/USDT:USDT",)}, "symbols"),  # not listed
        ({"exchange": "upbit", "symbols": ("BTC/USDT:USDT",)}, "symbols"),
        ({"exchange": "okx", "symbols": ("BTC/USDT:USDT", "BTC/USDT")}, "symbols"),
        ({"capital": Decimal(0)}, "capital"),
        ({"capital": Decimal("NaN")}, "capital"),
    ],
)
def test_a_senseless_account_is_refused_by_field_and_nothing_is_written(
    database: Database, scene: Scene, changes: dict[str, Any], field: str
) -> None:
    """The field, the value and the bound are in the error."""
    wanted = new_account("fresh")._replace(**changes)
    listed = {"BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDT", "BTC/USDC:USDC"}
    with pytest.raises(InputError) as caught, database.transaction() as connection:
        create_account(connection, scene.minsu, scene.minsu.user_id or 0, wanted, NOW, listed=listed)
    assert caught.value.field == field
    with database.reading() as connection:
        assert len(Visible(connection, scene.minsu).accounts()) == 1


def test_symbols_are_kept_in_order_and_the_quote_follows_from_them(database: Database, scene: Scene) -> None:
    """Korean won on Upbit."""
    wanted = new_account("won", exchange="upbit", symbols=("ETH/KRW", "BTC/KRW"), capital=Decimal("1000000"))
    with database.transaction() as connection:
        made = create_account(connection, scene.minsu, scene.minsu.user_id or 0, wanted, NOW)
    assert (made.symbols, made.quote, made.capital, made.relation) == (
        ("BTC/KRW", "ETH/KRW"),
        "KRW",
        Decimal("1000000"),
        "owner",
    )


def test_people_make_accounts_for_themselves_and_only_if_their_role_trades(database: Database, scene: Scene) -> None:
    """The shell may make one for anybody whose role may own one."""
    with database.transaction() as connection:
        for maker, owner in ((scene.minsu, scene.alice), (scene.vera, scene.vera), (scene.ada, scene.ada)):
            with pytest.raises(NotAllowed):
                create_account(connection, maker, owner.user_id or 0, new_account("x"), NOW)
        with pytest.raises(NotAllowed, match="olaf is operator"):
            create_account(connection, SHELL, scene.olaf.user_id or 0, new_account("x"), NOW)
        assert create_account(connection, SHELL, scene.quinn.user_id or 0, new_account("x"), NOW).owner == "quinn"


def test_shares_are_given_changed_and_taken_back(database: Database, scene: Scene) -> None:
    """With the audit log knowing each step; operators and the owner are refused."""
    quinn = scene.quinn.user_id or 0
    with database.transaction() as connection:
        share_account(connection, scene.minsu, scene.minsus, quinn, "viewer", NOW)
        with pytest.raises(NotAllowed):
            ask_command(connection, scene.quinn, scene.minsus, "pause", NOW)
        share_account(connection, scene.minsu, scene.minsus, quinn, "trader", NOW)
        assert ask_command(connection, scene.quinn, scene.minsus, "pause", NOW).kind == "pause"
        assert [(s.user_name, s.role) for s in Visible(connection, scene.minsu).shares(scene.minsus)] == [
            ("quinn", "trader")
        ]
        unshare_account(connection, scene.minsu, scene.minsus, quinn, NOW)
        with pytest.raises(NotFound):
            ask_command(connection, scene.quinn, scene.minsus, "pause", NOW)
        with pytest.raises(NotFound):
            unshare_account(connection, scene.minsu, scene.minsus, quinn, NOW)
        with pytest.raises(NotAllowed, match="operators see health figures"):
            share_account(connection, scene.minsu, scene.minsus, scene.olaf.user_id or 0, "viewer", NOW)
        with pytest.raises(InputError, match="owns this account"):
            share_account(connection, scene.minsu, scene.minsus, scene.minsu.user_id or 0, "viewer", NOW)
        with pytest.raises(InputError, match="viewer or trader"):
            share_account(connection, scene.minsu, scene.minsus, quinn, "owner", NOW)
        actions = [action for _, action, _ in deeds(connection)]
    assert actions == ["account.share", "account.share", "command.pause", "account.unshare"]


def test_parameters_are_appended_with_author_and_reason(database: Database, scene: Scene) -> None:
    """Versions count from 1, for each account apart."""
    with database.transaction() as connection:
        for stop in (0.05, 0.1):
            append_parameters(
                connection,
                scene.minsu,
                scene.minsus,
                "rsi_mean_reversion",
                {"stop_loss": stop},
                {"risk_per_trade": 0.005},
                "wider stop",
                NOW,
            )
        append_parameters(connection, scene.alice, scene.alices, "rsi_mean_reversion", {}, {}, "defaults", NOW)
        versions = Visible(connection, scene.minsu).parameter_versions(scene.minsus)
        assert [(v.version, v.strategy_parameters["stop_loss"]) for v in versions] == [(2, 0.1), (1, 0.05)]
        assert versions[0].author_id == scene.minsu.user_id and versions[0].risk_parameters["risk_per_trade"] == 0.005
        assert Visible(connection, scene.alice).parameter_versions(scene.alices)[0].version == 1
        back = revert_parameters(connection, scene.minsu, scene.minsus, 1, NOW)
        assert (back.version, back.strategy_parameters["stop_loss"], back.reason) == (3, 0.05, "back to version 1")
        with pytest.raises(NotFound, match="version 9"):
            revert_parameters(connection, scene.minsu, scene.minsus, 9, NOW)


@pytest.mark.parametrize(
    ("strategy", "risk", "field"),
    [
        ({}, {"leverage": 11}, "leverage"),
        ({}, {"risk_per_trade": 0.05}, "risk_per_trade"),
        ({}, {"daily_loss_limit": 0.04}, "daily_loss_limit"),
        ({}, {"max_margin_fraction": 0.95}, "max_margin_fraction"),
        ({"period": 1}, {}, "period"),
        ({"no_such": 1}, {}, "no_such"),
        ({}, {"no_such": 1}, "no_such"),
    ],
)
def test_no_door_leads_past_a_ceiling(
    database: Database, scene: Scene, strategy: dict[str, Any], risk: dict[str, Any], field: str
) -> None:
    """Not even the shell's; nothing is written."""
    for who in (scene.minsu, SHELL):
        with pytest.raises(InputError) as caught, database.transaction() as connection:
            append_parameters(connection, who, scene.minsus, "rsi_mean_reversion", strategy, risk, "try", NOW)
        assert caught.value.field == field
    with database.reading() as connection:
        assert Visible(connection, scene.minsu).parameter_versions(scene.minsus) == []


def test_spot_knows_neither_leverage_nor_short(database: Database, scene: Scene) -> None:
    """What only a perpetual can do is refused on spot."""
    spot = new_account("spot", exchange="binance", symbols=("BTC/USDT",))
    with database.transaction() as connection:
        made = create_account(connection, scene.minsu, scene.minsu.user_id or 0, spot, NOW)
        for strategy, risk, field in (({}, {"leverage": 2}, "leverage"), ({"direction": "both"}, {}, "direction")):
            with pytest.raises(InputError) as caught:
                append_parameters(connection, scene.minsu, made.id, "rsi_mean_reversion", strategy, risk, "try", NOW)
            assert caught.value.field == field


def test_live_parameters_need_an_override_that_is_named_and_logged(database: Database, scene: Scene) -> None:
    """An old version brought back needs one as well."""
    with database.transaction() as connection:
        live = create_account(connection, scene.minsu, scene.minsu.user_id or 0, new_account("real", mode="live"), NOW).id
        with pytest.raises(NotAllowed, match="verdict, or an override"):
            append_parameters(connection, scene.minsu, live, "rsi_mean_reversion", {}, {}, "go", NOW)
        append_parameters(
            connection, scene.minsu, live, "rsi_mean_reversion", {}, {}, "go", NOW, override="small money, my own"
        )
        with pytest.raises(NotAllowed):
            revert_parameters(connection, scene.minsu, live, 1, NOW)
        logged = read_audit(connection, SHELL, limit=1)[0]
    assert (logged.action, logged.details["override"]) == ("parameters.append", "small money, my own")


def test_a_double_click_is_one_command(database: Database, scene: Scene) -> None:
    """The second request returns the first command, and the audit log has one deed."""
    with database.transaction() as connection:
        first = ask_command(connection, scene.minsu, scene.minsus, "close_all", NOW, request_key="click-1")
    with database.transaction() as connection:
        second = ask_command(connection, scene.minsu, scene.minsus, "close_all", NOW + 50, request_key="click-1")
        assert second == first
        assert [action for _, action, _ in deeds(connection)] == ["command.close_all"]
        with pytest.raises(StateConflict):
            ask_command(connection, scene.minsu, scene.minsus, "start", NOW, request_key="click-1")
        with pytest.raises(StateConflict):  # somebody else's key tells nothing and does nothing
            ask_command(connection, scene.alice, scene.alices, "close_all", NOW, request_key="click-1")


def test_closing_one_symbol_names_one_the_account_trades(database: Database, scene: Scene) -> None:
    """And the same request key for another symbol is another command, which is refused."""
    with database.transaction() as connection:
        symbol = {"symbol": "BTC/USDT:USDT"}
        first = ask_command(
            connection, scene.minsu, scene.minsus, "exit_symbol", NOW, request_key="update-1", arguments=symbol
        )
        assert first.arguments == symbol
        with pytest.raises(StateConflict):
            other = {"symbol": "ETH/USDT:USDT"}
            ask_command(
                connection, scene.minsu, scene.minsus, "exit_symbol", NOW, request_key="update-1", arguments=other
            )
        for wrong in ({}, {"symbol": "XMR/USDT:USDT"}, {"symbol": 5}):
            with pytest.raises(InputError, match="trades BTC"):
                ask_command(connection, scene.minsu, scene.minsus, "exit_symbol", NOW, arguments=wrong)
        with pytest.raises(InputError, match="does not take"):
            ask_command(connection, scene.minsu, scene.minsus, "pause", NOW, arguments={"risk_fraction": 0.5})
        with pytest.raises(NotFound):  # an administrator may close everything, not pick
            ask_command(connection, scene.ada, scene.minsus, "exit_symbol", NOW, arguments=symbol)


def test_an_unknown_command_or_account_is_refused(database: Database, scene: Scene) -> None:
    """By field, and by NotFound."""
    with database.transaction() as connection:
        with pytest.raises(InputError, match="must be one of start"):
            ask_command(connection, scene.minsu, scene.minsus, "explode", NOW)
        with pytest.raises(InputError, match="request_key"):
            ask_command(connection, scene.minsu, scene.minsus, "start", NOW, request_key="k" * 65)
        for who in (scene.minsu, scene.ada, SHELL):
            with pytest.raises(NotFound):
                ask_command(connection, who, 999_999, "close_all", NOW)
        with pytest.raises(NotFound):
            ask_command(connection, scene.minsu, scene.alices, "pause", NOW)


def test_an_administrator_may_close_all_for_anybody_and_nothing_else(database: Database, scene: Scene) -> None:
    """And it is logged with their name."""
    with database.transaction() as connection:
        assert ask_command(connection, scene.ada, scene.minsus, "close_all", NOW).asked_by == scene.ada.user_id
        with pytest.raises(NotFound):
            ask_command(connection, scene.ada, scene.minsus, "start", NOW)
        assert deeds(connection) == [("ada", "command.close_all", "web")]


def test_changing_the_capital_is_the_owners_and_is_logged(database: Database, scene: Scene) -> None:
    """The bot books the difference; here it is only written down."""
    with database.transaction() as connection:
        assert set_capital(connection, scene.minsu, scene.minsus, Decimal("2500.50"), NOW).capital == Decimal("2500.50")
        with pytest.raises(NotFound):
            set_capital(connection, scene.alice, scene.minsus, Decimal(1), NOW)
        with pytest.raises(InputError):
            set_capital(connection, scene.minsu, scene.minsus, Decimal(-1), NOW)
        assert read_audit(connection, SHELL, limit=1)[0].details == {"before": None, "after": "2500.50"}


def test_a_deed_that_fails_leaves_no_trace_in_the_audit_log(database: Database, scene: Scene) -> None:
    """Deed and record are one transaction."""
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        ask_command(connection, scene.minsu, scene.minsus, "start", NOW)
        _ = 1 / 0
    with database.reading() as connection:
        assert deeds(connection) == []
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.commands)) == 0


def test_only_an_administrator_reads_the_audit_log(database: Database, scene: Scene) -> None:
    """Newest first, in pages."""
    with database.reading() as connection:
        for who in (scene.minsu, scene.vera, scene.quinn, scene.olaf):
            with pytest.raises(NotAllowed):
                read_audit(connection, who)
        page = read_audit(connection, scene.ada, limit=2)
        older = read_audit(connection, scene.ada, limit=2, before_id=page[-1].id)
    assert [deed.id for deed in page + older] == sorted((deed.id for deed in page + older), reverse=True)
