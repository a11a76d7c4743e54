"""A token is worth something only whole, in time, at its own door."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ctp.accounts.sessions import RefreshTicket
from ctp.accounts.tokens import ACCESS_MS, PRIVATE_FILE, PUBLIC_FILE, TokenChecker, TokenSigner
from ctp.errors import ConfigError, NotAllowed
from tests.accounts.people import NOW

CLAIMS = {
    "iss": "ctp",
    "aud": "web",
    "typ": "access",
    "sub": "7",
    "sid": "s",
    "jti": "j",
    "iat": NOW // 1000,
    "exp": NOW // 1000 + 60,
}


@pytest.fixture
def signer(tmp_path: Path) -> TokenSigner:
    """Return a signer with a fresh key."""
    return TokenSigner.from_folder(tmp_path)


def signed(signer: TokenSigner, **changes: object) -> str:
    """Sign claims as they are; None leaves one out."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, signer._private_key, algorithm="EdDSA")


def test_a_fresh_token_says_who_and_which_session(signer: TokenSigner) -> None:
    """And lives a quarter of an hour at most."""
    token = signer.sign_access(7, "abc", "web", NOW, lifetime_ms=10 * ACCESS_MS)
    claims = signer.check(token, "web", "access", NOW + ACCESS_MS - 2000)
    assert (claims.user_id, claims.session_id, claims.kind) == (7, "abc", "access")
    with pytest.raises(NotAllowed):
        signer.check(token, "web", "access", NOW + ACCESS_MS)


@pytest.mark.parametrize("missing", ["exp", "iat", "iss", "aud", "typ", "jti", "sub", "sid"])
def test_every_claim_is_required(signer: TokenSigner, missing: str) -> None:
    """Signed or not."""
    assert signer.check(signed(signer), "web", "access", NOW)
    with pytest.raises(NotAllowed):
        signer.check(signed(signer, **{missing: None}), "web", "access", NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"aud": "lab"},
        {"aud": ["web", "lab"]},
        {"typ": "refresh"},
        {"sub": "x"},
        {"exp": NOW // 1000 - 1},
        {"iat": NOW // 1000 + 120},
        {"exp": "soon"},
    ],
)
def test_a_token_for_something_else_is_refused(signer: TokenSigner, changes: dict[str, object]) -> None:
    """Although its signature is good."""
    with pytest.raises(NotAllowed, match="the token is not valid"):
        signer.check(signed(signer, **changes), "web", "access", NOW)


def test_forged_tokens_are_refused(signer: TokenSigner, tmp_path: Path) -> None:
    """No algorithm, the public key as a password, another key, changed claims, no token at all."""
    good = signed(signer)
    head, body, signature = good.split(".")

    def part(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    public = (tmp_path / PUBLIC_FILE).read_bytes()
    by_public_key = jwt.api_jws.PyJWS()
    by_public_key.register_algorithm("HX", jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256))
    forged = [
        part({"alg": "none", "typ": "JWT"}) + "." + body + ".",
        f"{head}.{part({**CLAIMS, 'sub': '1'})}.{signature}",
        jwt.encode(CLAIMS, Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        jwt.encode(CLAIMS, base64.b64encode(public), algorithm="HS256"),
        "",
        "a.b.c",
        good[:-3],
    ]
    for token in forged:
        with pytest.raises(NotAllowed, match="the token is not valid"):
            signer.check(token, "web", "access", NOW)


def test_a_refresh_token_carries_its_ticket_and_opens_no_page(signer: TokenSigner) -> None:
    """And an access token renews nothing."""
    ticket = RefreshTicket("abc", 3, "secret")
    token = signer.sign_refresh(7, ticket, "web", NOW, NOW + 3_600_000)
    assert signer.check_refresh(token, "web", NOW + 3_599_000) == ticket
    with pytest.raises(NotAllowed):
        signer.check(token, "web", "access", NOW)
    with pytest.raises(NotAllowed):
        signer.check_refresh(signer.sign_access(7, "abc", "web", NOW), "web", NOW)


def test_the_key_is_made_once_is_private_and_checks_without_the_private_half(tmp_path: Path) -> None:
    """Another program needs the public file alone."""
    token = TokenSigner.from_folder(tmp_path).sign_access(7, "abc", "lab", NOW)
    assert TokenSigner.from_folder(tmp_path).check(token, "lab", "access", NOW).user_id == 7
    assert TokenChecker.from_folder(tmp_path).check(token, "lab", "access", NOW).user_id == 7
    assert (tmp_path / PRIVATE_FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == [PUBLIC_FILE, PRIVATE_FILE]


def test_a_broken_or_readable_key_file_stops_the_process(tmp_path: Path) -> None:
    """It is not replaced."""
    file = tmp_path / PRIVATE_FILE
    file.write_text("nonsense")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=PRIVATE_FILE):
        TokenSigner.from_folder(tmp_path)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        TokenSigner.from_folder(tmp_path)
    assert file.read_text() == "nonsense"
    with pytest.raises(ConfigError, match=PUBLIC_FILE):
        TokenChecker.from_folder(tmp_path)
