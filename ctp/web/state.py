"""What the handlers of one gateway share."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from aiohttp import ClientSession, web

from ctp.clock import Clock
from ctp.config import Settings
from ctp.storage.database import Database
from ctp.web.encryption import Certificate
from ctp.web.kernels import Kernels
from ctp.web.lab_codes import Codes
from ctp.web.people import People, Visitor
from ctp.web.security import Transport
from ctp.web.series import SeriesCache
from ctp.web.voila_process import Voila


@dataclasses.dataclass
class Gateway:
    """The parts of a running gateway."""

    settings: Settings
    database: Database
    clock: Clock
    transport: Transport
    people: People
    voila: Voila
    client: ClientSession
    kernels: Kernels
    series: SeriesCache
    boot: str  # changes with every start, so that a page notices that its kernel is gone
    certificate: Certificate | None  # None: plain http on loopback, or a proxy in front
    trusts_lab: bool = False  # JupyterLab may run as our own user, whoever enters it; for tests
    port: int = 0  # of the public door
    lab_port: int = 0  # of the door of JupyterLab; 0: it is not open
    lab_codes: Codes = dataclasses.field(default_factory=Codes)
    sockets: defaultdict[str, set[web.WebSocketResponse]] = dataclasses.field(default_factory=lambda: defaultdict(set))
    exporting: set[int] = dataclasses.field(default_factory=set)  # users whose data is being written for them
    # One reader: the kept series have one user, and dashboards cannot crowd out whoever logs in or presses Stop.
    reader: ThreadPoolExecutor = dataclasses.field(default_factory=lambda: ThreadPoolExecutor(1, "reader"))

    async def read[Found](self, ask: Callable[[sa.Connection], Found]) -> Found:
        """Ask the database something for a page, in the reader's thread."""

        def read() -> Found:
            with self.database.reading() as connection:
                return ask(connection)

        return await asyncio.get_running_loop().run_in_executor(self.reader, read)

    async def write[Done](self, change: Callable[[sa.Connection], Done]) -> Done:
        """Change the database for a visitor, in a thread of its own."""

        def write() -> Done:
            with self.database.transaction() as connection:
                return change(connection)

        return await asyncio.to_thread(write)


GATEWAY = web.AppKey("gateway", Gateway)
VISITOR = web.RequestKey("visitor", Visitor)
