"""Signed tokens (JWT, Ed25519): who is asking, for which door, until when.

Invariants:
1. One algorithm, one issuer; every claim below is required and checked; a token for one audience is worth nothing at
   another.
2. A token alone never suffices: its session must live (`sessions.actor_of`).
3. The private key stays in its file (0600); checking needs the public key alone.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ctp.accounts.sessions import RefreshTicket
from ctp.config import read_secret
from ctp.errors import ConfigError, NotAllowed

ISSUER = "ctp"
ACCESS_MS = 15 * 60_000
PRIVATE_FILE, PUBLIC_FILE = "token-signing.pem", "token-checking.pem"

Audience = Literal["web", "lab", "kernel"]
Kind = Literal["access", "refresh"]

_REQUIRED = ["exp", "iat", "iss", "aud", "typ", "jti", "sub", "sid"]
_SKEW_MS = 60_000


class Claims(NamedTuple):
    """What a checked token says."""

    user_id: int
    session_id: str
    audience: str
    kind: str
    token_id: str
    expires_at: int
    generation: int  # of a refresh token


class TokenChecker:
    """Checks tokens with the public key; all that another program needs."""

    def __init__(self, public_key: Ed25519PublicKey) -> None:
        """Check against this key."""
        self._public_key = public_key

    @classmethod
    def from_folder(cls, folder: Path) -> TokenChecker:
        """Read the public key."""
        file = folder / PUBLIC_FILE
        try:
            key = serialization.load_pem_public_key(file.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{file}: {error}; `ctp init` makes it") from None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError(f"{file}: not an Ed25519 key")
        return cls(key)

    def check(self, token: str, audience: Audience, kind: Kind, now_ms: int) -> Claims:
        """Return what a token says. Raises NotAllowed, always with the same words."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public_key,
                algorithms=["EdDSA"],
                audience=audience,
                issuer=ISSUER,
                # Expiry and age are checked below, against the clock that was passed in.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "strict_aud": True},
            )
            issued_ms, expires_ms = int(claims["iat"]) * 1000, int(claims["exp"]) * 1000
            found = Claims(
                int(claims["sub"]),
                str(claims["sid"]),
                audience,
                str(claims["typ"]),
                str(claims["jti"]),
                expires_ms,
                int(claims.get("gen", 0)),
            )
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise NotAllowed("the token is not valid") from None
        if found.kind != kind or expires_ms <= now_ms or issued_ms > now_ms + _SKEW_MS:
            raise NotAllowed("the token is not valid")
        return found


class TokenSigner(TokenChecker):
    """Signs and checks tokens; only the gateway holds one."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        """Sign with this key."""
        super().__init__(private_key.public_key())
        self._private_key = private_key

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read the key pair, making it when there is none. An existing key is never overwritten."""
        file = folder / PRIVATE_FILE
        if not file.exists():
            _make_pair(folder)
        try:
            key = serialization.load_pem_private_key(read_secret(file, "token key").encode(), None)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{file}: {error}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"{file}: not an Ed25519 key")
        return cls(key)

    def sign_access(
        self, user_id: int, session_id: str, audience: Audience, now_ms: int, lifetime_ms: int = ACCESS_MS
    ) -> str:
        """Return an access token; it may live 15 minutes at most."""
        return self._sign(user_id, session_id, audience, "access", now_ms, min(lifetime_ms, ACCESS_MS))

    def sign_refresh(self, user_id: int, ticket: RefreshTicket, audience: Audience, now_ms: int, expires_at: int) -> str:
        """Return the refresh token of a ticket, good until its session expires."""
        return self._sign(
            user_id, ticket.session_id, audience, "refresh", now_ms, expires_at - now_ms, ticket.secret, ticket.generation
        )

    def check_refresh(self, token: str, audience: Audience, now_ms: int) -> RefreshTicket:
        """Return the ticket in a refresh token. Raises NotAllowed."""
        claims = self.check(token, audience, "refresh", now_ms)
        return RefreshTicket(claims.session_id, claims.generation, claims.token_id)

    def _sign(
        self,
        user_id: int,
        session_id: str,
        audience: Audience,
        kind: Kind,
        now_ms: int,
        lifetime_ms: int,
        token_id: str | None = None,
        generation: int = 0,
    ) -> str:
        """Sign the claims."""
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "typ": kind,
            "sub": str(user_id),
            "sid": session_id,
            "jti": token_id or secrets.token_hex(16),
            "iat": now_ms // 1000,
            "exp": (now_ms + lifetime_ms) // 1000,
            "gen": generation,
        }
        return jwt.encode(claims, self._private_key, algorithm="EdDSA")


def _make_pair(folder: Path) -> None:
    """Write a new key pair; when another process is faster, its pair stands."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    unfinished = folder / f"{PRIVATE_FILE}.{secrets.token_hex(8)}"
    _write_private(unfinished, private)
    try:
        os.link(unfinished, folder / PRIVATE_FILE)  # fails when there is one: nothing is ever overwritten
    except FileExistsError:
        return
    finally:
        unfinished.unlink()
    (folder / PUBLIC_FILE).write_bytes(public)


def _write_private(file: Path, content: bytes) -> None:
    """Write a new file that only its owner may read, durably."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
