"""Parameter sets with a name: the owner's rule, and what earlier evidence pointed to. The study measures all of them.

A preset is no recommendation: what was measured of each stands in docs/evidence.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ctp.core.parameters import ParameterSet
from ctp.core.strategies import find


class Preset(NamedTuple):
    """A strategy's name and what differs from its defaults; words for people are `study.preset.NAME` in the locale files."""

    name: str
    strategy: str
    changes: dict[str, Any]

    def parameters(self) -> ParameterSet:
        """Return the whole parameter set."""
        return find(self.strategy).parameters().with_values(self.changes)


PRESETS: tuple[Preset, ...] = (
    Preset("owner", "rsi_mean_reversion", {}),
    Preset("limit", "rsi_mean_reversion", {"limit_offset": 0.005}),
    Preset("wide", "rsi_mean_reversion", {"trend_window": 200, "stop_loss": 0.10, "take_profit": 0.0}),
    Preset("atr", "rsi_mean_reversion", {"trend_window": 200, "stop_atr": 3.0, "take_profit": 0.0}),
    Preset(
        "momentum",
        "rsi_mean_reversion",
        {"signal": "momentum", "oversold": 45.0, "overbought": 55.0, "trend_window": 200, "stop_atr": 3.0, "take_profit": 0.0},
    ),
    Preset("breakout", "donchian_breakout", {}),
)
