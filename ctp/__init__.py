"""Crypto Trader Pro: one strategy in the notebook, the backtest, the live bot and the dashboard.

The notebook API below is loaded when it is first used, so that `import ctp` is quick and the bot never loads research.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctp.core.risk import DynamicRiskManager
    from ctp.core.rules import Costs, MarketRules
    from ctp.core.strategies import DonchianBreakout, RsiMeanReversion
    from ctp.notebook.generated import example_candles
    from ctp.notebook.history import candles_or_example, load_candles, load_funding, stored_candles
    from ctp.notebook.place import account, where_am_i
    from ctp.research.backtest import backtest, costs
    from ctp.research.check import check
    from ctp.research.grid import between
    from ctp.research.promote import promote
    from ctp.research.sweep import sweep
    from ctp.research.validation.run import validate
    from ctp.strategy_files import load_strategy

__version__ = "0.1.0"

_HOMES = {
    "Costs": "ctp.core.rules",
    "DonchianBreakout": "ctp.core.strategies",
    "DynamicRiskManager": "ctp.core.risk",
    "MarketRules": "ctp.core.rules",
    "RsiMeanReversion": "ctp.core.strategies",
    "account": "ctp.notebook.place",
    "backtest": "ctp.research.backtest",
    "between": "ctp.research.grid",
    "candles_or_example": "ctp.notebook.history",
    "check": "ctp.research.check",
    "costs": "ctp.research.backtest",
    "example_candles": "ctp.notebook.generated",
    "load_candles": "ctp.notebook.history",
    "load_funding": "ctp.notebook.history",
    "load_strategy": "ctp.strategy_files",
    "promote": "ctp.research.promote",
    "stored_candles": "ctp.notebook.history",
    "sweep": "ctp.research.sweep",
    "validate": "ctp.research.validation.run",
    "where_am_i": "ctp.notebook.place",
}

__all__ = [
    "Costs",
    "DonchianBreakout",
    "DynamicRiskManager",
    "MarketRules",
    "RsiMeanReversion",
    "account",
    "backtest",
    "between",
    "candles_or_example",
    "check",
    "costs",
    "example_candles",
    "load_candles",
    "load_funding",
    "load_strategy",
    "promote",
    "stored_candles",
    "sweep",
    "validate",
    "where_am_i",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the room it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ctp' has no attribute {name!r}; it has " + ", ".join(__all__))
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, for completion in a notebook."""
    return [*__all__, "__version__"]
