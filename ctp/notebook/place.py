"""Where a notebook runs, as whom, and that person's accounts as tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from ctp.accounts.readings import read_account, read_accounts
from ctp.accounts.rights import machine
from ctp.accounts.visible import Visible
from ctp.api_client import Client, lab_client
from ctp.config import load_settings
from ctp.errors import CtpError, NotFound
from ctp.storage.database import Database

_MOST_ROWS = 500


class Place(NamedTuple):
    """Who asks and where: `name` is empty on a machine of one's own, where nobody has to log in."""

    name: str
    role: str
    is_apart: bool  # in the shared JupyterLab: data comes through the gateway
    accounts: pd.DataFrame

    def __str__(self) -> str:
        """Say it in a sentence."""
        who = f"{self.name} ({self.role}), in JupyterLab" if self.is_apart else "on a machine of your own"
        return f"You are {who}; you see {len(self.accounts)} account{'' if len(self.accounts) == 1 else 's'}."


class Account:
    """One account as tables, newest rows first where there are many."""

    def __init__(self, card: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
        """Keep what was read."""
        self.card, self._tables = card, tables

    @property
    def trades(self) -> pd.DataFrame:
        """Return the last closed trades."""
        return self._tables["trades"]

    @property
    def equity(self) -> pd.DataFrame:
        """Return equity samples, oldest first."""
        return self._tables["equity"]

    @property
    def decisions(self) -> pd.DataFrame:
        """Return the last decisions, one a candle and symbol."""
        return self._tables["decisions"]


def where_am_i() -> Place:
    """Tell who you are here and which accounts you see."""
    client = lab_client()
    if client is None:
        return Place("", "", False, _accounts([_plain(each) for each in _own_cards()]))
    me, seen = client.get("/me"), client.get("/accounts")["accounts"]
    return Place(str(me["name"]), str(me["role"]), True, _accounts(seen))


def account(name: str | int) -> Account:
    """Return one of your accounts by name or number. Raises NotFound naming those there are."""
    client = lab_client()
    cards = client.get("/accounts")["accounts"] if client else [_plain(each) for each in _own_cards()]
    found = [card for card in cards if name in (card["name"], card["id"])]
    if not found:
        raise NotFound(f"no account {name!r}; you see: " + (", ".join(str(card["name"]) for card in cards) or "none"))
    number = int(found[0]["id"])
    tables = _asked(client, number) if client else _read(number)
    return Account(found[0], {kind: _frame(rows) for kind, rows in tables.items()})


def _asked(client: Client, number: int) -> dict[str, list[dict[str, Any]]]:
    """Return an account's rows by the gateway."""
    base = f"/accounts/{number}"
    equity = client.get(f"{base}/equity")["equity"]
    return {
        "trades": client.get(f"{base}/trades", limit=_MOST_ROWS)["trades"],
        "equity": [{"time": time, "equity": value} for time, value in equity],
        "decisions": client.get(f"{base}/decisions", limit=_MOST_ROWS)["decisions"],
    }


def _read(number: int) -> dict[str, list[dict[str, Any]]]:
    """Return an account's rows by the database of this machine."""
    with _own_eyes() as visible:
        read_account(visible, number)
        return {
            "trades": visible.trades(number, limit=_MOST_ROWS),
            "equity": [{"time": time, "equity": value} for time, value in visible.equity(number)],
            "decisions": [row._asdict() for row in visible.decisions(number, limit=_MOST_ROWS)],
        }


def _own_cards() -> list[Any]:
    """Return every account of this machine; none before there is a database."""
    try:
        with _own_eyes() as visible:
            return list(read_accounts(visible))
    except CtpError:
        return []


@contextlib.contextmanager
def _own_eyes() -> Iterator[Visible]:
    """Read the database of this machine as its owner. Raises CtpError where there is none."""
    settings = load_settings()
    if not settings.database.url and not (settings.home / "ctp.db").is_file():
        raise NotFound("nothing is set up here yet: ./run ctp init")
    database = Database(settings.database_url)
    try:
        with database.reading() as connection:
            yield Visible(connection, machine("cli"))
    finally:
        database.close()


def _plain(reading: Any) -> dict[str, Any]:
    """Return an account's card by the names the gateway uses."""
    seen = reading.account
    fields = {name: getattr(seen, name) for name in ("id", "name", "exchange", "mode", "timeframe")}
    return {**fields, "symbols": list(seen.symbols), "status": reading.status}


def _accounts(cards: list[dict[str, Any]]) -> pd.DataFrame:
    """Return accounts as a table."""
    columns = ["id", "name", "exchange", "mode", "timeframe", "symbols", "status"]
    return pd.DataFrame([{name: card.get(name) for name in columns} for card in cards], columns=columns)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with times of people."""
    frame = pd.DataFrame(rows)
    for name in ("time", "entry_time", "exit_time", "candle_time", "close_time"):
        if name in frame:
            frame[name] = pd.to_datetime(frame[name].astype("Int64"), unit="ms", utc=True)
    return frame
