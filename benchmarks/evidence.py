"""The figures of docs/evidence.md: presets and the best plateau by walk-forward, on stored candles.

    python benchmarks/evidence.py [--exchange binance] [--symbols BTC/USDT,ETH/USDT] [--markdown]

Prints JSON, or the tables as they stand in the page. About three minutes on two cores for four pairs and three timeframes.
"""

from __future__ import annotations

import argparse
import json
import sys

import ctp
from ctp.research.study import Study, study

COLUMNS = (
    "rule", "timeframe", "symbols", "profitable", "annual_return", "max_drawdown", "trades", "months_in_band", "median_month",
)  # fmt: skip
SHARES = ("annual_return", "max_drawdown", "months_in_band", "median_month")


def markdown(found: Study) -> str:
    """Return both tables as the page has them."""
    table = found.by_rule[list(COLUMNS)]
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in table.to_dict("records"):
        lines.append("| " + " | ".join(f"{row[name]:+.1%}" if name in SHARES else str(row[name]) for name in COLUMNS) + " |")
    lines += ["", "| symbol | timeframe | a year | in all | drawdown | trades | months in the band | verdict |", "|" + "---|" * 8]
    for one in (each for each in found.rows if each.how == "walk-forward"):
        year = "" if one.annual_return is None else f"{one.annual_return:+.1%}"
        band = "" if one.months_in_band is None else f"{one.months_in_band:.0%} of {one.full_months}"
        earned = (one.symbol, one.timeframe, year, f"{one.total_return:+.1%}", f"{one.max_drawdown:.1%}")
        lines.append("| " + " | ".join([*earned, str(one.trades), band, one.verdict]) + " |")
    return "\n".join(lines)


def main() -> int:
    """Study and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--symbols", help="comma-separated; all that are stored at 1h unless given")
    parser.add_argument("--timeframes", default="1h,4h,1d")
    parser.add_argument("--markdown", action="store_true")
    told = parser.parse_args()
    stored = ctp.stored_candles()
    rows = stored[(stored["exchange"] == told.exchange) & (stored["timeframe"] == "1h") & (stored["kind"] == "candles")]
    symbols = told.symbols.split(",") if told.symbols else rows["symbol"].tolist()
    candles = [ctp.load_candles(symbol, "1h", exchange=told.exchange) for symbol in symbols]
    timeframes = told.timeframes.split(",")
    found = study(candles, ctp.costs(told.exchange), timeframes=timeframes, tell=lambda said: print(said, file=sys.stderr))
    if told.markdown:
        print(markdown(found))
    else:
        document = {"trials": found.trials, "rows": [row._asdict() for row in found.rows], "supported": len(found.supported)}
        print(json.dumps({**document, "en": found.conclusion("en"), "ko": found.conclusion("ko")}, ensure_ascii=False, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
