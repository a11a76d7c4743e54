"""A gateway in this process and people who talk to it without a browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import ClientSession, CookieJar, TCPConnector, WSMsgType, WSServerHandshakeError

from ctp.clock import SystemClock
from ctp.web.gateway import running
from ctp.web.state import Gateway
from tests.web.seed import COST, PASSWORD, World, make_world

HTML = {"Accept": "text/html"}
PATIENCE_S = 60.0  # of a test on a slow and busy machine; nothing is asserted about speed


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Any
    text: str

    def json(self) -> Any:
        """Return the JSON of the answer."""
        return json.loads(self.text)


class Person:
    """Somebody's browser without the browser: cookies, and the origin of our own pages."""

    def __init__(self, session: ClientSession, base: str) -> None:
        """Begin without cookies."""
        self.session, self.base = session, base

    async def ask(self, method: str, path: str, *, origin: str | None = "own", **more: Any) -> Answer:
        """Send a request; origin: "own", another one, or None for none."""
        headers = dict(more.pop("headers", {}))
        if origin is not None and "Origin" not in headers:
            headers["Origin"] = self.base if origin == "own" else origin
        async with self.session.request(
            method, self.base + path, headers=headers, allow_redirects=False, **more
        ) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.text(errors="replace"))

    async def get(self, path: str, **more: Any) -> Answer:
        """Ask for something."""
        return await self.ask("GET", path, **more)

    async def log_in(self, name: str, password: str = PASSWORD) -> Answer:
        """Send the login form."""
        return await self.ask("POST", "/login", data={"name": name, "password": password, "next": "/"})

    def cookies(self) -> dict[str, str]:
        """Return a copy of the cookies."""
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}


class Site(NamedTuple):
    """A running gateway."""

    gateway: Gateway
    world: World
    base: str
    folder: contextlib.AsyncExitStack

    async def person(
        self, name: str | None = None, cookies: dict[str, str] | None = None, trust: ssl.SSLContext | None = None
    ) -> Person:
        """Return somebody, logged in when a name is given; trust: what they check a certificate against."""
        jar = CookieJar(unsafe=True)
        connector = TCPConnector(ssl=trust or True)
        session = await self.folder.enter_async_context(
            ClientSession(cookie_jar=jar, cookies=cookies, connector=connector)
        )
        person = Person(session, self.base)
        if name is not None:
            answer = await person.log_in(name)
            assert answer.status == 303, answer.text
        return person


@contextlib.asynccontextmanager
async def site(home: Path, *, with_voila: bool = False, **web: Any) -> AsyncIterator[Site]:
    """Run a gateway on a seeded home."""
    world = make_world(home, int(time.time() * 1000), **web)
    async with contextlib.AsyncExitStack() as stack:
        clock = SystemClock()
        gateway, port = await stack.enter_async_context(
            running(world.settings, clock, cost=COST, with_voila=with_voila, pool_size=1, nice=0)
        )
        if with_voila:
            await asyncio.wait_for(gateway.voila.is_ready.wait(), PATIENCE_S)
        folder = await stack.enter_async_context(contextlib.AsyncExitStack())
        scheme = "https" if world.settings.web.certificate_file else "http"
        yield Site(gateway, world, f"{scheme}://127.0.0.1:{port}", folder)
        world.database.close()


# --- the kernel's protocol --------------------------------------------------------------------------------------------

KERNEL_ID = re.compile(r'"kernelId": ?"([0-9a-f-]{36})"')


def message(kind: str, content: dict[str, Any] | None = None, channel: str = "shell") -> dict[str, Any]:
    """Return a message of the kernel's protocol."""
    header = {
        "msg_id": secrets.token_hex(8),
        "username": "x",
        "session": "s",
        "msg_type": kind,
        "version": "5.3",
        "date": "2026-01-01T00:00:00Z",
    }
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content or {},
        "channel": channel,
        "buffers": [],
    }


def binary(channel: str, *parts: bytes) -> bytes:
    """Frame parts as the binary form of the protocol does."""
    every = [channel.encode(), *parts]
    offsets = [8 * (len(every) + 2)]
    for part in every:
        offsets.append(offsets[-1] + len(part))
    count = len(offsets)
    return b"".join([count.to_bytes(8, "little"), *(offset.to_bytes(8, "little") for offset in offsets), *every])


async def status_of_socket(person: Person, path: str, origin: str | None = "own") -> int:
    """Return the status of a websocket's handshake; 101 when it opened."""
    headers = {} if origin is None else {"Origin": person.base if origin == "own" else origin}
    try:
        async with person.session.ws_connect(person.base + path, headers=headers):
            return 101
    except WSServerHandshakeError as error:
        return error.status


async def close_code(socket: Any, deadline_s: float = PATIENCE_S) -> int | None:
    """Read a websocket to its end and return its close code."""
    async with asyncio.timeout(deadline_s):
        while True:
            got = await socket.receive()
            if got.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                return socket.close_code
