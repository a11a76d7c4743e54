"""A real PM2 with a home of its own, for tests and the benchmark: nothing of it outlives the block."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.journeys.processes import free_port, processes_of

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("bot", "backup", "web")
PM2 = str(ROOT / "node_modules/pm2/bin/pm2")


class Pm2(NamedTuple):
    """A PM2 of its own, its services and their home."""

    home: Path
    port: int
    voila_port: int
    environment: dict[str, str]

    def __call__(self, *arguments: str, timeout_s: float = 120) -> str:
        """Run a PM2 command and return what it prints."""
        command = ["node", PM2, *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout_s
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def folder(self) -> Path:
        """Where PM2 keeps its own files."""
        return Path(self.environment["PM2_HOME"])

    def services(self) -> dict[str, dict[str, Any]]:
        """Return what PM2 knows about each service, by its short name."""
        listed = self("jlist", "--silent")
        rows = json.loads(listed[listed.index("[") :])
        return {row["name"].removeprefix("crypto-trader-"): row for row in rows}

    def pid(self, name: str) -> int:
        """Return a service's process number from PM2's file; 0 while there is none."""
        found = list((self.folder / "pids").glob(f"crypto-trader-{name}-*.pid"))
        with contextlib.suppress(OSError, ValueError):
            return int(found[0].read_text()) if found else 0
        return 0

    def heartbeats(self) -> dict[str, int]:
        """Return the time of each process's last sign of life; empty while the database is not there."""
        try:
            with contextlib.closing(sqlite3.connect(self.home / "ctp.db", timeout=10)) as database:
                return dict(database.execute("SELECT process, at FROM heartbeats").fetchall())
        except sqlite3.Error:
            return {}

    def is_answering(self) -> bool:
        """Tell whether the gateway accepts connections."""
        return is_bound(self.port)

    def all_alive(self, after: int = 0) -> dict[str, int] | None:
        """Return the heartbeats when every service has one later than `after`, and the gateway answers."""
        beats = self.heartbeats()
        alive = all(beats.get(name, 0) > after for name in SERVICES)
        return beats if alive and self.is_answering() else None

    def orders_in_doubt(self) -> int:
        """Return how many orders are on their way with an unknown end."""
        with contextlib.closing(sqlite3.connect(self.home / "ctp.db", timeout=10)) as database:
            query = "SELECT count(*) FROM orders WHERE status IN ('planned', 'sent', 'unknown')"
            return int(database.execute(query).fetchone()[0])

    def log_bytes(self) -> int:
        """Return the size of everything that is logged, by the services and by PM2."""
        files = [*(self.home / "logs").iterdir(), self.folder / "pm2.log"]
        return sum(file.stat().st_size for file in files if file.is_file())


def is_bound(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def own_pm2(folder: Path, **variables: str) -> Iterator[Pm2]:
    """Yield a PM2 that has started nothing yet, with an upgraded database; whatever happens, end everything."""
    home = folder / "home"
    (home / "logs").mkdir(parents=True, exist_ok=True)
    port, voila_port = free_port(), free_port()
    with (home / "ctp.toml").open("a") as settings:
        settings.write(f"[web]\nport = {port}\nvoila_port = {voila_port}\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PM2_HOME": str(folder / "pm2"),
        "CTP_HOME": str(home),
        **variables,
    }
    upgrade = [str(ROOT / ".venv/bin/python"), "-m", "ctp", "db", "upgrade"]
    subprocess.run(upgrade, env=environment, cwd=ROOT, check=True, capture_output=True)
    try:
        yield Pm2(home, port, voila_port, environment)
    finally:
        subprocess.run(["node", PM2, "kill"], env=environment, check=False, capture_output=True, timeout=60)
        for process in processes_of(home):
            process.send_signal(signal.SIGKILL)
