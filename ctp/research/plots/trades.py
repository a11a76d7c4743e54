"""Trades: on the candles, by how far they went against and for us, and by what they earned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ctp.errors import InputError
from ctp.i18n import text
from ctp.market.history import parse_time
from ctp.research.plots.look import NEUTRAL, Look, finished, look_of

if TYPE_CHECKING:
    from ctp.market.candles import Candles
    from ctp.market.history import Time
    from ctp.research.result import BacktestResult

MOST_CANDLES = 2_000  # more are not readable and make a notebook heavy; longer history is drawn in coarser candles
_QUIET = ("#b9c2cf", "#8a95a6")  # candles behind trades: the colours are the trades'
SHOWN_TRADES = 12  # of a trade chart, unless told otherwise
_MARGIN = 30  # candles to either side


def add_candles(figure: go.Figure, candles: Candles, look: Look, colours: tuple[str, str] | None = None) -> None:
    """Draw candles in the first row, several as one where there are too many to be seen."""
    frame = candles.to_frame()
    together = -(-len(frame) // MOST_CANDLES)
    if together > 1:
        groups = np.arange(len(frame)) // together
        starts = frame.index[::together]
        whole = {"open": "first", "high": "max", "low": "min", "close": "last"}
        frame = frame.groupby(groups).agg(whole).set_index(starts)
    rise, fall = colours or (look.rise, look.fall)
    figure.add_trace(
        go.Candlestick(
            x=frame.index,
            **{name: frame[name] for name in ("open", "high", "low", "close")},
            name=look.words("price") if together == 1 else look.words("coarse", count=together),
            increasing={"line": {"color": rise, "width": 1}},
            decreasing={"line": {"color": fall, "width": 1}},
        ),
        **_first(figure),
    )


def _first(figure: go.Figure) -> dict[str, int]:
    """Return where the first row is, in a figure that has rows."""
    return {"row": 1, "col": 1} if getattr(figure, "_grid_ref", None) else {}


def add_trades(figure: go.Figure, result: BacktestResult, language: str) -> None:
    """Mark entries and exits."""
    look = look_of(language)
    trades = result.trades
    for kind, symbol, colour in (("entry", "triangle-up", look.accent), ("exit", "triangle-down", "#111827")):
        shown = trades[trades[f"{kind}_time"].notna()]
        figure.add_trace(
            go.Scatter(
                x=shown[f"{kind}_time"],
                y=shown[f"{kind}_price"],
                mode="markers",
                name=look.words(kind),
                text=[_reason(one, language) for one in shown["exit_reason"]] if kind == "exit" else None,
                marker={"symbol": symbol, "size": 7, "color": colour, "line": {"width": 0.5, "color": "white"}},
            ),
            **_first(figure),
        )


def _reason(reason: str | None, language: str) -> str:
    """Return why a trade ended, in words."""
    return "" if reason is None or pd.isna(reason) else text(f"exit_reason.{reason}", language)


def plot_trades(
    result: BacktestResult,
    language: str = "en",
    *,
    symbol: str | None = None,
    start: Time | None = None,
    end: Time | None = None,
) -> go.Figure:
    """Return candles with each trade from entry to exit, coloured by what it earned, and its first stop as a dotted line.

    symbol: of several. start, end: the stretch to show; the last trades unless given. Raises InputError when the symbol is
    not of this result or nothing lies in the stretch.
    """
    look = look_of(language)
    found = [each for each in result.candles if symbol in (None, each.symbol)]
    if not found:
        raise InputError("symbol", str(symbol), "must be one of " + ", ".join(each.symbol for each in result.candles))
    candles = found[0]
    trades = [each for each in result.closed_trades if each["symbol"] == candles.symbol]
    first, last = _stretch(candles, trades, start, end)
    frame = candles.to_frame().iloc[first:last]
    if frame.empty:
        raise InputError("start", str(start), "leaves no candle to show")
    figure = go.Figure()
    add_candles(figure, candles.between(int(candles.time[first]), int(candles.time[last - 1]) + 1), look, _QUIET)
    begin, stop = candles.time[first], candles.time[last - 1]
    shown = [each for each in trades if each["exit_time"] >= begin and each["entry_time"] <= stop]
    for is_gain in (True, False):
        _add_paths(figure, [each for each in shown if (each["pnl"] > 0.0) == is_gain], is_gain, look, language)
    _add_stops(figure, shown, look)
    figure.update_layout(xaxis_rangeslider_visible=False)
    figure.update_yaxes(title_text=look.words("price"))
    title = look.words("title.trades", symbol=candles.symbol, timeframe=candles.timeframe, count=len(shown))
    return finished(figure, title, 560)


def _stretch(candles: Candles, trades: list[dict[str, Any]], start: Time | None, end: Time | None) -> tuple[int, int]:
    """Return the rows of the candles to show."""
    last = len(candles) if end is None else int(np.searchsorted(candles.time, parse_time(end, "end")))
    if start is not None:
        return int(np.searchsorted(candles.time, parse_time(start, "start"))), last
    if not trades or end is not None:
        return max(0, last - MOST_CANDLES), last
    shown = trades[-SHOWN_TRADES:]
    ends = [int(np.searchsorted(candles.time, each[name])) for each in shown for name in ("entry_time", "exit_time")]
    return max(0, min(ends) - _MARGIN), min(len(candles), max(ends) + _MARGIN)


def _add_paths(figure: go.Figure, trades: list[dict[str, Any]], is_gain: bool, look: Look, language: str) -> None:
    """Draw trades as lines from entry to exit, as one trace."""
    times: list[int | None] = []
    prices: list[float | None] = []
    said: list[str] = []
    for trade in trades:
        side = text(f"side.{trade['side']}", language)
        reason = text(f"exit_reason.{trade['exit_reason']}", language)
        words = f"{side} · {trade['r_multiple']:+.2f} R · {reason}"
        times += [trade["entry_time"], trade["exit_time"], None]
        prices += [trade["entry_price"], trade["exit_price"], None]
        said += [words, words, ""]
    colour = look.rise if is_gain else look.fall
    figure.add_trace(
        go.Scatter(
            x=_times(times),
            y=prices,
            text=said,
            hovertemplate="%{x}<br>%{y}<br>%{text}<extra></extra>",
            mode="lines+markers",
            name=look.words("gains" if is_gain else "losses", count=len(trades)),
            line={"color": colour, "width": 2.5},
            marker={
                "size": 10,
                "symbol": ["circle", "x", "circle"] * len(trades),
                "color": colour,
                "line": {"width": 1, "color": "white"},
            },
        )
    )


def _times(values: list[int | None]) -> pd.Series[Any]:
    """Return milliseconds as times; None interrupts a line."""
    return pd.to_datetime(pd.Series(values, dtype="Int64"), unit="ms", utc=True)


def _add_stops(figure: go.Figure, trades: list[dict[str, Any]], look: Look) -> None:
    """Draw the first stop of each trade while it was open."""
    times: list[int | None] = []
    prices: list[float | None] = []
    for trade in trades:
        times += [trade["entry_time"], trade["exit_time"], None]
        prices += [trade["stop_price"], trade["stop_price"], None]
    figure.add_trace(
        go.Scatter(
            x=_times(times),
            y=prices,
            mode="lines",
            name=look.words("stop"),
            line={"color": NEUTRAL, "width": 1, "dash": "dot"},
        )
    )


def plot_excursions(result: BacktestResult, language: str = "en") -> go.Figure:
    """Return how far each trade went against us (MAE) and for us (MFE), in R: is the stop too tight, the exit too late?"""
    look = look_of(language)
    frame = result.excursions
    figure = go.Figure()
    for is_gain, colour in ((True, look.rise), (False, look.fall)):
        shown = frame[(frame["pnl"] > 0.0) == is_gain]
        figure.add_trace(
            go.Scatter(
                x=shown["adverse"],
                y=shown["favourable"],
                mode="markers",
                name=look.words("gains" if is_gain else "losses", count=len(shown)),
                text=[
                    f"{time:%Y-%m-%d %H:%M}<br>{r:+.2f} R · {text(f'exit_reason.{reason}', language)}"
                    for time, r, reason in zip(shown["entry_time"], shown["r_multiple"], shown["exit_reason"], strict=True)
                ],
                hovertemplate="MAE %{x:.2f} R<br>MFE %{y:.2f} R<br>%{text}<extra></extra>",
                marker={"color": colour, "size": 8, "opacity": 0.65, "line": {"width": 0.5, "color": "white"}},
            )
        )
    figure.add_vline(x=1.0, line_dash="dot", line_color=NEUTRAL, annotation_text=look.words("stop"))
    figure.update_layout(xaxis_title=look.words("adverse"), yaxis_title=look.words("favourable"))
    wasted = frame[(frame["pnl"] <= 0.0) & (frame["favourable"] >= 1.0)]
    title = look.words("title.excursions", count=len(frame), wasted=len(wasted))
    return finished(figure, title, 520)


def plot_r_multiples(result: BacktestResult, language: str = "en") -> go.Figure:
    """Return a histogram of what closed trades earned, in units of the risk taken, with their mean."""
    look = look_of(language)
    values = np.array([trade["r_multiple"] for trade in result.closed_trades], dtype=float)
    values = values[np.isfinite(values)]
    figure = go.Figure()
    if len(values):
        low, high = float(np.floor(values.min() * 4) / 4), float(np.ceil(values.max() * 4) / 4)
        bins = {"start": low, "end": high, "size": max(0.25, (high - low) / 80)}
        for is_gain, colour in ((True, look.rise), (False, look.fall)):
            shown = values[(values > 0.0) == is_gain]
            name = look.words("gains" if is_gain else "losses", count=len(shown))
            figure.add_trace(go.Histogram(x=shown, xbins=bins, marker_color=colour, name=name))
        mean = float(values.mean())
        figure.add_vline(x=mean, line_color="#111827", line_dash="dash", annotation_text=look.words("mean", r=f"{mean:+.2f}"),
            annotation_position="top left" if mean < 0 else "top right")
    figure.add_vline(x=0.0, line_color=NEUTRAL, line_width=1)
    figure.update_layout(barmode="overlay", xaxis_title="R", yaxis_title=look.words("trades"))
    return finished(figure, look.words("title.r", count=len(values)), 440)
