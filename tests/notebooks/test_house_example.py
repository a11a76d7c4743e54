"""The notebook example that people read first runs as it is written."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path

import pytest

from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import machine
from ctp.accounts.trading_accounts import NewAccount, create_account
from ctp.accounts.users import add_user
from ctp.config import load_settings
from ctp.market.history import candle_store
from ctp.storage.database import Database
from tests.conftest import ROOT
from tests.research.conftest import generated_candles

HEADING = "## In a notebook"
NOW = 1_700_000_000_000


def example(page: Path) -> str:
    """Return the code below the heading."""
    found = re.search(rf"{HEADING}\n+```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert found is not None, page
    return found[1]


def test_the_readme_shows_what_the_design_promised() -> None:
    promised = Path(os.environ.get("CTP_SHARED", ROOT.parent / "shared")) / "design" / "house.md"
    if not promised.is_file():
        pytest.skip("reference material 'design' is not beside this checkout")
    assert example(ROOT / "README.md") == example(promised)


def test_it_runs_as_it_is_written(home: Path) -> None:
    """On a quarter of the stretch it names, which is all that is stored: a store holds what was downloaded."""
    candle_store(home).append(generated_candles(count=2_600))
    settings = load_settings()
    database = Database(settings.database_url)
    database.migrate()
    with database.transaction() as connection:
        door = machine("cli")
        owner = add_user(connection, door, "quinn", accept_password("correct horse battery", "quinn", 4), "quant", NOW)
        account = NewAccount("rsi", "binance", "paper", ("BTC/USDT",), "1h", Decimal(10_000))
        number = create_account(connection, door, owner.id, account, NOW).id
    scene: dict[str, object] = {}
    exec(compile(example(ROOT / "README.md"), "README.md", "exec"), scene)
    best = scene["grid"].best  # type: ignore[attr-defined]
    with database.reading() as connection:
        from ctp.accounts.visible import Visible

        newest = Visible(connection, machine("cli")).parameter_versions(number)[0]
    database.close()
    assert {name: newest.strategy_parameters[name] for name in ("period", "oversold", "stop_loss")} == {
        name: getattr(best.strategy, name) for name in ("period", "oversold", "stop_loss")
    }
