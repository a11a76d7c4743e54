"""A validation at one look: equity through the folds, what luck would bring, and the bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ctp.i18n import text
from ctp.research.plots import ACCENT, FALL, NEUTRAL, RISE

if TYPE_CHECKING:
    from ctp.research.validation.outcome import Validation


def draw(found: Validation, language: str) -> go.Figure:
    """Return the figure: the walk-forward's course with its folds, Sharpe ratios, and bands of return and drawdown."""

    def words(key: str) -> str:
        """Return a text of the report."""
        return text(f"validation.{key}", language)

    titles = (words("title.walk_forward"), words("title.luck"), words("title.bands"))
    figure = make_subplots(
        rows=2, cols=2, specs=[[{"colspan": 2}, None], [{}, {}]], subplot_titles=titles, vertical_spacing=0.16
    )
    for walked, colour in ((found.anchored, ACCENT), (found.rolling, NEUTRAL)):
        x = pd.to_datetime(walked.time, unit="ms", utc=True)
        line = {"color": colour}
        figure.add_trace(go.Scatter(x=x, y=walked.equity, name=words(f"walk.{walked.kind}"), line=line), row=1, col=1)
    for fold in found.anchored.folds:
        colour = RISE if fold.test_return > 0.0 else FALL
        begin, end = (pd.Timestamp(at, unit="ms", tz="UTC") for at in (fold.test_start, fold.test_end))
        figure.add_vrect(x0=begin, x1=end, fillcolor=colour, opacity=0.08, line_width=1, row=1, col=1)
    deflated = found.deflated
    figure.add_trace(
        go.Bar(
            x=[words("luck.sharpe"), words("luck.luck"), words("walk.anchored")],
            y=[deflated.sharpe, deflated.luck, found.anchored.sharpe],
            marker_color=[ACCENT, NEUTRAL, RISE if (found.anchored.sharpe or 0.0) > 0.0 else FALL],
            showlegend=False,
        ),
        row=2,
        col=1,
    )
    if found.bands is not None:
        for name in ("annual_return", "max_drawdown", "months_at_target"):
            band = getattr(found.bands, name)
            figure.add_trace(
                go.Box(
                    x=[words(f"band.{name}")], lowerfence=[100 * band.p5], q1=[100 * band.p25], median=[100 * band.p50],
                    q3=[100 * band.p75], upperfence=[100 * band.p95], marker_color=NEUTRAL, showlegend=False,
                ),
                row=2, col=2,
            )  # fmt: skip
    figure.update_layout(title=words(f"verdict.{found.verdict}"), template="plotly_white", height=800)
    figure.update_yaxes(title_text="%", row=2, col=2)
    return figure
