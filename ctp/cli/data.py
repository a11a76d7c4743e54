"""`ctp data`: import, download, list, verify and repair market history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctp.cli.output import Json, print_facts, print_json, print_table, progress

if TYPE_CHECKING:
    from ctp.market.download import Downloaded, Progress
    from ctp.market.series import Series

app = typer.Typer(help="Market history: candles, mark prices, funding rates.", no_args_is_help=True)

Exchange = Annotated[str, typer.Option(help="ccxt exchange id, such as binance or binanceusdm.")]
Symbol = Annotated[str, typer.Option(help="BTC/USDT, or BTC/USDT:USDT for a perpetual.")]
Timeframe = Annotated[str, typer.Option(help="1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d; not needed for funding.")]
Kind = Annotated[str, typer.Option(help="candles, mark or funding.")]


@app.command(
    "import",
    epilog="Example: ctp data import BTCUSDT-1h.csv --exchange binance --symbol BTC/USDT --timeframe 1h",
)
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet, or freqtrade feather or JSON.")],
    exchange: Exchange,
    symbol: Symbol,
    timeframe: Timeframe = "",
    kind: Kind = "candles",
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop exact duplicates and incomplete rows, sort; each repair is listed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a file row by row and store it; a bad row is named and nothing is written."""
    from ctp.market.history import candle_store
    from ctp.market.importer import import_file
    from ctp.market.series import Series

    series = Series.checked(exchange, symbol, timeframe, kind)
    done = import_file(file, series, candle_store(), repair=repair)
    if as_json:
        print_json({**done._asdict(), "series": series._asdict(), "repairs": done.repairs, "gaps": done.gaps})
        return
    print_facts(
        {"rows": done.rows, "added": done.added, "already there": done.unchanged, "revised": len(done.revised)},
        title=f"{series} from {file}",
    )
    for repaired in done.repairs:
        typer.echo(f"  repaired  {repaired}")
    _print_gaps(done.gaps)


@app.command(epilog="Example: ctp data download --exchange binance --symbol BTC/USDT --timeframe 1h --since 2023-01-01")
def download(
    exchange: Exchange,
    symbol: Symbol,
    since: Annotated[str, typer.Option(help="First time to fetch, ISO-8601 UTC.")],
    timeframe: Timeframe = "",
    until: Annotated[str | None, typer.Option(help="Last time, not included; now without it.")] = None,
    kind: Kind = "candles",
    as_json: Json = False,
) -> None:
    """Fetch what is missing, page by page; each page is stored at once, so an interrupted download goes on later."""
    from ctp.market.download import download as fetch
    from ctp.market.exchange_source import public_source
    from ctp.market.history import candle_store, parse_time
    from ctp.market.series import Series

    series = Series.checked(exchange, symbol, timeframe, kind)
    first = parse_time(since, "since")
    last = None if until is None else parse_time(until, "until")

    async def run(on_progress: Callable[[Progress], None]) -> Downloaded:
        async with public_source(exchange) as source:
            return await fetch(source, candle_store(), series, first, last, on_progress=on_progress)

    _fetch(series, run, as_json)


@app.command(epilog="Example: ctp data repair --exchange binance --symbol BTC/USDT --timeframe 1h")
def repair(
    exchange: Exchange, symbol: Symbol, timeframe: Timeframe = "", kind: Kind = "candles", as_json: Json = False
) -> None:
    """Ask the exchange once more for every hole in what is stored."""
    from ctp.market.download import repair as fetch
    from ctp.market.exchange_source import public_source
    from ctp.market.history import candle_store
    from ctp.market.series import Series

    series = Series.checked(exchange, symbol, timeframe, kind)

    async def run(on_progress: Callable[[Progress], None]) -> Downloaded:
        async with public_source(exchange) as source:
            return await fetch(source, candle_store(), series, on_progress=on_progress)

    _fetch(series, run, as_json)


@app.command("list", epilog="Example: ctp data list --json")
def list_(as_json: Json = False) -> None:
    """List what is stored, with the first and the last time."""
    from ctp.market.history import candle_store
    from ctp.market.validation import iso

    stored = list(candle_store().list())
    if as_json:
        rows = [{**item.series._asdict(), "rows": item.rows, "first": item.first, "last": item.last} for item in stored]
        print_json([{**row, "size_bytes": item.size_bytes} for row, item in zip(rows, stored, strict=True)])
        return
    print_table(
        "",
        ("series", "rows", "first", "last", "MB"),
        [(str(s.series), s.rows, iso(s.first), iso(s.last), round(s.size_bytes / 1e6, 2)) for s in stored],
        empty="No market history is stored. Import a file: ctp data import --help",
    )


@app.command(epilog="Example: ctp data verify")
def verify(as_json: Json = False) -> None:
    """Read every stored row and check it anew; exit 1 when something is damaged."""
    from ctp.market.history import candle_store

    results = list(candle_store().verify())
    if as_json:
        print_json([{**result._asdict(), "series": result.series._asdict()} for result in results])
    else:
        print_table(
            "",
            ("series", "rows", "missing", "problems"),
            [(str(r.series), r.rows, sum(g.missing for g in r.gaps), "; ".join(r.problems) or "none") for r in results],
            empty="No market history is stored.",
        )
    if any(result.problems for result in results):
        raise typer.Exit(1)


def _fetch(
    series: Series, run: Callable[[Callable[[Progress], None]], Coroutine[Any, Any, Downloaded]], as_json: bool
) -> None:
    """Run a download under a progress bar and tell what it did."""
    with progress(str(series), quiet=as_json) as show:
        done = asyncio.run(run(lambda at: show(at.reached - at.start, at.end - at.start)))
    if as_json:
        print_json({**done._asdict(), "series": done.series._asdict()})
        return
    print_facts({"added": done.added, "revised": len(done.revised), "requests": done.requests}, title=str(series))
    _print_gaps(done.gaps)


def _print_gaps(gaps: tuple[object, ...], shown: int = 10) -> None:
    """List holes, the first few in full."""
    for gap in gaps[:shown]:
        typer.echo(f"  gap       {gap}")
    if len(gaps) > shown:
        typer.echo(f"  gap       and {len(gaps) - shown} more; ctp data verify --json lists them all")
