"""The three services under the real PM2: what is killed comes back, what is stopped is gone, no secret is written down."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.journeys.processes import eventually, free_port, processes_of

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("bot", "backup", "web")
CANARY = "canary-7f3a9c"

pytestmark = [pytest.mark.pm2, pytest.mark.timeout(240)]


class Pm2(NamedTuple):
    """A PM2 of its own, its services and their home."""

    home: Path
    port: int
    environment: dict[str, str]

    def __call__(self, *arguments: str) -> str:
        """Run a PM2 command and return what it prints."""
        command = ["node", str(ROOT / "node_modules/pm2/bin/pm2"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def services(self) -> dict[str, dict[str, Any]]:
        """Return what PM2 knows about each service, by its short name."""
        listed = self("jlist", "--silent")
        rows = json.loads(listed[listed.index("[") :])
        return {row["name"].removeprefix("crypto-trader-"): row for row in rows}

    def heartbeats(self) -> dict[str, int]:
        """Return the time of each process's last sign of life."""
        with sqlite3.connect(self.home / "ctp.db", timeout=10) as database:
            return dict(database.execute("SELECT process, at FROM heartbeats").fetchall())


@pytest.fixture
def pm2(tmp_path: Path) -> Iterator[Pm2]:
    """Start the three services under a PM2 of their own; whatever happens, end them all."""
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    port, voila_port = free_port(), free_port()
    (home / "ctp.toml").write_text(f"[web]\nport = {port}\nvoila_port = {voila_port}\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PM2_HOME": str(tmp_path / "pm2"),
        "CTP_HOME": str(home),
        "SOME_PASSWORD": CANARY,
    }
    upgrade = [str(ROOT / ".venv/bin/python"), "-m", "ctp", "db", "upgrade"]
    subprocess.run(upgrade, env=environment, cwd=ROOT, check=True, capture_output=True)
    control = Pm2(home, port, environment)
    try:
        control("start", str(ROOT / "ecosystem.config.js"))
        yield control
    finally:
        subprocess.run(
            ["node", str(ROOT / "node_modules/pm2/bin/pm2"), "kill"], env=environment, check=False, capture_output=True
        )
        for process in processes_of(home):
            process.kill()


def all_alive(pm2: Pm2, after: int = 0) -> dict[str, int] | None:
    """Return the heartbeats when every service has one later than `after`, and the gateway answers."""
    try:
        beats = pm2.heartbeats()
    except sqlite3.Error:
        return None
    if any(beats.get(name, 0) <= after for name in SERVICES):
        return None
    with socket.socket() as probe:
        return beats if probe.connect_ex(("127.0.0.1", pm2.port)) == 0 else None


def test_killed_services_come_back_and_stopped_services_leave_nothing(pm2: Pm2) -> None:
    """SIGKILL each service; PM2 restarts it and it beats again. Then stop: no process, no port, no secret in the dump."""
    eventually(lambda: all_alive(pm2), "the first heartbeat of every service")
    for name in SERVICES:
        before = pm2.services()[name]
        children = psutil.Process(before["pid"]).children(recursive=True)
        killed_at = int(time.time() * 1000)
        os.kill(before["pid"], signal.SIGKILL)

        def came_back(name: str = name, before: dict[str, Any] = before) -> int | None:
            now = pm2.services()[name]
            alive = now["pid"] not in (0, before["pid"]) and now["pm2_env"]["status"] == "online"
            return now["pid"] if alive else None

        eventually(came_back, f"the restart of {name}")
        eventually(lambda at=killed_at: all_alive(pm2, after=at), f"a heartbeat after {name} was killed")  # type: ignore[misc]
        _, orphans = psutil.wait_procs(children, timeout=5)
        assert not orphans, f"killing {name} left {orphans}"

    pm2("save")
    dump = (Path(pm2.environment["PM2_HOME"]) / "dump.pm2").read_text()
    assert "crypto-trader-bot" in dump
    assert CANARY not in dump

    pm2("delete", str(ROOT / "ecosystem.config.js"))
    pm2("kill")
    _, left = psutil.wait_procs(processes_of(pm2.home), timeout=20)
    assert not left
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", pm2.port)) != 0
