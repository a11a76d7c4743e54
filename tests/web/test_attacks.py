"""Attacks on a running gateway with Voila behind it: other people's kernels, smuggled code, foreign origins, replays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
from aiohttp import ClientSession, CookieJar
from yarl import URL

from ctp.web.frames import PROTOCOL
from tests.web.browserless import (
    KERNEL_ID,
    PATIENCE_S,
    Person,
    Site,
    binary,
    close_code,
    message,
    site,
    status_of_socket,
)
from tests.web.seed import PASSWORD

EVIL = "http://evil.example"


async def open_desk(person: Person, **more: object) -> str:
    """Open the trading dashboard and return its kernel's id."""
    answer = await person.get("/dashboards/trading", headers={"Accept": "text/html"}, **more)
    assert answer.status == 200, answer.text
    found = KERNEL_ID.search(answer.text)
    assert found and "ctp-broken" not in answer.text
    return found[1]


def test_the_attacks_of_the_reference_fail(home: Path) -> None:
    """One gateway with Voila, every attack: starting Voila for each would take minutes."""

    async def story() -> None:
        async with site(home, with_voila=True) as running:
            minsu, alice, nobody = await running.person("minsu"), await running.person("alice"), await running.person()
            kernel = await open_desk(minsu)
            async with _watching(minsu, kernel):
                await _other_peoples_kernels(running, alice, nobody, kernel)
                await _voila_itself(running, kernel)
                await _spoofed_headers(running, alice)
                await _paths(alice, nobody, kernel)
                await _smuggled_code(running, minsu, kernel, home)
                await _origins(minsu, kernel)
                await _own_kernel_and_revocation(running, minsu, kernel)
            await _a_kernel_dies_with_its_gateway_pages(running, alice)

    asyncio.run(story())


@contextlib.asynccontextmanager
async def _watching(person: Person, kernel: str) -> AsyncIterator[None]:
    """Look at a dashboard as its page does: a kernel that nobody looks at is ended, and this story may take its time."""
    address = f"{person.base}/api/kernels/{kernel}/channels?session_id=page"
    async with person.session.ws_connect(address, headers={"Origin": person.base}) as socket:
        reading = asyncio.create_task(close_code(socket, deadline_s=600))
        yield
        assert await asyncio.wait_for(reading, PATIENCE_S) == 4401, "the page stays connected until its session ends"


async def _other_peoples_kernels(running: Site, alice: Person, nobody: Person, kernel: str) -> None:
    """Neither reading, listening to nor ending somebody else's kernel is possible."""
    for path in (f"/api/kernels/{kernel}", f"/api/kernels/{kernel}/channels"):
        assert (await alice.get(path)).status == 404
        assert (await nobody.get(path)).status == 401
    assert await status_of_socket(alice, f"/api/kernels/{kernel}/channels?session_id=a") == 404
    assert await status_of_socket(nobody, f"/api/kernels/{kernel}/channels?session_id=a") == 401
    for method, path in (("POST", f"/voila/api/shutdown/{kernel}"), ("DELETE", f"/api/kernels/{kernel}")):
        assert (await alice.ask(method, path)).status == 404
        assert (await nobody.ask(method, path)).status == 401
    assert await _voila_status(running, kernel) == 200, "the kernel must still live"


async def _voila_status(running: Site, kernel: str) -> int:
    """Return what Voila answers when the gateway asks about a kernel."""
    voila = running.gateway.voila
    async with running.gateway.client.get(f"{voila.address}/api/kernels/{kernel}", headers=voila.headers) as answer:
        return answer.status


async def _voila_itself(running: Site, kernel: str) -> None:
    """Voila's own port answers nobody but the gateway, even on this machine."""
    address = running.gateway.voila.address
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as thief:
        for headers in ({}, {"X-Ctp-Gateway": "guessed"}):
            for path in (
                "/voila/render/trading.ipynb",
                "/voila/tree",
                f"/api/kernels/{kernel}",
                f"/api/kernels/{kernel}/channels",
            ):
                async with thief.get(address + path, headers=headers, allow_redirects=False) as answer:
                    assert answer.status in (302, 403, 404), path
                    assert KERNEL_ID.search(await answer.text()) is None
            async with thief.post(f"{address}/voila/api/shutdown/{kernel}", headers=headers) as answer:
                assert answer.status in (403, 404)


async def _spoofed_headers(running: Site, alice: Person) -> None:
    """Forged identity headers change nothing: alice's desk shows alice's account."""
    forged = {
        "X-Ctp-Handle": "spoof",
        "X-Ctp-Gateway": "spoof",
        "x-ctp-account": "1",
        "X-Forwarded-For": "10.0.0.1",
        "Accept": "text/html",
    }
    answer = await alice.get("/dashboards/trading", headers=forged)
    assert answer.status == 200
    assert "minsu" not in answer.text
    seen = (await alice.get(f"/api/v1/desk?account={running.world.accounts['선물 주력']}", headers=forged)).status
    assert seen == 404


