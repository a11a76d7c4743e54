"""Plots of a result, as people want to look at them. Plotly; used in notebooks, never in a dashboard.

    look.py         colours and words: rise is red in Korean and green in English
    equity.py       candles with trades and equity; equity with drawdown under it; months against the target
    trades.py       the trade chart; how far trades went against and for us; R multiples
    sweeps.py       a figure over two axes; the best combinations through all axes
    folds.py        the walk-forward as a strip
"""

from ctp.research.plots.equity import plot_equity, plot_months, plot_result
from ctp.research.plots.folds import plot_walk_forward
from ctp.research.plots.look import ACCENT, FALL, NEUTRAL, RISE
from ctp.research.plots.sweeps import plot_heatmap, plot_parallel
from ctp.research.plots.trades import plot_excursions, plot_r_multiples, plot_trades

__all__ = [
    "ACCENT",
    "FALL",
    "NEUTRAL",
    "RISE",
    "plot_equity",
    "plot_excursions",
    "plot_heatmap",
    "plot_months",
    "plot_parallel",
    "plot_r_multiples",
    "plot_result",
    "plot_trades",
    "plot_walk_forward",
]
