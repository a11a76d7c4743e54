"""`ctp validate` and `ctp check`: whether a result is luck, and whether a strategy looks ahead."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ctp.cli.assignments import parse_assignments
from ctp.cli.backtest import stored_history
from ctp.cli.grid import parse_grid
from ctp.cli.output import Json, print_json, working
from ctp.cli.strategies import StrategyOption
from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.errors import InputError
from ctp.i18n import LANGUAGES

Language = Annotated[str, typer.Option(help="ko or en.")]


def validate(
    exchange: Annotated[str, typer.Option(help="ccxt exchange id, such as binance or binanceusdm.")],
    symbol: Annotated[str, typer.Option(help="One symbol, or several separated by commas, for one account.")],
    timeframe: Annotated[str, typer.Option(help="1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="As for sweep, repeatable: its best is judged. Without a grid, the parameters given are.",
        ),
    ] = None,
    strategy: StrategyOption = DEFAULT_STRATEGY,
    start: Annotated[str | None, typer.Option(help="First open time, ISO-8601 UTC; warm-up lies after it.")] = None,
    end: Annotated[str | None, typer.Option(help="First open time no longer taken.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="What is not on an axis; as for backtest.")
    ] = None,
    detail: Annotated[
        str | None, typer.Option(help="Finer stored timeframe that says which came first, stop or take-profit: 1m.")
    ] = None,
    by: Annotated[str, typer.Option(help="The figure to choose by, here and in each fold.")] = "sharpe",
    folds: Annotated[int, typer.Option(help="Of each walk-forward and of the cross-validation.")] = 6,
    seed: Annotated[int, typer.Option(help="Of everything that depends on chance.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; all cores unless given.")] = None,
    language: Language = "en",
    as_json: Json = False,
) -> None:
    """Say in green, amber or red whether the best of a grid, or a parameter set, is more than luck.

    Walk-forward, cross-validation, a Sharpe ratio deflated by every trial ever run, overfitting, and worse conditions.
    """
    _known_language(language)
    symbols = _symbols(symbol)
    told = parse_assignments(assignments or [], exchange, is_perpetual=":" in symbols[0], strategy=strategy)
    axes = parse_grid(grid or [])
    candles, mark, funding = stored_history(symbols, timeframe, start, end, exchange)
    given: dict[str, Any] = {
        "costs": told.costs, "rules": told.rules, "mark": mark, "funding": funding, "equity": told.equity,
        "detail": detail or (),
    }  # fmt: skip
    with working("Compiling and running", quiet=as_json):
        from ctp.research.backtest import backtest
        from ctp.research.sweep import sweep
        from ctp.research.validation.run import validate as run
    if axes:
        result: Any = sweep(told.strategy, told.risk, candles, axes, workers=workers, quiet=as_json, **given)
    else:
        result = backtest(told.strategy, told.risk, candles, **given)
    found = run(result, by=by, folds=folds, seed=seed, workers=workers, quiet=as_json)
    if as_json:
        from ctp.research.promote import propose

        print_json(found.to_dict() | {"promotion": propose(found).to_plain()})
        return
    typer.echo(str(found.report(language)))


def check(
    exchange: Annotated[str, typer.Option(help="ccxt exchange id, such as binance or binanceusdm.")],
    symbol: Annotated[str, typer.Option(help="One symbol.")],
    timeframe: Annotated[str, typer.Option(help="1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d.")],
    strategy: StrategyOption = DEFAULT_STRATEGY,
    start: Annotated[str | None, typer.Option(help="First open time, ISO-8601 UTC.")] = None,
    end: Annotated[str | None, typer.Option(help="First open time no longer taken.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="strategy.*; as for backtest.")
    ] = None,
    cuts: Annotated[int, typer.Option(help="How often the history is cut off.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the places of the cuts.")] = 1,
    language: Language = "en",
    as_json: Json = False,
) -> None:
    """Say whether a strategy looks ahead, and how many candles of warm-up it needs."""
    _known_language(language)
    symbols = _symbols(symbol)
    if len(symbols) > 1:
        raise InputError("--symbol", symbol, "must be one symbol")
    told = parse_assignments(assignments or [], exchange, is_perpetual=":" in symbols[0], strategy=strategy)
    candles, _, _ = stored_history(symbols, timeframe, start, end, exchange)
    with working("Checking", quiet=as_json):
        from ctp.research.check import check as run

        found = run(told.strategy, candles[0], cuts=cuts, seed=seed)
    if as_json:
        print_json(found.to_dict())
        return
    typer.echo(found.report(language))


def _symbols(symbol: str) -> list[str]:
    """Return the symbols named."""
    symbols = [each.strip() for each in symbol.split(",") if each.strip()]
    if not symbols:
        raise InputError("--symbol", symbol, "must name at least one symbol, like BTC/USDT")
    return symbols


def _known_language(language: str) -> None:
    """Refuse a language there is not, before anything runs."""
    if language not in LANGUAGES:
        raise InputError("--language", language, "must be one of " + ", ".join(LANGUAGES))
