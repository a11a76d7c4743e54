"""Structured logs: one JSON object a line in `logs/<process>.jsonl`, readable lines on the console.

Invariants:
1. No secret reaches a log: values under secret names, values that look like secrets, and every text given to
   `register_secret` are replaced, in messages, fields and tracebacks, also in those of libraries.
2. A log file is readable by its owner alone and is rotated by size.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Protocol, TextIO

import structlog

REDACTED = "[redacted]"

_NAMES = re.compile(
    r"(?i)^(.*[_-])?(secret|password|passphrase|passwd|token|api_?key|apikey|x-mbx-apikey|private_?key|authorization"
    r"|cookie|set-cookie|signature|credential|listen_?key|fernet)s?(_?(value|text|header))?$"
)
_SHAPES = [
    # name=value and "name": "value" inside texts: signed URLs, headers and bodies that libraries log
    (
        re.compile(
            r"""(?ix)\b(signature|api_?key|x-mbx-apikey|secret|password|passphrase|listen_?key|access_token|refresh_token
            |set-cookie|cookie|authorization)(\\*["']?\s*[=:]\s*\\*["']?(?:(?:bearer|basic)\s+)?)([^\s"'&,;}\\]+)"""
        ),
        r"\1\2" + REDACTED,
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"), REDACTED),  # JWT
    (re.compile(r"\bgAAAAA[A-Za-z0-9_=-]{40,}"), REDACTED),  # Fernet
    (re.compile(r"(?<!\d)\d{6,12}:[A-Za-z0-9_-]{30,}"), REDACTED),  # Telegram bot
    (re.compile(r"(?<=://)([^/\s:@]+):[^/\s@]+@"), r"\1:" + REDACTED + "@"),  # user:password@host
    (re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}"), REDACTED),  # bcrypt
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), REDACTED),
]
_registered: set[str] = set()


def register_secret(text: str) -> None:
    """Keep this very text out of every log from now on; shorter than 6 characters is too common to look for."""
    if len(text) >= 6:
        # A log line is JSON: the text may appear there escaped.
        _registered.update((text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]))


def redact(text: str) -> str:
    """Return the text without secrets."""
    for secret in sorted(_registered, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def redact_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without secrets, judged by name and by look, at any depth; for rows that people read."""
    return {key: _without_secrets(key, value) for key, value in fields.items()}


def _without_secrets(key: object, value: Any) -> Any:
    """Return a value without secrets."""
    if isinstance(key, str) and _NAMES.match(key) and value is not None:
        return REDACTED
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return redact_fields(value)
    if isinstance(value, (list, tuple)):
        return [_without_secrets(None, item) for item in value]
    return value


def bound_file(file: Path, most_bytes: int) -> bool:
    """Cut a file that another process appends to when it has grown too large; its newest quarter is kept as `<file>.1`.

    Whoever has it open goes on writing. Returns whether it was cut.
    """
    try:
        with file.open("r+b") as grown:
            size = grown.seek(0, os.SEEK_END)
            if size <= most_bytes:
                return False
            grown.seek(size - most_bytes // 4)
            newest = grown.read(most_bytes // 4)
            grown.truncate(0)
    except FileNotFoundError:
        return False
    kept = file.with_name(f"{file.name}.1")
    kept.touch(mode=0o600)
    kept.write_bytes(newest)
    return True


class LogChoices(Protocol):
    """What an operator may choose about logs; `ctp.config` has the values."""

    @property
    def level(self) -> str:
        """The least severe level that is kept."""

    @property
    def console(self) -> bool:
        """Whether lines also go to the console."""

    @property
    def file_bytes(self) -> int:
        """Size at which a file is rotated."""

    @property
    def files_kept(self) -> int:
        """How many rotated files are kept."""


class HasLogs(Protocol):
    """Settings that say where and how to log."""

    @property
    def log_folder(self) -> Path:
        """Where the files go."""

    @property
    def logs(self) -> LogChoices:
        """How to log."""


def configure_logging(process: str, settings: HasLogs) -> None:
    """Send this process's logs where the settings say."""
    chosen = settings.logs
    start_logging(
        process,
        settings.log_folder,
        level=chosen.level,
        console=chosen.console,
        file_bytes=chosen.file_bytes,
        files_kept=chosen.files_kept,
    )


def start_logging(
    process: str,
    folder: Path | None,
    *,
    level: str = "INFO",
    console: bool = True,
    file_bytes: int = 20_000_000,
    files_kept: int = 10,
    stream: TextIO | None = None,
) -> None:
    """Send this process's logs, ours and the libraries', to its file and the console.

    folder: None for no file. Calling it again replaces what was set up before.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Ours)]:
        root.removeHandler(handler)
        handler.close()
    if folder is not None:
        file = _RotatingFile(folder / f"{process}.jsonl", maxBytes=file_bytes, backupCount=files_kept, encoding="utf-8")
        file.setFormatter(_formatter(process, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)))
        root.addHandler(file)
    if console:
        screen = _Screen(stream or sys.stderr)
        colours = (stream or sys.stderr).isatty()
        screen.setFormatter(_formatter(process, structlog.dev.ConsoleRenderer(colors=colours)))
        root.addHandler(screen)
    root.setLevel(level)
    for noisy in ("ccxt", "urllib3", "asyncio", "aiohttp.access", "alembic", "tornado.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    structlog.configure(
        processors=[*_common(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module: `log = logger(__name__)`, then `log.info("order_sent", order_id=…)`."""
    return structlog.stdlib.get_logger(name)


@contextlib.contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add fields such as account_id, order_id or run_id to every log line written inside."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


class _Ours:
    """Marks the handlers that `start_logging` made."""


class _Screen(_Ours, logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the console."""


class _RotatingFile(_Ours, logging.handlers.RotatingFileHandler):
    """Writes to a file that only its owner may read."""

    def _open(self) -> Any:
        """Open the file with mode 0600, whatever the umask."""
        Path(self.baseFilename).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, self.mode, encoding=self.encoding)


class _Redacting(structlog.stdlib.ProcessorFormatter):
    """Renders a record and takes every secret out of the finished line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished line."""
        return redact(super().format(record))


def _formatter(process: str, renderer: Any) -> logging.Formatter:
    """Build a formatter for our records and the libraries'."""

    def name_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Say which process wrote the line."""
        event["process"] = process
        return event

    exceptions = [] if isinstance(renderer, structlog.dev.ConsoleRenderer) else [structlog.processors.format_exc_info]
    return _Redacting(
        foreign_pre_chain=_common(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            name_process,
            *exceptions,
            _redact_names,
            renderer,
        ],
    )


def _common() -> list[Any]:
    """Return the steps every record passes, ours or a library's."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]


def _redact_names(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace every value that stands under the name of a secret, at any depth."""
    return redact_fields(event)
