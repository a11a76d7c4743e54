"""Login, throttle, sessions and passwords."""

from __future__ import annotations

import time

import pytest

from ctp.accounts import throttle
from ctp.accounts.audit import read_audit
from ctp.accounts.login import Login, is_own_password, log_in
from ctp.accounts.passwords import accept_password, is_password, new_password
from ctp.accounts.rights import Actor
from ctp.accounts.sessions import (
    RefreshTicket,
    Session,
    actor_of,
    end_session,
    live_sessions,
    open_session,
    renew_session,
    which_live,
)
from ctp.accounts.users import (
    add_user,
    disable_user,
    enable_user,
    find_user,
    list_users,
    set_password,
    set_preferences,
    set_role,
)
from ctp.errors import InputError, NotAllowed, NotFound, StateConflict
from ctp.storage.database import Database
from tests.accounts.people import COST, KEPT, NOW, PASSWORD, SHELL, Scene, set_scene

HOUR = 3_600_000


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people and two accounts."""
    return set_scene(database)


def enter(
    database: Database, name: str = "minsu", password: str = PASSWORD, *, address: str = "203.0.113.5", at: int = NOW
) -> Login | None:
    """Try to log in."""
    return log_in(database, name, password, address=address, user_agent="test", now_ms=at, lifetime_ms=HOUR, cost=COST)


def test_the_right_password_opens_a_session_that_speaks_for_the_person(database: Database, scene: Scene) -> None:
    """In whatever case the name is written."""
    login = enter(database, "MinSu")
    assert login is not None and login.user.name == "minsu"
    with database.reading() as connection:
        assert actor_of(connection, login.ticket.session_id, "web", NOW) == Actor(
            scene.minsu.user_id, "minsu", "trader", login.ticket.session_id, "web"
        )
        assert actor_of(connection, login.ticket.session_id, "web", NOW + HOUR) is None
        assert actor_of(connection, "no such session", "web", NOW) is None


def test_wrong_password_unknown_name_and_disabled_person_get_the_same_answer(database: Database, scene: Scene) -> None:
    """None of the three opens a session."""
    with database.transaction() as connection:
        disable_user(connection, SHELL, scene.alice.user_id or 0, NOW)
    assert enter(database, password="wrong wrong wrong") is None
    assert enter(database, "nobody") is None
    assert enter(database, "alice") is None
    assert enter(database, "minsu", "x" * 100_000) is None


def test_an_unknown_name_takes_as_long_as_a_known_one(database: Database, scene: Scene) -> None:
    """Both spend one bcrypt, which dwarfs everything else at this cost."""
    spent = {}
    enter(database, "nobody", at=NOW)
    for name in ("minsu", "nobody"):
        started = time.process_time()
        for i in range(3):
            log_in(
                database,
                name,
                "wrong wrong wrong",
                address=f"203.0.113.{i}",
                user_agent="",
                now_ms=NOW,
                lifetime_ms=HOUR,
                cost=COST + 5,
            )
        spent[name] = time.process_time() - started
    # The known hash was made at a lower cost: what matters is that the unknown name is not the cheap one.
    assert spent["nobody"] >= spent["minsu"]


def test_a_name_from_one_address_is_blocked_after_few_failures_and_longer_each_time(
    database: Database, scene: Scene
) -> None:
    """Even with the right password, until the block is over; then once more, for twice as long."""
    for _ in range(throttle.PAIR_FAILURES):
        assert enter(database, password="wrong wrong wrong") is None
    assert enter(database) is None
    after = NOW + throttle.PAIR_BLOCK_MS + 1
    assert enter(database, password="wrong wrong wrong", at=after) is None
    assert enter(database, at=after + throttle.PAIR_BLOCK_MS + 1) is None
    assert enter(database, at=after + 2 * throttle.PAIR_BLOCK_MS + 1) is not None


def test_the_block_survives_a_restart(database: Database, database_url: str, scene: Scene) -> None:
    """It is in the database, not in a process."""
    for _ in range(throttle.PAIR_FAILURES):
        enter(database, password="wrong wrong wrong")
    database.close()
    again = Database(database_url)
    assert enter(again) is None
    again.close()


def test_nobody_can_lock_another_person_out_from_elsewhere(database: Database, scene: Scene) -> None:
    """Failures from one address do not count at another, nor for another name at the same one."""
    for _ in range(throttle.PAIR_FAILURES * 3):
        enter(database, password="wrong wrong wrong", address="198.51.100.7")
    assert enter(database, address="203.0.113.5") is not None
    assert enter(database, "alice", address="198.51.100.7") is not None


def test_an_address_that_guesses_many_names_is_blocked_but_not_for_those_who_work_there(
    database: Database, scene: Scene
) -> None:
    """Behind one office address, who logged in before may log in still."""
    office = "192.0.2.1"
    assert enter(database, "alice", address=office) is not None
    with database.transaction() as connection:
        for i in range(throttle.ADDRESS_FAILURES):
            throttle.count_failure(connection, f"name{i}", office, NOW)
    assert enter(database, "minsu", address=office) is None
    assert enter(database, "alice", address=office) is not None
    assert enter(database, "minsu", address=office, at=NOW + throttle.ADDRESS_BLOCK_MS + 1) is not None


def test_a_whole_ipv6_network_is_one_address(database: Database, scene: Scene) -> None:
    """Its owner could use another address for every guess."""
    for i in range(throttle.PAIR_FAILURES):
        enter(database, password="wrong wrong wrong", address=f"2001:db8::{i}")
    assert enter(database, address="2001:db8::ffff") is None
    assert enter(database, address="2001:db8:1::1") is not None


def test_a_success_forgives_and_so_does_an_hour(database: Database, scene: Scene) -> None:
    """Old typing errors do not add up."""
    for _ in range(3):
        for _ in range(throttle.PAIR_FAILURES - 1):
            enter(database, password="wrong wrong wrong")
        assert enter(database) is not None
    for hour in range(3):
        for _ in range(throttle.PAIR_FAILURES - 1):
            enter(database, password="wrong wrong wrong", at=NOW + hour * (throttle.FORGET_MS + 1))
    assert enter(database, at=NOW + 3 * throttle.FORGET_MS) is not None


def ticket_of(database: Database, scene: Scene) -> RefreshTicket:
    """Open a session for Minsu."""
    with database.transaction() as connection:
        return open_session(connection, scene.minsu.user_id or 0, "203.0.113.5", "test", NOW, HOUR)


def test_a_ticket_renews_once_and_a_copy_that_comes_back_ends_the_session(database: Database, scene: Scene) -> None:
    """Whoever of the two is the thief, both are out."""
    first = ticket_of(database, scene)
    with database.transaction() as connection:
        second = renew_session(connection, first, NOW + 60_000)
        assert isinstance(second, RefreshTicket) and second.generation == 1
        third = renew_session(connection, second, NOW + 120_000)
        assert isinstance(third, RefreshTicket)
        assert renew_session(connection, first, NOW + 121_000) is None
        assert renew_session(connection, third, NOW + 122_000) is None
        assert actor_of(connection, first.session_id, "web", NOW + 122_000) is None


def test_two_tabs_that_renew_at_once_both_stay(database: Database, scene: Scene) -> None:
    """The slower one gets no ticket of its own, and the grace is short."""
    first = ticket_of(database, scene)
    with database.transaction() as connection:
        assert isinstance(renew_session(connection, first, NOW + 60_000), RefreshTicket)
        assert isinstance(renew_session(connection, first, NOW + 69_000), Session)
        assert renew_session(connection, first, NOW + 71_000) is None


def test_a_forged_ticket_ends_nothing_less_than_the_session(database: Database, scene: Scene) -> None:
    """The right generation with a wrong secret is a copy gone bad, too."""
    first = ticket_of(database, scene)
    with database.transaction() as connection:
        assert renew_session(connection, first._replace(secret="guess"), NOW + 1) is None
        assert actor_of(connection, first.session_id, "web", NOW + 1) is None


def test_logout_ends_the_session_and_only_ones_own(database: Database, scene: Scene) -> None:
    """Somebody else's session looks like none."""
    ticket = ticket_of(database, scene)
    with database.transaction() as connection:
        with pytest.raises(NotFound):
            end_session(connection, scene.alice, ticket.session_id, NOW)
        end_session(connection, scene.minsu, ticket.session_id, NOW)
        assert actor_of(connection, ticket.session_id, "web", NOW) is None
        assert renew_session(connection, ticket, NOW) is None


