"""Text for Telegram: lines, some of them bold, as MarkdownV2 and as plain text, within Telegram's limits. Pure.

Invariants:
1. Whatever a name or reason contains is shown as it is: it can neither format, nor link, nor break the message.
2. A message is cut at a line where that is possible, never inside a character, and ends with … when it was cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

MESSAGE_UNITS = 4096  # UTF-16 code units of the text without its formatting
CAPTION_UNITS = 1024
LABEL_UNITS = 40  # of a button; Telegram takes more, a phone shows no more

_CUT = "…"
_RESERVED = re.compile(r"([_*\[\]()~`>#+\-=|{}.!\\])")
# Control characters, and the signs that turn writing around: in a name they could make a figure read differently.
_UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Line(NamedTuple):
    """One line of a message."""

    text: str
    is_bold: bool = False


class Rendered(NamedTuple):
    """A message in both ways: `markdown` to be sent, `plain` if Telegram refuses to read that."""

    markdown: str
    plain: str


def bold(text: str) -> Line:
    """Return a bold line."""
    return Line(text, True)


def lines(*texts: str) -> list[Line]:
    """Return ordinary lines."""
    return [Line(text) for text in texts]


def escape(text: str) -> str:
    """Return text that MarkdownV2 shows as it is."""
    return _RESERVED.sub(r"\\\1", text)


def units(text: str) -> int:
    """Return the length as Telegram counts it."""
    return len(text.encode("utf-16-le")) // 2


def shorten(text: str, limit: int) -> str:
    """Return the text in at most `limit` UTF-16 units, ending with … if something was left out."""
    if units(text) <= limit:
        return text
    kept, used = [], 0
    for character in text:
        used += units(character)
        if used > limit - 1:
            break
        kept.append(character)
    return "".join(kept).rstrip() + _CUT


def render(body: Iterable[Line], limit: int = MESSAGE_UNITS, *, last: Line | None = None) -> Rendered:
    """Return lines as one message.

    last: a line that stays when others have to go.
    """
    ending = [] if last is None else [_clean(last)]
    left = limit - sum(units(line.text) + 1 for line in ending)
    kept: list[Line] = []
    for line in map(_clean, body):
        needed = units(line.text) + (1 if kept else 0)
        if needed > left:
            if kept:
                kept.append(Line(_CUT))
            else:
                kept.append(Line(shorten(line.text, left), line.is_bold))
            break
        kept.append(line)
        left -= needed
    while len(kept) > 1 and _length([*kept, *ending]) > limit:
        kept.pop(-2)  # the line before the ellipsis makes room for it
    everything = [*kept, *ending]
    return Rendered(
        "\n".join(f"*{escape(line.text)}*" if line.is_bold and line.text else escape(line.text) for line in everything),
        "\n".join(line.text for line in everything),
    )


def _length(body: list[Line]) -> int:
    """Return the length of lines put together."""
    return sum(units(line.text) for line in body) + max(0, len(body) - 1)


def _clean(line: Line) -> Line:
    """Return the line as one line, without what cannot be seen."""
    return Line(_UNSEEN.sub("", line.text.replace("\n", " ")).strip(), line.is_bold)
