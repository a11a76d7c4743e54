"""An address is used once it is proven, by a code that works once, soon, and for its own person."""

from __future__ import annotations

import json
import re

import pytest
import sqlalchemy as sa

from ctp.accounts.rights import machine
from ctp.errors import InputError, NotAllowed
from ctp.notifiers.contacts import (
    CODE_ATTEMPTS,
    CODE_KIND,
    CODE_MS,
    MAILS_AN_HOUR,
    Contact,
    begin_contact,
    block_contact,
    claim_by_code,
    confirm_contact,
    contacts_of,
    find_by_sender,
    remove_contact,
    unblock_contact,
)
from ctp.notifiers.kinds import FIRST_ON, KINDS, read_choices, set_choice
from ctp.notifiers.outbox import tell_user
from ctp.storage.database import Database
from ctp.storage.tables import audit_log, contacts, deliveries, notices, users
from tests.accounts.people import NOW, Scene, set_scene


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people and two accounts."""
    return set_scene(database)


def only_contact(connection: sa.Connection, user_id: int | None) -> Contact:
    """Return the one contact of a person."""
    (found,) = contacts_of(connection, user_id or 0)
    return found


def waiting(connection: sa.Connection) -> list[tuple[str, str]]:
    """Return kind and channel of everything that waits to be sent."""
    query = sa.select(notices.c.kind, deliveries.c.channel).join(notices, notices.c.id == deliveries.c.notice_id)
    return [tuple(row) for row in connection.execute(query.where(deliveries.c.status == "waiting"))]  # type: ignore[misc]


def test_an_e_mail_address_is_proven_by_the_code_that_was_mailed_there(database: Database, scene: Scene) -> None:
    """From then on it gets what a first address gets; before, nothing but the code."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "email", " minsu@example.com ", NOW)
        assert re.fullmatch(r"[2-9A-HJ-NP-Z]{8}", code)
        tell_user(connection, minsu, "stop_loss_hit", {}, "early", NOW)
        assert waiting(connection) == [(CODE_KIND, "email")]
        assert not only_contact(connection, minsu).is_usable
        typed = f" {code[:4].lower()}-{code[4:].lower()} "
        assert confirm_contact(connection, minsu, "email", typed, NOW + CODE_MS - 1) == "confirmed"
        contact = only_contact(connection, minsu)
        assert contact.is_usable and contact.address == "minsu@example.com" and contact.pending_address == ""
        tell_user(connection, minsu, "stop_loss_hit", {}, "late", NOW)
        assert waiting(connection) == [("stop_loss_hit", "email")]
        on = {kind for kind in KINDS if read_choices(connection, minsu)[kind, "email"]}
        assert on == set(FIRST_ON)
        assert confirm_contact(connection, minsu, "email", code, NOW) == "expired"  # it works once


def test_choices_made_before_are_kept(database: Database, scene: Scene) -> None:
    """Who turned something off does not get it with a new address."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        set_choice(connection, minsu, "daily_report", "email", False)
        code = begin_contact(connection, scene.minsu, "email", "minsu@example.com", NOW)
        confirm_contact(connection, minsu, "email", code, NOW)
        assert not read_choices(connection, minsu)["daily_report", "email"]


def test_a_wrong_code_is_counted_and_the_right_one_fails_after_five(database: Database, scene: Scene) -> None:
    """The attempts are kept, because a refusal is no error that would roll them back."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "email", "minsu@example.com", NOW)
    for _ in range(CODE_ATTEMPTS):
        with database.transaction() as connection:
            assert confirm_contact(connection, minsu, "email", "22222222", NOW) == "wrong"
    with database.transaction() as connection:
        assert confirm_contact(connection, minsu, "email", code, NOW) == "expired"
        again = begin_contact(connection, scene.minsu, "email", "minsu@example.com", NOW)
        assert confirm_contact(connection, minsu, "email", again, NOW) == "confirmed"