def test_disabling_and_a_changed_password_end_sessions_at_once(database: Database, scene: Scene) -> None:
    """The session that changed the password is the one that stays."""
    minsu = scene.minsu.user_id or 0
    here, there = ticket_of(database, scene), ticket_of(database, scene)
    both = {here.session_id, there.session_id}
    with database.transaction() as connection:
        assert which_live(connection, both, NOW) == both
        assert {session.id for session in live_sessions(connection, scene.minsu, NOW)} == both
        assert live_sessions(connection, scene.alice, NOW) == []
        set_password(connection, scene.minsu._replace(session_id=here.session_id), minsu, KEPT, NOW)
        assert which_live(connection, both, NOW) == {here.session_id}
        disable_user(connection, scene.ada, minsu, NOW)
        assert which_live(connection, both, NOW) == set()
        enable_user(connection, scene.ada, minsu, NOW)
        assert which_live(connection, both, NOW) == set()


def test_a_role_counts_from_the_next_request_on(database: Database, scene: Scene) -> None:
    """It is read from the database, not from the token."""
    ticket = ticket_of(database, scene)
    with database.transaction() as connection:
        set_role(connection, scene.ada, scene.minsu.user_id or 0, "viewer", NOW)
        actor = actor_of(connection, ticket.session_id, "web", NOW)
    assert actor is not None and actor.role == "viewer"


