"""The three services under PM2 are killed at random while they trade: how soon is each back, and what is left behind?

    python -m benchmarks.pm2 [--rounds 10] [--loop 20] [--seed 1]

A simulated exchange moves an hour of market every second; two people trade four accounts. First healthy kills: in each
round each service dies once by SIGKILL, at a random moment after more than a minute of life, when PM2 has forgotten
earlier crashes. Then a crash loop: the bot dies again as soon as it is back. "Back" means that it does its work: the
bot leads and beats, the scheduler leads and beats, the gateway answers. In the end everything is stopped gracefully.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from ctp.cli.accounts import paper_control
from services.children import exchange_program, exchange_settings
from services.demo_home import prepare_home
from services.supervisor import Supervisor
from tests.journeys.pm2_control import ROOT, SERVICES, Pm2, is_bound, own_pm2
from tests.journeys.processes import processes_of

CANDLE_S = 1.0
HEALTHY_S = 62.0  # PM2 looks every 30 s which service has lived for 30 s, and forgets its crashes
MOST_BACK_S, MOST_BACK_IN_A_LOOP_S, PATIENCE_S = 5.0, 20.0, 90.0
MOST_LOG_BYTES = 50_000_000


class Kill(NamedTuple):
    """One kill: which service, how long it had lived, how long until it worked again; what it left behind."""

    service: str
    lived_s: float
    back_s: float
    orphans: int


class Stage:
    """The services and what was done to them."""

    def __init__(self, pm2: Pm2) -> None:
        """Begin with everything alive."""
        self.pm2 = pm2
        self.back_at = dict.fromkeys(SERVICES, time.monotonic())

    def kill(self, service: str) -> Kill:
        """Kill a service and wait until it works again."""
        pid = self.pm2.pid(service)
        children = psutil.Process(pid).children(recursive=True)
        killed, killed_ms = time.monotonic(), time.time_ns() // 1_000_000
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self._is_back(service, pid, killed_ms), f"{service} is back")
        back = time.monotonic()
        _, orphans = psutil.wait_procs(children, timeout=5)
        kill = Kill(service, killed - self.back_at[service], back - killed, len(orphans))
        self.back_at[service] = back
        print(f"  {service:7} lived {kill.lived_s:6.1f} s, back after {kill.back_s:5.2f} s", file=sys.stderr)
        return kill

    def _is_back(self, service: str, old_pid: int, killed_ms: int) -> bool:
        """Tell whether a new process of the service does its work."""
        if self.pm2.pid(service) in (0, old_pid):
            return False
        if service == "web":
            return answers(f"http://127.0.0.1:{self.pm2.port}/login")
        return self.pm2.heartbeats().get(service, 0) > killed_ms


def main() -> None:
    """Run the benchmark and print one JSON object; exit 1 when a bound is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="healthy kills of each service")
    parser.add_argument("--loop", type=int, default=20, help="kills in the crash loop")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ctp-pm2-") as folder, own_pm2(Path(folder)) as pm2:
        result = asyncio.run(measure(pm2, arguments.rounds, arguments.loop, random.Random(arguments.seed)))
    print(json.dumps(result, indent=2))
    sys.exit(0 if result["ok"] else 1)


