"""Equity and what became of it: over time, against holding, month by month against the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ctp.errors import InputError
from ctp.research.plots.look import NEUTRAL, TARGET, Look, finished, look_of
from ctp.research.plots.trades import add_candles, add_trades

if TYPE_CHECKING:
    from ctp.research.result import BacktestResult


def plot_result(result: BacktestResult, language: str = "en") -> go.Figure:
    """Return candles with entries and exits, equity, and the drawdown under it; several symbols show equity only."""
    if len(result.candles) != 1:
        return plot_equity(result, language)
    look = look_of(language)
    figure = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.03, row_heights=[0.5, 0.3, 0.2])
    add_candles(figure, result.candles[0], look)
    add_trades(figure, result, language)
    _add_equity(figure, result, 2, look)
    figure.update_layout(xaxis_rangeslider_visible=False)
    figure.update_yaxes(title_text=look.words("price"), row=1, col=1)
    return finished(figure, _title(result, look), 820)


def plot_equity(result: BacktestResult, language: str = "en") -> go.Figure:
    """Return equity with the drawdown under it, and what holding the symbol would have made of the same money."""
    look = look_of(language)
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.04, row_heights=[0.68, 0.32])
    if len(result.candles) == 1 and len(result.time):
        candles = result.candles[0]
        held = result.start_equity * candles.close / candles.close[0]
        times = pd.to_datetime(candles.time + candles.length_ms, unit="ms", utc=True)
        line = {"color": NEUTRAL, "width": 1, "dash": "dot"}
        figure.add_trace(go.Scatter(x=times, y=held, name=look.words("held"), line=line, visible="legendonly"), row=1, col=1)
    _add_equity(figure, result, 1, look)
    return finished(figure, _title(result, look), 560)


def _add_equity(figure: go.Figure, result: BacktestResult, row: int, look: Look) -> None:
    """Draw equity in a row and the drawdown in the next."""
    equity = result.equity
    falls = (equity / equity.cummax() - 1.0) * 100.0
    names = (look.words("equity"), look.words("drawdown"))
    line = {"color": look.accent, "width": 1.5}
    figure.add_trace(go.Scatter(x=equity.index, y=equity, name=names[0], line=line), row=row, col=1)
    figure.add_hline(y=result.start_equity, line_dash="dot", line_color=NEUTRAL, line_width=1, row=row, col=1)
    figure.add_trace(
        go.Scatter(x=falls.index, y=falls, name=names[1], fill="tozeroy", line={"color": look.fall, "width": 1}),
        row=row + 1,
        col=1,
    )
    figure.update_yaxes(title_text=names[0], row=row, col=1)
    figure.update_yaxes(title_text=names[1], ticksuffix=" %", row=row + 1, col=1)


def _title(result: BacktestResult, look: Look) -> str:
    """Say what was run and what came of it."""
    figures = result.figures
    if figures["total_return"] is None:
        return look.words("nothing")
    return look.words(
        "title.result",
        symbols=", ".join(each.symbol for each in result.candles),
        timeframe=result.candles[0].timeframe,
        trades=figures["trades"],
        total=f"{figures['total_return']:+.1%}",
        drawdown=f"{figures['max_drawdown']:.1%}",
    )


def plot_months(result: BacktestResult, language: str = "en") -> go.Figure:
    """Return a heatmap of monthly returns; months inside the 5–10 % target are bold, partial months in brackets."""
    look = look_of(language)
    table = result.monthly_table() * 100.0
    if table.empty:
        raise InputError("result", "no month", "must hold at least one decision")
    partial = {month.name for month in result.months if not month.is_full}
    low, high = (100.0 * bound for bound in TARGET)
    columns = list(range(1, 13))
    values = table.reindex(columns=columns).to_numpy()
    years = ((1.0 + table.fillna(0.0) / 100.0).prod(axis=1) - 1.0) * 100.0

    def words(value: float, name: str) -> str:
        """Return a cell's text."""
        if np.isnan(value):
            return ""
        shown = f"<b>{value:+.1f}</b>" if low <= value <= high else f"{value:+.1f}"
        return f"({shown})" if name in partial else shown

    texts = [
        [words(value, f"{year}-{month:02d}") for month, value in zip(columns, row, strict=True)]
        for year, row in zip(table.index, values, strict=True)
    ]
    limit = max(high, float(np.nanquantile(np.abs(values), 0.95)))  # one wild month must not bleach the others
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[str(month) for month in columns],
            y=[f"{year}  ({total:+.1f})" for year, total in years.items()],
            text=texts,
            texttemplate="%{text}",
            hovertemplate="%{y} · %{x}: %{z:+.2f} %<extra></extra>",
            colorscale=[[0.0, look.fall], [0.5, "#ffffff"], [1.0, look.rise]],
            zmin=-limit,
            zmax=limit,
            xgap=2,
            ygap=2,
            colorbar={"title": "%"},
        )
    )
    full = [month.value * 100.0 for month in result.months if month.is_full]
    hit = sum(low <= value <= high for value in full)
    title = look.words("title.months", hit=hit, full=len(full))
    figure.update_layout(xaxis_title=look.words("month"))
    figure.update_xaxes(side="bottom", type="category")
    figure.update_yaxes(type="category", autorange="reversed")
    return finished(figure, title, 170 + 38 * max(3, len(table)))
