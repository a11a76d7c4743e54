"""Which messages a browser may send to a kernel: those widgets need, and nothing that could run code. Pure.

Invariants:
1. A frame passes only when it reads the same to every reader: one JSON reading, no second header, no duplicate key.
2. What is not understood does not pass. There is no list of bad messages.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

PROTOCOL = "v1.kernel.websocket.jupyter.org"
ALLOWED = frozenset({"comm_open", "comm_close", "comm_msg", "comm_info_request", "kernel_info_request"})
LARGEST_FRAME = 256 * 1024  # bytes; what a person clicks is small
_CONTROL_TARGET = "jupyter.widget.control"  # asks for the widgets' state; the only comm a page opens
_PARTS = ("channel", "header", "parent_header", "metadata", "content")


def refusal(frame: str | bytes) -> str:
    """Return why a frame may not pass to the kernel; empty when it may."""
    if len(frame) > LARGEST_FRAME:
        return "too large"
    try:
        message = _from_text(frame) if isinstance(frame, str) else _from_binary(frame)
    except (ValueError, RecursionError) as error:
        return f"unreadable: {error}"
    return _judge(message)


def _judge(message: dict[str, Any]) -> str:
    """Return why a message that could be read may not pass."""
    header, content = message.get("header"), message.get("content")
    if not isinstance(header, dict) or not isinstance(content, dict):
        return "no header or content"
    kind = header.get("msg_type")
    if not isinstance(kind, str) or kind not in ALLOWED:
        return f"message type {kind!r}"
    if message.get("msg_type", kind) != kind:
        return "two message types"
    if message.get("channel") != "shell":
        return f"channel {message.get('channel')!r}"
    if message.get("buffers"):
        return "buffers"
    if kind == "comm_open" and content.get("target_name") != _CONTROL_TARGET:
        return f"comm target {content.get('target_name')!r}"
    return ""


def _from_text(frame: str) -> dict[str, Any]:
    """Read the JSON form."""
    message = _strict_json(frame)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


def _from_binary(frame: bytes) -> dict[str, Any]:
    """Read the binary form: a count, that many offsets, then the parts, end to end and nothing else.

    The older binary framing and frames with extra parts (buffers, smuggled messages) do not fit and are refused.
    """
    count = len(_PARTS) + 1
    begin = 8 * (count + 1)
    if len(frame) < begin or int.from_bytes(frame[:8], "little") != count:
        raise ValueError("not five parts")
    offsets = [int.from_bytes(frame[8 * (index + 1) : 8 * (index + 2)], "little") for index in range(count)]
    if offsets[0] != begin or offsets[-1] != len(frame) or offsets != sorted(offsets):
        raise ValueError("parts do not lie end to end")
    parts = [frame[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    return {"channel": parts[0], **{name: _strict_json(text) for name, text in zip(_PARTS[1:], parts[1:], strict=True)}}


def _strict_json(text: str) -> Any:
    """Read JSON that has one meaning: a key that stands twice is an error, as are NaN and Infinity."""
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of pairs whose keys differ."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _no_constant(name: str) -> Any:
    """Refuse what is not JSON."""
    raise ValueError(f"{name} is not JSON")
