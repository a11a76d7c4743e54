"""Run a simulated exchange until cancelled: what `ctp simulator` calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from ctp.simulator.certificates import write_private
from ctp.simulator.control import TOKEN_FILE, Control
from ctp.simulator.exchange import SimulatedExchange
from ctp.simulator.settings import SimulatorSettings

READY_FILE = "simulator.json"


async def serve(settings: SimulatorSettings, ready: Callable[[SimulatedExchange, Control], None] | None = None) -> None:
    """Start exchange and control port, tell where they are, and stop both when cancelled.

    Writes `simulator.json` into the folder: port, control_port, ca_file and token_file for other processes.
    ready: called once both ports listen.
    Raises OSError when a port is taken.
    """
    exchange = SimulatedExchange(settings)
    control = Control(exchange)
    try:
        await exchange.start()
        await control.start()
        where = {
            "port": exchange.port, "control_port": control.port, "ca_file": exchange.ca_file,
            "token_file": str(settings.folder / TOKEN_FILE),
        }  # fmt: skip
        write_private(settings.folder / READY_FILE, json.dumps(where).encode())
        if ready is not None:
            ready(exchange, control)
        await asyncio.Event().wait()
    finally:
        (settings.folder / READY_FILE).unlink(missing_ok=True)
        await control.stop()
        await exchange.stop()
