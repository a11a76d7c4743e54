"""E-mail through a real mail server: what arrives, and what each refusal means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ctp.config import EmailSettings, Settings, WebSettings
from ctp.errors import AddressRefused, ChannelRefused, ConfigError, DeliveryError
from ctp.notifiers.channels import build_notifiers, configured_channels
from ctp.notifiers.email import EmailNotifier
from ctp.notifiers.messages import Message, compose
from ctp.notifiers.notifier import Recipient
from ctp.simulator import certificates
from tests.notifiers.mail_server import PASSWORD, USER, MailServer, mail_server

MINSU = Recipient(2, "minsu", "ko", "Asia/Seoul", "minsu@example.com")
PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 100
MESSAGE = compose(
    "stop_loss_hit",
    {"account": "main", "mode": "live", "exchange": "binance", "quote": "USDT", "symbol": "BTC/USDT", "side": "long"}
    | {"size": "0.5", "entry_price": 100.0, "price": 98.0, "pnl": -1.05, "reason": "stop_loss", "chart": "1/day.png"},
    "ko",
    "Asia/Seoul",
    1_700_000_000_000,
    urgent=True,
)


def settings(home: Path, port: int, **email: Any) -> Settings:
    """Return settings for a server on this machine."""
    chosen = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "알림 봇 <bot@ctp.test>", "timeout_s": 20}
    return Settings(
        home=home, email=EmailSettings(**(chosen | email)), web=WebSettings(public_url="https://trade.example.com")
    )


def run(scene: Callable[[MailServer], Awaitable[None]], **options: Any) -> None:
    """Play a scene with a running server."""

    async def play() -> None:
        async with mail_server(**options) as server:
            await asyncio.wait_for(scene(server), 60)

    asyncio.run(play())


async def refusal(notifier: EmailNotifier, message: Message = MESSAGE) -> DeliveryError:
    """Return how sending fails."""
    with pytest.raises(DeliveryError) as caught:
        await notifier.send(MINSU, message, 7)
    return caught.value


def concern(error: DeliveryError) -> str:
    """Return what a failure concerns."""
    return {AddressRefused: "address", ChannelRefused: "channel"}.get(type(error), "message")


def test_a_mail_has_both_texts_the_chart_and_headers_for_machines(home: Path) -> None:
    """Korean in the subject, the picture inside, nothing fetched from outside."""

    async def scene(server: MailServer) -> None:
        chosen = settings(home, server.port)
        (chosen.reports / "1").mkdir()
        (chosen.reports / "1" / "day.png").write_bytes(PNG)
        await EmailNotifier(chosen).send(MINSU, MESSAGE, 7)
        (mail,) = server.taken
        assert server.addresses == ["minsu@example.com"]
        assert mail["Subject"] == "[실거래] BTC/USDT 롱 손절 -1.05 USDT"
        assert str(mail["From"]) == "알림 봇 <bot@ctp.test>" and mail["To"] == "minsu@example.com"
        assert mail["Auto-Submitted"] == "auto-generated" and mail["Importance"] == "high"
        assert mail["List-Unsubscribe"] == "<https://trade.example.com/profile>"
        sent = mail["Date"].datetime  # type: ignore[union-attr]
        assert abs((datetime.now(UTC) - sent).total_seconds()) < 600
        assert mail.get_content_type() == "multipart/alternative"
        plain, page = mail.get_body(("plain",)), mail.get_body(("html",))
        assert plain is not None and page is not None
        assert plain.get_content().splitlines()[:3] == [MESSAGE.title, "", "손익 -1.05 USDT"]
        shown = page.get_content()
        assert "실거래" in shown and "손익 -1.05 USDT" in shown and 'src="cid:chart"' in shown
        assert "src=" not in shown.replace('src="cid:chart"', "")
        pictures = [part for part in mail.walk() if part.get_content_type() == "image/png"]
        assert [part.get_content() for part in pictures] == [PNG] and pictures[0]["Content-ID"] == "<chart>"
        for line in mail.as_bytes().splitlines():
            assert len(line) <= 998

    run(scene)


def test_the_same_notice_has_the_same_message_id_and_another_has_not(home: Path) -> None:
    """By which mailboxes tell a repetition."""

    async def scene(server: MailServer) -> None:
        notifier = EmailNotifier(settings(home, server.port))
        for notice_id, to in ((7, MINSU), (7, MINSU), (8, MINSU), (7, MINSU._replace(address="b@example.com"))):
            await notifier.send(to, MESSAGE, notice_id)
        first, again, other, elsewhere = [str(mail["Message-ID"]) for mail in server.taken]
        assert first == again and len({first, other, elsewhere}) == 3
        assert first.startswith("<notice-7-") and first.endswith("@ctp.test>")

    run(scene)


@pytest.mark.parametrize(
    ("step", "answer", "permanent", "concerns"),
    [
        ("rcpt", "451 4.7.1 greylisted, try again later", False, "message"),
        ("data", "451 4.3.0 try again later", False, "message"),
        ("rcpt", "452 4.2.2 mailbox full", False, "message"),
        ("rcpt", "552 5.2.2 mailbox full", False, "message"),
        ("rcpt", "550 5.1.1 no such user", True, "address"),
        ("rcpt", "550 no such user here", True, "address"),
        ("rcpt", "553 mailbox name not allowed", True, "address"),
        ("rcpt", "550 5.2.1 mailbox disabled", True, "address"),
        ("data", "550 5.1.1 no such user", True, "address"),
        ("rcpt", "550 5.7.1 relaying denied", True, "message"),
        ("rcpt", "554 5.7.1 blocked by policy", True, "message"),
        ("data", "554 5.7.1 looks like spam", True, "message"),
        ("data", "550 looks like spam", True, "message"),
        ("data", "552 5.3.4 message too big", True, "message"),
        ("mail", "530 5.7.0 must issue a STARTTLS command first", False, "channel"),
        ("mail", "550 5.7.1 sender not allowed", False, "channel"),
        ("mail", "451 4.3.0 busy", False, "channel"),
        ("rcpt", "421 4.3.2 shutting down", False, "channel"),
        ("mail", "cut", False, "channel"),
        ("rcpt", "cut", False, "channel"),
        ("data", "cut", False, "message"),
    ],
)
def test_what_a_refusal_means(home: Path, step: str, answer: str, permanent: bool, concerns: str) -> None:
    """By its step, its code and its enhanced code."""

    async def scene(server: MailServer) -> None:
        server.replies[step] = [answer]
        error = await refusal(EmailNotifier(settings(home, server.port)))
        assert (error.permanent, concern(error)) == (permanent, concerns)
        assert answer == "cut" or answer.split(" ", 1)[1][:20] in str(error)

    run(scene)


def test_a_mailbox_too_small_for_the_chart_gets_the_words(home: Path) -> None:
    """552 at the data, once; without a chart there is nothing to leave out."""

    async def scene(server: MailServer) -> None:
        chosen = settings(home, server.port)
        (chosen.reports / "1").mkdir()
        (chosen.reports / "1" / "day.png").write_bytes(PNG)
        server.replies["data"] = ["552 5.3.4 message too big once"]
        await EmailNotifier(chosen).send(MINSU, MESSAGE, 7)
        (mail,) = server.taken
        assert not [part for part in mail.walk() if part.get_content_type() == "image/png"]
        assert "cid:" not in str(mail.get_body(("html",)).get_content())  # type: ignore[union-attr]

    run(scene)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "1/day.txt", "missing.png", "link.png", ""])
def test_only_pictures_below_the_reports_are_sent(home: Path, name: str) -> None:
    """A fact of a notice opens no other file."""

    async def scene(server: MailServer) -> None:
        chosen = settings(home, server.port)
        (home / "secret.png").write_bytes(PNG)
        (chosen.reports / "1").mkdir()
        (chosen.reports / "1" / "day.txt").write_bytes(PNG)
        (chosen.reports / "link.png").symlink_to(home / "secret.png")
        await EmailNotifier(chosen).send(MINSU, MESSAGE._replace(image=name), 7)
        assert not [part for part in server.taken[0].walk() if part.get_content_maintype() == "image"]

    run(scene)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_mail_goes_encrypted_to_a_server_that_is_who_it_says(home: Path, tmp_path: Path, tls: str) -> None:
    """With the password from its file; a certificate nobody vouches for stops everything."""
    authority = certificates.ensure(tmp_path).authority
    file = home / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)

    async def scene(server: MailServer) -> None:
        chosen = {"security": tls, "username": USER, "password_file": file}
        await EmailNotifier(settings(home, server.port, ca_file=authority, **chosen)).send(MINSU, MESSAGE, 7)
        assert len(server.taken) == 1
        untrusted = await refusal(EmailNotifier(settings(home, server.port, **chosen)))
        assert isinstance(untrusted, ChannelRefused) and "certificate" in str(untrusted).lower()
        file.write_text("wrong password")
        refused = await refusal(EmailNotifier(settings(home, server.port, ca_file=authority, **chosen)))
        assert isinstance(refused, ChannelRefused) and "535" in str(refused) and "wrong password" not in str(refused)
        assert len(server.taken) == 1

    run(scene, tls=tls, certificate_folder=tmp_path, password=True)


def test_a_server_without_encryption_gets_nothing_when_it_was_asked_for(home: Path) -> None:
    """Nobody between us and it can talk us out of STARTTLS."""

    async def scene(server: MailServer) -> None:
        error = await refusal(EmailNotifier(settings(home, server.port, security="starttls")))
        assert isinstance(error, ChannelRefused) and server.taken == []

    run(scene)


def test_a_server_that_wants_encryption_is_the_operator_s_matter(home: Path, tmp_path: Path) -> None:
    """530 from the real server."""

    async def scene(server: MailServer) -> None:
        error = await refusal(EmailNotifier(settings(home, server.port)))
        assert isinstance(error, ChannelRefused) and "530" in str(error)

    run(scene, tls="starttls", certificate_folder=tmp_path)


def test_nobody_there_and_nobody_answering_stop_nobody_s_mail_for_good(home: Path) -> None:
    """A closed port and a server that is silent."""

    async def scene(server: MailServer) -> None:
        server.hangs = True
        assert isinstance(await refusal(EmailNotifier(settings(home, server.port, timeout_s=0.3))), ChannelRefused)

    run(scene)
    error = asyncio.run(refusal(EmailNotifier(settings(home, 1, timeout_s=5))))
    assert isinstance(error, ChannelRefused)


@pytest.mark.parametrize(
    ("email", "words"),
    [
        ({"security": "none", "host": "mail.example.com"}, "this machine"),
        ({"sender": ""}, "sender"),
        ({"sender": "Bot <bot>"}, "sender"),
        ({"sender": "Bot\r\nBcc: x <bot@example.com>"}, "sender"),
        ({"username": "ctp"}, "password_file"),
    ],
)
def test_half_a_set_up_is_refused(home: Path, email: dict[str, Any], words: str) -> None:
    """Before anything starts."""
    with pytest.raises(ValueError, match=words):
        settings(home, 25, **email)


def test_the_password_file_and_certificates_are_checked_at_start(home: Path) -> None:
    """Not at the first notice."""
    file = home / "password"
    for chosen in ({"username": "ctp", "password_file": file}, {"ca_file": home / "none.pem"}):
        with pytest.raises(ConfigError):
            EmailNotifier(settings(home, 25, **chosen))


def test_what_is_not_set_up_is_not_built(home: Path) -> None:
    """An empty host means no e-mail."""
    none = Settings(home=home)
    assert configured_channels(none) == [] and build_notifiers(none) == []
    some = settings(home, 25)
    assert configured_channels(some) == ["email"] == [notifier.channel for notifier in build_notifiers(some)]
