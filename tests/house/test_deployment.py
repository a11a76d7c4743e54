"""The files for a server: systemd accepts the units, nginx accepts its file and passes on what the gateway needs."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from ctp.simulator import certificates
from tests.journeys.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "services/systemd").glob("*.service"))
INSTALLED = "/opt/crypto-trader/app"
MOST_EXPOSED = 25  # tenths of systemd's scale: 100 is bare, 0 can do nothing


def needs(program: str) -> str:
    """Return where a program is, or skip."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} on this machine")
    return found


def test_there_is_a_unit_for_each_service_of_pm2() -> None:
    """A service added for PM2 and forgotten for systemd would be missing on half of the servers."""
    apps = set(re.findall(r'service\("(\w+)", "(\w+)"', (ROOT / "ecosystem.config.js").read_text()))
    units = {(unit.stem.removeprefix("crypto-trader-"), unit.read_text()) for unit in UNITS}
    assert {name for name, _ in apps} == {name for name, _ in units}
    for name, memory in apps:
        text = dict(units)[name]
        assert f"-m services.crypto_trader_{name}{' --apart' if name == 'lab' else ''}\n" in text
        if name in ("web", "backup"):  # with their children, which must be able to die without them
            assert "MemoryMax=4G\n" in text and "OOMPolicy=continue\n" in text
        else:
            assert f"MemoryMax={memory}\n" in text
        assert "RestartPreventExitStatus=78\n" in text
        assert "KillSignal=SIGINT\n" in text


def test_systemd_accepts_the_units_and_finds_them_well_locked(tmp_path: Path) -> None:
    systemd = needs("systemd-analyze")
    files = []
    for unit in UNITS:
        files.append(tmp_path / unit.name)
        files[-1].write_text(unit.read_text().replace(INSTALLED, str(ROOT)))
    checked = subprocess.run([systemd, "verify", *files], capture_output=True, text=True, check=False)
    ours = [line for line in checked.stderr.splitlines() if "crypto-trader" in line]
    assert (checked.returncode, ours) == (0, [])
    for file in files:
        judged = subprocess.run(
            [systemd, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", file],
            capture_output=True,
            text=True,
            check=False,
        )
        if "unrecognized option" in judged.stderr:
            pytest.skip("this systemd cannot judge a file")
        assert judged.returncode == 0, judged.stdout


def test_caddy_accepts_its_file() -> None:
    caddy = needs("caddy")
    subprocess.run([caddy, "validate", "--adapter", "caddyfile", "--config", ROOT / "services/tls/Caddyfile"], check=True)


def test_nginx_passes_on_websockets_and_the_true_address(tmp_path: Path) -> None:
    asyncio.run(_behind_nginx(needs("nginx"), tmp_path))


async def _behind_nginx(nginx: str, folder: Path) -> None:
    """Speak to a gateway of two routes through nginx with our file."""
    seen: list[dict[str, str]] = []
    files = certificates.ensure(folder / "tls")
    async with _upstream(seen) as upstream, _nginx(nginx, folder, files, upstream) as (plain, secure):
        trust = ssl.create_default_context(cafile=files.authority)
        trust.check_hostname = False
        claims = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "Host": "trade.example.com"}
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as client:
            base = f"https://127.0.0.1:{secure}"
            async with client.get(f"{base}/login", headers=claims) as answer:
                assert await answer.text() == "hello"
            async with client.ws_connect(f"{base}/ws", headers=claims, origin="https://trade.example.com") as socket:
                await socket.send_str("ping")
                assert (await socket.receive()).data == "pong ping"
            async with client.post(f"{base}/login", headers=claims, data=b"x" * 1_000_000) as answer:
                assert answer.status == 200
            moved = {"Host": "trade.example.com"}
            async with client.get(f"http://127.0.0.1:{plain}/a?b=c", headers=moved, allow_redirects=False) as answer:
                assert answer.status == 301
                assert answer.headers["Location"] == "https://trade.example.com/a?b=c"
    assert len(seen) == 3
    for headers in seen:
        assert headers["X-Forwarded-For"] == "127.0.0.1"
        assert headers["X-Forwarded-Proto"] == "https"
        assert headers["Host"] == "trade.example.com"
    assert seen[1]["Origin"] == "https://trade.example.com"


@asynccontextmanager
async def _upstream(seen: list[dict[str, str]]) -> AsyncIterator[int]:
    """Run what stands for the gateway, and remember the headers it got."""

    async def page(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        await request.read()
        return web.Response(text="hello")

    async def talk(request: web.Request) -> web.WebSocketResponse:
        seen.append(dict(request.headers))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"pong {message.data}")
        return socket

    application = web.Application(client_max_size=2_000_000)
    application.router.add_route("*", "/login", page)
    application.router.add_get("/ws", talk)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _nginx(
    nginx: str, folder: Path, files: certificates.Certificates, upstream: int
) -> AsyncIterator[tuple[int, int]]:
    """Run nginx with our file, its ports and certificate exchanged; yields the plain and the encrypted port."""
    plain, secure = free_port(), free_port()
    site = (ROOT / "services/tls/nginx.conf").read_text()
    live = "/etc/letsencrypt/live/trade.example.com"
    for ours, theirs in (
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{secure} ssl;"),
        (f"{live}/fullchain.pem", str(files.server)),
        (f"{live}/privkey.pem", str(files.server)),
        ("127.0.0.1:8501", f"127.0.0.1:{upstream}"),
    ):
        assert ours in site
        site = site.replace(ours, theirs)
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    owner = "user root; " if os.geteuid() == 0 else ""  # else its workers could not write below our folder
    (folder / "nginx.conf").write_text(
        f"{owner}daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    command = [nginx, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    tested = await asyncio.create_subprocess_exec(*command, "-t", stderr=asyncio.subprocess.PIPE)
    _, said = await tested.communicate()
    assert tested.returncode == 0, said.decode()
    server = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", secure)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                break
        yield plain, secure
    finally:
        server.terminate()
        await server.wait()
