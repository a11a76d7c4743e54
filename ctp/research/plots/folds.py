"""The walk-forward as a strip: what each fold was chosen on, what it then earned, and what became of the money."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ctp.research.plots.look import NEUTRAL, Look, finished, look_of

if TYPE_CHECKING:
    from ctp.research.validation.outcome import Fold, Validation, WalkForward


def plot_walk_forward(found: Validation, language: str = "en") -> go.Figure:
    """Return one bar a fold, pale where it was chosen and coloured by what it earned out of sample, and the equity below."""
    look = look_of(language)
    kinds = (found.anchored, found.rolling)
    titles = [look.words(f"walk.{walked.kind}") for walked in kinds]
    folds = max(len(walked.folds) for walked in kinds)
    figure = make_subplots(
        rows=3, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.29, 0.29, 0.42],
        subplot_titles=[*titles, look.words("walk.equity")],
    )  # fmt: skip
    for row, walked in enumerate(kinds, 1):
        for number, fold in enumerate(walked.folds, 1):
            _add_fold(figure, fold, number, row, look)
        figure.update_yaxes(autorange="reversed", showticklabels=False, row=row, col=1)
        colour = look.accent if row == 1 else NEUTRAL
        times = pd.to_datetime(walked.time, unit="ms", utc=True)
        line = go.Scatter(x=times, y=walked.equity, name=f"{titles[row - 1]} {_percent(walked)}", line={"color": colour})
        figure.add_trace(line, row=3, col=1)
    figure.add_hline(y=1.0, line_dash="dot", line_color=NEUTRAL, row=3, col=1)
    anchored = found.anchored
    figure.update_xaxes(type="date")
    title = look.words("title.walk", good=anchored.profitable_folds, folds=len(anchored.folds), total=_percent(anchored))
    drawn = finished(figure, title, 460 + 34 * folds)
    return drawn.update_layout(legend={"y": -0.05, "yanchor": "top"}, barmode="overlay")


def _add_fold(figure: go.Figure, fold: Fold, number: int, row: int, look: Look) -> None:
    """Draw one fold: training, then test."""
    chosen = ", ".join(f"{name} {value}" for name, value in fold.parameters.items()) or look.words("walk.none")
    colour = look.rise if fold.test_return > 0.0 else look.fall if fold.test_return < 0.0 else NEUTRAL
    earned = f"{fold.test_return:+.1%}" if fold.trades or fold.test_return else "–"
    for begin, end, fill, opacity, said in (
        (fold.train_start, fold.train_end, NEUTRAL, 0.25, ""),
        (fold.test_start, fold.test_end, colour, 0.9, earned),
    ):
        figure.add_trace(
            go.Bar(
                base=[pd.Timestamp(begin, unit="ms", tz="UTC")],
                x=[end - begin],
                y=[number],
                orientation="h",
                marker={"color": fill, "opacity": opacity},
                text=[said],
                textposition="inside",
                insidetextanchor="middle",
                insidetextfont={"size": 12, "color": "white"},
                hovertext=f"{chosen}<br>{earned} · {fold.trades} {look.words('trades')}",
                hoverinfo="text",
                showlegend=False,
            ),
            row=row,
            col=1,
        )


def _percent(walked: WalkForward) -> str:
    """Return what a walk-forward earned in all."""
    return f"{walked.total_return:+.1%}"
