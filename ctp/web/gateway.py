"""crypto-trader-web: one port for login, pages, API, live push and the dashboards behind them.

Invariants:
1. The public port answers browsers with cookies; a second port, on loopback and known to kernels only, answers handles; a
   third, on loopback, answers JupyterLab and its notebooks.
2. Voila is a child: it lives no longer than the gateway and is started again when it dies.
3. Stopping closes every websocket within `SHUTDOWN_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator

import sqlalchemy as sa
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web

from ctp.accounts.passwords import COST
from ctp.clock import Clock, SystemClock
from ctp.config import Settings
from ctp.errors import ConfigError, StorageUnavailable
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.web.encryption import Certificate, certificate_of
from ctp.web.guard import inner_door, lab_door, public_door
from ctp.web.kernels import Kernels
from ctp.web.live import Live
from ctp.web.people import People
from ctp.web.routes import inner_routes, lab_routes, public_routes
from ctp.web.security import Transport
from ctp.web.series import SeriesCache
from ctp.web.state import GATEWAY, Gateway
from ctp.web.voila_process import NICE, Voila

log = logging.getLogger(__name__)

SHUTDOWN_S = 2.0
_MOST_BODY = 64 * 1024
_BEAT_S = 2.0
_DOORS = {"public": public_door, "inner": inner_door, "lab": lab_door}


async def serve(settings: Settings, clock: Clock | None = None) -> None:
    """Serve until cancelled."""
    async with running(settings, clock or SystemClock()):
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    clock: Clock,
    *,
    cost: int = COST,
    with_voila: bool = True,
    pool_size: int = 2,
    nice: int = NICE,
    trusts_lab: bool = False,
) -> AsyncIterator[tuple[Gateway, int]]:
    """Run a gateway; yields it and the port it listens on.

    cost: of bcrypt. with_voila: False leaves the dashboards out. pool_size: kernels kept warm per dashboard.
    nice: how far behind other processes the dashboards stand. trusts_lab: JupyterLab may run as this very user.
    Raises ConfigError when the port is taken, a certificate is unusable or the database is not this program's.
    """
    certificate = certificate_of(settings.web, clock)
    database = Database(settings.database_url)
    database.check()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(database.close)
        client = await stack.enter_async_context(
            ClientSession(
                timeout=ClientTimeout(total=None, connect=10),
                connector=TCPConnector(limit=0),
                cookie_jar=DummyCookieJar(),
            )
        )
        inner_socket = _inner_address(stack)
        voila = Voila(settings, f"127.0.0.1:{inner_socket.getsockname()[1]}", pool_size=pool_size, nice=nice)
        kernels = Kernels(database, clock, voila, client)
        gateway = Gateway(
            settings, database, clock, Transport(settings.web), People(settings, database, clock, cost=cost), voila,
            client, kernels, SeriesCache(clock), secrets.token_hex(8), certificate, trusts_lab,
        )  # fmt: skip
        stack.callback(gateway.reader.shutdown, wait=False)
        live = Live(gateway)
        voila.on_start = kernels.forget_all
        inner = await _start(stack, gateway, "inner", live)
        await web.SockSite(inner, inner_socket).start()
        public = await _start(stack, gateway, "public", live)
        port = gateway.port = await _listen(public, settings, certificate)
        gateway.lab_port = await _listen_for_lab(stack, gateway, live)
        tasks = [asyncio.create_task(live.watch()), asyncio.create_task(_keep_beating(gateway))]
        if certificate is not None:
            tasks.append(asyncio.create_task(certificate.keep_fresh()))
        if with_voila:
            tasks.append(asyncio.create_task(voila.keep_running()))
        stack.push_async_callback(_cancel, tasks)
        log.info("the gateway listens on %s port %s", settings.web.host, port)
        yield gateway, port


async def _start(stack: contextlib.AsyncExitStack, gateway: Gateway, door: str, live: Live) -> web.AppRunner:
    """Prepare one of the two doors."""
    app = web.Application(middlewares=[_DOORS[door]], client_max_size=_MOST_BODY)
    app[GATEWAY] = gateway
    app.add_routes({"public": public_routes(live.listen), "inner": inner_routes(), "lab": lab_routes()}[door])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def _listen_for_lab(stack: contextlib.AsyncExitStack, gateway: Gateway, live: Live) -> int:
    """Open the door of JupyterLab; returns its port, or 0: trading pages do not wait for a port that is taken."""
    runner = await _start(stack, gateway, "lab", live)
    try:
        await web.TCPSite(runner, "127.0.0.1", gateway.settings.lab.api_port).start()
    except OSError as error:
        log.warning("JupyterLab cannot reach us, lab.api_port %s: %s", gateway.settings.lab.api_port, error)
        return 0
    port: int = runner.addresses[0][1]
    return port


async def _listen(runner: web.AppRunner, settings: Settings, certificate: Certificate | None) -> int:
    """Open the public port. Raises ConfigError when it is taken."""
    chosen = settings.web
    encryption = None if certificate is None else certificate.context
    site = web.TCPSite(runner, chosen.host, chosen.port, ssl_context=encryption)
    try:
        await site.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"web.port {chosen.port}: another program uses it; stop that, or choose another port"
            ) from None
        raise ConfigError(f"web.host {chosen.host} port {chosen.port}: {error}") from None
    port: int = runner.addresses[0][1]
    return port


def _inner_address(stack: contextlib.AsyncExitStack) -> socket.socket:
    """Open a loopback port that the machine chooses."""
    made = stack.enter_context(socket.socket())
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


async def _keep_beating(gateway: Gateway) -> None:
    """Write once in a while that the gateway lives."""

    def write(connection: sa.Connection) -> None:
        pages = sum(len(sockets) for sockets in gateway.sockets.values())
        beat(connection, "web", gateway.clock.now_ms(), {"pid": os.getpid(), "sockets": pages})

    while True:
        try:
            await gateway.write(write)
        except StorageUnavailable as error:
            log.warning("no sign of life could be written: %s", error)
        await gateway.clock.sleep(_BEAT_S)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """End background work; what failed before that is logged."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("a part of the gateway had failed", exc_info=outcome)
