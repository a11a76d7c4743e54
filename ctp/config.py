"""Settings: `ctp.toml`, then `CTP__SECTION__KEY` from the environment, checked once and frozen.

Where paper accounts trade is known without being set: the simulated exchange of this home writes it down.

Invariants:
1. An unknown key or a wrong value stops the process and names the key, where it stood and what it may be.
2. A secret is never a setting: settings name files that hold secrets, readable by their owner alone (0600).
   A secret in a `CTP_*` variable is refused, because process managers write their environment to disk.
3. The hard ceilings of risk are not settings; no file can raise them.
4. Everything a run writes lies under `home`; its folders are made on demand, readable by their owner alone (0700).
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ctp.errors import ConfigError

PROJECT = Path(__file__).resolve().parent.parent
COPIES = Path("configuration")  # below home: every ctp.toml that worked, by its version
PAPER_FILE = Path("simulator/paper.toml")  # below home: where `ctp simulator` of this home listened last

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[float, Field(gt=0)]

_SECRET_NAME = re.compile(r"SECRET|PASSWORD|PASSPHRASE|TOKEN|CREDENTIAL|API_?KEY|FERNET|PRIVATE_?KEY", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address reaches this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Section(BaseModel):
    """A frozen table of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(_Section):
    """Where the database is."""

    url: str = ""  # empty: sqlite in home
    password_file: Path | None = None

    @model_validator(mode="after")
    def _no_password(self) -> DatabaseSettings:
        """Refuse a password inside the address."""
        if urlsplit(self.url).password:
            raise ValueError("holds a password; put it in a file (0600) and name that in database.password_file")
        return self


class WebSettings(_Section):
    """The gateway and the dashboards behind it."""

    host: str = "127.0.0.1"
    port: Port = 8501
    public_url: str = ""
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None
    session_hours: Annotated[float, Field(gt=0, le=720)] = 12
    voila_port: Port = 8866

    @model_validator(mode="after")
    def _encrypted_or_local(self) -> WebSettings:
        """Refuse to offer passwords and money in clear text to a network."""
        if (self.certificate_file is None) != (self.certificate_key_file is None):
            raise ValueError("certificate_file and certificate_key_file belong together; one is missing")
        if not is_loopback(self.host) and self.certificate_file is None:
            raise ValueError(
                f'host {self.host!r} is open to the network without TLS. Keep host = "127.0.0.1" and put Caddy in front'
                f" with two lines in its Caddyfile: `trade.example.com` and `reverse_proxy 127.0.0.1:{self.port}`"
                " (then set web.public_url), or name web.certificate_file and web.certificate_key_file"
            )
        address = urlsplit(self.public_url)
        if self.public_url and (address.scheme not in ("http", "https") or not address.hostname or address.path):
            raise ValueError(f"public_url {self.public_url!r} must be scheme://host[:port] without a path")
        if address.scheme == "http" and not is_loopback(address.hostname or ""):
            raise ValueError(f"public_url {self.public_url!r} must be https: only this machine itself may use plain http")
        return self


class TradingSettings(_Section):
    """How the bot works; not how much it risks."""

    entry_stale_after_s: Annotated[float, Field(gt=0, le=600)] = 30
    reconcile_every_s: Annotated[float, Field(gt=0, le=60)] = 60
    recv_window_ms: Annotated[int, Field(ge=100, le=5000)] = 5000
    protection_deadline_s: Annotated[float, Field(gt=0, le=2)] = 2
    command_poll_s: Annotated[float, Field(gt=0, le=1)] = 0.25


class PaperEndpoint(_Section):
    """Where one simulated exchange listens, and how to steer it."""

    port: Port | None = None
    ca_file: Path | None = None
    control_url: str = ""
    control_token_file: Path | None = None
    market: Literal["recorded", "generated", "live"] = "recorded"  # what its prices are; pages say when they were made up


class PaperSettings(PaperEndpoint):
    """The simulated exchange of paper accounts; an exchange may have its own in `exchanges`."""

    exchanges: dict[str, PaperEndpoint] = Field(default_factory=dict)

    def endpoint(self, exchange: str) -> PaperEndpoint:
        """Return where paper accounts of this exchange trade."""
        return self.exchanges.get(exchange, self)


