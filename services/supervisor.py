"""Keep a few child processes alive, as PM2 would, and leave none behind.

Invariants:
1. A child that dies is started again after a delay that doubles from 0.2 s to 15 s and resets after 30 s of life.
2. When the supervisor ends, in whatever way, every child ends (parent-death signal).
3. A child that exits with the code for wrong configuration stops everything: restarting cannot help.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from ctp.errors import ConfigError
from ctp.lifetime import Tie
from services.program import EXIT_CONFIGURATION

FIRST_DELAY_S, LONGEST_DELAY_S, HEALTHY_AFTER_S = 0.2, 15.0, 30.0
GRACE_S = 20.0


class Program(NamedTuple):
    """One child: what to run and where its output goes."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path


class Supervisor:
    """Starts programs, watches them, stops them."""

    def __init__(self, longest_delay_s: float = LONGEST_DELAY_S) -> None:
        """Start with no child."""
        self._longest_delay_s = longest_delay_s
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.restarts: dict[str, int] = {}
        self._tie = Tie()
        self._stopping = False

    async def watch(self, program: Program) -> None:
        """Keep one program running until `stop`; raises ConfigError when it says that its configuration is wrong."""
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY_S
        while not self._stopping:
            started = loop.time()
            code = await self._run_once(program)
            if self._stopping:
                return
            if code == EXIT_CONFIGURATION:
                raise ConfigError(f"{program.name} refuses its configuration; the last lines of {program.log_file} say why")
            if loop.time() - started > HEALTHY_AFTER_S:
                delay = FIRST_DELAY_S
            self.restarts[program.name] = self.restarts.get(program.name, 0) + 1
            print(f"{program.name} ended ({code}); starting it again in {delay:g} s", file=sys.stderr)
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._longest_delay_s)

    async def _run_once(self, program: Program) -> int:
        """Start the program and return its exit code."""
        log = await asyncio.to_thread(_open_log, program.log_file)
        with log:
            process = await asyncio.create_subprocess_exec(
                *program.arguments,
                env=dict(program.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._tie,
                # Ctrl-C in the terminal reaches the supervisor alone, which then stops the children in order.
                start_new_session=True,
            )
        self.processes[program.name] = process
        return await process.wait()

    async def stop(self) -> None:
        """Stop all children gracefully, the last started first; kill those that take longer than the grace period."""
        self._stopping = True
        for process in reversed(list(self.processes.values())):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE_S):
                for process in self.processes.values():
                    await process.wait()
        except TimeoutError:
            for process in self.processes.values():
                if process.returncode is None:
                    process.kill()
                    await process.wait()


def _open_log(file: Path) -> IO[bytes]:
    """Open a log for appending, in a folder made on demand."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("ab")
