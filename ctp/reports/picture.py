"""The picture that goes out with the notice: equity over the period and the month against its target, as PNG.

E-mail and Telegram show pictures, not pages. The page itself draws its own charts; this is the only place that needs
matplotlib. Light colours: nobody knows the background it will be seen on.

Invariant: where no font of this machine has Korean letters, no Korean is drawn; the words are in the message beside it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

from ctp.reports.figures import TARGET_HIGH, TARGET_LOW
from ctp.reports.months import so_far
from ctp.reports.told import Told
from ctp.reports.words import Words

WIDTH, HEIGHT, DOTS = 8.0, 5.0, 120  # inches, inches, per inch: 960 by 600 pixels
_INK, _SOFT, _GRID, _EQUITY = "#142033", "#5f7086", "#e8edf3", "#1559c7"
_PAPER, _LIVE, _TARGET = "#4d35a8", "#c0182a", "#0b7a53"
_KOREAN_FONTS = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "Apple SD Gothic Neo",
    "Malgun Gothic",
    "Noto Sans CJK JP",
)


def draw_png(told: Told) -> bytes:
    """Return the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    font = korean_font()
    words = told.words if font or told.words.language != "ko" else told.words._replace(language="en")
    settings: Any = {
        "font.family": [font, "DejaVu Sans"] if font else ["DejaVu Sans"],
        "font.size": 9,
        "text.color": _INK,
        "text.parse_math": False,  # a name may hold dollar signs
        "axes.edgecolor": _GRID,
        "axes.unicode_minus": False,
        "xtick.color": _SOFT,
        "ytick.color": _SOFT,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS, facecolor="white")
        upper, lower = figure.subplots(2, 1, gridspec_kw={"height_ratios": [3, 2]})
        _draw_equity(upper, told, words)
        _draw_month(lower, told, words)
        for axes in (upper, lower):
            axes.grid(axis="y", color=_GRID, linewidth=1)
            axes.set_axisbelow(True)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(length=0)
        _write_head(figure, told, words, has_korean=font is not None)
        figure.subplots_adjust(left=0.1, right=0.97, top=0.84, bottom=0.07, hspace=0.42)
        made = io.BytesIO()
        figure.savefig(made, format="png", metadata={"Software": None})
    return made.getvalue()


@cache
def korean_font() -> str | None:
    """Return the name of a font with Korean letters, or None."""
    from matplotlib import font_manager

    known = {entry.name for entry in font_manager.fontManager.ttflist}
    return next((name for name in _KOREAN_FONTS if name in known), None)


def _write_head(figure: Any, told: Told, words: Words, *, has_korean: bool) -> None:
    """Say at the top whether the money is real, whose it is, and how it went."""
    account, span = told.extract.account, told.figures.span
    mode, colour = words.word("mode", account["mode"]), _PAPER if account["mode"] == "paper" else _LIVE
    name = account["name"] if has_korean or account["name"].isascii() else ""
    write = figure.text
    badge = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": colour}
    write(0.035, 0.938, mode, color="white", weight="bold", fontsize=10, bbox=badge)
    period = told.extract.period
    when = str(period.first) if period.first == period.last else f"{period.first} – {period.last}"
    write(0.15, 0.938, f"{name}   {when}".strip(), fontsize=11, weight="bold")
    if span.end is not None:
        fraction = "" if span.fraction is None else f"  {words.percent(span.fraction, signed=True)}"
        write(0.97, 0.938, words.money(span.pnl, signed=True) + fraction, ha="right", fontsize=12, weight="bold")


def _draw_equity(axes: Any, told: Told, words: Words) -> None:
    """Draw equity over the period."""
    span, equity = told.figures.span, told.extract.equity
    rows = [
        row
        for row in equity
        if span.end is not None and (span.start.time if span.start else 0) <= row.time <= span.end.time
    ]
    draw = axes
    draw.set_title(words.say("course.title"), loc="left", fontsize=9, color=_SOFT)
    if len(rows) < 2:
        draw.set_yticks([])
        draw.set_xticks([])
        return
    times, values = [float(row.time) for row in rows], [row.equity for row in rows]
    draw.fill_between(times, values, min(values), color=_EQUITY, alpha=0.08, linewidth=0)
    draw.plot(times, values, color=_EQUITY, linewidth=1.8)
    draw.axhline(values[0], color=_SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
    places = [times[0] + (times[-1] - times[0]) * part / 4 for part in range(5)]
    draw.set_xticks(places, [words.hour_or_day(int(place), int(times[-1] - times[0])) for place in places])
    draw.set_xlim(times[0], times[-1])


def _draw_month(axes: Any, told: Told, words: Words) -> None:
    """Draw the month's return day by day against the target."""
    draw, ours = axes, so_far(told.extract, told.figures)
    draw.set_title(words.say("tile.month"), loc="left", fontsize=9, color=_SOFT)
    percent: Sequence[float] = [0.0, *(value * 100 for value in ours)]
    draw.axhspan(TARGET_LOW * 100, TARGET_HIGH * 100, color=_TARGET, alpha=0.08, linewidth=0)
    for value in (TARGET_LOW, TARGET_HIGH):
        draw.axhline(value * 100, color=_TARGET, linewidth=0.9, linestyle=(0, (4, 3)))
    draw.axhline(0, color=_SOFT, linewidth=0.8)
    draw.plot(range(len(percent)), percent, color=_EQUITY, linewidth=1.8, marker="o", markersize=3)
    draw.set_xlim(0, 31)
    draw.yaxis.set_major_formatter(lambda value, _place: f"{value:+g}%" if value else "0%")
