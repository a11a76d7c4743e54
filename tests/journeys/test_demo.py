"""The demo as a stranger runs it: it agrees with itself although it is killed, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.compiled import share_compiled_code
from tests.journeys.processes import eventually, free_port, processes_of, service

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Return a home for a demo, and end every process that is left in it."""
    folder = tmp_path / "demo"
    yield folder
    for process in processes_of(folder):
        process.kill()


def demo(home: Path, *words: str) -> subprocess.Popen[str]:
    """Start the demo in a home of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CTP_")}
    return subprocess.Popen(
        [sys.executable, "-m", "services.demo", *words],
        env=environment | {"CTP_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_bot(home: Path, other_than: int = 0) -> int:
    """SIGKILL the bot as soon as there is one; returns which it was."""

    def alive() -> psutil.Process | None:
        found = service(home, "bot")
        return found if found is not None and found.pid != other_than else None

    process = eventually(alive, "a running bot")
    process.kill()
    return process.pid


def trades_closed(home: Path) -> int:
    """Return how many trades the check has closed so far."""
    with sqlite3.connect(next(home.glob("check-*/ctp.db")), timeout=10) as database:
        return int(database.execute("SELECT count(*) FROM trades").fetchone()[0])


@pytest.mark.timeout(1200)
def test_database_exchange_and_backtest_agree_although_the_bot_is_killed(home: Path) -> None:
    """One JSON document on stdout, exit code 0, at least 20 trades over two symbols, each equal to the last bit."""
    share_compiled_code(home)
    with demo(home, "--check", "--seed", "3") as process:
        first = kill_bot(home)  # while it starts
        eventually(lambda: list(home.glob("check-*/ctp.db")), "a database")
        eventually(lambda: trades_closed(home) >= 3 or None, "some trades", 300)
        kill_bot(home, other_than=first)  # while it trades
        stdout, stderr = process.communicate(timeout=800)
    result = json.loads(stdout)
    assert result["ok"], stdout + stderr
    assert process.returncode == 0
    assert result["trades"] >= 20
    assert len(result["symbols"]) >= 2
    assert result["database_equals_exchange"]
    assert result["database_equals_backtest"]
    assert result["own_coins_untouched"]
    assert result["restarts"] == {"bot": 2}
    assert not processes_of(home)
    assert [left.name for left in home.iterdir()] == ["cache"]


@pytest.mark.timeout(400)
def test_a_killed_demo_leaves_no_process_and_no_port(home: Path) -> None:
    """SIGKILL gives the demo no chance to clean up; everything it started ends all the same."""
    port = free_port()
    with demo(home, "--port", str(port)) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(f"http://127.0.0.1:{port}" in line for line in lines), process.communicate()[1]
        assert len(processes_of(home)) >= 5
        process.kill()
        _, left = psutil.wait_procs(processes_of(home), timeout=60)
    assert not left
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_is_one_sentence(home: Path) -> None:
    """The port and the option are named before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with demo(home, "--port", str(port)) as process:
            stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (2, "")
    assert stderr.splitlines() == [f"demo: port {port} is taken by another process; choose another with --port"]
    assert not home.exists()
