"""Parameters that make each research notebook quick enough for a test: small grids, few folds."""

from __future__ import annotations

from typing import Any

AXES = {"period": [7, 14], "oversold": [25, 35], "stop_loss": [0.02, 0.10]}
QUICK: dict[str, dict[str, Any]] = {
    "03_sweep": {"axes": AXES},
    "04_validate": {"axes": AXES, "folds": 2},
    "06_promote": {"axes": AXES},
    "07_second_strategy": {"axes": {"entry_window": [20, 40], "exit_window": [10, 20]}},
    "08_what_works": {"grid": AXES, "folds": 2, "timeframes": ["4h"]},
}