def test_an_administrator_sets_a_password_that_must_be_changed(database: Database, scene: Scene) -> None:
    """Others may set their own only."""
    with database.transaction() as connection:
        with pytest.raises(NotAllowed):
            set_password(connection, scene.alice, scene.minsu.user_id or 0, KEPT, NOW)
        fresh = accept_password("another good phrase", "minsu", COST)
        set_password(connection, scene.ada, scene.minsu.user_id or 0, fresh, NOW)
        assert find_user(connection, "minsu").must_change_password
    assert enter(database, password="another good phrase") is not None
    assert is_own_password(database, scene.minsu, "another good phrase", NOW, cost=COST)
    assert not is_own_password(database, scene.minsu, PASSWORD, NOW, cost=COST)


def test_the_last_administrator_stays(database: Database, scene: Scene) -> None:
    """Neither disabled nor made something else."""
    with database.transaction() as connection:
        for deed in (
            lambda: disable_user(connection, SHELL, scene.ada.user_id or 0, NOW),
            lambda: set_role(connection, SHELL, scene.ada.user_id or 0, "trader", NOW),
        ):
            with pytest.raises(StateConflict, match="last administrator"):
                deed()
        add_user(connection, scene.ada, "bob", KEPT, "admin", NOW)
        assert set_role(connection, SHELL, scene.ada.user_id or 0, "trader", NOW).role == "trader"


def test_an_administrator_cannot_shut_themselves_out_by_a_slip(database: Database, scene: Scene) -> None:
    """Another one may, as long as one is left."""
    with database.transaction() as connection:
        bob = add_user(connection, scene.ada, "bob", KEPT, "admin", NOW)
        for deed in (
            lambda: disable_user(connection, scene.ada, scene.ada.user_id or 0, NOW),
            lambda: set_role(connection, scene.ada, scene.ada.user_id or 0, "trader", NOW),
        ):
            with pytest.raises(NotAllowed, match="another administrator"):
                deed()
        assert disable_user(connection, scene.ada, bob.id, NOW).disabled_at == NOW


