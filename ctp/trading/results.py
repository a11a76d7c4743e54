"""How a command ended, in words. What pages and chats show beside it."""

from __future__ import annotations

from ctp.explained import retold
from ctp.i18n import text

DONE = "done"
NEVER_STARTED = "the account has never started"
OVERRULED = "a later command stopped it"

_WORDS = {NEVER_STARTED: "never_started", OVERRULED: "overruled"}


def problem_of(result: str | None, language: str) -> str | None:
    """Return why a command that came to its end did not do what it asked; None when it did, or is under way.

    result: as the bot wrote it; what it does not know by name is an error's own words, told in the reader's language.
    """
    if result in (None, "", DONE):
        return None
    if result in _WORDS:
        return text(f"command_result.{_WORDS[result]}", language)
    return text("command_result.failed", language, reason=retold(result, language))