class LogSettings(_Section):
    """What is logged and how much of it is kept."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    console: bool = True
    file_bytes: Annotated[int, Field(ge=10_000)] = 20_000_000
    files_kept: Annotated[int, Field(ge=1, le=1000)] = 10


class NoticeSettings(_Section):
    """How notices are delivered."""

    poll_s: Positive = 1.0
    lease_s: Positive = 60.0
    attempts: Annotated[int, Field(ge=1, le=100)] = 16
    backoff_s: Positive = 5.0
    backoff_ceiling_s: Positive = 3600.0
    digest_above: Annotated[int, Field(ge=2, le=1000)] = 5


class EmailSettings(_Section):
    """The mail server that takes our notices."""

    host: str = ""  # empty: no e-mail
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    sender: str = ""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 20
    per_second: Positive = 10

    @model_validator(mode="after")
    def _complete_and_safe(self) -> EmailSettings:
        """Refuse half a set-up, and a way that shows passwords and money to the network."""
        if not self.host:
            return self
        if not self.sender.isprintable() or not re.fullmatch(r"[^\s@<>]+@[^\s@<>]+", parseaddr(self.sender)[1]):
            raise ValueError('sender is missing: the address notices come from, as "Crypto Trader Pro <bot@example.com>"')
        if bool(self.username) != (self.password_file is not None):
            raise ValueError("username and password_file belong together; one is missing")
        if self.security == "none" and not is_loopback(self.host):
            raise ValueError(f'security = "none" is for a mail server on this machine; {self.host} needs starttls or tls')
        return self


class TelegramSettings(_Section):
    """The bot that takes our notices and people's commands."""

    token_file: Path | None = None  # none: no Telegram
    api_url: str = "https://api.telegram.org"
    commands: bool = True

    @model_validator(mode="after")
    def _encrypted_or_local(self) -> TelegramSettings:
        """Refuse to show the bot's token, which is part of every address, to a network."""
        address = urlsplit(self.api_url)
        if address.scheme not in ("http", "https") or not address.hostname or address.username or address.query:
            raise ValueError(f"api_url {self.api_url!r} must be https://host[:port]")
        if address.scheme == "http" and not is_loopback(address.hostname):
            raise ValueError(f"api_url {self.api_url!r} must be https: only a server on this machine may use plain http")
        return self


class ReportSettings(_Section):
    """How much a report may take of the machine; each is made in a process of its own at low priority."""

    time_limit_s: Annotated[float, Field(ge=10, le=3600)] = 180
    evidence_time_limit_s: Annotated[float, Field(ge=10, le=3600)] = 600
    memory_mb: Annotated[int, Field(ge=512)] = 3072


class DiskSettings(_Section):
    """When the disk counts as full, and what is given up then."""

    short_mb: Annotated[int, Field(ge=10)] = 100
    ballast_mb: Annotated[int, Field(ge=0, le=100_000)] = 200  # 0: none


class RetentionSettings(_Section):
    """How long rows stay in the database. Ledger and audit log are never pruned and have no setting."""

    decision_days: Annotated[int, Field(ge=7)] = 90
    equity_minute_days: Annotated[int, Field(ge=1)] = 7
    equity_hour_days: Annotated[int, Field(ge=2)] = 90
    notice_days: Annotated[int, Field(ge=1)] = 90
    job_days: Annotated[int, Field(ge=1)] = 90


class SchedulerSettings(_Section):
    """When jobs of the day run."""

    zone: str = "Asia/Seoul"

    @model_validator(mode="after")
    def _known_zone(self) -> SchedulerSettings:
        """Refuse a zone that this machine does not know."""
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"zone {self.zone!r} is unknown; write it as Asia/Seoul or UTC") from None
        return self


class HeartbeatSettings(_Section):
    """An address outside this server that is called while trading is healthy."""

    url_file: Path | None = None
    every_s: Annotated[float, Field(ge=10, le=3600)] = 60.0
    tell_failure: bool = False


