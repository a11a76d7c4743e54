"""Which channels this installation can send over, built from its settings.

A channel that the operator has not set up is not built; profile pages say so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ctp.clock import Clock
from ctp.config import Settings, read_secret
from ctp.errors import ConfigError
from ctp.notifiers.delivery import DeliveryWorker
from ctp.notifiers.journal import SentJournal
from ctp.notifiers.notifier import Notifier
from ctp.notifiers.pacing import TELEGRAM, Pacer, email_pace
from ctp.storage.database import Database

if TYPE_CHECKING:
    from ctp.notifiers.telegram_api import BotApi


def configured_channels(settings: Settings) -> list[str]:
    """Return the channels the operator has set up, beside the web."""
    is_set_up = {"email": bool(settings.email.host), "telegram": settings.telegram.token_file is not None}
    return [channel for channel, is_on in is_set_up.items() if is_on]


def build_bot_api(settings: Settings) -> BotApi:
    """Return what speaks to Telegram. Raises ConfigError when the token cannot be read."""
    if settings.telegram.token_file is None:
        raise ConfigError("telegram.token_file: name the file that holds the bot's token")
    from ctp.notifiers.telegram_api import BotApi

    token = read_secret(settings.telegram.token_file, "telegram.token_file")
    if not re.fullmatch(r"[0-9]+:[A-Za-z0-9_-]+", token):
        raise ConfigError(f"telegram.token_file: {settings.telegram.token_file} holds no bot token; @BotFather gives one")
    return BotApi(token, settings.telegram.api_url)


def build_worker(
    settings: Settings, database: Database, clock: Clock, holder: str, *, urgent_only: bool = False
) -> DeliveryWorker:
    """Return a worker that delivers over every channel that is set up, at the pace each allows."""
    paces = {"email": email_pace(settings.email.per_second), "telegram": TELEGRAM}
    return DeliveryWorker(
        database,
        build_notifiers(settings),
        clock,
        settings.notices,
        holder,
        pacer=Pacer(paces),
        journal=SentJournal(settings.folder("sent")),
        urgent_only=urgent_only,
    )


def build_notifiers(settings: Settings) -> list[Notifier]:
    """Return what sends over each channel that is set up. Raises ConfigError for a set-up that cannot work."""
    notifiers: list[Notifier] = []
    if settings.email.host:
        from ctp.notifiers.email import EmailNotifier  # a bot that never sends does not load it

        notifiers.append(EmailNotifier(settings))
    if settings.telegram.token_file is not None:
        from ctp.notifiers.telegram import TelegramNotifier

        notifiers.append(TelegramNotifier(build_bot_api(settings), settings.reports))
    return notifiers
