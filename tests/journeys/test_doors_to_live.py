"""Every door by which parameters or code become active on a live account, each tried with red, amber and no verdict."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import ctp
from ctp.accounts.live_door import accept
from ctp.accounts.promotion import Proposal, promote
from ctp.accounts.rights import machine
from ctp.accounts.sources import source_hash
from ctp.accounts.trading_accounts import (
    Evidence,
    append_parameters,
    ask_command,
    create_account,
    revert_parameters,
)
from ctp.backup.settle import check_door_to_live
from ctp.errors import NotAllowed
from ctp.storage.database import Database
from ctp.storage.tables import accounts, code_pins, parameter_versions
from ctp.trading.bot import _account_info
from ctp.trading.code_pins import CODE_UNPROVEN, NOT_ACCEPTED, settle_hold
from tests.accounts.people import NOW, Scene, new_account, set_scene

RSI = "rsi_mean_reversion"
HERE = source_hash(RSI)
VALUES: tuple[dict[str, Any], dict[str, Any]] = ({"period": 9}, {"risk_per_trade": 0.005})
ROOM = Path(ctp.__file__).parent

Door = Callable[[sa.Connection, Scene, int, str | None, str], None]


def by_promotion(connection: sa.Connection, scene: Scene, account: int, verdict: str | None, override: str) -> None:
    """From a notebook, the command line or the API."""
    evidence = Evidence("d" * 64, verdict, verdict and "f" * 64)
    promote(connection, scene.quinn, account, Proposal(RSI, *VALUES, HERE, evidence), "live", NOW, override=override)


def by_edit(connection: sa.Connection, scene: Scene, account: int, verdict: str | None, override: str) -> None:
    """By hand: whatever a form sends has no verdict; what was red stays red."""
    _found_on_paper(connection, scene, verdict)
    append_parameters(connection, scene.quinn, account, RSI, *VALUES, "by hand", NOW, override=override)


def by_revert(connection: sa.Connection, scene: Scene, account: int, verdict: str | None, override: str) -> None:
    """Back to a version that came in before anybody asked for grounds."""
    _put(connection, account, 1, verdict)
    revert_parameters(connection, scene.quinn, account, 1, NOW, override=override)


def by_restore(connection: sa.Connection, scene: Scene, account: int, verdict: str | None, override: str) -> None:
    """With a backup that holds other parameters than the living server."""
    _put(connection, account, 1, verdict)
    check_door_to_live(connection, {}, override)


def by_restore_on_a_bare_server(
    connection: sa.Connection, scene: Scene, account: int, verdict: str | None, override: str
) -> None:
    """With a backup, where nothing is known but what it says."""
    _put(connection, account, 1, verdict)
    check_door_to_live(connection, None, override)


def by_start(connection: sa.Connection, scene: Scene, account: int, verdict: str | None, override: str) -> None:
    """Start, with parameters that lie there."""
    _put(connection, account, 1, verdict, override)
    ask_command(connection, scene.quinn, account, "start", NOW)


def by_the_bot(connection: sa.Connection, scene: Scene, account: int, verdict: str | None, override: str) -> None:
    """The bot itself, whichever way the parameters came: it enters nothing."""
    _put(connection, account, 1, verdict, override)
    if settle_hold(connection, info(connection, account), 1, HERE, 0, NOW) == NOT_ACCEPTED:
        raise NotAllowed("entries are held")


DOORS: dict[str, Door] = {
    "promotion": by_promotion,
    "edit": by_edit,
    "revert": by_revert,
    "restore": by_restore,
    "restore on a bare server": by_restore_on_a_bare_server,
    "start": by_start,
    "bot": by_the_bot,
}
# An import has its own tests (tests/backup/test_user_data.py); a rollback of the configuration goes through the edit.
WRITERS = {"accounts/trading_accounts.py": "edit, promotion, revert", "backup/user_import.py": "import"}


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people."""
    return set_scene(database)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("verdict", "override", "opens"),
    [("red", "", False), ("red", "all in", False), ("amber", "", False), (None, "", False), (None, "because", True)],
)
def test_no_door_lets_unproven_parameters_trade_live(
    door: str, verdict: str | None, override: str, opens: bool, database: Database, scene: Scene
) -> None:
    with database.transaction() as connection:
        account = live_account(connection, scene)
        if opens:
            DOORS[door](connection, scene, account, verdict, override)
            return
        with pytest.raises(NotAllowed):
            DOORS[door](connection, scene, account, verdict, override)


