"""A JupyterLab beside a gateway, and people who come to it without a browser."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import ClientSession, CookieJar, WSMsgType
from aiohttp.client import ClientWebSocketResponse

from ctp.clock import SystemClock
from ctp.config import LabSettings
from ctp.lab.start import environment
from ctp.lifetime import Tie
from ctp.web.gateway import running
from ctp.web.state import Gateway
from tests.journeys.processes import free_port
from tests.web.browserless import Person, message
from tests.web.seed import COST, World, make_world

PATIENCE_S = 120.0


class Lab(NamedTuple):
    """A running JupyterLab and its gateway."""

    gateway: Gateway
    world: World
    pages: str  # where the gateway's pages are
    base: str  # where JupyterLab is
    home: Path  # of JupyterLab
    folder: contextlib.AsyncExitStack

    async def browser(self) -> ClientSession:
        """Return a browser without cookies; the two names of this machine keep theirs apart."""
        return await self.folder.enter_async_context(ClientSession(cookie_jar=CookieJar(unsafe=True)))

    async def log_in(self, name: str) -> ClientSession:
        """Return a browser of somebody who is logged in at the gateway."""
        browser = await self.browser()
        answer = await Person(browser, self.pages).log_in(name)
        assert answer.status == 303, answer.text
        return browser

    async def go(self, browser: ClientSession) -> tuple[int, str]:
        """Open JupyterLab as a browser does, over the page that goes on by itself; returns the last status and page."""
        async with browser.get(f"{self.base}/lab", headers={"Accept": "text/html"}) as answer:
            text = await answer.text()
        onward = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', text)
        if onward is None:
            return answer.status, text
        async with browser.get(onward[1].replace("&amp;", "&")) as answer:
            return answer.status, await answer.text()

    async def guest(self, name: str) -> ClientSession:
        """Return a browser of somebody who is in JupyterLab."""
        browser = await self.log_in(name)
        status, text = await self.go(browser)
        assert (status, "JupyterLab" in text) == (200, True), text
        return browser

    async def ask(self, browser: ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request as JupyterLab's own page does, with its form token."""
        cookies = {cookie.key: cookie.value for cookie in browser.cookie_jar}
        headers = {"X-XSRFToken": cookies.get("_xsrf", "")}
        async with browser.request(method, self.base + path, json=body, headers=headers) as answer:
            is_json = answer.content_type == "application/json" and answer.status != 204
            return answer.status, await answer.json() if is_json else None

    async def start_kernel(self, browser: ClientSession) -> str:
        """Start a kernel and return its id."""
        status, kernel = await self.ask(browser, "POST", "/api/kernels", {"name": "python3"})
        assert status == 201, kernel
        return str(kernel["id"])

    async def connect(self, browser: ClientSession, kernel: str) -> ClientWebSocketResponse:
        """Open the websocket of a kernel."""
        return await browser.ws_connect(
            f"{self.base}/api/kernels/{kernel}/channels?session_id={secrets.token_hex(8)}",
            origin=self.base, max_msg_size=0,
        )  # fmt: skip

    async def run(self, socket: ClientWebSocketResponse, code: str) -> str:
        """Run code in a kernel and return what it printed, its error included."""
        asked = message("execute_request", {"code": code, "silent": False, "allow_stdin": False})
        await socket.send_json(asked)
        printed = ""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                got = await socket.receive()
                assert got.type is WSMsgType.TEXT, got
                said = got.json()
                if said["parent_header"].get("msg_id") != asked["header"]["msg_id"]:
                    continue
                content = said["content"]
                printed += content.get("text", "") if said["msg_type"] == "stream" else ""
                printed += content["evalue"] if said["msg_type"] == "error" else ""
                if said["msg_type"] == "status" and content["execution_state"] == "idle":
                    return printed


@contextlib.asynccontextmanager
async def lab(home: Path) -> AsyncIterator[Lab]:
    """Run a gateway on a seeded home and a JupyterLab that finds it. Both as this user, which only a test may."""
    world = make_world(home / "services", int(time.time() * 1000))
    settings = world.settings.model_copy(update={"lab": LabSettings(port=free_port(), api_port=0)})
    async with contextlib.AsyncExitStack() as stack:
        gateway, port = await stack.enter_async_context(
            running(settings, SystemClock(), cost=COST, with_voila=False, nice=0, trusts_lab=True)
        )
        lab_home = home / "lab"
        lab_home.mkdir(mode=0o700)
        told = settings.model_copy(update={"lab": settings.lab.model_copy(update={"api_port": gateway.lab_port})})
        command = [sys.executable, "-m", "services.crypto_trader_lab", "--apart"]
        process = _start(command, environment(told, lab_home), home / "lab.log")
        stack.callback(_end, process)
        base = f"http://localhost:{settings.lab.port}"
        await _answers(base, process, home / "lab.log")
        folder = await stack.enter_async_context(contextlib.AsyncExitStack())
        yield Lab(gateway, world, f"http://127.0.0.1:{port}", base, lab_home, folder)
        world.database.close()


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start JupyterLab."""
    with log.open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, preexec_fn=Tie())


async def _answers(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until JupyterLab answers."""
    async with asyncio.timeout(PATIENCE_S), ClientSession() as probe:
        while True:
            assert process.poll() is None, log.read_text()  # noqa: ASYNC240
            try:
                async with probe.get(f"{base}/api", allow_redirects=False):
                    return
            except OSError:
                await asyncio.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End JupyterLab with its kernels."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
