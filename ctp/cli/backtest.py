"""`ctp backtest`: run the strategy over stored candles and print what came of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctp.cli.assignments import parse_assignments
from ctp.cli.output import Json, print_facts, print_json, print_table, working
from ctp.cli.strategies import StrategyOption
from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.errors import InputError, NotFound

if TYPE_CHECKING:
    from ctp.market.candles import Candles, FundingRates
    from ctp.research.result import BacktestResult

PERCENT = ("total_return", "cagr", "max_drawdown", "win_rate", "exposure", "worst_day", "largest_loss", "months_at_target")


def backtest(
    exchange: Annotated[str, typer.Option(help="ccxt exchange id, such as binance or binanceusdm.")],
    symbol: Annotated[str, typer.Option(help="One symbol, or several separated by commas, for one account.")],
    timeframe: Annotated[str, typer.Option(help="1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d.")],
    strategy: StrategyOption = DEFAULT_STRATEGY,
    start: Annotated[str | None, typer.Option(help="First open time, ISO-8601 UTC; warm-up lies after it.")] = None,
    end: Annotated[str | None, typer.Option(help="First open time no longer taken.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="strategy.*, risk.*, costs.*, market.* or equity; repeatable."),
    ] = None,
    detail: Annotated[
        str | None, typer.Option(help="Finer stored timeframe that says which came first, stop or take-profit: 1m.")
    ] = None,
    trades: Annotated[Path | None, typer.Option(help="Write the trade list to this CSV file.")] = None,
    equity: Annotated[Path | None, typer.Option(help="Write equity at each decision to this CSV file.")] = None,
    as_json: Json = False,
) -> None:
    """Run the strategy over stored candles: trades, equity and figures, with fees, slippage and funding."""
    symbols = [each.strip() for each in symbol.split(",") if each.strip()]
    if not symbols:
        raise InputError("--symbol", symbol, "must name at least one symbol, like BTC/USDT")
    told = parse_assignments(assignments or [], exchange, is_perpetual=":" in symbols[0], strategy=strategy)
    for name, file in (("--trades", trades), ("--equity", equity)):
        if file is not None and not file.absolute().parent.is_dir():
            raise InputError(name, str(file), "must lie in a folder that exists")
    candles, mark, funding = stored_history(symbols, timeframe, start, end, exchange)
    with working("Compiling and running", quiet=as_json):
        from ctp.research.backtest import backtest as run

        result = run(
            told.strategy,
            told.risk,
            candles,
            costs=told.costs,
            rules=told.rules,
            mark=mark,
            funding=funding,
            equity=told.equity,
            detail=detail or (),
        )
    if trades is not None:
        result.write_trades(trades)
    if equity is not None:
        result.write_equity(equity)
    if as_json:
        from ctp.research.promote import propose

        print_json(result.to_dict() | {"promotion": propose(result).to_plain()})
    else:
        _print(result)


def stored_history(
    symbols: list[str], timeframe: str, start: str | None, end: str | None, exchange: str
) -> tuple[list[Candles], list[Candles], list[FundingRates]]:
    """Return the stored candles, and the mark candles and funding rates of perpetuals where there are any."""
    from ctp.market.history import load_candles, load_funding

    candles = [load_candles(each, timeframe, start, end, exchange) for each in symbols]
    mark, funding = [], []
    for symbol in symbols:
        if ":" not in symbol:
            continue
        with contextlib.suppress(NotFound):  # the last price stands in for it
            mark.append(load_candles(symbol, timeframe, start, end, exchange, mark=True))
        with contextlib.suppress(NotFound):  # the result says that funding is left out
            funding.append(load_funding(symbol, start, end, exchange))
    return candles, mark, funding


def _print(result: BacktestResult) -> None:
    """Print the figures for a person, the target beside what was measured."""
    document = result.to_dict()
    figures: dict[str, Any] = document["figures"]
    single = {name: value for name, value in figures.items() if not isinstance(value, dict)}
    print_facts(
        {
            "candles": f"{document['first_candle']} to {document['last_candle']}, {document['timeframe']}",
            "equity": f"{document['start_equity']:,.2f} to {document['final_equity']:,.2f}",
            **{name.replace("_", " "): _shown(name, value) for name, value in single.items()},
            "open positions": document["open_positions"],
        },
        title=f"Backtest of {', '.join(document['symbols'])} on {document['exchange']}",
    )
    refused = sorted(document["refusals"].items(), key=lambda item: -item[1])
    print_table("", ("refused entries", "times"), refused, empty="No entry was refused.")
    for note in document["notes"]:
        typer.echo(f"note: {note}")
    _print_months(figures["monthly_returns"])
    reached, full = figures["months_at_target"], figures["full_months"]
    measured = f"{reached:.0%} of {full} full months here reached 5 %" if full else "there is no full month here"
    typer.echo(f"note: 5-10 % a month is a target, not a promise: {measured}.")


def _print_months(returns: dict[str, float]) -> None:
    """Print monthly returns in per cent: years down, months across."""
    years = sorted({name[:4] for name in returns})
    months = [f"{month:02}" for month in range(1, 13)]
    rows = []
    for year in years:
        values = [returns.get(f"{year}-{month}") for month in months]
        rows.append((year, *("" if value is None else f"{value * 100:+.1f}" for value in values)))
    if rows:
        print_table("", ("% by month", *months), rows, empty="")


def _shown(name: str, value: object) -> object:
    """Return fractions as per cent."""
    return f"{value:.2%}" if name in PERCENT and isinstance(value, float) else value
