"""Who speaks: the user whose confirmed contact a sender is, with the rights of their role now.

Invariant: every message is looked up anew. A disabled user or a removed contact is a stranger from the next word on.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.rights import Actor
from ctp.accounts.users import read_user
from ctp.accounts.visible import Visible
from ctp.i18n import text
from ctp.notifiers.contacts import Contact, contacts_of, find_by_sender

CHANNEL = "telegram"


class Person(NamedTuple):
    """A user who has connected a chat."""

    actor: Actor
    user_id: int
    language: str
    zone: str
    chat: str  # the one that was connected: answers go there and nowhere else
    sender: str
    must_change_password: bool  # somebody else knows it: no door opens until it is changed


class Question(NamedTuple):
    """What a person asks, inside one transaction."""

    connection: sa.Connection
    person: Person
    now_ms: int
    request_key: str  # the same for the same update, however often it is delivered

    @property
    def visible(self) -> Visible:
        """Return the accounts as this person sees them."""
        return Visible(self.connection, self.person.actor)

    def say(self, key: str, **facts: object) -> str:
        """Return a text of the table [telegram] in the person's language."""
        return text(f"telegram.{key}", self.person.language, **facts)


def find_person(connection: sa.Connection, sender: str) -> Person | None:
    """Return the user a Telegram sender is; None for strangers."""
    user_id = find_by_sender(connection, CHANNEL, sender)
    return None if user_id is None else _person(connection, user_id)


def person_in(connection: sa.Connection, user_id: int, chat: str) -> Person | None:
    """Return a user if this chat is still theirs."""
    contact = _contact(connection, user_id)
    if contact is None or not contact.is_usable or contact.address != chat:
        return None
    return find_person(connection, contact.sender)


def _person(connection: sa.Connection, user_id: int) -> Person:
    """Read a user with a confirmed contact."""
    user, contact = read_user(connection, user_id), _contact(connection, user_id)
    assert contact is not None
    actor = Actor(user.id, user.name, user.role, None, "telegram")
    return Person(actor, user.id, user.language, user.zone, contact.address, contact.sender, user.must_change_password)


def _contact(connection: sa.Connection, user_id: int) -> Contact | None:
    """Return a user's chat."""
    return next((one for one in contacts_of(connection, user_id) if one.channel == CHANNEL), None)
