"""What plots show is what the result holds, in both languages."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import ctp
from ctp.errors import InputError
from ctp.i18n import LANGUAGES
from ctp.market.candles import Candles
from ctp.research.excursions import excursions
from ctp.research.plots import plot_walk_forward
from ctp.research.plots.trades import MOST_CANDLES, SHOWN_TRADES
from ctp.research.result import BacktestResult
from ctp.research.sweep_result import SweepResult
from ctp.research.validation.outcome import Fold, WalkForward
from tests.research.conftest import START, generated_candles

HOUR = 3_600_000


@cache
def backtest() -> BacktestResult:
    """Return a backtest with gains and losses, once for all tests."""
    strategy = ctp.RsiMeanReversion(period=7, oversold=40, overbought=60, volume_factor=0.0)
    return ctp.backtest(strategy, ctp.DynamicRiskManager(max_drawdown=1.0), generated_candles())


@cache
def sweep() -> SweepResult:
    """Return a small sweep."""
    return ctp.sweep(candles=generated_candles(), period=[7, 14], oversold=[25, 30, 35], stop_loss=[0.02, 0.05], quiet=True)


def every_plot(language: str) -> dict[str, go.Figure]:
    """Return each plot of a result and of a sweep."""
    result, swept = backtest(), sweep()
    names = ("plot", "plot_equity", "plot_trades", "plot_months", "plot_excursions", "plot_r_multiples")
    figures = {name: getattr(result, name)(language) for name in names}
    figures["heatmap"] = swept.heatmap("period", "oversold", language=language)
    figures["parallel"] = swept.parallel(language=language)
    return figures


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_plot_draws_and_has_a_title_of_its_language(language: str) -> None:
    for name, figure in every_plot(language).items():
        title = figure.layout.title.text
        assert figure.data, name
        assert any("가" <= letter <= "힣" for letter in title) == (language == "ko"), (name, title)
        assert len(figure.to_json()) < 3_000_000, name


def test_an_unknown_language_axis_or_symbol_is_named() -> None:
    with pytest.raises(InputError, match="language"):
        backtest().plot("de")
    with pytest.raises(InputError, match="another axis"):
        sweep().heatmap("period", "period")
    with pytest.raises(InputError, match="must be one of the axes"):
        sweep().heatmap("period", "atr")
    with pytest.raises(InputError, match="BTC/USDT"):
        backtest().plot_trades(symbol="ETH/USDT")


def test_rise_is_red_in_korean_and_green_in_english() -> None:
    gains = {language: backtest().plot_r_multiples(language).data[0].marker.color for language in LANGUAGES}
    assert gains == {"ko": "#d9363e", "en": "#1f9d78"}


def test_long_history_is_drawn_in_coarser_candles_that_keep_every_extreme() -> None:
    result = backtest()
    shown = result.plot().data[0]
    candles = result.candles[0]
    assert len(shown.x) <= MOST_CANDLES < len(candles)
    assert (max(shown.high), min(shown.low)) == (candles.high.max(), candles.low.min())
    assert (shown.open[0], shown.close[-1]) == (candles.open[0], candles.close[-1])


def drawn_points(figure: go.Figure) -> int:
    """Return how many points the paths of trades have: entry, exit and the break after it."""
    paths = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines+markers"]
    return sum(len(trace.x) for trace in paths)


def test_the_trade_chart_shows_the_last_trades_or_the_stretch_asked_for() -> None:
    result = backtest()
    assert drawn_points(result.plot_trades()) >= 3 * SHOWN_TRADES
    begin, end = START + 500 * HOUR, START + 700 * HOUR
    held = [one for one in result.closed_trades if one["exit_time"] >= begin and one["entry_time"] <= end - HOUR]
    assert drawn_points(result.plot_trades(start=begin, end=end)) == 3 * len(held) > 0


def test_bold_months_are_those_inside_the_target_and_partial_ones_stand_in_brackets() -> None:
    figure = backtest().plot_months()
    texts = {f"{year}-{month + 1:02d}": text for year, row in zip(("2023",), figure.data[0].text, strict=False)
             for month, text in enumerate(row)}  # fmt: skip
    for month in backtest().months:
        said = texts[month.name]
        assert ("<b>" in said) == (0.05 <= month.value <= 0.10)
        assert said.startswith("(") == (not month.is_full)
        assert f"{month.value * 100:+.1f}" in said


def trade(**changes: Any) -> dict[str, Any]:
    """Return a closed long trade from 100 with its stop at 98."""
    return {
        "symbol": "BTC/USDT", "side": "long", "entry_time": START + HOUR, "entry_price": 100.0, "exit_time": START + 3 * HOUR,
        "exit_price": 101.0, "stop_price": 98.0, "pnl": 1.0, "r_multiple": 0.5, "exit_reason": "exit_signal", **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "adverse", "favourable"),
    [
        ({}, 0.5, 2.0),  # low 99 and high 104 while it was held
        ({"side": "short", "stop_price": 102.0}, 2.0, 0.5),
        ({"exit_time": START + HOUR, "exit_price": 98.0}, 1.0, 0.0),  # stopped in its first candle
        ({"exit_price": 97.0}, 1.5, 2.0),  # gapped through its stop; the exit candle's own low does not count
    ],
)
def test_excursions_of_known_candles(changes: dict[str, Any], adverse: float, favourable: float) -> None:
    columns = np.array(
        [
            # open, high, low, close
            (100.0, 100.0, 100.0, 100.0),
            (100.0, 102.0, 99.0, 101.0),
            (101.0, 104.0, 100.0, 102.0),
            (102.0, 150.0, 50.0, 100.0),  # the exit candle
        ]
    ).T
    time = START + np.arange(4) * HOUR
    candles = Candles("BTC/USDT", "1h", "binance", time, *(column.copy() for column in columns), np.ones(4))
    result = dataclasses.replace(backtest(), candles=(candles,), trade_records=[trade(**changes)])
    row = excursions(result).iloc[0]
    assert (row["adverse"], row["favourable"]) == (adverse, favourable)


def test_a_loss_by_the_stop_went_at_least_as_far_against_us() -> None:
    frame = backtest().excursions
    stopped = frame[frame["exit_reason"] == "stop_loss"]
    assert len(stopped) > 0
    assert (stopped["adverse"] >= 1.0).all()
    assert (frame["favourable"] >= 0.0).all()


def fold(number: int, earned: float) -> Fold:
    """Return a fold that earned something."""
    begin = START + number * 1000 * HOUR
    return Fold(
        train_start=START, train_end=begin, test_start=begin, test_end=begin + 1000 * HOUR, number=0,
        parameters={"period": 14}, train_sharpe=1.0, test_return=earned, test_sharpe=None, test_drawdown=0.0, trades=3,
    )  # fmt: skip


def test_the_strip_shows_each_fold_where_it_was_chosen_and_what_it_earned() -> None:
    folds = [fold(1, 0.031), fold(2, -0.012)]
    walked = WalkForward(
        kind="anchored", folds=folds, total_return=0.019, annual_return=None, sharpe=None, probability=None, max_drawdown=0.0,
        trades=6, profitable_folds=1, full_months=0, months_at_target=None, months_in_band=None, months={},
        day=np.zeros(0), daily=np.zeros(0), time=START + np.arange(3) * HOUR, equity=np.array([1.0, 1.01, 1.019]),
    )  # fmt: skip

    class Found:
        """What the plot reads of a validation."""

        anchored = walked
        rolling = dataclasses.replace(walked, kind="rolling")

    figure = plot_walk_forward(Found())  # type: ignore[arg-type]
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [bar.text[0] for bar in bars[1:4:2]] == ["+3.1%", "-1.2%"]
    assert bars[1].x[0] == folds[0].test_end - folds[0].test_start
    assert "1 of 2" in figure.layout.title.text
