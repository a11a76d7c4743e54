"""People and accounts for tests of this room: two traders, a guest, an operator, an administrator."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import Actor, machine
from ctp.accounts.trading_accounts import NewAccount, create_account
from ctp.accounts.users import User, add_user
from ctp.storage.database import Database
from ctp.storage.tables import contacts

NOW = 1_700_000_000_000
COST = 4  # the least bcrypt takes; the real cost would make the tests slow
PASSWORD = "green horse battery"
KEPT = accept_password(PASSWORD, "", COST)
SHELL = machine("cli")


def person(connection: sa.Connection, name: str, role: str) -> User:
    """Add a person."""
    return add_user(connection, SHELL, name, KEPT, role, NOW)


def actor(user: User, door: str = "web") -> Actor:
    """Return a person as one who has logged in."""
    return Actor(user.id, user.name, user.role, None, door)  # type: ignore[arg-type]


class Scene(NamedTuple):
    """Minsu and Alice trade, Vera watches, Quinn researches, Olaf operates, Ada administers; one account each trader."""

    minsu: Actor
    alice: Actor
    vera: Actor
    quinn: Actor
    olaf: Actor
    ada: Actor
    minsus: int
    alices: int

    def actors(self) -> dict[str, Actor]:
        """Return everybody by name."""
        return {name: value for name, value in self._asdict().items() if isinstance(value, Actor)}


def new_account(name: str = "main", **changes: object) -> NewAccount:
    """Return a sensible account to be made."""
    wanted = NewAccount(name, "binanceusdm", "paper", ("BTC/USDT:USDT", "ETH/USDT:USDT"), "1h")
    return wanted._replace(**changes)


def set_scene(database: Database) -> Scene:
    """Fill a database with the scene."""
    roles = {"minsu": "trader", "alice": "trader", "vera": "viewer", "quinn": "quant", "olaf": "operator", "ada": "admin"}
    with database.transaction() as connection:
        people = {name: actor(person(connection, name, role)) for name, role in roles.items()}
        made = [
            create_account(connection, people[name], people[name].user_id or 0, new_account(), NOW).id
            for name in ("minsu", "alice")
        ]
    return Scene(**people, minsus=made[0], alices=made[1])


def reach(connection: sa.Connection, who: Actor, channel: str, address: str = "") -> None:
    """Give a person a confirmed address on a channel."""
    row = {"user_id": who.user_id, "channel": channel, "confirmed_at": NOW, "updated_at": NOW}
    connection.execute(sa.insert(contacts).values(address=address or f"{who.name}@example.com", **row))