async def _paths(alice: Person, nobody: Person, kernel: str) -> None:
    """What is not listed is not there, however the path is written."""
    for path in (
        "/api/kernels",
        "/api/contents",
        "/api/sessions",
        "/api/terminals",
        "/voila/api/contents",
        "/voila/tree",
        "/voila/tree/",
        "/voila/render/trading.ipynb",
        "/voila//render/trading.ipynb",
        "/voila/files/trading.ipynb",
        f"/voila/query/{kernel}",
        f"/voila/execution/{kernel}",
        "/voila/templates/ctp/index.html.j2",
        "/voila/static/../../../../etc/passwd",
        "/voila/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/%2e%2e/gateway.py",
        "/static/..%2fgateway.py",
        "/static/desk/../../gateway.py",
        "/static//etc/passwd",
        "/voila/labextensions/%2e%2e/%2e%2e/%2e%2e/pyvenv.cfg",
        "/static/%00",
        "/dashboards/admin",
        "/dashboards/trading.ipynb",
        "/dashboards/..%2ftrading",
    ):
        answer = await alice.session.get(_raw(alice.base, path), allow_redirects=False)
        assert answer.status == 404, path
        answer = await nobody.session.get(_raw(nobody.base, path), allow_redirects=False)
        assert answer.status in (401, 404), path


def _raw(base: str, path: str) -> URL:
    """Return an address that is sent as it is written."""
    return URL(base + path, encoded=True)


async def _smuggled_code(running: Site, minsu: Person, kernel: str, home: Path) -> None:
    """One's own kernel runs no code of one's own, in either form; the connection ends at the attempt."""
    marker = home / "pwned"
    code = {"code": f"open({str(marker)!r}, 'w')", "silent": False, "store_history": False, "user_expressions": {}}
    address = f"{minsu.base}/api/kernels/{kernel}/channels?session_id=a"
    for kind, channel in (
        ("execute_request", "shell"),
        ("execute_request", "control"),
        ("shutdown_request", "control"),
    ):
        for protocols in ((), (PROTOCOL,)):
            sent = message(kind, code, channel)
            async with minsu.session.ws_connect(address, protocols=protocols, headers={"Origin": minsu.base}) as socket:
                if protocols:
                    names = ("header", "parent_header", "metadata", "content")
                    await socket.send_bytes(binary(channel, *(json.dumps(sent[name]).encode() for name in names)))
                else:
                    await socket.send_str(json.dumps(sent))
                assert await close_code(socket) == 4403
    async with minsu.session.ws_connect(address, headers={"Origin": minsu.base}) as socket:
        await socket.send_str(json.dumps(message("kernel_info_request")))
        async with asyncio.timeout(PATIENCE_S):
            while '"kernel_info_reply"' not in (await socket.receive_str()):
                pass
    assert not marker.exists()


async def _origins(minsu: Person, kernel: str) -> None:
    """Pages of other sites, and requests without an origin, change nothing and hear nothing."""
    for origin in (EVIL, None, "null", minsu.base + ".evil.example", minsu.base.replace("http", "https")):
        for path in ("/api/v1/live", f"/api/kernels/{kernel}/channels?session_id=a"):
            assert await status_of_socket(minsu, path, origin) == 403, origin
        for method, path in (
            ("POST", "/logout"),
            ("PUT", "/api/v1/preferences"),
            ("POST", f"/voila/api/shutdown/{kernel}"),
        ):
            assert (await minsu.ask(method, path, origin=origin, json={})).status == 403, origin
        form = {"name": "minsu", "password": PASSWORD, "next": "/"}
        assert (await minsu.ask("POST", "/login", origin=origin, data=form)).status == 403
    rebound = await minsu.get("/login", headers={"Host": "rebind.example"})
    assert rebound.status == 403, "a foreign name that points to loopback is not ours"


async def _own_kernel_and_revocation(running: Site, minsu: Person, kernel: str) -> None:
    """Logging out elsewhere closes this session's websockets at once; copied cookies are worth nothing."""
    cookies = minsu.cookies()
    live = await minsu.session.ws_connect(minsu.base + "/api/v1/live", headers={"Origin": minsu.base})
    channel = await minsu.session.ws_connect(
        f"{minsu.base}/api/kernels/{kernel}/channels?session_id=a", headers={"Origin": minsu.base}
    )
    closing = asyncio.gather(close_code(live), close_code(channel))
    assert (await minsu.ask("POST", "/logout")).status == 303
    assert await closing == [4401, 4401]
    thief = await running.person(cookies=cookies)
    assert (await thief.get("/api/v1/me")).status == 401
    assert (await thief.ask("POST", "/api/v1/session/renew")).status == 401
    assert (await thief.get(f"/api/kernels/{kernel}")).status == 401
    async with asyncio.timeout(PATIENCE_S):  # the kernel ends with its session, whoever noticed the end first
        while await _voila_status(running, kernel) != 404:  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.05)


async def _a_kernel_dies_with_its_gateway_pages(running: Site, alice: Person) -> None:
    """A kernel holds no secret in its environment, and one that nobody watches is ended."""
    answer = await alice.get("/dashboards/trading", headers={"Accept": "text/html"})
    found = KERNEL_ID.search(answer.text)
    assert found is not None
    environments = _kernel_environments(running)
    assert environments
    for environment in environments:
        assert not re.search(rb"CTP_HOME|CTP__|sqlite|PASSWORD|SECRET|X_CTP_GATEWAY|CTP_GATEWAY_PIPE=\D", environment)
        assert running.gateway.voila.headers["X-Ctp-Gateway"].encode() not in environment
    kernels = running.gateway.kernels
    kernels._unwatched_since = dict.fromkeys(kernels._unwatched_since, 0.0)
    await kernels.reap()
    assert not kernels.sessions()
    assert (await alice.get(f"/api/kernels/{found[1]}")).status == 404


def _kernel_environments(running: Site) -> list[bytes]:
    """Return the environment of every kernel our Voila runs."""
    process = running.gateway.voila.process
    assert process is not None
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):  # minsu's kernel may be ending right now
            if "ipykernel_launcher" in child.cmdline():
                found.append(Path(f"/proc/{child.pid}/environ").read_bytes())
    return [environment for environment in found if environment]
