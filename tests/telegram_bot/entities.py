"""Read MarkdownV2 as Telegram does, refusing what Telegram refuses. Written from its documentation, not from our code."""

from __future__ import annotations

import re
from typing import NamedTuple

_RESERVED = set("_*[]()~`>#+-=|{}.!")
_TOKENS = ("```", "||", "__", "`", "*", "_", "~")
_NAMES = {"```": "Pre", "`": "Code", "||": "Spoiler", "__": "Underline", "*": "Bold", "_": "Italic", "~": "Strikethrough"}
_LINK = re.compile(r"\]\(((?:[^\\)]|\\.)*)\)")


class Unreadable(Exception):
    """Telegram would answer 400 with these words."""


class Read(NamedTuple):
    """What a reader sees: the text, and which parts of it are formatted how."""

    text: str
    entities: tuple[tuple[str, str], ...]


def read_markdown(text: str) -> Read:
    """Return what Telegram makes of a text. Raises Unreadable."""
    out: list[str] = []
    stack: list[tuple[str, int, int]] = []  # token, where it began in the result, byte offset of its beginning
    entities: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        character, top = text[place], stack[-1][0] if stack else ""
        offset = len(text[:place].encode())
        if character == "\\" and place + 1 < len(text) and 0 < ord(text[place + 1]) < 127:
            out.append(text[place + 1])
            place += 2
            continue
        token = next((one for one in _TOKENS if text.startswith(one, place)), "")
        if top in ("```", "`") and token != top:
            out.append(character)
            place += 1
        elif token:
            if top == token:
                _, begun, _ = stack.pop()
                entities.append((_NAMES[token], "".join(out)[begun:]))
            elif token in (open_token for open_token, _, _ in stack):
                raise Unreadable(f"can't parse entities: Can't find end of {_NAMES[top]} entity at byte offset {stack[-1][2]}")
            else:
                stack.append((token, len("".join(out)), offset))
            place += len(token)
        elif character == "[":
            stack.append(("[", len("".join(out)), offset))
            place += 1
        elif character == "]" and top == "[":
            _, begun, _ = stack.pop()
            link = _LINK.match(text, place)
            if link is not None:
                entities.append((f"TextUrl {link[1]}", "".join(out)[begun:]))
            place = link.end() if link else place + 1
        elif character == ">" and (place == 0 or text[place - 1] == "\n"):
            entities.append(("Blockquote", ""))
            place += 1
        elif character in _RESERVED:
            raise Unreadable(
                f"can't parse entities: Character '{character}' is reserved and must be escaped with the preceding '\\'"
            )
        else:
            out.append(character)
            place += 1
    if stack:
        token, _, begun = stack[-1]
        raise Unreadable(f"can't parse entities: Can't find end of {_NAMES.get(token, 'TextUrl')} entity at byte offset {begun}")
    return Read("".join(out), tuple(entities))