def test_a_code_is_worth_nothing_late_replaced_or_for_another_person(database: Database, scene: Scene) -> None:
    """Each is the same as a wrong one."""
    minsu, alice = scene.minsu.user_id or 0, scene.alice.user_id or 0
    with database.transaction() as connection:
        first = begin_contact(connection, scene.minsu, "email", "minsu@example.com", NOW)
        second = begin_contact(connection, scene.minsu, "email", "minsu@example.com", NOW)
        assert confirm_contact(connection, minsu, "email", first, NOW) == "wrong"
        assert confirm_contact(connection, alice, "email", second, NOW) == "expired"
        assert confirm_contact(connection, minsu, "telegram", second, NOW) == "expired"
        assert confirm_contact(connection, minsu, "email", second, NOW + CODE_MS) == "expired"
        assert claim_by_code(connection, "telegram", second, "1", "1", NOW) is None


def test_a_confirmed_address_stays_until_another_is_proven(database: Database, scene: Scene) -> None:
    """A slip of the finger loses no notice."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "email", "old@example.com", NOW)
        confirm_contact(connection, minsu, "email", code, NOW)
        code = begin_contact(connection, scene.minsu, "email", "new@example.com", NOW)
        contact = only_contact(connection, minsu)
        assert contact.is_usable and (contact.address, contact.pending_address) == ("old@example.com", "new@example.com")
        confirm_contact(connection, minsu, "email", code, NOW)
        assert only_contact(connection, minsu).address == "new@example.com"


def test_the_code_is_kept_as_a_hash_and_leaves_the_outbox_when_used(database: Database, scene: Scene) -> None:
    """Neither the audit log nor the tables know it afterwards."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "email", "minsu@example.com", NOW)
        confirm_contact(connection, minsu, "email", code, NOW)
        everything = [
            str(row) for table in (contacts, notices, audit_log) for row in connection.execute(sa.select(table)).all()
        ]
        assert not [row for row in everything if code in row]
        rows = connection.execute(sa.select(audit_log.c.action, audit_log.c.details).order_by(audit_log.c.id))
        told = [(row.action, json.loads(row.details)) for row in rows if row.action.startswith("contact.")]
        assert told == [("contact.begin", {"channel": "email"}), ("contact.confirm", {"channel": "email"})]


def test_nobody_is_flooded_with_codes(database: Database, scene: Scene) -> None:
    """An address may be somebody else's; an hour later it may be tried again."""
    with database.transaction() as connection:
        for _ in range(MAILS_AN_HOUR):
            begin_contact(connection, scene.minsu, "email", "victim@example.com", NOW)
        with pytest.raises(NotAllowed):
            begin_contact(connection, scene.minsu, "email", "victim@example.com", NOW + 3_599_999)
        assert waiting(connection) == [(CODE_KIND, "email")]
        begin_contact(connection, scene.minsu, "email", "victim@example.com", NOW + 3_600_000)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "minsu",
        "a@b@c",
        "a b@example.com",
        "a@example.com\r\nBcc: evil@example.com",
        "a@example.com, b@example.com",
        "<a@example.com>",
        '"a"@example.com',
        "a@-example.com",
        "a@example..com",
        "한@example.com",
        "x" * 65 + "@example.com",
        "a@" + "b." * 126 + "com",
    ],
)
def test_what_is_no_address_is_refused(database: Database, scene: Scene, address: str) -> None:
    """Headers and lists of addresses among them."""
    with database.transaction() as connection, pytest.raises(InputError):
        begin_contact(connection, scene.minsu, "email", address, NOW)


def test_only_people_have_contacts_and_only_on_real_channels(database: Database, scene: Scene) -> None:
    """The web needs none."""
    with database.transaction() as connection:
        for channel in ("web", "pigeon"):
            with pytest.raises(InputError):
                begin_contact(connection, scene.minsu, channel, "", NOW)
        with pytest.raises(NotAllowed):
            begin_contact(connection, machine("cli"), "email", "a@example.com", NOW)


