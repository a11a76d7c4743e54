"""`ctp simulator`: run the simulated exchange that paper accounts trade on."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp.cli.output import Json
from ctp.config import PAPER_FILE, load_settings
from ctp.errors import ConfigError, InputError
from ctp.lifetime import until_stopped

if TYPE_CHECKING:
    from ctp.simulator.control import Control
    from ctp.simulator.exchange import SimulatedExchange
    from ctp.simulator.feed import Feed
    from ctp.simulator.settings import SimulatorSettings

FASTEST_WITH_LIMITS = 60.0


def simulator(
    candles: Annotated[
        list[str] | None,
        typer.Option(metavar="[SYMBOL=]FILE", help="Recorded candles to replay; repeatable. Without: a generated market."),
    ] = None,
    timeframe: Annotated[str, typer.Option(help="Length of one candle; default: the file's, or 1m when generated.")] = "",
    speed: Annotated[float, typer.Option(help="Market time ÷ wall time; 0: nothing moves until told.")] = 60.0,
    port: Annotated[int, typer.Option(help="Exchange port on loopback; 0 takes a free one.")] = 9443,
    control_port: Annotated[int, typer.Option(help="Control port on loopback; 0 takes a free one.")] = 9444,
    folder: Annotated[Path | None, typer.Option(help="Certificates, token and state; default CTP_HOME/simulator.")] = None,
    fills: Annotated[str, typer.Option(help="book: spread and partial fills; candle-exact: as a backtest fills.")] = "book",
    seed: Annotated[int, typer.Option(help="Of the generated market and of chance.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget accounts and market time of earlier runs.")] = False,
    as_json: Json = False,
) -> None:
    """Run the simulated exchange until Ctrl-C: real dialect, simulated money."""
    from ctp.simulator.settings import SimulatorSettings

    if not speed >= 0:
        raise InputError("--speed", speed, "must be 0 or more")
    if fills not in ("book", "candle-exact"):
        raise InputError("--fills", fills, "must be book or candle-exact")
    place = folder or load_settings().folder("simulator")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if fresh:
        for file in place.glob("*state*"):
            file.unlink()
    for number in (port, control_port):
        refuse_taken_port(number, "--port" if number == port else "--control-port")
    settings = SimulatorSettings(
        folder=place,
        feed=feed_of(candles or [], timeframe, seed),
        port=port,
        control_port=control_port,
        fill_mode=fills,
        speed=speed,
        seed=seed,
        state=True,
        # Limits count wall time. A market that runs much faster has a bot ask an hour's questions in a second.
        enforce_limits=0 < speed <= FASTEST_WITH_LIMITS,
    )
    asyncio.run(until_stopped(_serve_telling(settings, as_json)))


def _write_paper_file(settings: SimulatorSettings, exchange: SimulatedExchange, control: Control) -> None:
    """Tell bot, web and command line of this home where paper accounts trade."""
    from ctp.simulator.certificates import write_private
    from ctp.simulator.control import TOKEN_FILE
    from ctp.simulator.generated import GeneratedFeed

    lines = {
        "port": exchange.port,
        "ca_file": json.dumps(exchange.ca_file),
        "control_url": json.dumps(f"http://127.0.0.1:{control.port}"),
        "control_token_file": json.dumps(str(settings.folder / TOKEN_FILE)),
        "market": json.dumps("generated" if isinstance(settings.feed, GeneratedFeed) else "recorded"),
    }
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    write_private(settings.folder / PAPER_FILE.name, text.encode())


async def _serve_telling(settings: SimulatorSettings, as_json: bool) -> None:
    """Run the exchange and say where it is once it listens."""
    from ctp.simulator.run import serve

    def tell(exchange: SimulatedExchange, control: Control) -> None:
        _write_paper_file(settings, exchange, control)
        where = {"port": exchange.port, "control_port": control.port, "folder": str(settings.folder)}
        what = "recorded candles" if "Recorded" in type(settings.feed).__name__ else "a generated market without drift"
        if as_json:
            typer.echo(json.dumps({**where, "symbols": list(settings.feed.symbols)}))
        else:
            typer.echo(f"Simulated exchange on 127.0.0.1:{exchange.port} ({what}), keys in {settings.folder}")
            typer.echo(f"Trades {', '.join(settings.feed.symbols)}. Ctrl-C stops it.")

    await serve(settings, tell)


def feed_of(candles: list[str], timeframe: str, seed: int) -> Feed:
    """Return the market: recorded files, each serving spot and perpetual of its coin, or a generated one.

    candles: FILE (BTC/USDT) or SYMBOL=FILE. timeframe: empty takes that of the first file, or 1m.
    Raises InputError naming the first bad row of a file.
    """
    from ctp.market.candles import Candles
    from ctp.market.importer import read_file
    from ctp.market.series import Series, timeframe_ms
    from ctp.simulator.feed import RecordedFeed, Recording, recording
    from ctp.simulator.generated import GeneratedFeed

    if not candles:
        return GeneratedFeed(timeframe_ms=timeframe_ms(timeframe or "1m"), seed=seed)
    named = [("BTC/USDT", Path(each)) if "=" not in each else _split(each) for each in candles]
    timeframe = timeframe or timeframe_of(named[0][1])
    recordings: dict[str, Recording] = {}
    for symbol, file in named:
        exchange = "binanceusdm" if ":" in symbol else "binance"
        data, _, _ = read_file(file, Series.checked(exchange, symbol, timeframe))
        assert isinstance(data, Candles)  # the series asked for is one of candles
        if symbol in recordings:
            raise InputError("--candles", symbol, "is given twice; name another symbol as SYMBOL=FILE")
        recordings[symbol] = recording({"ts": data.time, **data.columns()})
    for symbol in list(recordings):
        pair, _, settle = symbol.partition(":")
        other = pair if settle else f"{pair}:{pair.partition('/')[2]}"
        recordings.setdefault(other, recordings[symbol])
    return RecordedFeed(recordings, timeframe_ms(timeframe))


def timeframe_of(file: Path) -> str:
    """Return the timeframe that a file's open times have; InputError when they have none."""
    from ctp.market.file_readers import read_columns
    from ctp.market.series import TIMEFRAMES, Series
    from ctp.market.validation import smallest_grid_ms

    grid = smallest_grid_ms(read_columns(file, Series("binance", "BTC/USDT", "1m"))["ts"])
    for name, length_ms in TIMEFRAMES.items():
        if length_ms == grid:
            return name
    raise InputError("--candles", str(file), "has open times of no known timeframe; say which with --timeframe")


def _split(argument: str) -> tuple[str, Path]:
    """Return symbol and file of SYMBOL=FILE."""
    symbol, _, file = argument.partition("=")
    return symbol, Path(file)


def refuse_taken_port(port: int, name: str) -> None:
    """Raise ConfigError when another process listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ConfigError(f"port {port} is taken by another process; choose another with {name}") from None
