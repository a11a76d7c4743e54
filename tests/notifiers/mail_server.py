"""A real mail server (aiosmtpd) on the loopback, which refuses, delays and breaks off as it is told."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from ctp.simulator import certificates

USER, PASSWORD = "ctp", "correct horse battery"


class MailServer:
    """Takes mail for everybody; `replies` answers a step otherwise, the next one in line or always the last.

    "cut" breaks the connection after taking the data, "lost" before; an answer that ends in "once" is given once.
    """

    def __init__(self) -> None:
        """Refuse nothing."""
        self.port = 0
        self.taken: list[EmailMessage] = []
        self.addresses: list[str] = []
        self.attempts = 0
        self.replies: dict[str, list[str]] = {}  # step (mail, rcpt, data) to answers
        self.faults_made = 0
        self.hangs = False
        self._transports: list[Any] = []

    def _answer(self, step: str, server: SMTP) -> str | None:
        """Return what to say at a step; None for what is usual."""
        waiting = self.replies.get(step, [])
        if not waiting:
            return None
        answer = waiting.pop(0) if len(waiting) > 1 or answer_is_once(waiting[0]) else waiting[0]
        self.faults_made += 1
        if answer.removesuffix(" once") in ("cut", "lost"):
            cast(Any, server).transport.abort()
        return answer.removesuffix(" once")

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer MAIL FROM."""
        if self.hangs:
            await asyncio.Event().wait()
        envelope.mail_from = address
        return self._answer("mail", server) or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer RCPT TO."""
        envelope.rcpt_tos.append(address)
        return self._answer("rcpt", server) or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Answer the end of the data."""
        self.attempts += 1
        refused = self._answer("data", server)
        if refused is None or refused == "cut":
            mail = email.message_from_bytes(cast(bytes, envelope.content), policy=email.policy.default)
            self.taken.append(cast(EmailMessage, mail))
            self.addresses += envelope.rcpt_tos
        return refused or "250 OK"


def answer_is_once(answer: str) -> bool:
    """Tell whether an answer is given once and not again."""
    return answer.endswith(" once")


@asynccontextmanager
async def mail_server(
    *,
    server: MailServer | None = None,
    tls: str = "none",
    certificate_folder: Path | None = None,
    password: bool = False,
    **options: Any,
) -> AsyncIterator[MailServer]:
    """Run a server; tls: none, starttls (offered and required), tls (from the start)."""
    server = server or MailServer()
    context: ssl.SSLContext | None = None
    if certificate_folder is not None:
        context = certificates.server_context(certificates.ensure(certificate_folder))

    def check(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and data == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            server,
            hostname="mail.test",
            loop=loop,
            tls_context=context if tls == "starttls" else None,
            require_starttls=tls == "starttls",
            auth_required=password,
            auth_require_tls=tls == "starttls",  # it does not see encryption that was there from the start
            authenticator=check if password else None,
            **options,
        )

    warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS", UserWarning)
    listening = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context if tls == "tls" else None)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
