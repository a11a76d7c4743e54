"""E-mail: one message to one proven address over SMTP.

Invariants:
1. A mail counts as handed over when the server took its data (250); what happens to the connection afterwards is no
   matter. A connection lost while the server was answering leaves it open: the mail goes again under its Message-ID.
2. A server that cannot be reached, refuses the password or our sender, or cannot be trusted stops nobody's mail for
   good: that concerns the channel. Only what is refused about an address blocks the address.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Literal

import aiosmtplib

from ctp.config import Settings, read_secret
from ctp.errors import AddressRefused, ChannelRefused, ConfigError, DeliveryError
from ctp.logs import register_secret
from ctp.notifiers.mail_text import write_mail
from ctp.notifiers.messages import Message
from ctp.notifiers.notifier import Recipient

CONNECTIONS = 4  # at once: mail services refuse more from one client
ANSWERING = 2  # of them at the step after which a kill would repeat the mail
CHART_BYTES = 5_000_000
RETRY_AFTER_S = 15.0  # until a server that could not be reached is asked again

_Stage = Literal["connect", "sender", "recipient", "data"]
_ENHANCED = re.compile(r"\b5\.(\d{1,3})\.(\d{1,3})\b")  # RFC 3463: class, subject, detail
_ADDRESS_CODES = (550, 551, 553)


class EmailNotifier:
    """Sends mail through the server that the operator named."""

    channel = "email"

    def __init__(self, settings: Settings) -> None:
        """Read the password and certificates. Raises ConfigError when they cannot be used."""
        chosen = settings.email
        self._chosen, self._public_url, self._reports = chosen, settings.web.public_url, settings.reports
        self._envelope_sender = parseaddr(chosen.sender)[1]
        self._password: str | None = None
        if chosen.password_file is not None:
            self._password = read_secret(chosen.password_file, "email.password_file")
            register_secret(self._password)
        try:
            self._tls = ssl.create_default_context(cafile=str(chosen.ca_file) if chosen.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"email.ca_file: cannot use {chosen.ca_file}: {error}") from None
        self._free, self._answering = asyncio.Semaphore(CONNECTIONS), asyncio.Semaphore(ANSWERING)
        self._leaving: set[asyncio.Task[None]] = set()

    async def send(self, recipient: Recipient, message: Message, notice_id: int) -> None:
        """Hand a mail to the server. Raises DeliveryError."""
        chart = await asyncio.to_thread(self._read_chart, message.image)
        try:
            await self._hand_over(recipient.address, self._write(recipient, message, notice_id, chart))
        except _TooLarge as error:
            if not chart:
                raise DeliveryError(str(error), permanent=True) from None
            await self._send_without_chart(recipient, message, notice_id)

    async def _send_without_chart(self, recipient: Recipient, message: Message, notice_id: int) -> None:
        """Send the words alone to a mailbox that takes no large mail."""
        try:
            await self._hand_over(recipient.address, self._write(recipient, message, notice_id, b""))
        except _TooLarge as error:
            raise DeliveryError(str(error), permanent=True) from None

    def _write(self, recipient: Recipient, message: Message, notice_id: int, chart: bytes) -> EmailMessage:
        """Return the mail, under an id that is the same whenever this notice is sent to this address."""
        named = hashlib.sha256(f"{notice_id}|{recipient.address}|{message.when}".encode()).hexdigest()[:24]
        return write_mail(
            recipient,
            message,
            sender=self._chosen.sender,
            message_id=f"<notice-{notice_id}-{named}@{self._envelope_sender.rpartition('@')[2]}>",
            at=datetime.now(UTC),
            public_url=self._public_url,
            chart=chart,
        )

    def _read_chart(self, name: str) -> bytes:
        """Return the chart if it is a picture below the reports' folder; without one, the words are enough."""
        file = (self._reports / name).resolve()
        if not name or Path(name).suffix != ".png" or not file.is_relative_to(self._reports.resolve()):
            return b""
        try:
            return file.read_bytes() if file.stat().st_size <= CHART_BYTES else b""
        except OSError:
            return b""

    async def _hand_over(self, address: str, mail: EmailMessage) -> None:
        """Connect, and go through the steps of one mail, so that a failure is known by its step."""
        chosen = self._chosen
        client = aiosmtplib.SMTP(
            hostname=chosen.host,
            port=chosen.port,
            username=chosen.username or None,
            password=self._password,
            timeout=chosen.timeout_s,
            use_tls=chosen.security == "tls",
            start_tls=chosen.security == "starttls",
            tls_context=self._tls,
        )
        stage: _Stage = "connect"
        async with self._free:
            try:
                await client.connect()
                stage = "sender"
                await client.mail(self._envelope_sender)
                stage = "recipient"
                await client.rcpt(address)
                written = mail.as_bytes()
                async with self._answering:
                    stage = "data"
                    await client.data(written)
            except (aiosmtplib.SMTPException, OSError) as error:  # ssl.SSLError is an OSError
                client.close()
                raise _judged(stage, error) from None
            except asyncio.CancelledError:
                client.close()
                raise
        leaving = asyncio.create_task(_leave(client))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


class _TooLarge(Exception):
    """The mail is larger than the server or the mailbox takes."""


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Say goodbye; nobody waits for it, and nothing depends on it."""
    try:
        await client.quit(timeout=2)
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        client.close()


def _judged(stage: _Stage, error: Exception) -> Exception:
    """Return what a failure at this step means."""
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
    words = error.message if isinstance(error, aiosmtplib.SMTPException) else str(error)
    reason = f"{stage}: {code} {words}" if code else f"{stage}: {words or type(error).__name__}"
    if not code:
        if stage == "data":
            return DeliveryError(f"{reason}; it may have arrived and is sent again", permanent=False)
        return ChannelRefused(reason, RETRY_AFTER_S)
    if (stage in ("connect", "sender") and code != 552) or code in (421, 530):
        return ChannelRefused(reason, RETRY_AFTER_S)
    if code < 500:
        return DeliveryError(reason, permanent=False)
    enhanced = _ENHANCED.search(words)
    subject = (int(enhanced[1]), int(enhanced[2])) if enhanced else None
    if subject == (2, 2):  # the mailbox is full, and may be emptied
        return DeliveryError(reason, permanent=False)
    if (code == 552 and stage != "recipient") or subject in ((3, 4), (2, 3)):
        return _TooLarge(reason)
    if subject is not None:
        about_address = subject[0] == 1 or subject == (2, 1)
    else:
        about_address = stage == "recipient" and code in _ADDRESS_CODES
    if about_address:
        return AddressRefused(reason)
    if stage == "recipient" and code == 552:
        return DeliveryError(reason, permanent=False)
    return DeliveryError(reason, permanent=True)
