"""A storm of notices through channels that fail and a worker that is killed, and what became of each notice.

The mail server and the Bot API run here, on the loopback; the worker is a process of its own, `python -m
tests.notifiers.storm`, killed with SIGKILL at random moments and started anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import signal
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from ctp.clock import SystemClock
from ctp.config import load_settings
from ctp.lifetime import Tie, this_process, until_stopped
from ctp.notifiers.channels import build_worker
from ctp.notifiers.outbox import tell_user
from ctp.storage.database import Database
from ctp.storage.tables import contacts, deliveries, notice_settings, users
from tests.notifiers.mail_server import MailServer, mail_server
from tests.telegram_bot.bot_api import TOKEN, BotApiServer, Fault, bot_api

ROOT = Path(__file__).resolve().parents[2]
BATCH = 50
READ_S = 10.0  # a busy channel may read for so long what a worker sent before it was killed
_MARK = re.compile(r"ev-(\d+)")
_MAIL_FAULTS = {"rcpt": ("451 4.7.1 greylisted",), "data": ("451 4.3.0 try later", "lost")}
_API_FAULTS = (
    Fault(500, "Internal Server Error"),
    Fault(502),
    Fault(429, "Too Many Requests: retry after 1", {"retry_after": 1}),
    Fault(connection="drop"),
)


class Outcome(NamedTuple):
    """What became of a storm."""

    events: int
    arrived: int  # of the events, at least once
    repeated: int  # arrivals beyond the first
    unexplained: int  # of those, without a kill between the two arrivals
    faults: int
    kills: int
    dead: int
    seconds: float


class Arrivals:
    """Which event arrived when."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self.at: dict[int, list[float]] = defaultdict(list)
        self.count = 0

    def note(self, text: str) -> None:
        """Note the event that a message tells."""
        found = _MARK.search(text)
        if found is not None:
            self.at[int(found[1])].append(time.monotonic())
            self.count += 1


class _Api(BotApiServer):
    """A Bot API that notes what arrives, and fails by chance."""

    def __init__(self, arrivals: Arrivals, chance: random.Random, share: float) -> None:
        """Keep Telegram's limits."""
        super().__init__(enforce_limits=True)
        self.arrivals, self.chance, self.share = arrivals, chance, share

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        if self.chance.random() < self.share:
            self.fail(request.match_info["method"], self.chance.choice(_API_FAULTS))
        return await super().handle(request)

    def _keep(self, chat: str, text: str, *rest: Any) -> dict[str, Any]:
        """Note a message."""
        self.arrivals.note(text)
        return super()._keep(chat, text, *rest)


class _Mail(MailServer):
    """A mail server that notes what arrives, and fails by chance."""

    def __init__(self, arrivals: Arrivals, chance: random.Random, share: float) -> None:
        """Take everything else."""
        super().__init__()
        self.arrivals, self.chance, self.share = arrivals, chance, share

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Answer the end of the data."""
        before = len(self.taken)
        answer = await super().handle_DATA(server, session, envelope)
        for mail in self.taken[before:]:
            body = mail.get_body(("plain",))
            self.arrivals.note(body.get_content() if body is not None else "")
        return answer

    def _answer(self, step: str, server: SMTP) -> str | None:
        """Return what to say at a step."""
        if step in _MAIL_FAULTS and self.chance.random() < self.share / 2:
            self.replies[step] = [f"{self.chance.choice(_MAIL_FAULTS[step])} once"]
        return super()._answer(step, server)


async def storm(
    home: Path, *, events: int, people: int, seed: int, fault_share: float, kill_after: int | None, patience_s: float
) -> Outcome:
    """Send events to people, half by mail and half by Telegram, until all have arrived or patience ends.

    kill_after: the worker is killed at a random moment after so many arrivals; None lets it live.
    """
    chance, arrivals, started = random.Random(seed), Arrivals(), time.monotonic()
    os.environ["CTP_HOME"] = str(home)
    kills: list[float] = []
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a killed client breaks off in mid-sentence
    mails, messages = (kind(arrivals, chance, fault_share) for kind in (_Mail, _Api))
    async with mail_server(server=mails) as mail, bot_api(server=messages) as api:
        _write_settings(home, mail.port, api.address)
        database = Database(load_settings().database_url)
        try:
            _populate(database, people)
            telling = asyncio.create_task(_tell(database, events, people))
            killing = asyncio.create_task(_work(home, arrivals, kills, chance, kill_after))
            while time.monotonic() - started < patience_s:
                if telling.done() and not _waiting(database):
                    break
                if killing.done():
                    await killing  # raises what went wrong
                await asyncio.sleep(0.2)
            await telling
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            with database.reading() as connection:
                dead = connection.scalar(sa.select(sa.func.count()).where(deliveries.c.status == "dead")) or 0
        finally:
            database.close()
        repeated = [(first, second) for times in arrivals.at.values() for first, second in pairwise(times)]
        return Outcome(
            events,
            len(arrivals.at),
            len(repeated),
            sum(not any(first - READ_S <= at <= second for at in kills) for first, second in repeated),
            api.faults_made + mail.faults_made,
            len(kills),
            dead,
            round(time.monotonic() - started, 1),
        )


def _write_settings(home: Path, mail_port: int, api_address: str) -> None:
    """Write the settings of a worker that is in a hurry."""
    token = home / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    (home / "ctp.toml").write_text(
        f"""