class BackupSettings(_Section):
    """Where backups lie and how many are kept. Every kept one is a chain: a full backup and what stands on it."""

    folder: Path | None = None  # empty: backups in home
    remote: str = ""
    remote_key_file: Path | None = None
    daily: Annotated[int, Field(ge=1, le=366)] = 7
    weekly: Annotated[int, Field(ge=0, le=520)] = 5
    monthly: Annotated[int, Field(ge=0, le=240)] = 12

    @model_validator(mode="after")
    def _no_password(self) -> BackupSettings:
        """Refuse a secret inside the remote address."""
        if urlsplit(self.remote).password:
            raise ValueError("remote holds a password; put it in a file (0600) and name that in backup.remote_key_file")
        return self


class LabSettings(_Section):
    """JupyterLab beside the services: on this machine alone, and as a user of its own once several people use it."""

    port: Port = 8888
    api_port: Port = 8867
    public_url: str = ""
    os_user: str = ""
    memory_mb: Annotated[int, Field(ge=1024)] = 4096

    @model_validator(mode="after")
    def _encrypted_or_local(self) -> LabSettings:
        """Refuse an address that is no origin, or shows notebooks to a network."""
        address = urlsplit(self.public_url)
        if self.public_url and (address.scheme not in ("http", "https") or not address.hostname or address.path):
            raise ValueError(f"public_url {self.public_url!r} must be scheme://host[:port] without a path")
        if address.scheme == "http" and not is_loopback(address.hostname or ""):
            raise ValueError(f"public_url {self.public_url!r} must be https: only this machine itself may use plain http")
        return self


class Settings(_Section):
    """Everything an operator may set, frozen."""

    home: Path
    database: DatabaseSettings = DatabaseSettings()
    web: WebSettings = WebSettings()
    trading: TradingSettings = TradingSettings()
    paper: PaperSettings = PaperSettings()
    logs: LogSettings = LogSettings()
    email: EmailSettings = EmailSettings()
    notices: NoticeSettings = NoticeSettings()
    telegram: TelegramSettings = TelegramSettings()
    reporting: ReportSettings = ReportSettings()
    disk: DiskSettings = DiskSettings()
    retention: RetentionSettings = RetentionSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    backup: BackupSettings = BackupSettings()
    lab: LabSettings = LabSettings()

    @model_validator(mode="after")
    def _lab_has_its_own_name(self) -> Settings:
        """Refuse one host name for both: cookies ignore ports, and JupyterLab would be shown those of the pages."""
        ours, theirs = (urlsplit(address).hostname for address in (self.web.public_url, self.lab.public_url))
        if theirs and ours == theirs:
            raise ValueError(
                f"lab.public_url needs a host name of its own, not {theirs}: cookies ignore ports, so browsers would show"
                " those of the trading pages to JupyterLab, which runs its users' code"
            )
        return self

    @property
    def lab_home(self) -> Path:
        """Return the folder of JupyterLab when it runs as a user of its own: beside home, which it cannot read."""
        return self.home.with_name(f"{self.home.name}-lab")

    def folder(self, name: str) -> Path:
        """Return `home/name`, made on demand for its owner alone."""
        for path in (self.home, self.home / name):
            if not path.is_dir():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.home / name

    @property
    def candles(self) -> Path:
        """Folder of the candle store."""
        return self.folder("candles")

    @property
    def keys(self) -> Path:
        """Folder of the secret key files."""
        return self.folder("keys")

    @property
    def log_folder(self) -> Path:
        """Folder of the logs, one file for each process."""
        return self.folder("logs")

    @property
    def reports(self) -> Path:
        """Folder of the reports."""
        return self.folder("reports")

    @property
    def backups(self) -> Path:
        """Folder of the backups."""
        return self.backup.folder or self.folder("backups")

    @property
    def cache(self) -> Path:
        """Folder of what can be made again at any time."""
        return self.folder("cache")

    @property
    def archive(self) -> Path:
        """Folder of rows that retention moved out of the database."""
        return self.folder("archive")

    @property
    def database_url(self) -> str:
        """Return the database's address, with its password if a file holds one. Never log it."""
        if not self.database.url:
            self.folder("")
            return f"sqlite:///{self.home / 'ctp.db'}"
        if self.database.password_file is None:
            return self.database.url
        parts = urlsplit(self.database.url)
        password = read_secret(self.database.password_file, "database.password_file")
        user, _, place = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()