async def measure(pm2: Pm2, rounds: int, loop: int, chance: random.Random) -> dict[str, Any]:
    """Start the exchange beside PM2, trade, kill, stop."""
    os.environ["CTP_HOME"] = str(pm2.home)
    supervisor = Supervisor()
    exchange = exchange_program(pm2.home, [], "1h", 3600 / CANDLE_S, 1, "book")
    watching = asyncio.create_task(supervisor.watch(exchange))
    try:
        settings = await exchange_settings(pm2.home)
        control = paper_control(settings, "binance")
        await asyncio.to_thread(prepare_home, settings, control, "1h", time.time_ns() // 1_000_000)
        return await asyncio.to_thread(kill_and_stop, pm2, rounds, loop, chance)
    finally:
        await supervisor.stop()
        await watching


def kill_and_stop(pm2: Pm2, rounds: int, loop: int, chance: random.Random) -> dict[str, Any]:
    """Kill the services, stop them, and judge."""
    pm2("start", str(ROOT / "ecosystem.config.js"))
    wait_until(lambda: pm2.all_alive() is not None, "everything lives")
    stage, healthy = Stage(pm2), []
    for number in range(rounds):
        order = chance.sample(SERVICES, len(SERVICES))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for service in order:
            wait_s = HEALTHY_S + chance.uniform(0, 5) - (time.monotonic() - stage.back_at[service])
            time.sleep(max(0.0, wait_s))
            healthy.append(stage.kill(service))
    memory = {name: rss_mb(pm2.pid(name)) for name in SERVICES}
    print("crash loop", file=sys.stderr)
    looping = []
    for _ in range(loop):
        time.sleep(chance.uniform(0, 0.5))
        looping.append(stage.kill("bot"))
    zombies = [one.pid for one in psutil.process_iter() if _is_zombie_of(one, pm2)]
    started = time.monotonic()
    pm2("stop", str(ROOT / "ecosystem.config.js"))
    stop_s = time.monotonic() - started
    codes = {name: row["pm2_env"]["exit_code"] for name, row in pm2.services().items()}
    restarts = {name: row["pm2_env"]["restart_time"] for name, row in pm2.services().items()}
    doubt, traded = pm2.orders_in_doubt(), fills(pm2)
    pm2("kill")
    left = psutil.wait_procs([one for one in processes_of(pm2.home) if "simulator" not in " ".join(one.cmdline())], 20)[1]
    ports = [port for port in (pm2.port, pm2.voila_port) if is_bound(port)]
    result = {
        "kills": len(healthy) + len(looping),
        "healthy": summary(healthy),
        "crash_loop": summary(looping),
        "orphans": sum(kill.orphans for kill in (*healthy, *looping)),
        "zombies": len(zombies),
        "memory_mb": memory,
        "restarts": restarts,
        "graceful_stop_s": round(stop_s, 1),
        "exit_codes": codes,
        "orders_in_doubt_after_stop": doubt,
        "fills": traded,
        "processes_left": len(left),
        "ports_left": ports,
        "log_bytes": pm2.log_bytes(),
    }
    result["ok"] = (
        all(kill.back_s <= MOST_BACK_S for kill in healthy)
        and all(kill.back_s <= MOST_BACK_IN_A_LOOP_S for kill in looping)
        and not any((result["orphans"], result["zombies"], doubt, left, ports))
        and set(codes.values()) == {0}
        and (traded > 0 or not rounds)  # in the loop alone nobody lives long enough to trade
        and result["log_bytes"] < MOST_LOG_BYTES
    )
    return result


def summary(kills: list[Kill]) -> dict[str, Any]:
    """Return how soon each service was back, in seconds."""
    found: dict[str, Any] = {}
    for service in SERVICES:
        times = sorted(kill.back_s for kill in kills if kill.service == service)
        if times:
            found[service] = {
                "kills": len(times),
                "median_s": round(statistics.median(times), 2),
                "longest_s": round(times[-1], 2),
            }
    return found


def fills(pm2: Pm2) -> int:
    """Return how many fills were booked: proof that there was trading."""
    with contextlib.closing(sqlite3.connect(pm2.home / "ctp.db")) as database:
        return int(database.execute("SELECT count(*) FROM ledger WHERE kind = 'fill'").fetchone()[0])


def rss_mb(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(psutil.Process(pid).memory_info().rss // 1_000_000)


def answers(url: str) -> bool:
    """Tell whether a page is served."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fails with its name."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(0.05)


def _is_zombie_of(process: psutil.Process, pm2: Pm2) -> bool:
    """Tell whether a process is a dead child of PM2 or of a service that nobody has buried."""
    try:
        ours = {int((pm2.folder / "pm2.pid").read_text()), *(pm2.pid(name) for name in SERVICES)}
        return process.status() == psutil.STATUS_ZOMBIE and process.ppid() in ours
    except psutil.Error:
        return False


if __name__ == "__main__":
    main()
