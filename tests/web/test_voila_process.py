"""Voila's port: only our own child on it counts as ours."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from ctp.clock import SystemClock
from ctp.web.gateway import running
from ctp.web.voila_process import Voila, listens
from tests.web.seed import COST, make_world

PATIENCE_S = 120


async def _started(voila: Voila) -> int:
    """Wait until Voila has been started and has ended, and return its exit code."""
    while True:
        if voila.process is not None:
            return await voila.process.wait()
        await asyncio.sleep(0.05)


def test_a_listener_is_known_by_its_process() -> None:
    """Another process's port, a port nobody has and a process that is gone are not it."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        assert listens(os.getpid(), port)
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert not listens(other.pid, port)
        other.communicate(b"\n")
        assert not listens(other.pid, port)
    assert not listens(os.getpid(), port)


def test_a_stranger_on_voilas_port_is_sent_nothing_and_dashboards_are_not_ready(home: Path) -> None:
    """Voila ends because the port is taken; the gateway lives, and what listens there hears nothing from it."""

    async def story() -> None:
        heard: list[bytes] = []

        async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(stranger, "127.0.0.1", 0)
        taken = server.sockets[0].getsockname()[1]
        world = make_world(home, int(time.time() * 1000), voila_port=taken)
        async with running(world.settings, SystemClock(), cost=COST, pool_size=1, nice=0) as (gateway, _):
            async with asyncio.timeout(PATIENCE_S):
                assert await _started(gateway.voila) != 0
            assert not gateway.voila.is_ready.is_set()
        assert heard == []
        server.close()
        world.database.close()

    asyncio.run(story())
