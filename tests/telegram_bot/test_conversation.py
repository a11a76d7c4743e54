"""What may be asked by whom, and what follows: rights, chats, buttons, words."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.accounts.users import disable_user, set_password
from ctp.notifiers.contacts import begin_contact, contacts_of, remove_contact
from ctp.notifiers.telegram_api import Heard
from ctp.notifiers.telegram_text import render
from ctp.storage import tables
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.telegram.catalogue import COMMANDING, GENERAL, NAMES, READING, menu, read_command
from tests.accounts.people import KEPT, NOW, SHELL
from tests.conftest import ROOT
from tests.telegram_bot.entities import read_markdown
from tests.telegram_bot.scene import BTC, ETH, SENDERS, Commanded, Stage, buttons, only, said

GOLDEN = Path(__file__).parent / "golden"
STRANGER = (
    "연결되지 않은 대화입니다. 웹의 프로필 화면에 나오는 코드를 보내 주세요: /start 코드\n"
    "This chat is not connected. Open your profile page on the web and send the code you see there: /start CODE"
)
NOT_TO_COMMAND = "You may look at [SIMULATED] minsu/main, not command it."
MAY_NOT = "Your role does not have this command. /help lists yours."


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Stage:
    """Return connected people; minsu and alice have an account with a past each."""
    made = Stage(database, tmp_path)
    made.give_history(made.people.minsus)
    made.give_history(made.people.alices)
    return made


# --- words ------------------------------------------------------------------------------------------------------------


def golden(language: str) -> Iterator[tuple[str, str]]:
    """Read what people write and what they get."""
    for part in (GOLDEN / f"{language}.txt").read_text("utf-8").split("\n>>> ")[1:]:
        written, _, answer = part.partition("\n")
        yield written, answer.rstrip("\n")


@pytest.mark.parametrize(("who", "language"), [("minsu", "ko"), ("alice", "en")])
def test_every_answer_reads_as_it_should(stage: Stage, who: str, language: str) -> None:
    """The words people get, in both languages; formatted so that Telegram can read them."""
    with stage.database.transaction() as connection:
        for process, ago_ms in (("backup", 1_000), ("web", 90_000)):
            beat(connection, process, NOW - ago_ms)
    seen = set()
    for written, wanted in golden(language):
        reply = only(stage.write(who, written))
        shown = [reply.text.plain, *(f"[{one.label}]" for row in reply.keyboard for one in row)]
        assert "\n".join(shown) == wanted, written
        assert read_markdown(reply.text.markdown).text == reply.text.plain
        seen.add(written.split()[0].removeprefix("/"))
    assert set(NAMES) - seen == {"start", "pause"}  # these answer by what becomes of them: see test_listener.py


def test_the_menu_names_every_command_in_both_languages() -> None:
    for language in ("ko", "en"):
        assert [name for name, _ in menu(language)] == list(NAMES)
        assert all(0 < len(about) <= 256 for _, about in menu(language))


@pytest.mark.parametrize("page", ["telegram.md", "telegram.ko.md"])
def test_the_documents_name_every_command(page: str) -> None:
    listed = re.findall(r"`/([a-z]+)", (ROOT / "docs" / page).read_text("utf-8"))
    assert set(NAMES) == set(listed) - {"newbot"}


def test_whatever_is_written_gets_a_readable_answer_and_does_nothing(stage: Stage) -> None:
    """A hundred lines of nonsense, some of it behind a command."""
    chance = random.Random(7)
    signs = "_*[]()~`>#+-=|{}.!\\/:\u202e\n\x00 가😀aZ09"
    for _ in range(100):
        nonsense = "".join(chance.choices(signs, k=chance.randint(0, 30)))
        written = chance.choice(("", "/", *(f"/{name} " for name in (*READING, "closeall", "forceexit", "nope")))) + nonsense
        for reply in stage.write("alice", written).replies:
            assert read_markdown(reply.text.markdown).text == reply.text.plain
        stage.clock.tick(3)
    assert stage.commands() == []


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("/status", ("status", "")),
        ("/Status@CTP_test_bot  main  ", ("status", "main")),
        ("/daily main\n 14", ("daily", "main 14")),
        ("/fx BTC", ("forceexit", "BTC")),
        ("/stopentry", ("pause", "")),
        ("/status@another_bot", None),
        ("status", None),
        ("/", None),
        ("", None),
    ],
)
def test_a_command_is_read_as_it_is_written(written: str, read: tuple[str, str] | None) -> None:
    assert read_command(written, "ctp_test_bot") == read


def test_a_notice_may_hold_any_name_and_still_nothing_but_the_first_line_is_formatted(stage: Stage) -> None:
    """An account is called what its owner likes."""
    hostile = "a_b*c[d](http:e)~`>#+-=|{}.!\\"
    stage.add_account("quinn", hostile)
    for written in ("/status", "/balance", "/profit", "/locks", f"/stop close {hostile}"):
        reply = only(stage.write("quinn", written))
        read = read_markdown(reply.text.markdown)
        assert hostile in read.text
        assert {kind for kind, _ in read.entities} == {"Bold"}
        assert read.text == reply.text.plain


# --- rights -----------------------------------------------------------------------------------------------------------

# What each role gets on an account that is its own (o), shared as trader (t), as viewer (v), or none of these (n):
# A answered, C the bot was asked or a button offered, - no such command, 0 no account, x nothing happens on this one.
ROLES = {
    "vera": {"reading": "?AA0", "commanding": "?---", "closeall": "?---"},
    "quinn": {"reading": "AAA0", "commanding": "CCx0", "closeall": "CCx0"},
    "olaf": {"reading": "???-", "commanding": "???-", "closeall": "???-"},
    "ada": {"reading": "?AA0", "commanding": "?---", "closeall": "?CCC"},
}
WRITTEN = {name: f"/{name}" for name in NAMES} | {"stop": "/stop close", "forceexit": f"/forceexit {BTC}"}


@pytest.mark.parametrize(
    ("who", "relation", "wanted"),
    [
        (who, relation, {kind: wanted[place] for kind, wanted in kinds.items()})
        for who, kinds in ROLES.items()
        for place, relation in enumerate(("owner", "trader", "viewer", "none"))
        if kinds["reading"][place] != "?"
    ],
)
def test_each_role_has_its_commands_on_its_accounts_and_no_others(
    stage: Stage, who: str, relation: str, wanted: dict[str, str]
) -> None:
    account_id, named = stage.people.minsus, "minsu/main"
    if relation == "owner":
        account_id, named = stage.add_account(who, "main"), "main"
        stage.give_history(account_id)
    elif relation != "none":
        stage.share(account_id, "minsu", who, relation)
    with stage.database.transaction() as connection:
        connection.execute(sa.update(tables.account_states).values(drawdown_locked=True))
    for name in READING + COMMANDING:
        kind = "reading" if name in READING else "closeall" if name == "closeall" else "commanding"
        before = stage.commands()
        heeded = stage.write(who, f"{WRITTEN[name]} {named}" if wanted[kind] != "0" else WRITTEN[name])
        if wanted[kind] == "C":
            if not heeded.has_asked:
                yes = next(data for data in buttons(heeded).values() if data.startswith("y:"))
                assert stage.press(who, yes).has_asked
            (asked,) = stage.commands()[len(before) :]
            assert (asked.account_id, asked.asked_by, asked.door) == (account_id, stage.id_of(who), "telegram")
            continue
        assert stage.commands() == before
        words = said(heeded)
        if wanted[kind] == "A":
            assert words.startswith("[SIMULATED] ")
        elif wanted[kind] == "-":
            assert words == MAY_NOT
        elif wanted[kind] == "0":
            assert words == "You have no trading account that I could show."
        else:
            assert words in ("You have no trading account that I could show.", NOT_TO_COMMAND)
        stage.clock.tick(10)


@pytest.mark.parametrize("who", ["vera", "quinn", "olaf", "ada"])
def test_everybody_may_ask_for_help_language_and_health_and_operators_see_more_of_it(stage: Stage, who: str) -> None:
    listed = {line.split(" ")[0].removeprefix("/") for line in said(stage.write(who, "/help")).split("\n")[1:]}
    assert set(GENERAL) <= listed
    assert listed & set(COMMANDING) == {
        "vera": set(),
        "quinn": set(COMMANDING),
        "olaf": set(),
        "ada": {"closeall"},
    }[who]
    shown = said(stage.write(who, "/health"))
    assert ("Jobs" in shown) == (who in ("olaf", "ada"))
    assert "USDT" not in shown


def test_an_administrator_closes_for_anybody_and_learns_no_figure(stage: Stage) -> None:
    offered = stage.write("ada", "/closeall")
    assert sorted(buttons(offered)) == ["[SIMULATED] alice/main", "[SIMULATED] minsu/main"]
    heeded = stage.press("ada", buttons(offered)["[SIMULATED] minsu/main"])
    words = said(heeded)
    assert words.startswith("[SIMULATED] minsu/main · Close all")
    assert "BTC" not in words and "USDT" not in words
    assert stage.press("ada", buttons(heeded)["Yes, Close all"]).has_asked
    assert stage.commands() == [Commanded(stage.people.minsus, "close_all", {}, stage.id_of("ada"), "telegram")]
    assert ("command.close_all", f"account:{stage.people.minsus}", "ada") in stage.deeds()


def test_there_is_no_way_to_parameters_keys_or_capital(stage: Stage) -> None:
    """Whatever is written, only these tables change; and a command carries nothing but a symbol."""
    may_change = {
        "audit_log",
        "commands",
        "confirmations",
        "telegram_answers",
        "users",
        "login_failures",
        "report_requests",
        "contacts",
        "configuration_versions",  # keeps the language, which /lang changes
    }

    def picture() -> dict[str, list[tuple[object, ...]]]:
        with stage.database.reading() as connection:
            return {
                name: [tuple(row) for row in connection.execute(sa.select(table))]
                for name, table in tables.metadata.tables.items()
                if name not in may_change
            }

    before = picture()
    words = ("", "close", "all", BTC, "risk_fraction=0.5", "main leverage 125")
    for name, rest in itertools.product((*NAMES, "forcelong", "reload_config", "set", "risk"), words):
        heeded = stage.write("alice", f"/{name} {rest}")
        for reply in heeded.replies:
            for data in (one.data for row in reply.keyboard for one in row):
                stage.press("alice", data)
        stage.clock.tick(60)
    assert picture() == before
    assert {str(one.arguments) for one in stage.commands()} <= {"{}", str({"symbol": BTC})}


# --- people who are not, or not any more --------------------------------------------------------------------------------


def test_a_stranger_gets_the_same_words_for_everything_and_not_often(stage: Stage) -> None:
    for written in ("/status", "hello", "/start", "/start WRONGCOD", f"/closeall {BTC}", "/help"):
        assert said(stage.write("555", written)) == STRANGER
        assert stage.write("555", written).replies == ()
        stage.clock.tick(61)
    assert stage.commands() == []


@pytest.mark.parametrize("end", ["disabled", "removed"])
def test_who_was_shut_out_is_a_stranger_from_the_next_word_on(stage: Stage, end: str) -> None:
    offered = stage.write("alice", "/stop close")
    with stage.database.transaction() as connection:
        if end == "disabled":
            disable_user(connection, SHELL, stage.id_of("alice"), NOW)
        else:
            remove_contact(connection, stage.people.alice, "telegram", NOW)
    (pressed,) = stage.press("alice", buttons(offered)["Yes, Stop (close positions)"]).replies
    assert (pressed.text.plain, pressed.alert) == ("", "")
    assert said(stage.write("alice", "/status")) == STRANGER
    assert stage.commands() == []


def test_whose_password_was_reset_by_somebody_else_commands_nothing_until_it_is_their_own(stage: Stage) -> None:
    """A reset ends every session; a chat must not be the way around that."""
    offered = stage.write("alice", "/closeall")
    with stage.database.transaction() as connection:
        set_password(connection, SHELL, stage.id_of("alice"), KEPT, NOW)
    for heeded in (stage.write("alice", "/status"), stage.press("alice", buttons(offered)["Yes, Close all"])):
        assert said(heeded).startswith("Your password was reset.")
    assert stage.commands() == []
    with stage.database.transaction() as connection:
        set_password(connection, stage.people.alice, stage.id_of("alice"), KEPT, NOW)
    assert said(stage.write("alice", "/status")).startswith("[SIMULATED] main")


def test_a_code_connects_the_chat_it_comes_from(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        remove_contact(connection, stage.people.alice, "telegram", NOW)
        code = begin_contact(connection, stage.people.alice, "telegram", "", NOW)
    assert said(stage.write("777", f"/start {code}")) == (
        "Connected, alice. Notices come here from now on. /help lists the commands."
    )
    with stage.database.reading() as connection:
        (contact,) = contacts_of(connection, stage.id_of("alice"))
    assert (contact.address, contact.sender) == ("777", "777")
    assert said(stage.write("777", "/status")).startswith("[SIMULATED] main")
    assert said(stage.write("778", f"/start {code}")) == STRANGER  # it works once


def test_codes_cannot_be_tried_in_rows(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        remove_contact(connection, stage.people.alice, "telegram", NOW)
        code = begin_contact(connection, stage.people.alice, "telegram", "", NOW)
    for number in range(40):
        stage.write("666", f"/start AAAA{number:04d}")
    assert "Connected" not in "".join(reply.text.plain for reply in stage.write("666", f"/start {code}").replies)


def test_start_means_trading_unless_a_code_follows_it(stage: Stage) -> None:
    """freqtrade's /start, and Telegram's."""
    stage.add_account("alice", "ABCDEFGH")
    assert stage.write("alice", "/start ABCDEFGH").has_asked
    assert said(stage.write("alice", "/start ZZZZYYYY")) == "There is no account “ZZZZYYYY”. Which one?"
    with stage.database.transaction() as connection:
        code = begin_contact(connection, stage.people.quinn, "telegram", "", NOW)
    assert "quinn" in said(stage.write("alice", f"/start {code}"))  # the same sender is quinn from now on
    assert len(stage.commands()) == 1


# --- groups -----------------------------------------------------------------------------------------------------------

GROUP = "-900"


def test_in_a_group_that_was_not_connected_nobody_gets_an_answer(stage: Stage) -> None:
    for who in ("alice", "555"):
        for written in ("/status", "/balance main", "hello", "/start WRONGCOD"):
            assert stage.write(who, written, chat=GROUP).replies == ()
    assert stage.write("alice", "/pause", chat=GROUP).has_asked is False
    assert stage.commands() == []


def test_in_a_connected_group_the_sender_counts_not_the_chat(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        remove_contact(connection, stage.people.alice, "telegram", NOW)
        stage.connect(connection, "alice", SENDERS["alice"], GROUP)
    assert said(stage.write("alice", "/balance", chat=GROUP)).startswith("[SIMULATED] main")
    assert stage.write("minsu", "/balance", chat=GROUP).replies == ()  # known, but his chat is another
    assert stage.write("555", "/balance", chat=GROUP).replies == ()
    assert stage.write("alice", "good morning", chat=GROUP).replies == ()
    assert said(stage.write("alice", "/balance")) == "I answer only in the chat that you connected."
    offered = stage.write("alice", "/closeall", chat=GROUP)
    yes = buttons(offered)["Yes, Close all"]
    (pressed,) = stage.press("555", yes, chat=GROUP).replies
    assert (pressed.text.plain, pressed.alert) == ("", "")
    assert stage.commands() == []
    assert stage.press("alice", yes, chat=GROUP).has_asked


def test_two_people_in_one_group_cannot_press_each_other_s_buttons(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        for name in ("alice", "minsu"):
            remove_contact(connection, stage.people.actors()[name], "telegram", NOW)
            stage.connect(connection, name, SENDERS[name], GROUP)
    stage.add_account("alice", "second")
    yes = buttons(stage.write("alice", "/closeall main", chat=GROUP))["Yes, Close all"]
    which = buttons(stage.write("alice", "/pause", chat=GROUP))["[SIMULATED] main"]
    for data in (yes, which, f"l:{SENDERS['alice']}:ko"):
        assert only(stage.press("minsu", data, chat=GROUP)).alert == "명령을 보낸 사람만 누를 수 있습니다."
    assert stage.commands() == []
    assert stage.press("alice", yes, chat=GROUP).has_asked  # the wrong hand has not used it up


def test_a_group_that_became_another_chat_stays_connected(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        remove_contact(connection, stage.people.alice, "telegram", NOW)
        stage.connect(connection, "alice", SENDERS["alice"], GROUP)
    stage.conversation.hear(Heard(1, GROUP, False, "", "", NOW, "", "", 1, "-100900"))
    assert stage.write("alice", "/balance", chat=GROUP).replies == ()
    assert said(stage.write("alice", "/balance", chat="-100900")).startswith("[SIMULATED] main")


def test_nobody_in_particular_is_heard(stage: Stage) -> None:
    heard = Heard(1, GROUP, False, "", "/status", NOW, "", "", 1, "")
    assert stage.conversation.hear(heard).replies == ()


# --- buttons ----------------------------------------------------------------------------------------------------------


def offered(stage: Stage, written: str = "/closeall") -> tuple[str, str]:
    """Let alice ask for something dangerous; returns the data of yes and of no."""
    data = list(buttons(stage.write("alice", written)).values())
    return data[0], data[1]


def test_a_button_works_once(stage: Stage) -> None:
    yes, no = offered(stage)
    assert stage.press("alice", yes).has_asked
    for again in (yes, no):
        assert only(stage.press("alice", again)).alert == "This was answered already."
    assert [one.kind for one in stage.commands()] == ["close_all"]


def test_a_button_expires_after_a_minute(stage: Stage) -> None:
    yes, _ = offered(stage)
    stage.clock.tick(60)
    reply = only(stage.press("alice", yes, message_id=77))
    assert reply.text.plain.startswith("Too late: this had to be confirmed within 60 seconds.")
    assert (reply.edits, reply.keyboard) == (77, ())
    assert stage.commands() == []


def test_a_minute_less_a_moment_is_in_time(stage: Stage) -> None:
    yes, _ = offered(stage)
    stage.clock.tick(59.999)
    assert stage.press("alice", yes).has_asked


def test_thinking_better_of_it_does_nothing(stage: Stage) -> None:
    yes, no = offered(stage)
    assert said(stage.press("alice", no)) == "Cancelled. Nothing was done."
    assert only(stage.press("alice", yes)).alert == "This was answered already."
    assert stage.commands() == []


@pytest.mark.parametrize(
    "data",
    [
        *("", ":" * 60, "y:", "y:AAAAAAAAAAAAAAAAAAAAAA", "n:x", "z:1002:x", "l:1002:xx", "s:9999:1002:BTC"),
        *("a:closeall", "a:closeall:1:1002:", "a:set:1:1002:", "a:status:１:1002:", f"a:pause:{'9' * 21}:1002:"),
    ],
)
def test_made_up_button_data_does_nothing(stage: Stage, data: str) -> None:
    """Buttons come from clients: nothing in them is believed."""
    heeded = stage.press("alice", data)
    assert len(heeded.replies) == 1
    assert stage.commands() == []


def test_a_right_that_was_taken_back_before_the_press_is_gone(stage: Stage) -> None:
    stage.share(stage.people.minsus, "minsu", "quinn", "trader")
    data = buttons(stage.write("quinn", "/closeall"))["Yes, Close all"]
    stage.share(stage.people.minsus, "minsu", "quinn", "viewer")
    assert only(stage.press("quinn", data)).alert == MAY_NOT
    assert stage.commands() == []


def test_what_is_dangerous_is_confirmed_and_what_is_not_is_done(stage: Stage) -> None:
    live = stage.add_account("alice", "gold", mode="live")
    stage.give_history(live, drawdown_locked=True)
    for written, kind, word in (
        ("/start gold", "start", "Yes, Start"),
        ("/stop close gold", "stop_close", "Yes, Stop (close positions)"),
        ("/closeall gold", "close_all", "Yes, Close all"),
        ("/forceexit btc gold", "exit_symbol", "Yes, Close one symbol"),
        ("/forceexit all gold", "close_all", "Yes, Close all"),
        ("/unlock gold", "unlock", "Yes, Unlock"),
    ):
        before = len(stage.commands())
        heeded = stage.write("alice", written)
        assert said(heeded).startswith("[LIVE] gold")
        assert len(stage.commands()) == before
        assert stage.press("alice", buttons(heeded)[word]).has_asked
        assert [one.kind for one in stage.commands()][before:] == [kind]
    assert stage.commands()[3].arguments == {"symbol": BTC}
    for written in ("/start main", "/pause main", "/pause gold", "/stop main", "/stop keep gold"):
        assert stage.write("alice", written).has_asked
    assert [one.kind for one in stage.commands()][6:] == ["start", "pause", "pause", "stop_keep", "stop_keep"]


# --- which account, which symbol --------------------------------------------------------------------------------------


def test_with_several_accounts_buttons_choose_and_the_answer_keeps_them(stage: Stage) -> None:
    second = stage.add_account("alice", "second one")
    stage.give_history(second)
    overview = stage.write("alice", "/status")
    assert said(overview).count("[SIMULATED]") == 2
    asked = stage.write("alice", "/daily 3")
    assert said(asked) == "Which account?"
    reply = only(stage.press("alice", buttons(asked)["[SIMULATED] second one"], message_id=61))
    assert reply.text.plain.startswith("[SIMULATED] second one · By day")
    assert reply.text.plain.count("\n11-") == 3
    assert (reply.edits, len(reply.keyboard)) == (61, 2)
    for written in ("/daily second one 3", "/daily 3 SECOND ONE", "/daily alice/second one 3"):
        assert said(stage.write("alice", written)) == reply.text.plain
    assert "second one" in said(stage.write("alice", "/why eth second one 1"))
    assert "second one" in said(stage.write("alice", "/why second one eth"))


def test_a_command_that_is_not_understood_does_nothing(stage: Stage) -> None:
    """A mistyped word must not be taken for less than was asked."""
    stage.add_account("alice", "second")
    for written in ("/stop clsoe main", "/pause mian", "/closeall everything", "/stop now", "/start main please"):
        assert "There is no account" in said(stage.write("alice", written))
    assert said(stage.write("alice", "/forceexit XMR main")).startswith("There is no account")
    assert stage.commands() == []


def test_forceexit_offers_what_is_open_and_nothing_else(stage: Stage) -> None:
    asked = stage.write("alice", "/forceexit")
    assert list(buttons(asked)) == ["BTC/USDT perpetual"]
    confirmed = stage.press("alice", buttons(asked)["BTC/USDT perpetual"])
    assert said(confirmed).startswith("[SIMULATED] main · Close one symbol")
    assert said(stage.write("alice", f"/forceexit {ETH}")) == "[SIMULATED] main has no open position."
    assert said(stage.write("alice", "/forceexit doge")) == "[SIMULATED] main does not trade doge."
    assert stage.commands() == []


# --- once, in time, written down --------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["/pause", "/stop", "/start"])
def test_an_update_that_is_delivered_twice_is_one_command(stage: Stage, written: str) -> None:
    assert stage.write("alice", written, update=31).has_asked
    assert stage.write("alice", written, update=31).has_asked
    assert len(stage.commands()) == 1


def test_a_press_that_is_delivered_twice_is_one_command_and_no_failure(stage: Stage) -> None:
    yes, _ = offered(stage)
    for _ in range(2):
        heeded = stage.press("alice", yes, update=32)
        assert (heeded.has_asked, only(heeded).alert) == (True, "")
    assert len(stage.commands()) == 1


def test_an_old_command_is_not_obeyed_any_more(stage: Stage) -> None:
    """It waited at Telegram while nobody listened; the market has moved on."""
    stage.add_account("alice", "second")
    for written in ("/pause main", "/start main", "/stop main", "/closeall main"):
        assert said(stage.write("alice", written, ago_ms=301_000)).startswith("You sent this 5 min 1 s ago")
    assert only(stage.press("alice", f"a:pause:{stage.people.alices}:1002:", ago_ms=301_000)).alert
    assert said(stage.write("alice", "/balance main", ago_ms=301_000)).startswith("[SIMULATED] main")
    assert stage.commands() == []


def test_every_command_of_a_known_person_is_written_down(stage: Stage) -> None:
    account = f"account:{stage.people.alices}"
    stage.write("alice", "/status")
    stage.write("alice", "/pause")
    yes, _ = offered(stage)
    stage.press("alice", yes)
    stage.write("vera", "/closeall")
    stage.write("alice", "/lang en")
    assert stage.deeds() == [
        ("telegram.status", account, "alice"),
        ("telegram.pause", account, "alice"),
        ("command.pause", account, "alice"),
        ("telegram.closeall", account, "alice"),
        ("telegram.confirm", account, "alice"),
        ("command.close_all", account, "alice"),
        ("telegram.closeall", f"user:{stage.id_of('vera')}", "vera"),
        ("telegram.lang", f"user:{stage.id_of('alice')}", "alice"),
    ]


def test_nobody_can_tire_the_bot(stage: Stage) -> None:
    answers = [stage.write("alice", "/locks").replies for _ in range(40)]
    assert [len(one) for one in answers] == [1] * 31 + [0] * 9
    assert answers[30][0].text.plain == "Too many messages. Please wait a minute."
    stage.clock.tick(61)
    assert said(stage.write("alice", "/locks")).startswith("[SIMULATED] main")


def test_the_language_is_the_person_s_own_choice(stage: Stage) -> None:
    asked = stage.write("alice", "/lang")
    assert said(stage.press("alice", buttons(asked)["한국어"])) == "이제 한국어로 답합니다."
    assert said(stage.write("alice", "/locks")).startswith("[모의] main")
    assert said(stage.write("alice", "/lang en")) == "I answer in English from now on."


def test_a_chat_that_is_heard_from_again_is_not_blocked_any_more(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        this = tables.contacts.c.user_id == stage.id_of("alice")
        connection.execute(sa.update(tables.contacts).where(this).values(blocked_at=NOW))
    assert said(stage.write("alice", "/locks")).startswith("[SIMULATED] main")
    with stage.database.reading() as connection:
        (contact,) = contacts_of(connection, stage.id_of("alice"))
    assert contact.is_usable


def test_a_report_comes_with_its_chart(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        connection.execute(
            sa.insert(tables.reports).values(
                account_id=stage.people.alices,
                user_id=stage.id_of("alice"),
                kind="daily",
                period="2023-11-13",
                language="en",
                status="done",
                file="x.html",
                chart="x.png",
                summary='{"pnl": 12.5, "trades": 2, "wins": 1, "equity": 10123.45, "findings": [{}, {}]}',
                created_at=NOW,
            )
        )
    reply = only(stage.write("alice", "/report"))
    assert reply.picture == "x.png"
    assert reply.text.plain.startswith("[SIMULATED] Daily report 2023-11-13\nP&L +12.50 USDT")
    assert "Worth a look: 2" in reply.text.plain
    assert said(stage.write("minsu", "/report")).startswith("[모의] main")


def test_a_report_can_be_asked_for_by_word_or_button_once_and_the_press_is_the_persons_own(stage: Stage) -> None:
    reply = only(stage.write("alice", "/report"))
    ((button,),) = reply.keyboard
    assert button.label == "Make it now"
    assert only(stage.press("minsu", button.data)).alert
    assert "is being made" in only(stage.press("alice", button.data)).text.plain
    assert "does not answer" in said(stage.write("alice", "/report now")), "nobody makes reports here"
    assert "is being made" in said(stage.write("alice", "/report main now"))
    with stage.database.reading() as connection:
        rows = connection.execute(sa.select(tables.report_requests)).all()
        deeds = connection.scalars(sa.select(tables.audit_log.c.action)).all()
    assert [(row.account_id, row.user_id, row.kind, row.door) for row in rows] == [
        (stage.people.alices, stage.id_of("alice"), "daily", "telegram")
    ]
    assert deeds.count("report.ask") == 1


def test_a_long_answer_fits(stage: Stage) -> None:
    for number in range(45):
        stage.give_history(stage.add_account("quinn", f"account number {number:02d} {'x' * 40}"))
    reply = only(stage.write("quinn", "/status"))
    assert reply.text.plain.endswith("…")
    assert len(reply.keyboard) <= 40
    assert render([]).plain == ""
