"""How a client reaches the simulator without knowing it: real host names that resolve to loopback.

Nothing that uses such a session can reach the real exchange: every name leads to 127.0.0.1, and only the
simulator's own authority is trusted.
"""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ctp.simulator.certificates import client_context


class Loopback(AbstractResolver):
    """Resolve every host to the simulator's port."""

    def __init__(self, port: int) -> None:
        """Take the port of the simulator."""
        self.port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the simulator's address, whatever the host."""
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=self.port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Have nothing to close."""


def session(port: int, ca_file: str | Path) -> aiohttp.ClientSession:
    """Return a client session for ccxt's `session` option; its owner closes it."""
    connector = aiohttp.TCPConnector(ssl=client_context(Path(ca_file)), resolver=Loopback(port))
    return aiohttp.ClientSession(connector=connector)
