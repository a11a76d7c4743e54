"""TLS by certificate files: login, cookies and live push over it, renewal, and what is wrong told before the port opens."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientError
from cryptography.hazmat.primitives.asymmetric import ec

from ctp.clock import SystemClock
from ctp.config import PROJECT, WebSettings
from ctp.errors import ConfigError
from ctp.storage.database import Database
from ctp.web.encryption import certificate_of
from tests.web.browserless import Site
from tests.web.certificates import Pair, make_pair, write_key
from tests.web.seed import PASSWORD
from tests.web.stories import tell


def test_everything_goes_over_tls_and_nothing_in_the_clear(home: Path, tmp_path: Path) -> None:
    """Host-bound cookies, HSTS, live push by wss; plain http on the same port gets no answer."""
    pair = make_pair(tmp_path)
    trust = ssl.create_default_context(cafile=str(pair.certificate))

    async def story(running: Site) -> None:
        minsu = await running.person(trust=trust)
        answer = await minsu.log_in("minsu")
        assert answer.status == 303
        cookies = answer.headers.getall("Set-Cookie")
        assert [cookie.partition("=")[0] for cookie in cookies] == ["__Host-ctp-access", "__Host-ctp-refresh"]
        for cookie in cookies:
            for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
                assert part in cookie
            assert "Domain" not in cookie
        me = await minsu.get("/api/v1/me")
        assert me.json()["name"] == "minsu"
        assert "max-age" in me.headers["Strict-Transport-Security"]
        live = minsu.base.replace("https", "wss") + "/api/v1/live"
        async with minsu.session.ws_connect(live, headers={"Origin": minsu.base}) as socket:
            assert (await socket.receive_json(timeout=20))["kind"] == "hello"
        clear = minsu.base.replace("https", "http")
        form = {"name": "minsu", "password": PASSWORD, "next": "/"}
        assert (await minsu.ask("POST", "/login", data=form, origin=clear)).status == 403, "http is another origin"
        with pytest.raises(ClientError):
            await minsu.session.get(clear + "/login")
        stranger = await running.person()
        with pytest.raises(ClientError):
            await stranger.get("/login")

    tell(home, story, certificate_file=pair.certificate, certificate_key_file=pair.key)


def test_a_renewed_certificate_is_shown_without_a_restart_and_a_bad_one_is_not(home: Path, tmp_path: Path) -> None:
    """Open connections live on; new ones see the new certificate; a broken renewal changes nothing."""
    pair, later = make_pair(tmp_path), make_pair(tmp_path, "later", ends_in_days=90)
    first = ssl.create_default_context(cafile=str(pair.certificate))
    second = ssl.create_default_context(cafile=str(later.certificate))

    async def works(running: Site, trust: ssl.SSLContext) -> bool:
        person = await running.person(trust=trust)
        try:
            return (await person.get("/healthz")).status == 200
        except ClientError:
            return False

    async def story(running: Site) -> None:
        certificate = running.gateway.certificate
        assert certificate is not None and not certificate.renew()
        before = certificate.expires_at
        shutil.copy(later.certificate, pair.certificate)
        assert not certificate.renew(), "its key is not there yet"
        assert await works(running, first) and certificate.expires_at == before
        shutil.copy(later.key, pair.key)
        assert certificate.renew()
        assert certificate.expires_at > before
        assert await works(running, second) and not await works(running, first)

    tell(home, story, certificate_file=pair.certificate, certificate_key_file=pair.key)


def _expired(pair: Pair) -> None:
    """Let the certificate end in the past."""
    make_pair(pair.key.parent, begins_in_days=-60, ends_in_days=-1)


def _from_tomorrow(pair: Pair) -> None:
    """Let the certificate begin in the future."""
    make_pair(pair.key.parent, begins_in_days=1)


def _other_key(pair: Pair) -> None:
    """Put another key in place."""
    shutil.copy(make_pair(pair.key.parent, "other").key, pair.key)


def _locked_key(pair: Pair) -> None:
    """Protect the key by a passphrase."""
    write_key(pair.key, ec.generate_private_key(ec.SECP256R1()), b"secret")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda pair: pair.certificate.unlink(), "web.certificate_file: {certificate} cannot be read: No such file"),
        (lambda pair: pair.key.unlink(), "web.certificate_key_file: {key} cannot be read: No such file"),
        (lambda pair: pair.key.chmod(0o640), "web.certificate_key_file: {key} can be read by others; run `chmod 600"),
        (lambda pair: pair.certificate.write_text("hello"), "{certificate} is not a certificate in PEM form"),
        (lambda pair: pair.key.write_text("hello"), "{key} is not a private key in PEM form"),
        (_other_key, "{key} is not the key of {certificate}"),
        (_locked_key, "{key} is protected by a passphrase"),
        (_expired, "{certificate} expired on "),
        (_from_tomorrow, "{certificate} is not valid before "),
    ],
)
def test_an_unusable_certificate_is_one_sentence_with_its_remedy(
    tmp_path: Path, spoil: Callable[[Pair], object], told: str
) -> None:
    """The setting, the file and what is wrong with it; nothing of the key."""
    pair = make_pair(tmp_path)
    settings = WebSettings(certificate_file=pair.certificate, certificate_key_file=pair.key)
    assert certificate_of(settings, SystemClock()) is not None
    spoil(pair)
    with pytest.raises(ConfigError) as caught:
        certificate_of(settings, SystemClock())
    sentence = str(caught.value)
    assert told.format(certificate=pair.certificate, key=pair.key) in sentence
    assert "PRIVATE KEY" not in sentence and "\n" not in sentence


def test_the_service_does_not_start_with_it_and_is_not_restarted(home: Path, tmp_path: Path) -> None:
    """Exit code 78, which process managers leave alone, with the sentence on stderr."""
    pair = make_pair(tmp_path)
    _other_key(pair)
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    database.migrate()
    database.close()
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "CTP__WEB__PORT": "0",
        "CTP__WEB__CERTIFICATE_FILE": str(pair.certificate),
        "CTP__WEB__CERTIFICATE_KEY_FILE": str(pair.key),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "services.crypto_trader_web"], cwd=PROJECT, env=environment, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert ended.returncode == 78, ended.stderr
    assert "is not the key of" in ended.stderr and "Traceback" not in ended.stderr
