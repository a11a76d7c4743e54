"""What is known of past months: shared by the process that computes it and the page that shows it."""

from __future__ import annotations

from typing import Final

NONE: Final = "none"  # no candles are stored
SHORT: Final = "short"  # candles, but no whole month of decisions
KNOWN: Final = "known"
FAILED: Final = "failed"  # candles that cannot be read, or rules that cannot be traded
