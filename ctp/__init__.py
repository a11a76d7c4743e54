"""Crypto Trader Pro: one strategy in the notebook, the backtest, the live bot and the dashboard.

The notebook API below is loaded when it is first used, so that `import ctp` is quick and the bot never loads research.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctp.core.risk import DynamicRiskManager
    from ctp.core.rules import Costs, MarketRules
    from ctp.core.strategies import RsiMeanReversion
    from ctp.market.history import load_candles
    from ctp.notebook import example_candles
    from ctp.research.backtest import backtest, costs
    from ctp.research.promote import promote
    from ctp.research.sweep import sweep
    from ctp.research.validation.run import validate

__version__ = "0.1.0"

_HOMES = {
    "Costs": "ctp.core.rules",
    "DynamicRiskManager": "ctp.core.risk",
    "MarketRules": "ctp.core.rules",
    "RsiMeanReversion": "ctp.core.strategies",
    "backtest": "ctp.research.backtest",
    "costs": "ctp.research.backtest",
    "example_candles": "ctp.notebook",
    "load_candles": "ctp.market.history",
    "promote": "ctp.research.promote",
    "sweep": "ctp.research.sweep",
    "validate": "ctp.research.validation.run",
}

__all__ = [
    "Costs",
    "DynamicRiskManager",
    "MarketRules",
    "RsiMeanReversion",
    "backtest",
    "costs",
    "example_candles",
    "load_candles",
    "promote",
    "sweep",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the room it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ctp' has no attribute {name!r}; it has " + ", ".join(__all__))
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, for completion in a notebook."""
    return [*__all__, "__version__"]
