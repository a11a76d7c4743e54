"""No secret reaches a log, whoever writes it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctp import logs

CANARY = "canary-9f8e7d6c5b4a"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Log into a folder of the test's own, and stop afterwards."""
    logs.start_logging("bot", tmp_path / "logs", level="DEBUG", console=False)
    yield tmp_path / "logs"
    logs.start_logging("bot", None, console=False, level="WARNING")


def lines(folder: Path) -> list[dict[str, Any]]:
    """Read the log back."""
    return [json.loads(line) for line in (folder / "bot.jsonl").read_text("utf-8").splitlines()]


def test_a_line_is_json_with_process_time_level_and_bound_ids(folder: Path) -> None:
    """Nothing else is in the line, and Korean stays readable."""
    with logs.bound(account_id=7):
        logs.logger("ctp.x").info("order_sent", order_id="ctp-1", 가격=1.5)
    (line,) = lines(folder)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "order_sent",
        "order_id": "ctp-1",
        "가격": 1.5,
        "account_id": 7,
        "level": "info",
        "logger": "ctp.x",
        "process": "bot",
    }


@pytest.mark.parametrize(
    "name", ["secret", "apiKey", "api_key", "password", "refresh_token", "X-MBX-APIKEY", "Authorization", "Cookie"]
)
def test_values_under_secret_names_are_redacted_at_any_depth(folder: Path, name: str) -> None:
    """In a field, in a mapping and in a list of mappings."""
    logs.logger("ctp.x").warning("request", headers={name: CANARY, "list": [{name: CANARY}]}, **{name: CANARY})
    text = (folder / "bot.jsonl").read_text()
    assert CANARY not in text and text.count(logs.REDACTED) == 3


@pytest.mark.parametrize(
    "message",
    [
        f"GET /fapi/v1/order?symbol=BTCUSDT&timestamp=1&signature={CANARY}",
        f"headers {{'X-MBX-APIKEY': '{CANARY}', 'Accept': '*'}}",
        f'body {{"apiKey": "{CANARY}"}}',
        f"Authorization: Bearer {CANARY}",
        f"postgresql://ctp:{CANARY}@db/ctp",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.canary-9f8e7d6c5b4a",
        "gAAAAABkcanary-9f8e7d6c5b4a0123456789012345678901234567890123456789",
        "https://api.telegram.org/bot123456789:AAcanary-9f8e7d6c5b4a_0123456789012/sendMessage",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
    ],
)
def test_secrets_inside_library_messages_are_redacted_by_their_shape(folder: Path, message: str) -> None:
    """Signed URLs, headers, bodies, tokens and keys that a library wrote."""
    logging.getLogger("ccxt.base").warning("sent %s", message)
    assert CANARY not in (folder / "bot.jsonl").read_text()
    assert "sent" in lines(folder)[0]["event"]


def test_a_registered_secret_is_redacted_even_in_a_traceback_and_when_escaped(folder: Path) -> None:
    """A text that has no tell-tale shape is found because it was registered."""
    secret = 'pa"ss\\wörd-1'
    logs.register_secret(secret)
    try:
        raise ValueError(f"cannot log in with {secret}")
    except ValueError:
        logs.logger("ctp.x").exception("failed", note=f"with {secret}")
    (line,) = lines(folder)
    assert secret not in json.dumps(line, ensure_ascii=False) and "wörd" not in str(line)
    assert "ValueError" in line["exception"] and line["note"] == f"with {logs.REDACTED}"


def test_the_console_is_redacted_too(tmp_path: Path) -> None:
    """By name and by shape, as in the file."""
    stream = io.StringIO()
    logs.start_logging("web", None, stream=stream)
    logs.logger("ctp.x").info("login", password=CANARY, url=f"/x?signature={CANARY}")
    logs.start_logging("web", None, console=False, level="WARNING")
    assert "login" in stream.getvalue() and CANARY not in stream.getvalue()


def test_what_is_no_secret_stays_readable(folder: Path) -> None:
    """Similar names and long identifiers are left alone."""
    logs.logger("ctp.x").info("tokens left", tokens_used=3, keyboard="ko", secretary="Kim", id="ctp-0123456789abcdef")
    line = lines(folder)[0]
    assert (line["keyboard"], line["secretary"], line["id"]) == ("ko", "Kim", "ctp-0123456789abcdef")


def test_the_file_is_private_and_rotates_by_size(tmp_path: Path) -> None:
    """Rotated files are private too, and the newest line is in the first."""
    logs.start_logging("bot", tmp_path / "logs", console=False, file_bytes=10_000, files_kept=2)
    for i in range(300):
        logs.logger("ctp.x").info("line", number=i)
    logs.start_logging("bot", None, console=False, level="WARNING")
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["bot.jsonl", "bot.jsonl.1", "bot.jsonl.2"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert json.loads(files[0].read_text().splitlines()[-1])["number"] == 299


def test_a_file_that_grew_is_cut_while_its_writer_goes_on(tmp_path: Path) -> None:
    """The newest quarter is kept beside it, for its owner alone."""
    file = tmp_path / "bot.error.log"
    assert not logs.bound_file(file, 1000)
    with file.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        assert not logs.bound_file(file, 1000)
        writer.write(b"new\n" * 200)
        assert logs.bound_file(file, 1000)
        writer.write(b"after\n")
    assert file.read_bytes() == b"after\n"
    kept = tmp_path / "bot.error.log.1"
    assert kept.read_bytes() == (b"new\n" * 200)[-250:]
    assert kept.stat().st_mode & 0o777 == 0o600
