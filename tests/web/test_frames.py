"""What a browser may send to a kernel, and the frames that try to mean two things."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctp.web.frames import ALLOWED, LARGEST_FRAME, refusal
from tests.web.browserless import binary, message

CONTROL = {"comm_id": "c", "target_name": "jupyter.widget.control", "data": {"method": "request_states"}}
CODE = {"code": "open('/tmp/x', 'w')", "silent": False}


def framed(kind: str, content: dict[str, Any] | None = None, channel: str = "shell") -> bytes:
    """Return a message in the binary form."""
    parts = message(kind, content)
    return binary(
        channel, *(json.dumps(parts[name]).encode() for name in ("header", "parent_header", "metadata", "content"))
    )


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("kernel_info_request", {}),
        ("comm_info_request", {"target_name": "jupyter.widget"}),
        ("comm_open", CONTROL),
        ("comm_msg", {"comm_id": "c", "data": {"method": "custom", "content": {"kind": "select"}}}),
        ("comm_close", {"comm_id": "c"}),
    ],
)
def test_widgets_say_what_they_need(kind: str, content: dict[str, Any]) -> None:
    """Both forms of every message a page of ours sends must pass."""
    assert refusal(json.dumps(message(kind, content))) == ""
    assert refusal(framed(kind, content)) == ""


@pytest.mark.parametrize("channel", ["shell", "control", "stdin", "iopub"])
@pytest.mark.parametrize(
    "kind",
    [
        "execute_request",
        "inspect_request",
        "complete_request",
        "history_request",
        "is_complete_request",
        "debug_request",
        "shutdown_request",
        "interrupt_request",
        "input_reply",
        "",
        "COMM_MSG",
    ],
)
def test_nothing_that_runs_or_ends_code_passes(kind: str, channel: str) -> None:
    """Every other message type is refused on every channel, in both forms."""
    assert refusal(json.dumps(message(kind, CODE, channel)))
    assert refusal(framed(kind, CODE, channel))


def _headers(*kinds: str) -> bytes:
    """Return a header in which the message type stands several times."""
    return ("{" + ",".join(f'"msg_type":"{kind}"' for kind in kinds) + "}").encode()


def _binary_of(header: bytes, *more: bytes) -> bytes:
    """Return a binary frame with this header."""
    return binary("shell", header, b"{}", b"{}", json.dumps(CODE).encode(), *more)


GOOD = _headers("comm_info_request")
OUTER = message("comm_info_request", CODE) | {"msg_type": "execute_request"}
INNER = message("execute_request", CODE) | {"msg_type": "comm_info_request"}
LISTED = message("comm_info_request", CODE)
LISTED["header"]["msg_type"] = ["comm_msg"]
LEGACY = json.dumps(message("execute_request", CODE)).encode()
CRAFTED: dict[str, str | bytes] = {
    "duplicate type, allowed first": _binary_of(_headers("comm_info_request", "execute_request")),
    "duplicate type, allowed last": _binary_of(_headers("execute_request", "comm_info_request")),
    "duplicate header in JSON": '{"header": {"msg_type": "comm_msg"}, "header": {"msg_type": "execute_request"},'
    ' "channel": "shell", "content": {}}',
    "outer type differs": json.dumps(OUTER),
    "inner type differs": json.dumps(INNER),
    "list as type": json.dumps(LISTED),
    "second message behind a delimiter": _binary_of(
        GOOD, b"<IDS|MSG>", b"", _headers("execute_request"), b"{}", b"{}", b"{}"
    ),
    "buffers": _binary_of(GOOD, b"buffer"),
    "legacy framing": (1).to_bytes(4, "big") + (8).to_bytes(4, "big") + LEGACY,
    "trailing bytes": _binary_of(GOOD) + b"x",
    "comm to another target": json.dumps(message("comm_open", CONTROL | {"target_name": "os", "target_module": "os"})),
    "not JSON": "execute_request",
    "a list": "[]",
    "no header": '{"channel": "shell", "content": {}}',
    "NaN": '{"header": {"msg_type": "comm_msg"}, "channel": "shell", "content": {"x": NaN}}',
    "empty": b"",
    "deep": '{"header":' + "[" * 100_000,
    "large": json.dumps(message("comm_msg", {"x": "y" * LARGEST_FRAME})),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_frame_that_could_be_read_two_ways_is_refused(name: str) -> None:
    """Each of these got past a filter once, somewhere."""
    assert refusal(CRAFTED[name])


@given(st.binary(max_size=400))
def test_no_bytes_break_the_filter(frame: bytes) -> None:
    """Whatever comes, the answer is a reason, never an exception."""
    assert refusal(frame)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["header", "msg_type", "channel", "content"]), inner, max_size=4)
        ),
    )
)
def test_only_listed_types_pass_whatever_the_shape(value: object) -> None:
    """A random document passes only with a listed type on the shell channel."""
    if refusal(json.dumps(value)) == "":
        assert isinstance(value, dict)
        assert value["header"]["msg_type"] in ALLOWED
        assert value["channel"] == "shell"