def test_guessing_ones_own_password_is_slowed_down_like_a_login(database: Database, scene: Scene) -> None:
    """A session that was left open must be no way to the password; the login itself is not blocked by it."""
    for _ in range(5):
        assert not is_own_password(database, scene.minsu, "a wrong guess", NOW, cost=COST)
    assert not is_own_password(database, scene.minsu, PASSWORD, NOW + 1, cost=COST)
    assert enter(database) is not None
    assert is_own_password(database, scene.minsu, PASSWORD, NOW + 31_000, cost=COST)


@pytest.mark.parametrize(
    ("name", "role", "language", "field"),
    [
        ("x", "trader", "ko", "name"),
        ("a b", "trader", "ko", "name"),
        ("<script>", "trader", "ko", "name"),
        ("MINSU", "trader", "ko", "name"),  # taken, in another case
        ("newcomer", "boss", "ko", "role"),
        ("newcomer", "trader", "fr", "language"),
    ],
)
def test_a_senseless_user_is_refused_by_field(
    database: Database, scene: Scene, name: str, role: str, language: str, field: str
) -> None:
    """Nothing is written."""
    with pytest.raises(InputError) as caught, database.transaction() as connection:
        add_user(connection, SHELL, name, KEPT, role, NOW, language=language)
    assert caught.value.field == field


def test_only_an_administrator_or_the_shell_adds_and_lists_people(database: Database, scene: Scene) -> None:
    """Everybody else is refused."""
    with database.transaction() as connection:
        for who in (scene.minsu, scene.vera, scene.quinn, scene.olaf):
            with pytest.raises(NotAllowed):
                add_user(connection, who, "newcomer", KEPT, "viewer", NOW)
            with pytest.raises(NotAllowed):
                list_users(connection, who)
        assert [user.name for user in list_users(connection, scene.ada)] == sorted(scene.actors())


def test_preferences_are_ones_own_and_checked(database: Database, scene: Scene) -> None:
    """Each may be changed alone."""
    with database.transaction() as connection:
        user = set_preferences(connection, scene.minsu, theme="light")
        user = set_preferences(connection, scene.minsu, zone="Europe/Berlin", language="en", rise_colour="green")
        assert (user.theme, user.zone, user.language, user.rise_colour) == ("light", "Europe/Berlin", "en", "green")
        for wrong in ({"theme": "pink"}, {"zone": "Mars/Base"}, {"language": "fr"}, {"rise_colour": "blue"}):
            with pytest.raises(InputError):
                set_preferences(connection, scene.minsu, **wrong)


@pytest.mark.parametrize(
    "password",
    ["short", "x" * 11, "password1234", "PASSWORD1234", "qwertyuiop12", "aaaaaaaaaaaaaa", "my name is minsu!", "y" * 1025],
)
def test_weak_passwords_are_refused_without_being_repeated(password: str) -> None:
    """Too short, too long, known to everybody, one key pressed long, or holding the name."""
    with pytest.raises(InputError) as caught:
        accept_password(password, "minsu", COST)
    assert password not in str(caught.value)


@pytest.mark.parametrize("password", ["p" * 30 + "qrs" + "t" * 40, "비밀번호는길고길다정말로", "      spaces count     "])
def test_long_and_korean_passwords_count_whole(password: str) -> None:
    """bcrypt alone would ignore what comes after 72 bytes."""
    kept = accept_password(password, "minsu", COST).kept
    assert is_password(password, kept, COST)
    assert not is_password(password[:-1], kept, COST)
    assert not is_password(password, None, COST)


def test_the_real_cost_is_twelve_and_generated_passwords_are_accepted() -> None:
    """One hash at the real cost."""
    assert accept_password(new_password(), "minsu").kept.startswith("$2b$12$")


def test_login_is_logged_and_no_password_is(database: Database, scene: Scene) -> None:
    """With the address it came from."""
    enter(database)
    with database.reading() as connection:
        deed = read_audit(connection, SHELL, limit=1)[0]
        everything = repr(read_audit(connection, SHELL))
    assert (deed.action, deed.user_name, deed.details) == ("user.login", "minsu", {"address": "203.0.113.5"})
    assert PASSWORD not in everything and "$2b$" not in everything
