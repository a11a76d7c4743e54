"""Where people can be reached outside the web: an e-mail address, a Telegram chat; proven before it is used.

An address is proven by a one-time code: it is mailed there and typed on the page, or shown on the page and sent to the
bot. Kept is the code's hash. A confirmed address stays in use until another one has been proven.

Invariants:
1. A code works once, for 15 minutes, and is wrong at most five times; what a wrong code gets does not say why.
2. A Telegram person belongs to one user: the pairing proven last counts.
3. Every change is in the audit log, without the code and without the address.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa

from ctp.accounts import throttle
from ctp.accounts.audit import record
from ctp.accounts.rights import Actor, Door
from ctp.errors import InputError, NotAllowed
from ctp.logs import redact
from ctp.notifiers.kinds import reachable_channels, switch_first_on
from ctp.notifiers.outbox import tell_over
from ctp.notifiers.web import put_on_the_web
from ctp.storage.database import insert_or
from ctp.storage.tables import contacts, deliveries, notices, users

CODE_KIND: Final = "contact_code"  # the notice that carries a code to the address it proves; no choice turns it off
CODE_MS = 15 * 60_000
CODE_ATTEMPTS = 5
MAILS_AN_HOUR = 5

ContactChannel = Literal["email", "telegram"]
Proof = Literal["confirmed", "wrong", "expired"]

_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # without 0 O 1 I L, which people mix up
_CODE_LENGTH = 8
_HOUR_MS = 3_600_000
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})*")


class Contact(NamedTuple):
    """Where a person is, or will be, reached on one channel."""

    channel: str
    address: str  # e-mail address; Telegram chat id
    sender: str  # Telegram id of the person
    confirmed_at: int | None
    pending_address: str  # e-mail: the address to which a code was mailed
    code_expires_at: int | None  # of the code on its way
    blocked_at: int | None
    blocked_reason: str

    @property
    def is_usable(self) -> bool:
        """Tell whether notices are sent there."""
        return self.confirmed_at is not None and self.blocked_at is None


def begin_contact(connection: sa.Connection, actor: Actor, channel: str, address: str, now_ms: int) -> str:
    """Make a one-time code for an address, replacing the code before; an e-mail's is mailed there.

    address: of e-mail; ignored for Telegram, where the chat shows itself. Returns the code, to be shown for Telegram
    and to nobody for e-mail. Raises InputError for what is no address, NotAllowed after too many mails in an hour.
    """
    user_id = _person(actor)
    wanted = _checked(channel, address)
    if channel == "email" and _mails_since(connection, user_id, now_ms - _HOUR_MS) >= MAILS_AN_HOUR:
        raise NotAllowed(f"{MAILS_AN_HOUR} codes were mailed within an hour; try again later")
    _forget_mailed_codes(connection, user_id)
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
    row = {
        "pending_address": wanted,
        "code_hash": _hash(channel, code),
        "code_expires_at": now_ms + CODE_MS,
        "code_attempts": 0,
        "updated_at": now_ms,
    }
    connection.execute(
        insert_or(connection, contacts)
        .values(user_id=user_id, channel=channel, **row)
        .on_conflict_do_update(index_elements=[contacts.c.user_id, contacts.c.channel], set_=row)
    )
    if channel == "email":
        facts = {"code": code, "address": wanted, "expires_at": now_ms + CODE_MS}
        key = f"{CODE_KIND}:{secrets.token_hex(8)}"
        tell_over(connection, [channel], user_id, CODE_KIND, facts, key, now_ms, urgent=True)
    record(connection, actor, "contact.begin", f"user:{user_id}", now_ms, channel=channel)
    return code


def confirm_contact(connection: sa.Connection, user_id: int, channel: str, code: str, now_ms: int) -> Proof:
    """Use the address from now on if the code is the one that was sent there.

    A wrong code is a value, not an error: the attempt has to be counted, so commit in any case.
    """
    row = connection.execute(
        sa.select(contacts).where(contacts.c.user_id == user_id, contacts.c.channel == channel)
    ).first()
    if row is None or row.code_hash is None or now_ms >= row.code_expires_at or row.code_attempts >= CODE_ATTEMPTS:
        return "expired"
    if not hmac.compare_digest(row.code_hash, _hash(channel, code)):
        connection.execute(
            sa.update(contacts).where(*_this(user_id, channel)).values(code_attempts=contacts.c.code_attempts + 1)
        )
        return "wrong"
    _use(connection, _actor_of(connection, user_id, "web"), channel, row.pending_address, "", now_ms)
    return "confirmed"


def claim_by_code(
    connection: sa.Connection, channel: str, code: str, address: str, sender: str, now_ms: int
) -> int | None:
    """Pair whoever sent a code with the user on whose page it stood; returns the user, None for any wrong code.

    address: the chat; sender: the person in it. Failures are counted for each sender, so commit in any case.
    """
    subject = (f"code:{channel}", f"{channel}:{sender}")
    if throttle.blocked_until(connection, *subject, None, now_ms) is not None:
        return None
    row = connection.execute(
        sa.select(contacts.c.user_id)
        .join(users, users.c.id == contacts.c.user_id)
        .where(
            contacts.c.channel == channel,
            contacts.c.code_hash == _hash(channel, code),
            contacts.c.code_expires_at > now_ms,
            users.c.disabled_at.is_(None),
        )
    ).first()
    if row is None or not sender:
        throttle.count_failure(connection, *subject, now_ms)
        return None
    throttle.forgive(connection, *subject)
    user_id = int(row.user_id)
    actor = _actor_of(connection, user_id, "telegram")
    others = sa.select(contacts.c.user_id).where(
        contacts.c.channel == channel, contacts.c.sender == sender, contacts.c.user_id != user_id
    )
    for other in connection.scalars(others).all():
        _remove(connection, actor, int(other), channel, now_ms)
    _use(connection, actor, channel, address, sender, now_ms)
    return user_id


def contacts_of(connection: sa.Connection, user_id: int) -> list[Contact]:
    """Return a person's contacts, also those that still wait for their code."""
    query = sa.select(*(contacts.c[name] for name in Contact._fields)).where(contacts.c.user_id == user_id)
    return [Contact(*row) for row in connection.execute(query.order_by(contacts.c.channel))]


