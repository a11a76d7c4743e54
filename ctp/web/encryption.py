"""TLS from certificate files, checked before the port opens and picked up again when they are renewed.

Invariants:
1. What a browser would refuse, or a person could not start with, is one sentence that says which file and what to do.
2. A renewal that is not usable changes nothing: the certificate in use stays until a good one is there.
"""

from __future__ import annotations

import logging
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ctp.clock import Clock
from ctp.config import WebSettings
from ctp.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_S = 60.0
_CERTIFICATE, _KEY = "web.certificate_file", "web.certificate_key_file"


class Certificate:
    """The certificate this gateway shows, with the TLS context that shows it."""

    def __init__(self, certificate_file: Path, key_file: Path, clock: Clock) -> None:
        """Check and load the files. Raises ConfigError."""
        self._files, self._clock = (certificate_file, key_file), clock
        self._seen = self._versions()
        self.expires_at = self._check()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.set_alpn_protocols(["http/1.1"])
        self._load()

    async def keep_fresh(self) -> None:
        """Pick renewed files up until cancelled; connections that are open keep what they have."""
        while True:
            await self._clock.sleep(LOOK_S)
            self.renew()

    def renew(self) -> bool:
        """Load the files anew when they changed and are usable; tells whether it did."""
        now = self._versions()
        if now == self._seen:
            return False
        self._seen = now
        try:
            expires_at = self._check()
            self._load()
        except ConfigError as error:
            log.error("the renewed certificate is not usable, the old one stays: %s", error)
            return False
        self.expires_at = expires_at
        log.info("the certificate was renewed")
        return True

    def _check(self) -> int:
        """Return when the certificate ends, wall time in milliseconds. Raises ConfigError saying what is wrong."""
        certificate_file, key_file = self._files
        content, secret = _read(_CERTIFICATE, certificate_file), _read(_KEY, key_file)
        if stat.S_IMODE(key_file.stat().st_mode) & 0o077:
            raise ConfigError(f"{_KEY}: {key_file} can be read by others; run `chmod 600 {key_file}`")
        try:
            certificate = x509.load_pem_x509_certificate(content)
        except ValueError:
            raise ConfigError(f"{_CERTIFICATE}: {certificate_file} is not a certificate in PEM form") from None
        try:
            key = load_pem_private_key(secret, password=None)
        except TypeError:
            remedy = "services cannot type it; store the key without one, readable by its owner alone"
            raise ConfigError(f"{_KEY}: {key_file} is protected by a passphrase; {remedy}") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError(f"{_KEY}: {key_file} is not a private key in PEM form") from None
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
            raise ConfigError(f"{_KEY}: {key_file} is not the key of {certificate_file}; name the pair that belongs together")
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now >= end:
            raise ConfigError(f"{_CERTIFICATE}: {certificate_file} expired on {end:%Y-%m-%d}; renew it, then start again")
        if now < begin:
            raise ConfigError(
                f"{_CERTIFICATE}: {certificate_file} is not valid before {begin:%Y-%m-%d %H:%M} UTC; check this server's clock"
            )
        return int(end.timestamp() * 1000)

    def _load(self) -> None:
        """Put the pair into the context. Raises ConfigError for what OpenSSL refuses in spite of our checks."""
        certificate_file, key_file = self._files
        try:
            self.context.load_cert_chain(certificate_file, key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{_CERTIFICATE}: {certificate_file} with {key_file}: {error}") from None

    def _versions(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what changes when a file is written or replaced."""
        found: list[tuple[int, int, int] | None] = []
        for file in self._files:
            try:
                about = file.stat()
                found.append((about.st_ino, about.st_mtime_ns, about.st_size))
            except OSError:
                found.append(None)
        return tuple(found)


def certificate_of(settings: WebSettings, clock: Clock) -> Certificate | None:
    """Return the certificate the settings name; None when they name none. Raises ConfigError."""
    if settings.certificate_file is None or settings.certificate_key_file is None:
        return None
    return Certificate(settings.certificate_file, settings.certificate_key_file, clock)


def _read(setting: str, file: Path) -> bytes:
    """Return a file's content. Raises ConfigError."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: {file} cannot be read: {error.strerror}") from None
