"""Given-up notices are seen by operators and sent again when they ask."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from ctp.accounts.rights import Actor, machine
from ctp.errors import NotAllowed
from ctp.notifiers.contacts import begin_contact, block_contact
from ctp.notifiers.kinds import set_choice
from ctp.notifiers.outbox import tell_user
from ctp.notifiers.undeliverable import dead_letters, resend_dead
from ctp.storage.database import Database
from ctp.storage.tables import audit_log, deliveries
from tests.accounts.people import NOW, Scene, reach, set_scene


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people; one notice of minsu's is dead on e-mail and Telegram."""
    made = set_scene(database)
    with database.transaction() as connection:
        for channel in ("email", "telegram"):
            reach(connection, made.minsu, channel)
            set_choice(connection, made.minsu.user_id, "system_error", channel, True)
        tell_user(connection, made.minsu.user_id or 0, "system_error", {"what": "other", "money": 5}, "k", NOW)
        dead = sa.update(deliveries).where(deliveries.c.channel != "web")
        connection.execute(dead.values(status="dead", attempts=16, error="554 looks like spam"))
    return made


def waiting(connection: sa.Connection) -> list[str]:
    """Return the channels on which something waits."""
    return list(
        connection.scalars(
            sa.select(deliveries.c.channel).where(deliveries.c.status == "waiting").order_by(deliveries.c.channel)
        )
    )


def test_operators_see_what_was_given_up_and_nothing_of_what_it_says(database: Database, scene: Scene) -> None:
    """Whose, which kind, why; no figures."""
    with database.reading() as connection:
        for actor in (scene.olaf, scene.ada, machine("cli")):
            letters = dead_letters(connection, actor)
            assert [(letter.channel, letter.user_name, letter.error) for letter in letters] == [
                ("email", "minsu", "554 looks like spam"),
                ("telegram", "minsu", "554 looks like spam"),
            ]
            assert "money" not in str(letters)


def test_nobody_else_sees_or_sends_them(database: Database, scene: Scene) -> None:
    """Not even their reader, who has them on the web."""
    for actor in (scene.minsu, scene.alice, scene.vera, scene.quinn):
        with database.transaction() as connection:
            with pytest.raises(NotAllowed):
                dead_letters(connection, actor)
            with pytest.raises(NotAllowed):
                resend_dead(connection, actor, [1], NOW)


def test_they_are_sent_again_with_all_their_attempts_and_it_is_logged(database: Database, scene: Scene) -> None:
    """On one channel or on all; what is not dead is left alone."""
    with database.transaction() as connection:
        (letter, _) = dead_letters(connection, scene.olaf)
        assert resend_dead(connection, scene.olaf, [letter.notice_id], NOW, channel="telegram") == 1
        assert waiting(connection) == ["telegram"]
        assert resend_dead(connection, scene.olaf, [letter.notice_id, 999], NOW) == 1
        assert waiting(connection) == ["email", "telegram"]
        assert resend_dead(connection, scene.olaf, [letter.notice_id], NOW) == 0
        attempts = connection.scalars(sa.select(deliveries.c.attempts).where(deliveries.c.channel != "web"))
        assert list(attempts) == [0, 0]
        deeds = connection.scalars(sa.select(audit_log.c.user_id).where(audit_log.c.action == "notice.resend")).all()
        assert deeds == [scene.olaf.user_id] * 2


def test_a_blocked_address_gets_nothing_again_until_it_is_confirmed(database: Database, scene: Scene) -> None:
    """Those stay dead."""
    with database.transaction() as connection:
        block_contact(connection, scene.minsu.user_id or 0, "email", "550", NOW)
        ids = [letter.notice_id for letter in dead_letters(connection, scene.ada)]
        assert resend_dead(connection, scene.ada, ids, NOW) == 1
        assert "email" not in waiting(connection)


def test_codes_are_neither_shown_nor_sent_again(database: Database, scene: Scene) -> None:
    """A new one is asked for instead."""
    actor: Actor = scene.alice
    with database.transaction() as connection:
        for _ in range(2):
            begin_contact(connection, actor, "email", "alice@example.com", NOW)
        assert {letter.user_name for letter in dead_letters(connection, scene.ada)} == {"minsu"}
        dead = sa.select(deliveries.c.notice_id).where(
            deliveries.c.status == "dead", deliveries.c.user_id == actor.user_id
        )
        ids = connection.scalars(dead).all()
        assert len(ids) == 1 and resend_dead(connection, scene.ada, ids, NOW) == 0
