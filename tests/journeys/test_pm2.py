"""The services under the real PM2: what is killed comes back, what is stopped is gone, no secret is written down."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.journeys.pm2_control import ROOT, SERVICES, Pm2, is_bound, own_pm2
from tests.journeys.processes import eventually, processes_of

CANARY = "canary-7f3a9c"

pytestmark = [pytest.mark.pm2, pytest.mark.timeout(900)]


@pytest.fixture
def pm2(tmp_path: Path) -> Iterator[Pm2]:
    """Start the three services under a PM2 of their own, with every secret that settings can name."""
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True)
    secrets = {
        "mail": f"{CANARY}-mail",
        "telegram": f"123456789:{CANARY.replace('-', '')}{'x' * 24}",
        "address": f"http://127.0.0.1:9/{CANARY}-address",
    }
    for name, secret in secrets.items():
        (home / "secrets" / name).write_text(secret)
        (home / "secrets" / name).chmod(0o600)
    (home / "ctp.toml").write_text(
        f"""
[logs]
level = "DEBUG"
[email]
host = "127.0.0.1"
port = 9
security = "none"
sender = "ctp@example.com"
username = "ctp"
password_file = "{home}/secrets/mail"
[telegram]
token_file = "{home}/secrets/telegram"
api_url = "http://127.0.0.1:9"
[heartbeat]
url_file = "{home}/secrets/address"
tell_failure = true
every_s = 10
"""
    )
    with own_pm2(tmp_path, SOME_PASSWORD=CANARY) as control:
        control("start", str(ROOT / "ecosystem.config.js"))
        yield control


def restarted(pm2: Pm2, name: str, old_pid: int) -> dict[str, Any] | None:
    """Return a service once it runs in another process."""
    now = pm2.services()[name]
    return now if now["pid"] not in (0, old_pid) and now["pm2_env"]["status"] == "online" else None


def nothing_is_left(pm2: Pm2) -> None:
    """Fail when a process of the home or a port of it is left."""
    _, left = psutil.wait_procs(processes_of(pm2.home), timeout=30)
    assert not left
    for port in (pm2.port, pm2.voila_port):  # the kernel may close a dead process's sockets a moment later
        eventually(lambda port=port: not is_bound(port), f"port {port} was free")  # type: ignore[misc]


def test_killed_services_come_back_and_stopped_services_leave_nothing(pm2: Pm2) -> None:
    """SIGKILL each service; PM2 restarts it and it beats again. Then stop: no process, no port, no secret anywhere."""
    eventually(pm2.all_alive, "the first heartbeat of every service")
    for name in SERVICES:
        before = pm2.services()[name]
        children = psutil.Process(before["pid"]).children(recursive=True)
        killed_at = int(time.time() * 1000)
        os.kill(before["pid"], signal.SIGKILL)
        eventually(lambda name=name, old=before["pid"]: restarted(pm2, name, old), f"the restart of {name}")  # type: ignore[misc]
        eventually(lambda at=killed_at: pm2.all_alive(after=at), f"a heartbeat after {name} was killed")  # type: ignore[misc]
        _, orphans = psutil.wait_procs(children, timeout=60)
        assert not orphans, f"killing {name} left {orphans}"
    pm2("stop", str(ROOT / "ecosystem.config.js"))
    for row in pm2.services().values():
        assert row["pm2_env"]["exit_code"] == 0, row["name"]  # it ended by itself, before PM2 lost patience
    pm2("kill")
    nothing_is_left(pm2)
    everything = [file for file in (*(pm2.home / "logs").iterdir(), *pm2.folder.rglob("*")) if file.is_file()]
    assert "heartbeat_unreachable" in (pm2.home / "logs/backup.jsonl").read_text()  # the secrets were in use
    for secret in (CANARY, CANARY.replace("-", "")):
        assert not [file for file in everything if secret.encode() in file.read_bytes()]


def test_after_a_power_cut_everything_is_there_again(pm2: Pm2) -> None:
    """What `pm2 startup` does at boot is `pm2 resurrect`: rehearsed with a PM2 that is killed together with all it runs."""
    eventually(pm2.all_alive, "the first heartbeat of every service")
    pm2("save")
    dump = (pm2.folder / "dump.pm2").read_text()
    assert "crypto-trader-bot" in dump
    assert CANARY not in dump
    os.kill(int((pm2.folder / "pm2.pid").read_text()), signal.SIGKILL)
    nothing_is_left(pm2)
    cut_at = int(time.time() * 1000)
    pm2("resurrect")
    eventually(lambda: pm2.all_alive(after=cut_at), "everything after the reboot", 120)
    again = pm2.services()
    assert {row["pm2_env"]["CTP_HOME"] for row in again.values()} == {str(pm2.home)}


def test_wrong_configuration_is_not_restarted_and_the_others_go_on(pm2: Pm2) -> None:
    """Exit code 78 stops the restarts; the reason stands in the log that PM2 keeps."""
    eventually(pm2.all_alive, "the first heartbeat of every service")
    settings = pm2.home / "ctp.toml"
    good = settings.read_text()
    settings.write_text(good + "\n[notices]\nno_such_setting = 1\n")
    pm2("restart", "crypto-trader-backup")
    eventually(lambda: pm2.services()["backup"]["pm2_env"].get("exit_code") == 78, "the refusal")
    tried = pm2.services()["backup"]["pm2_env"]["restart_time"]
    bot = pm2.services()["bot"]
    assert bot["pm2_env"]["status"] == "online"
    assert "no_such_setting" in (pm2.home / "logs/backup.error.log").read_text()
    settings.write_text(good)
    mended_at = int(time.time() * 1000)
    pm2("restart", "crypto-trader-backup")
    eventually(lambda: pm2.heartbeats().get("backup", 0) > mended_at, "the scheduler after it was mended")
    assert pm2.services()["backup"]["pm2_env"]["restart_time"] <= tried + 1
    assert pm2.services()["bot"]["pid"] == bot["pid"]


GROWTH = """
import pathlib, sys, threading, time

