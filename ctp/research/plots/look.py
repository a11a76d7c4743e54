"""How our plots look and speak: colours by the habit of the language, words from the locale files."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

import plotly.graph_objects as go

from ctp.errors import InputError
from ctp.i18n import LANGUAGES, text

RISE, FALL, NEUTRAL, ACCENT = "#1f9d78", "#d9534f", "#64748b", "#2f6fde"
TARGET = (0.05, 0.10)  # the owner's monthly target
FONT = "Inter, 'Noto Sans KR', 'Noto Sans CJK KR', 'Malgun Gothic', 'Apple SD Gothic Neo', sans-serif"


class Words(Protocol):
    """A function that returns the text of a key."""

    def __call__(self, key: str, **facts: object) -> str:
        """Return it."""


class Look(NamedTuple):
    """Colours of one language's readers, and their words."""

    rise: str
    fall: str
    accent: str
    words: Words


def look_of(language: str) -> Look:
    """Return the look for a language. Raises InputError naming those there are."""
    if language not in LANGUAGES:
        raise InputError("language", language, "must be " + " or ".join(LANGUAGES))
    words = partial(_text, language)
    if language == "ko":
        return Look("#d9363e", "#2f6fde", "#6d4fc4", words)
    return Look(RISE, FALL, ACCENT, words)


def finished(figure: go.Figure, title: str, height: int) -> go.Figure:
    """Give a figure its title, size and type."""
    return figure.update_layout(
        title={"text": title, "x": 0.01, "xanchor": "left", "y": 0.985, "yanchor": "top"},
        template="plotly_white",
        height=height,
        font={"family": FONT, "size": 13},
        margin={"l": 70, "r": 30, "t": 84, "b": 50},
        legend={"orientation": "h", "x": 0.0, "y": 1.0, "xanchor": "left", "yanchor": "bottom"},
        hoverlabel={"font": {"family": FONT}},
    )


def _text(language: str, key: str, **facts: object) -> str:
    """Return a text of the plots; the argument order suits a partial."""
    return text(f"plot.{key}", language, **facts)