def test_telegram_is_paired_by_sending_the_code_from_the_page(database: Database, scene: Scene) -> None:
    """The sender is the person, the chat is where they are answered."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "telegram", "", NOW)
        assert waiting(connection) == []
        assert find_by_sender(connection, "telegram", "77") is None
        assert claim_by_code(connection, "telegram", code.lower(), "-100", "77", NOW) == minsu
        assert find_by_sender(connection, "telegram", "77") == minsu
        contact = only_contact(connection, minsu)
        assert (contact.address, contact.sender, contact.is_usable) == ("-100", "77", True)
        assert claim_by_code(connection, "telegram", code, "-100", "78", NOW) is None


def test_a_telegram_person_belongs_to_the_user_paired_last(database: Database, scene: Scene) -> None:
    """Rights go by the sender, so there is one user for each."""
    minsu, alice = scene.minsu.user_id or 0, scene.alice.user_id or 0
    with database.transaction() as connection:
        for actor in (scene.minsu, scene.alice):
            code = begin_contact(connection, actor, "telegram", "", NOW)
            claim_by_code(connection, "telegram", code, "77", "77", NOW)
        assert find_by_sender(connection, "telegram", "77") == alice
        assert contacts_of(connection, minsu) == []


def test_guessing_codes_is_slowed_down_for_each_sender(database: Database, scene: Scene) -> None:
    """Even the right code fails while the guesser is held back; another sender is not."""
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "telegram", "", NOW)
        for _ in range(5):
            assert claim_by_code(connection, "telegram", "22222222", "66", "66", NOW) is None
        assert claim_by_code(connection, "telegram", code, "66", "66", NOW) is None
        assert claim_by_code(connection, "telegram", code, "77", "77", NOW) == scene.minsu.user_id


def test_a_disabled_user_is_nobody_to_the_bot(database: Database, scene: Scene) -> None:
    """Neither by an old pairing nor by a new code."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "telegram", "", NOW)
        claim_by_code(connection, "telegram", code, "77", "77", NOW)
        code = begin_contact(connection, scene.minsu, "telegram", "", NOW)
        connection.execute(sa.update(users).where(users.c.id == minsu).values(disabled_at=NOW))
        assert find_by_sender(connection, "telegram", "77") is None
        assert claim_by_code(connection, "telegram", code, "77", "77", NOW) is None


def test_a_removed_contact_gets_nothing_more(database: Database, scene: Scene) -> None:
    """What waited for it is given up, visibly."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "email", "minsu@example.com", NOW)
        confirm_contact(connection, minsu, "email", code, NOW)
        tell_user(connection, minsu, "stop_loss_hit", {}, "k", NOW)
        assert remove_contact(connection, scene.minsu, "email", NOW)
        assert not remove_contact(connection, scene.minsu, "email", NOW)
        assert contacts_of(connection, minsu) == [] and waiting(connection) == []
        tell_user(connection, minsu, "stop_loss_hit", {}, "l", NOW)
        assert waiting(connection) == []


def test_a_blocked_address_is_told_elsewhere_once(database: Database, scene: Scene) -> None:
    """Whatever the choices there; the web always has it. Being heard from, or confirmed again, unblocks."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        code = begin_contact(connection, scene.minsu, "email", "minsu@example.com", NOW)
        confirm_contact(connection, minsu, "email", code, NOW)
        code = begin_contact(connection, scene.minsu, "telegram", "", NOW)
        claim_by_code(connection, "telegram", code, "77", "77", NOW)
        set_choice(connection, minsu, "system_error", "email", False)
        tell_user(connection, minsu, "daily_report", {}, "k", NOW)
        assert block_contact(connection, minsu, "telegram", "403 blocked by the user", NOW)
        assert not block_contact(connection, minsu, "telegram", "403 blocked by the user", NOW + 1)
        assert waiting(connection) == [("daily_report", "email"), ("system_error", "email")]
        assert not contacts_of(connection, minsu)[1].is_usable
        assert unblock_contact(connection, minsu, "telegram", NOW) and contacts_of(connection, minsu)[1].is_usable
        assert not unblock_contact(connection, minsu, "telegram", NOW)