def find_by_sender(connection: sa.Connection, channel: str, sender: str) -> int | None:
    """Return the user whose confirmed contact this sender is; None for strangers and for disabled users."""
    query = (
        sa.select(contacts.c.user_id)
        .join(users, users.c.id == contacts.c.user_id)
        .where(
            contacts.c.channel == channel,
            contacts.c.sender == sender,
            contacts.c.confirmed_at.is_not(None),
            users.c.disabled_at.is_(None),
        )
    )
    return connection.scalar(query) if sender else None


def remove_contact(connection: sa.Connection, actor: Actor, channel: str, now_ms: int) -> bool:
    """Forget the actor's own address on a channel; what waits for it is given up. False when there was none."""
    return _remove(connection, actor, _person(actor), channel, now_ms)


def block_contact(connection: sa.Connection, user_id: int, channel: str, reason: str, now_ms: int) -> bool:
    """Stop sending to an address that the channel refuses for good, and tell the person wherever else they are reached.

    What waits for it is given up, visibly. Confirming the address anew unblocks it. False when it was blocked already.
    """
    blocked = connection.execute(
        sa.update(contacts)
        .where(*_this(user_id, channel), contacts.c.confirmed_at.is_not(None), contacts.c.blocked_at.is_(None))
        .values(blocked_at=now_ms, blocked_reason=redact(reason)[:256], updated_at=now_ms)
    )
    if blocked.rowcount == 0:
        return False
    _give_up_waiting(connection, user_id, channel, f"the address is blocked: {reason}", now_ms)
    actor = _actor_of(connection, user_id, "scheduler")
    record(connection, actor, "contact.block", f"user:{user_id}", now_ms, channel=channel)
    facts = {"what": f"{channel}_blocked", "reason": reason}
    everywhere = reachable_channels(connection, user_id)
    tell_over(connection, everywhere, user_id, "system_error", facts, f"blocked:{channel}:{now_ms}", now_ms, urgent=True)
    return True


def move_address(connection: sa.Connection, channel: str, old: str, new: str, now_ms: int) -> int:
    """Follow a chat that has become another one, for everybody who is reached there; returns how many."""
    here = (contacts.c.channel == channel, contacts.c.address == old)
    return connection.execute(sa.update(contacts).where(*here).values(address=new, updated_at=now_ms)).rowcount


