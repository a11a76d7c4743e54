"""Plots of a result, as people want to look at them. Plotly; used in notebooks, never in a dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ctp.errors import InputError
from ctp.research.event_figures import FIGURES

if TYPE_CHECKING:
    from ctp.research.result import BacktestResult
    from ctp.research.sweep_result import SweepResult

RISE, FALL, NEUTRAL, ACCENT = "#1f9d78", "#d9534f", "#64748b", "#2f6fde"
MOST_CANDLES = 5_000  # more are not readable and make a notebook heavy; equity is drawn whole
TARGET = (0.05, 0.10)  # the owner's monthly target


def plot_result(result: BacktestResult) -> go.Figure:
    """Return candles with entries and exits, equity, and the drawdown under it; several symbols show equity only."""
    has_candles = len(result.candles) == 1
    rows = 3 if has_candles else 2
    heights = [0.5, 0.3, 0.2] if has_candles else [0.65, 0.35]
    figure = make_subplots(rows=rows, shared_xaxes=True, vertical_spacing=0.03, row_heights=heights)
    if has_candles:
        _add_candles(figure, result)
    equity = result.equity
    falls = (equity / equity.cummax() - 1.0) * 100.0
    figure.add_trace(go.Scatter(x=equity.index, y=equity, name="equity", line={"color": ACCENT}), row=rows - 1, col=1)
    figure.add_trace(
        go.Scatter(x=falls.index, y=falls, name="drawdown %", fill="tozeroy", line={"color": FALL, "width": 1}),
        row=rows,
        col=1,
    )
    symbols = ", ".join(each.symbol for each in result.candles)
    figure.update_layout(
        title=f"{symbols} {result.candles[0].timeframe}: {len(result.closed_trades)} trades",
        template="plotly_white",
        height=800 if has_candles else 500,
        xaxis_rangeslider_visible=False,
        legend={"orientation": "h"},
    )
    figure.update_yaxes(title_text="equity", row=rows - 1, col=1)
    figure.update_yaxes(title_text="drawdown %", row=rows, col=1)
    return figure


def _add_candles(figure: go.Figure, result: BacktestResult) -> None:
    """Draw the newest candles and the trades on them."""
    frame = result.candles[0].to_frame().tail(MOST_CANDLES)
    figure.add_trace(
        go.Candlestick(
            x=frame.index,
            open=frame["open"],
            high=frame["high"],
            low=frame["low"],
            close=frame["close"],
            name="price",
            increasing_line_color=RISE,
            decreasing_line_color=FALL,
        ),
        row=1,
        col=1,
    )
    trades = result.trades
    for time, price, name, symbol, colour in (
        ("entry_time", "entry_price", "entry", "triangle-up", RISE),
        ("exit_time", "exit_price", "exit", "triangle-down", FALL),
    ):
        shown = trades[trades[time].notna() & (trades[time] >= frame.index[0])]
        figure.add_trace(
            go.Scatter(
                x=shown[time],
                y=shown[price],
                mode="markers",
                name=name,
                text=shown["exit_reason"],
                marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 1, "color": "white"}},
            ),
            row=1,
            col=1,
        )


def plot_months(result: BacktestResult) -> go.Figure:
    """Return a heatmap of monthly returns; months inside the 5–10 % target are outlined by their number in bold."""
    table = result.monthly_table() * 100.0
    low, high = (100.0 * bound for bound in TARGET)

    def words(value: float) -> str:
        """Return a cell's text."""
        if pd.isna(value):
            return ""
        return f"<b>{value:+.1f}</b>" if low <= value <= high else f"{value:+.1f}"

    limit = float(np.nanmax(np.abs(table.to_numpy()))) if table.size else 1.0
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(),
            x=[str(month) for month in table.columns],
            y=[str(year) for year in table.index],
            text=[[words(value) for value in row] for row in table.to_numpy()],
            texttemplate="%{text}",
            colorscale=[[0.0, FALL], [0.5, "#ffffff"], [1.0, RISE]],
            zmin=-limit,
            zmax=limit,
            colorbar={"title": "%"},
        )
    )
    title = "Monthly returns in % (bold: inside the 5–10 % target, which is a target and no promise)"
    figure.update_layout(title=title, template="plotly_white", xaxis_title="month", yaxis_title="year", height=420)
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def plot_r_multiples(result: BacktestResult) -> go.Figure:
    """Return a histogram of what closed trades earned, in units of the risk taken."""
    values = [trade["r_multiple"] for trade in result.closed_trades]
    figure = go.Figure(go.Histogram(x=values, nbinsx=60, marker_color=NEUTRAL))
    figure.add_vline(x=0.0, line_dash="dot")
    figure.update_layout(title="Trades by R multiple", template="plotly_white", xaxis_title="R", yaxis_title="trades")
    return figure


def plot_heatmap(result: SweepResult, x: str, y: str, figure: str, how: str) -> go.Figure:
    """Return a figure of a sweep over two of its axes; `how` sums up the combinations that share a cell."""
    for name, value in (("x", x), ("y", y)):
        if value not in result.grid.axes:
            raise InputError(name, value, "must be one of the axes " + ", ".join(result.grid.axes))
    if how not in ("median", "max", "min", "mean"):
        raise InputError("how", how, "must be median, max, min or mean")
    if figure not in FIGURES:
        raise InputError("figure", figure, "must be one of " + ", ".join(FIGURES))
    finite = result.table.replace([np.inf, -np.inf], np.nan)
    cells = finite.groupby([y, x])[figure].agg(how).unstack(x)
    shown = go.Heatmap(
        x=[str(value) for value in cells.columns],
        y=[str(value) for value in cells.index],
        z=cells.to_numpy(),
        colorscale="RdYlGn",
        zmid=0.0 if (cells.to_numpy() < 0).any() else None,
        colorbar={"title": figure},
        hovertemplate=f"{x} %{{x}}<br>{y} %{{y}}<br>{figure} %{{z:.3g}}<extra></extra>",
    )
    title = f"{how} {figure} of {len(result):,} combinations"
    return go.Figure(shown).update_layout(title=title, xaxis_title=x, yaxis_title=y, template="plotly_white")


def plot_parallel(result: SweepResult, figure: str, count: int) -> go.Figure:
    """Return the best combinations of a sweep as lines through its axes, coloured by the figure."""
    frame = result.top(figure, count)
    dimensions = []
    for name, values in result.grid.axes.items():
        places = {value: place for place, value in enumerate(values)}
        dimensions.append(
            {
                "label": name,
                "values": [places[value] for value in frame[name]],
                "tickvals": list(range(len(values))),
                "ticktext": [str(value) for value in values],
            }
        )
    dimensions.append({"label": figure, "values": frame[figure].tolist()})
    lines = go.Parcoords(dimensions=dimensions, line={"color": frame[figure], "colorscale": "Viridis", "showscale": True})
    return go.Figure(lines).update_layout(title=f"best {len(frame):,} of {len(result):,} by {figure}", template="plotly_white")