def grow():
    wish = pathlib.Path({wish!r})
    while not wish.exists():
        time.sleep(0.1)
    wish.unlink()
    sys.stdout.hoard = bytearray(b"x" * {size})
    sys.argv.append("grown")

threading.Thread(target=grow, daemon=True).start()
"""


def test_a_service_over_its_memory_limit_is_stopped_gracefully_and_started_again(tmp_path: Path) -> None:
    """The real configuration with a lower limit and a quicker look; the bot itself is made to grow beyond it."""
    (tmp_path / "sitecustomize.py").write_text(GROWTH.format(wish=str(tmp_path / "grow"), size=500_000_000))
    config = tmp_path / "small.config.js"
    config.write_text(
        f"""
const bot = require({str(ROOT / "ecosystem.config.js")!r}).apps.find((app) => app.name === "crypto-trader-bot");
bot.max_memory_restart = "400M";
bot.env.PYTHONPATH = {str(tmp_path)!r};
module.exports = {{ apps: [bot] }};
"""
    )
    with own_pm2(tmp_path, PM2_WORKER_INTERVAL="1000") as pm2:
        pm2("start", str(config))
        eventually(lambda: pm2.heartbeats().get("bot", 0), "the bot's first sign of life")
        old = pm2.pid("bot")
        (tmp_path / "grow").touch()
        eventually(lambda: restarted(pm2, "bot", old), "the restart of a bot that has grown", 120)
        again_at = int(time.time() * 1000)
        eventually(lambda: pm2.heartbeats().get("bot", 0) > again_at, "a sign of life of the new one")
        assert not psutil.pid_exists(old)
        events = [json.loads(line)["event"] for line in (pm2.home / "logs/bot.jsonl").read_text().splitlines()]
        assert events.count("service_stopped") == 1, "it was asked, not killed"
        assert events.count("service_started") == 2
        assert "max-memory-restart" in (pm2.folder / "pm2.log").read_text()
        pm2("stop", str(config))
        assert pm2.services()["bot"]["pm2_env"]["exit_code"] == 0
