"""The demo's children: which programs, with which environment; and how to know that the exchange listens."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ctp.config import PAPER_FILE, Settings, load_settings
from ctp.errors import ConfigError
from services.supervisor import Program

START_S = 90.0


def exchange_program(home: Path, candles: list[str], timeframe: str, speed: float, seed: int, fills: str) -> Program:
    """Return the simulated exchange as a child."""
    arguments = [sys.executable, "-m", "ctp", "simulator", "--timeframe", timeframe, "--speed", repr(speed)]
    arguments += ["--port", "0", "--control-port", "0", "--fills", fills, "--seed", str(seed)]
    arguments += [part for each in candles for part in ("--candles", each)]
    return Program("exchange", arguments, child_environment(home), home / "logs" / "exchange.out.log")


def service_program(home: Path, name: str, environment: Mapping[str, str]) -> Program:
    """Return one of the three services as a child."""
    arguments = [sys.executable, "-m", f"services.crypto_trader_{name}"]
    return Program(name, arguments, environment, home / "logs" / f"{name}.out.log")


def child_environment(home: Path) -> dict[str, str]:
    """Return what children inherit: nothing of ours but the home."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CTP_")}
    return inherited | {"CTP_HOME": str(home), "CTP__LOGS__CONSOLE": "false", "PYTHONUNBUFFERED": "1"}


async def exchange_settings(home: Path) -> Settings:
    """Wait until the simulated exchange of this run listens, and return the settings that name it.

    Raises ConfigError naming its log when it does not.
    """
    since = time.time() - 1
    deadline = time.monotonic() + START_S
    while not _is_written(home / PAPER_FILE, since):
        if time.monotonic() > deadline:
            raise ConfigError(f"the simulated exchange did not start; see {home / 'logs' / 'exchange.out.log'}")
        await asyncio.sleep(0.05)
    return load_settings()


def _is_written(file: Path, since: float) -> bool:
    """Tell whether a file was written after a wall time in seconds."""
    return file.is_file() and file.stat().st_mtime >= since
