"""Which channels this installation can send over, built from its settings.

A channel that the operator has not set up is not built; profile pages say so.
"""

from __future__ import annotations

from ctp.config import Settings
from ctp.notifiers.notifier import Notifier


def configured_channels(settings: Settings) -> list[str]:
    """Return the channels the operator has set up, beside the web."""
    return ["email"] if settings.email.host else []


def build_notifiers(settings: Settings) -> list[Notifier]:
    """Return what sends over each channel that is set up. Raises ConfigError for a set-up that cannot work."""
    notifiers: list[Notifier] = []
    if settings.email.host:
        from ctp.notifiers.email import EmailNotifier  # a bot that never sends does not load it

        notifiers.append(EmailNotifier(settings))
    return notifiers