def test_defaults_that_nobody_answered_for_do_not_start(database: Database, scene: Scene) -> None:
    with database.transaction() as connection:
        account = live_account(connection, scene)
        with pytest.raises(NotAllowed, match="nobody has validated them"):
            ask_command(connection, scene.quinn, account, "start", NOW)
        assert settle_hold(connection, info(connection, account), 0, HERE, 0, NOW) == NOT_ACCEPTED
        for kind in ("pause", "stop_keep", "close_all"):
            ask_command(connection, scene.quinn, account, kind, NOW)  # the way out is always open


def test_an_upgrade_holds_entries_until_it_is_proven(database: Database, scene: Scene) -> None:
    """Code is a door, too: green was found with other sources."""
    with database.transaction() as connection:
        account = live_account(connection, scene)
        _put(connection, account, 1, "green")
        there = info(connection, account)
        assert settle_hold(connection, there, 1, HERE, 100, NOW) == ""
        assert settle_hold(connection, there, 1, "0" * 64, 200, NOW) == CODE_UNPROVEN
        assert settle_hold(connection, there, 1, "1" * 64, 300, NOW) == CODE_UNPROVEN
        pin = connection.execute(sa.select(code_pins)).one()
        assert (pin.source_hash, pin.proven_until) == (HERE, 200), "what unproven sources decided proves nothing"
        assert settle_hold(connection, there, 1, HERE, 400, NOW) == "", "back to the sources of before"


def test_what_was_accepted_is_kept_with_its_author(database: Database, scene: Scene) -> None:
    with database.transaction() as connection:
        account = live_account(connection, scene)
        _put(connection, account, 1, "amber")
        accept(connection, scene.quinn, account, "watched daily", NOW)
        ask_command(connection, scene.quinn, account, "start", NOW)


def test_nobody_else_writes_parameter_versions() -> None:
    """A new door would be found here."""
    writers = set()
    for file in sorted(ROOM.rglob("*.py")):
        source = file.read_text("utf-8")
        if "migrations" in file.parts or "parameter_versions" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sa.insert", "insert_or"):
                named = [ast.unparse(argument) for argument in node.args]
                if any("parameter_versions" in one for one in named):
                    writers.add(file.relative_to(ROOM).as_posix())
    assert writers <= set(WRITERS)
    assert "sa.insert(table)" in (ROOM / "backup/user_import.py").read_text("utf-8")


def live_account(connection: sa.Connection, scene: Scene) -> int:
    """Give Quinn a live account."""
    return create_account(connection, scene.quinn, scene.quinn.user_id or 0, new_account("real", mode="live"), NOW).id


def info(connection: sa.Connection, account: int) -> Any:
    """Return an account as the bot sees it."""
    return _account_info(connection.execute(sa.select(accounts).where(accounts.c.id == account)).one())


def _put(connection: sa.Connection, account: int, version: int, verdict: str | None, override: str = "") -> None:
    """Put a version there without asking anybody."""
    values = {"account_id": account, "version": version, "strategy": RSI, "source_hash": HERE, "reason": "", "created_at": 0}
    strategy, risk = (json.dumps(one) for one in VALUES)
    connection.execute(
        sa.insert(parameter_versions).values(
            **values, strategy_parameters=strategy, risk_parameters=risk, verdict=verdict, override=override
        )
    )


def _found_on_paper(connection: sa.Connection, scene: Scene, verdict: str | None) -> None:
    """Let a paper account have the same values with a verdict."""
    if verdict is None:
        return
    paper = create_account(connection, scene.quinn, scene.quinn.user_id or 0, new_account("try"), NOW).id
    evidence = Evidence("d" * 64, verdict, "f" * 64)
    append_parameters(connection, machine("cli"), paper, RSI, *VALUES, "found", NOW, evidence=evidence)