def home_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder that holds everything a run writes: `CTP_HOME`, or `var` in the project's root."""
    env = os.environ if environment is None else environment
    return Path(env.get("CTP_HOME") or PROJECT / "var").expanduser().absolute()


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of this run.

    environment: defaults to the process's own. Raises ConfigError naming the key, its source and the remedy, and the way
    back to the last configuration that worked.
    """
    env = os.environ if environment is None else environment
    _refuse_secrets(env)
    home = home_folder(env)
    try:
        return _load(env, home)
    except ConfigError as error:
        last = max((int(file.stem) for file in (home / COPIES).glob("*.toml") if file.stem.isdecimal()), default=None)
        if last is None or env.get("CTP_CONFIG"):
            raise
        way_back = f"the last that worked is version {last}, bring it back: ctp config rollback {last}"
        raise ConfigError(f"{error}; {way_back}") from None


def _load(env: Mapping[str, str], home: Path) -> Settings:
    """Read file and environment and check them."""
    file = Path(env["CTP_CONFIG"]).expanduser() if env.get("CTP_CONFIG") else home / "ctp.toml"
    values = _from_file(file, required=bool(env.get("CTP_CONFIG")))
    simulator = _from_file(home / PAPER_FILE, required=False)
    if simulator:
        values["paper"] = {**simulator, **values.get("paper", {})}
    sources = {key: str(file) for key in _paths(values)}
    for name, value in sorted(env.items()):
        if name.startswith("CTP__"):
            path = tuple(part.lower() for part in name.removeprefix("CTP__").split("__"))
            _put(values, path, value, name)
            sources[path] = name
    if "home" in values:
        raise ConfigError(f"home in {file}: the home folder is chosen by the variable CTP_HOME")
    try:
        return Settings.model_validate({**values, "home": home})
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(problem, sources, file) for problem in error.errors())) from None


def read_secret(file: Path, setting: str) -> str:
    """Return the secret a file holds, without its trailing newline.

    Raises ConfigError when it is missing, empty or readable by others.
    """
    try:
        mode = file.stat().st_mode
        secret = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting}: cannot read {file}: {error}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{setting}: {file} can be read by others; run `chmod 600 {file}`")
    if not secret:
        raise ConfigError(f"{setting}: {file} is empty")
    return secret


def _refuse_secrets(env: Mapping[str, str]) -> None:
    """Refuse secrets in the environment without repeating them."""
    for name in sorted(env):
        named_file = name.upper().endswith(("_FILE", "_URL"))
        if name.upper().startswith("CTP_") and not named_file and _SECRET_NAME.search(name):
            raise ConfigError(f"{name}: a secret in the environment is refused; put it in a file (0600) and name the file")


def _from_file(file: Path, *, required: bool) -> dict[str, Any]:
    """Read the TOML file; a missing one is empty unless it was asked for by name."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if required:
            raise ConfigError(f"CTP_CONFIG: there is no file {file}") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from None


def _paths(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """List the path of every leaf."""
    paths: list[tuple[str, ...]] = []
    for key, value in values.items():
        paths += _paths(value, (*above, key)) if isinstance(value, dict) else [(*above, key)]
    return paths


def _put(values: dict[str, Any], path: tuple[str, ...], value: str, name: str) -> None:
    """Lay one environment variable over the file's values."""
    for key in path[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{name}: {key} is not a section")
    values[path[-1]] = value


def _sentence(problem: Any, sources: Mapping[tuple[str, ...], str], file: Path) -> str:
    """Say in one sentence which key is wrong, where it stands, what it was and what it may be."""
    path = tuple(str(part) for part in problem["loc"])
    key, source = ".".join(path), sources.get(path, str(file))
    if problem["type"] == "extra_forbidden":
        return f"{key} in {source}: there is no such setting; ctp.example.toml lists them all"
    message = problem["msg"].removeprefix("Value error, ")
    # A whole section or an address is not repeated: it may hold what must not reach a log.
    shown = f" = {problem['input']!r}" if path in sources and "password" not in message else ""
    return f"{key}{shown} in {source}: {message}"
