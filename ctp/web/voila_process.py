"""Voila as a child of the gateway: started with a scrubbed environment, started again when it dies, ended with us.

Invariants:
1. Voila listens on loopback and answers only requests with a secret that is new at every start; the secret is sent to
   nobody but the child we started.
2. Its environment, which every kernel inherits, holds no secret, and neither the database nor CTP_HOME is named in it.
3. Live money comes first: Voila and its kernels run at nice 10 and are the first to go when memory runs out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sys
import sysconfig
from collections.abc import Awaitable, Callable
from pathlib import Path

from ctp.config import PROJECT, Settings
from ctp.lifetime import Tie

log = logging.getLogger(__name__)

SECRET_HEADER = "X-Ctp-Gateway"  # noqa: S105 - a header's name
PIPE_VARIABLE = "CTP_GATEWAY_PIPE"

NOTEBOOKS = PROJECT / "notebooks" / "dashboards"
CONFIGURATION = PROJECT / "jupyter_config"
_SHARE = Path(sysconfig.get_path("data")) / "share" / "jupyter"
# What the browser loads from Voila are plain files; the gateway serves them itself, below /voila/.
STATIC_FOLDERS = {
    "static": (_SHARE / "voila" / "templates" / "base" / "static",),
    "labextensions": (_SHARE / "labextensions", _SHARE / "voila" / "labextensions"),
}
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")
_BACKOFF_S = (0.2, 1.0, 5.0, 15.0)
NICE = 10
_OOM_SCORE = 500
_LISTENING = "0A"  # in /proc/net/tcp


class Voila:
    """The child process and where it listens."""

    def __init__(self, settings: Settings, api_address: str, *, pool_size: int = 1, nice: int = NICE) -> None:
        """Prepare; nothing is started yet.

        api_address: host:port of the API that kernels call. pool_size: kernels kept warm for each dashboard.
        nice: how far behind other processes Voila and its kernels stand.
        """
        self._settings, self.api_address, self._pool_size, self._nice = settings, api_address, pool_size, nice
        self._secret = ""
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.is_ready = asyncio.Event()
        self.on_start: Callable[[], Awaitable[None]] | None = None  # told before each start: kernels of before are gone

    @property
    def address(self) -> str:
        """Return the address of Voila's server, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that make Voila answer."""
        return {SECRET_HEADER: self._secret}

    async def keep_running(self) -> None:
        """Run Voila until cancelled; a death is logged and mended with a growing pause."""
        failures = 0
        try:
            while True:
                began = asyncio.get_running_loop().time()
                code = await self._run_once()
                failures = 0 if asyncio.get_running_loop().time() - began > 60 else failures + 1
                pause = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                log.error("Voila ended with code %s; starting it again in %g s", code, pause)
                await asyncio.sleep(pause)
        finally:
            await self._end()

    async def _run_once(self) -> int:
        """Start Voila, tell when it answers, and return its exit code."""
        if self.on_start is not None:
            await self.on_start()
        self._secret = secrets.token_urlsafe(32)
        self.port = self._settings.web.voila_port or _free_port()
        read_end, write_end = os.pipe()
        try:
            os.write(write_end, self._secret.encode())
            os.close(write_end)
            with (self._settings.log_folder / "voila.log").open("ab") as output:
                self.process = await asyncio.create_subprocess_exec(
                    *self._command(), env=self._environment(read_end), pass_fds=(read_end,), cwd=NOTEBOOKS,
                    stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=_Lowered(self._nice),
                )  # fmt: skip
        finally:
            os.close(read_end)
        watcher = asyncio.create_task(self._announce(self.process))
        try:
            return await self.process.wait()
        finally:
            watcher.cancel()
            self.is_ready.clear()

    async def _announce(self, process: asyncio.subprocess.Process) -> None:
        """Set `is_ready` once our own child listens. Another program on that port must never be sent our secret."""
        while True:
            if listens(process.pid, self.port):
                self.is_ready.set()
                return
            await asyncio.sleep(0.05)

    async def _end(self) -> None:
        """Ask the child to end; kill it when it does not."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()

    def _command(self) -> list[str]:
        """Return the command line."""
        return [
            sys.executable, "-m", "voila", "--no-browser", f"--Voila.port={self.port}", f"--Voila.root_dir={NOTEBOOKS}",
            f"--VoilaConfiguration.default_pool_size={self._pool_size}",
        ]  # fmt: skip

    def _environment(self, pipe: int) -> dict[str, str]:
        """Return the whole environment of Voila and of every kernel."""
        scratch = self._settings.cache / "voila"
        scratch.mkdir(mode=0o700, exist_ok=True)
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return kept | {
            "HOME": str(scratch),
            "IPYTHONDIR": str(scratch / "ipython"),
            "JUPYTER_CONFIG_DIR": str(CONFIGURATION),
            "JUPYTER_PATH": str(CONFIGURATION),
            "JUPYTER_DATA_DIR": str(scratch / "data"),
            "PYTHONPATH": str(PROJECT),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "CTP_API": self.api_address,
            PIPE_VARIABLE: str(pipe),
        }


class _Lowered(Tie):
    """Tie the child to us and put it behind whatever moves money."""

    def __init__(self, nice: int) -> None:
        """Remember how far behind."""
        super().__init__()
        self._nice = nice

    def __call__(self) -> None:
        """Run in the child between fork and exec."""
        super().__call__()
        os.nice(self._nice)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), "ascii")


def listens(process: int, port: int) -> bool:
    """Tell whether this very process listens on a port of 127.0.0.1."""
    here = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:])
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1] == here and row[3] == _LISTENING}
    if not sockets:
        return False
    try:
        return any(_target(file) in sockets for file in Path(f"/proc/{process}/fd").iterdir())
    except OSError:  # it has ended
        return False


def _target(link: Path) -> str:
    """Return where a link of /proc leads; empty when it is gone meanwhile."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
