"""Sweeps: a figure over two axes, and the best combinations through all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ctp.errors import InputError
from ctp.research.event_figures import FIGURES
from ctp.research.plots.look import finished, look_of

if TYPE_CHECKING:
    from ctp.research.sweep_result import SweepResult

SUMMARIES = ("median", "max", "min", "mean")
_WRITTEN = 225  # cells that still have room for their number


def plot_heatmap(result: SweepResult, x: str, y: str, figure: str, how: str, language: str = "en") -> go.Figure:
    """Return a figure of a sweep over two of its axes; `how` sums up the combinations that share a cell."""
    look = look_of(language)
    for name, value in (("x", x), ("y", y)):
        if value not in result.grid.axes:
            raise InputError(name, value, "must be one of the axes " + ", ".join(result.grid.axes))
    if x == y:
        raise InputError("y", y, "must be another axis than x")
    if how not in SUMMARIES:
        raise InputError("how", how, "must be median, max, min or mean")
    if figure not in FIGURES:
        raise InputError("figure", figure, "must be one of " + ", ".join(FIGURES))
    finite = result.table.replace([np.inf, -np.inf], np.nan)
    cells = finite.groupby([y, x])[figure].agg(how).unstack(x)
    values = cells.to_numpy()
    shown = go.Heatmap(
        x=[str(value) for value in cells.columns],
        y=[str(value) for value in cells.index],
        z=values,
        colorscale=[[0.0, look.fall], [0.5, "#fdfdfd"], [1.0, look.rise]] if (values < 0).any() else "Viridis",
        zmid=0.0 if (values < 0).any() else None,
        texttemplate="%{z:.2f}" if values.size <= _WRITTEN else None,
        xgap=1,
        ygap=1,
        colorbar={"title": figure},
        hovertemplate=f"{x} %{{x}}<br>{y} %{{y}}<br>{figure} %{{z:.3g}}<extra></extra>",
    )
    title = look.words("title.heatmap", how=look.words(f"how.{how}"), figure=figure, count=f"{len(result):,}")
    drawn = go.Figure(shown).update_layout(xaxis_title=x, yaxis_title=y)
    drawn.update_xaxes(type="category")
    drawn.update_yaxes(type="category")
    return finished(drawn, title, 520)


def plot_parallel(result: SweepResult, figure: str, count: int, language: str = "en") -> go.Figure:
    """Return the best combinations of a sweep as lines through its axes, coloured by the figure."""
    look = look_of(language)
    frame = result.top(figure, count)
    dimensions = []
    for name, values in result.grid.axes.items():
        if len(values) < 2:
            continue
        places = {value: place for place, value in enumerate(values)}
        step = max(1, len(values) // 12)  # more labels would lie over one another
        dimensions.append(
            {
                "label": name,
                "range": [0, len(values) - 1],
                "values": [places[value] for value in frame[name]],
                "tickvals": list(range(0, len(values), step)),
                "ticktext": [str(value) for value in values[::step]],
            }
        )
    finite = frame[figure].replace([np.inf, -np.inf], np.nan)
    dimensions.append({"label": figure, "values": finite.tolist()})
    lines = go.Parcoords(dimensions=dimensions, line={"color": finite, "colorscale": "Viridis", "showscale": True})
    title = look.words("title.parallel", count=f"{len(frame):,}", total=f"{len(result):,}", figure=figure)
    return finished(go.Figure(lines), title, 520).update_layout(margin={"t": 110, "l": 80, "r": 60})