[notices]
poll_s = 0.05
lease_s = 60
backoff_s = 0.2
backoff_ceiling_s = 2
attempts = 100
digest_above = 1000
[email]
host = "127.0.0.1"
port = {mail_port}
security = "none"
sender = "Bot <bot@ctp.test>"
per_second = 30
[telegram]
token_file = "{token}"
api_url = "{api_address}"
"""
    )


def _populate(database: Database, people: int) -> None:
    """Add people, each with one channel on."""
    database.migrate()
    with database.transaction() as connection:
        for number in range(1, people + 1):
            row = {"id": number, "name": f"u{number}", "password_hash": "x", "role": "trader", "created_at": 0}
            connection.execute(sa.insert(users).values(**row))
            channel = "email" if number % 2 else "telegram"
            address = f"u{number}@example.com" if number % 2 else str(1000 + number)
            reached = {"user_id": number, "channel": channel, "address": address, "confirmed_at": 1, "updated_at": 1}
            connection.execute(sa.insert(contacts).values(**reached))
            wish = {"user_id": number, "kind": "system_error", "channel": channel, "enabled": True}
            connection.execute(sa.insert(notice_settings).values(**wish))


async def _tell(database: Database, events: int, people: int) -> None:
    """Write the events, in batches, as a bot would."""

    def write(first: int) -> None:
        with database.transaction() as connection:
            for event in range(first, min(first + BATCH, events)):
                facts = {"what": "other", "event": f"ev-{event}"}
                now_ms = SystemClock().now_ms()
                tell_user(connection, 1 + event % people, "system_error", facts, f"ev-{event}", now_ms)

    for first in range(0, events, BATCH):
        await asyncio.to_thread(write, first)
        await asyncio.sleep(0.05)


def _waiting(database: Database) -> bool:
    """Tell whether anything is still to be delivered."""
    with database.reading() as connection:
        open_ = sa.select(deliveries.c.notice_id).where(deliveries.c.status.in_(("waiting", "leased"))).limit(1)
        return connection.execute(open_).first() is not None


async def _work(home: Path, arrivals: Arrivals, kills: list[float], chance: random.Random, kill_after: int | None) -> None:
    """Keep a worker running, and kill it."""
    environment = {**os.environ, "CTP_HOME": str(home), "PYTHONPATH": str(ROOT)}
    process: asyncio.subprocess.Process | None = None
    try:
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.notifiers.storm", cwd=ROOT, env=environment, preexec_fn=Tie()
            )
            before = arrivals.count
            while kill_after is None or arrivals.count < before + kill_after:
                await asyncio.sleep(0.01)
                if process.returncode is not None:
                    raise RuntimeError(f"the worker ended by itself with {process.returncode}")
            await asyncio.sleep(chance.random() * 0.5)
            kills.append(time.monotonic())
            process.send_signal(signal.SIGKILL)
            await process.wait()
    finally:
        if process is not None and process.returncode is None:
            process.terminate()
            await process.wait()


def main() -> None:
    """Be the worker."""
    settings = load_settings()
    database = Database(settings.database_url)
    asyncio.run(until_stopped(build_worker(settings, database, SystemClock(), this_process()).run()))


if __name__ == "__main__":
    main()
