"""`./run demo`: the whole product on this machine, offline, without keys.

Starts the simulated exchange, the bot, the scheduler and the gateway as children that never outlive it, in a home of
their own, and prints where to look.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

from ctp.cli.accounts import paper_control
from ctp.cli.app import exit_code
from ctp.cli.simulator import feed_of, refuse_taken_port
from ctp.config import PROJECT
from ctp.errors import ConfigError, CtpError, InputError
from ctp.lifetime import until_stopped
from ctp.market.validation import timeframe_name
from services.children import START_S, child_environment, exchange_program, exchange_settings, service_program
from services.demo_check import check_demo
from services.demo_home import ACCOUNTS, DemoUser, claim_home, prepare_home
from services.supervisor import Supervisor

CANDLE_S = 2.0  # wall time of one candle at the default speed
SPACE_MB = 300
DEFAULT_TIMEFRAME = "1h"


def main() -> None:
    """Run the demo or its check; an expected error is one sentence."""
    arguments = _parser().parse_args()
    try:
        feed = feed_of(arguments.candles, "" if arguments.candles else DEFAULT_TIMEFRAME, arguments.seed)
        home = demo_home(arguments)
        refuse_full_disk(home)
        if arguments.check:
            sys.exit(check_demo(home, arguments.candles, arguments.seed, feed))
        if arguments.speed is not None and not arguments.speed > 0:
            raise InputError("--speed", arguments.speed, "must be above 0")
        refuse_taken_port(arguments.port, "--port")
        files = [str(Path(each).absolute()) for each in arguments.candles]
        timeframe = timeframe_name(feed.timeframe_ms)
        market = {"candles": files, "seed": arguments.seed, "timeframe": timeframe}
        claim_home(home, market, reset=arguments.reset)
        speed = arguments.speed or feed.timeframe_ms / 1000 / CANDLE_S
        asyncio.run(until_stopped(_run(arguments, home, timeframe, speed)))
    except CtpError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(exit_code(error))


def _parser() -> argparse.ArgumentParser:
    """Return the options of the demo."""
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--candles", action="append", default=[], metavar="[SYMBOL=]FILE", help="replay recorded candles; repeatable"
    )
    parser.add_argument("--speed", type=float, help="market time ÷ wall time; default: a candle every two seconds")
    parser.add_argument("--port", type=int, default=8501, help="of the web pages on this machine (8501)")
    parser.add_argument("--seed", type=int, default=1, help="of the generated market")
    parser.add_argument("--reset", action="store_true", help="forget earlier runs, with new passwords")
    parser.add_argument("--check", action="store_true", help="headless: bot, exchange and backtest must agree")
    return parser


def demo_home(arguments: argparse.Namespace) -> Path:
    """Return the demo's own home: below `var`, or what CTP_HOME says."""
    own = PROJECT / "var" / ("demo-check" if arguments.check else "demo")
    return Path(os.environ.get("CTP_HOME") or own).expanduser().absolute()


async def _run(arguments: argparse.Namespace, home: Path, timeframe: str, speed: float) -> None:
    """Start everything, say where it is, and keep it running until a signal comes."""
    os.environ["CTP_HOME"] = str(home)
    supervisor = Supervisor()
    try:
        async with asyncio.TaskGroup() as group:
            exchange = exchange_program(home, arguments.candles, timeframe, speed, arguments.seed, "book")
            group.create_task(supervisor.watch(exchange))
            settings = await exchange_settings(home)
            people = await asyncio.to_thread(
                prepare_home, settings, paper_control(settings, "binance"), timeframe, time.time_ns() // 1_000_000
            )
            environment = child_environment(home) | {
                "CTP__WEB__PORT": str(arguments.port),
                "CTP__WEB__VOILA_PORT": "0",  # any that is free when it starts
            }
            for name in ("bot", "backup", "web"):
                group.create_task(supervisor.watch(service_program(home, name, environment)))
            await _until_answering(arguments.port)
            _announce(people, arguments, home)
    except* CtpError as errors:
        raise errors.exceptions[0] from None
    finally:
        await supervisor.stop()
        print("Everything is stopped.", file=sys.stderr)


def _announce(people: list[DemoUser], arguments: argparse.Namespace, home: Path) -> None:
    """Say where to look and how to log in."""
    lines = ["", f"  Crypto Trader Pro demo: http://127.0.0.1:{arguments.port}", ""]
    for person in people:
        accounts = ", ".join(account.name for account in ACCOUNTS if account.owner == person.name)
        password = person.password or "as printed at the first start (./run demo --reset makes new ones)"
        lines.append(f"    {person.name} ({person.language})  {password}   accounts: {accounts}")
    generated = "a generated market without drift, which proves the machine and not the strategy"
    lines += ["", f"  Simulated money on {'recorded candles' if arguments.candles else generated}."]
    lines += [f"  Everything it writes: {home}", "  Ctrl-C stops it.", ""]
    print("\n".join(lines), flush=True)


async def _until_answering(port: int) -> None:
    """Wait until the gateway accepts connections."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return


def refuse_full_disk(home: Path) -> None:
    """Raise ConfigError when there is not enough room to run."""
    existing = next(folder for folder in (home, *home.parents) if folder.is_dir())
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    if free_mb < SPACE_MB:
        raise ConfigError(f"the demo needs {SPACE_MB} MB in {existing} and only {free_mb} MB are free; make room first")


if __name__ == "__main__":
    main()