def unblock_contact(connection: sa.Connection, user_id: int, channel: str, now_ms: int) -> bool:
    """Send to an address again, because the person was heard from there; False when it was not blocked."""
    unblocked = connection.execute(
        sa.update(contacts)
        .where(*_this(user_id, channel), contacts.c.blocked_at.is_not(None))
        .values(blocked_at=None, blocked_reason="", updated_at=now_ms)
    )
    if unblocked.rowcount == 0:
        return False
    actor = _actor_of(connection, user_id, "telegram")
    record(connection, actor, "contact.unblock", f"user:{user_id}", now_ms, channel=channel)
    return True


def _use(connection: sa.Connection, actor: Actor, channel: str, address: str, sender: str, now_ms: int) -> None:
    """Make a proven address the one in use."""
    user_id = _person(actor)
    connection.execute(
        sa.update(contacts)
        .where(*_this(user_id, channel))
        .values(
            address=address,
            sender=sender,
            confirmed_at=now_ms,
            pending_address="",
            code_hash=None,
            code_expires_at=None,
            code_attempts=0,
            blocked_at=None,
            blocked_reason="",
            updated_at=now_ms,
        )
    )
    _forget_mailed_codes(connection, user_id)
    switch_first_on(connection, user_id, channel)
    record(connection, actor, "contact.confirm", f"user:{user_id}", now_ms, channel=channel)


def _remove(connection: sa.Connection, actor: Actor, user_id: int, channel: str, now_ms: int) -> bool:
    """Forget a person's address on a channel."""
    gone = connection.execute(sa.delete(contacts).where(*_this(user_id, channel))).rowcount == 1
    if gone:
        if channel == "email":
            _forget_mailed_codes(connection, user_id)
        _give_up_waiting(connection, user_id, channel, "the person removed this address", now_ms)
        record(connection, actor, "contact.remove", f"user:{user_id}", now_ms, channel=channel)
    return gone


def _give_up_waiting(connection: sa.Connection, user_id: int, channel: str, reason: str, now_ms: int) -> None:
    """Mark what waits for an address as dead, with the reason; its reader finds it on the web."""
    waiting = (deliveries.c.user_id == user_id, deliveries.c.channel == channel, deliveries.c.status == "waiting")
    put_on_the_web(connection, notices.c.id.in_(sa.select(deliveries.c.notice_id).where(*waiting)), now_ms)
    connection.execute(sa.update(deliveries).where(*waiting).values(status="dead", error=redact(reason)[:256]))


def _forget_mailed_codes(connection: sa.Connection, user_id: int) -> None:
    """Take earlier codes out of the outbox, delivered or not; the rows stay, because they are counted."""
    mine = sa.and_(notices.c.user_id == user_id, notices.c.kind == CODE_KIND)
    waiting = sa.select(notices.c.id).where(mine)
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.notice_id.in_(waiting), deliveries.c.status == "waiting")
        .values(status="dead", error="the code is not needed any more")
    )
    connection.execute(sa.update(notices).where(mine).values(facts=json.dumps({})))


def _mails_since(connection: sa.Connection, user_id: int, since_ms: int) -> int:
    """Return how many codes were mailed for a person since then."""
    mailed = sa.select(sa.func.count()).where(
        notices.c.user_id == user_id, notices.c.kind == CODE_KIND, notices.c.created_at > since_ms
    )
    return connection.execute(mailed).scalar_one()


def _checked(channel: str, address: str) -> str:
    """Return the address if it can be one."""
    if channel == "telegram":
        return ""
    if channel != "email":
        raise InputError("channel", channel, "must be email or telegram")
    found = address.strip()
    if len(found) > 254 or not _EMAIL.fullmatch(found):
        raise InputError("address", address[:64], "must be an e-mail address such as name@example.com")
    return found


def _hash(channel: str, code: str) -> str:
    """Return what is kept of a code, however it was typed."""
    typed = re.sub(r"[\s-]", "", code).upper()
    return hashlib.sha256(f"{channel}:{typed}".encode()).hexdigest()


def _person(actor: Actor) -> int:
    """Return the actor's user id."""
    if actor.user_id is None:
        raise NotAllowed("the machine has no contacts")
    return actor.user_id


def _actor_of(connection: sa.Connection, user_id: int, door: Door) -> Actor:
    """Return a person as the one who acts, for the audit log."""
    row = connection.execute(sa.select(users.c.name, users.c.role).where(users.c.id == user_id)).one()
    return Actor(user_id, row.name, row.role, None, door)


def _this(user_id: int, channel: str) -> tuple[Any, ...]:
    """Return the conditions that name one contact."""
    return (contacts.c.user_id == user_id, contacts.c.channel == channel)
