"""`ctp sweep`: every combination of a grid over stored candles, the best of them printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctp.cli.assignments import parse_assignments
from ctp.cli.backtest import stored_history
from ctp.cli.grid import parse_grid
from ctp.cli.output import Json, print_json, print_table
from ctp.cli.strategies import StrategyOption
from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.errors import InputError


def sweep(
    exchange: Annotated[str, typer.Option(help="ccxt exchange id, such as binance or binanceusdm.")],
    symbol: Annotated[str, typer.Option(help="One symbol, or several separated by commas, for one account.")],
    timeframe: Annotated[str, typer.Option(help="1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d.")],
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUES",
            help="strategy.period=5:41 or strategy.stop_loss=0.01,0.02; with --search also a range, 0.005..0.1 or "
            "0.005..0.1:log; repeatable.",
        ),
    ],
    strategy: StrategyOption = DEFAULT_STRATEGY,
    start: Annotated[str | None, typer.Option(help="First open time, ISO-8601 UTC; warm-up lies after it.")] = None,
    end: Annotated[str | None, typer.Option(help="First open time no longer taken.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="What is not on an axis; as for backtest.")
    ] = None,
    detail: Annotated[
        str | None, typer.Option(help="Finer stored timeframe that says which came first, stop or take-profit: 1m.")
    ] = None,
    by: Annotated[str, typer.Option(help="The figure to rank by.")] = "sharpe",
    top: Annotated[int, typer.Option(min=1, help="How many of the best to print.")] = 10,
    search: Annotated[
        str | None, typer.Option(help="random or tpe: try only --trials combinations, TPE for the best --by.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many combinations a search tries; 1,000 unless given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed tries the same combinations.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; all cores unless given.")] = None,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler whose workers do the work.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder that keeps results as they come; the same command goes on where it stopped.")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Write every combination to this Parquet file.")] = None,
    as_json: Json = False,
) -> None:
    """Try every combination of the values given, with the backtest's own figures, and print the best."""
    symbols = [each.strip() for each in symbol.split(",") if each.strip()]
    if not symbols:
        raise InputError("--symbol", symbol, "must name at least one symbol, like BTC/USDT")
    told = parse_assignments(assignments or [], exchange, is_perpetual=":" in symbols[0], strategy=strategy)
    axes = parse_grid(grid)
    if table is not None and not table.absolute().parent.is_dir():
        raise InputError("--table", str(table), "must lie in a folder that exists")
    candles, mark, funding = stored_history(symbols, timeframe, start, end, exchange)
    from ctp.research.sweep import sweep as run

    try:
        result = run(
            told.strategy, told.risk, candles, axes, costs=told.costs, rules=told.rules, mark=mark, funding=funding,
            equity=told.equity, detail=detail or (), search=search, trials=trials, seed=seed, by=by, workers=workers,
            dask=dask, store=out, quiet=as_json,
        )  # fmt: skip
    except KeyboardInterrupt:
        kept = f"what is done is kept in {out}: the same command goes on from there" if out else "nothing was kept: use --out"
        typer.echo(f"ctp: stopped; {kept}", err=True)
        raise typer.Exit(130) from None
    best = result.top(by, top)
    if table is not None:
        result.table.to_parquet(table)
    if as_json:
        print_json(result.to_dict(by, top))
        return
    shown = [*result.grid.axes, by, *(name for name in ("total_return", "max_drawdown", "trades") if name != by)]
    rows = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row] for row in best[shown].values.tolist()]
    print_table(f"Best {len(best)} of {len(result):,} by {by}", shown, rows, empty="No combination.")
    for note in result.notes:
        typer.echo(f"note: {note}")
