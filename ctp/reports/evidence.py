"""What the account's own parameters would have done in past months: the distribution that stands beside the target.

Runs in a process of its own (`python -m ctp.reports.evidence`), because it compiles and computes. Its answer is kept under
`cache/evidence`, named after everything it depends on: parameters, market rules, candles and the sources that decide.

Invariants:
1. It reads stored candles only; where there are none the answer says so, and nothing is downloaded.
2. The same request over the same candles is computed once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ctp.config import home_folder
from ctp.core.code_hash import code_hash
from ctp.core.memory import to_plain
from ctp.core.risk import HOUR_MS, DynamicRiskManager
from ctp.core.rules import is_perpetual_symbol
from ctp.core.strategies import find, names
from ctp.core.types import Market
from ctp.errors import CtpError, NotFound
from ctp.market.history import candle_store, load_candles, load_funding
from ctp.market.series import KINDS, Series
from ctp.reports.evidence_state import FAILED, KNOWN, NONE, SHORT
from ctp.reports.files import write_whole
from ctp.strategy_files import load_strategies
from ctp.trading.market_rules import rules_and_costs

DAY_MS = 86_400_000


def request_of(
    exchange: str,
    timeframe: str,
    strategy: str,
    strategy_parameters: Mapping[str, Any],
    risk: DynamicRiskManager,
    markets: Mapping[str, Any],
    equity: float,
) -> dict[str, Any]:
    """Return what is to be computed, as JSON. markets: rules and costs by symbol, as the bot keeps them."""
    return {
        "exchange": exchange,
        "timeframe": timeframe,
        "strategy": strategy,
        "strategy_parameters": dict(strategy_parameters),
        "risk_parameters": risk.to_dict(),
        "markets": {symbol: to_plain(market) for symbol, market in sorted(markets.items())},
        # Rounded to two digits: minimum sizes hardly notice, and a new figure each day would never be found again.
        "equity": float(f"{equity:.1e}") if equity > 0 else 10_000.0,
    }


def kept(cache: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the answer if it was computed before over the same candles by the same sources."""
    file = _file(cache, request)
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found


def compute(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run the backtest and return its months."""
    symbols = sorted(request["markets"])
    try:
        candles = [load_candles(symbol, request["timeframe"], exchange=request["exchange"]) for symbol in symbols]
    except NotFound:
        return {"state": NONE}
    funding, marks = [], []
    for symbol in symbols:
        if is_perpetual_symbol(symbol):
            with contextlib.suppress(NotFound):
                funding.append(load_funding(symbol, exchange=request["exchange"]))
            with contextlib.suppress(NotFound):
                marks.append(load_candles(symbol, request["timeframe"], exchange=request["exchange"], mark=True))
    from ctp.research.backtest import backtest  # takes seconds to load; not where there is nothing to run over

    made = {symbol: rules_and_costs(_market(plain)) for symbol, plain in request["markets"].items()}
    # Without the drawdown lock: a run that it ends early would fill the rest of history with months of nothing.
    risk = dataclasses.replace(DynamicRiskManager.from_dict(request["risk_parameters"]), max_drawdown=1.0)
    result = backtest(
        find(request["strategy"]).parameters.from_dict(request["strategy_parameters"]),
        risk,
        candles,
        costs={symbol: costs for symbol, (_, costs) in made.items()},
        rules={symbol: rules for symbol, (rules, _) in made.items()},
        mark=marks,
        funding=funding,
        equity=request["equity"],
        is_trial=False,
    )
    months = _months(result.time, result.equity_values, risk.zone_offset, [one for one in result.months if one.is_full])
    told = result.to_dict()
    return {
        "state": KNOWN if months else SHORT,
        "symbols": symbols,
        "first_candle": told["first_candle"][:10],
        "last_candle": told["last_candle"][:10],
        "trades": told["figures"]["trades"],
        "has_funding": bool(funding),
        "months": months,
    }


def _months(time: np.ndarray, equity: np.ndarray, offset: float, full: list[Any]) -> list[dict[str, Any]]:
    """Return each full month with its return so far at the end of each of its days."""
    local = time + int(offset * HOUR_MS)
    day = local // DAY_MS
    month = local.astype("datetime64[ms]").astype("datetime64[M]").astype(str)
    wanted = {one.name: one.value for one in full}
    starts = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    found: dict[str, dict[str, Any]] = {}
    first: dict[str, float] = {}
    for number, row in enumerate(starts):
        name = str(month[row])
        if name not in wanted:
            continue
        base = first.setdefault(name, float(equity[row]))
        ends = starts[number + 1] if number + 1 < len(starts) else len(equity) - 1
        shown = found.setdefault(name, {"name": name, "value": wanted[name], "days": []})
        shown["days"].append(round(float(equity[ends]) / base - 1.0, 6))
    return list(found.values())


def _market(plain: Mapping[str, Any]) -> Market:
    """Return a market as it was kept."""
    plain = {**Market._field_defaults, **plain}
    values = (plain[name] for name in Market._fields)
    return Market._make(tuple(value) if isinstance(value, list) else value for value in values)


def _file(cache: Path, request: Mapping[str, Any]) -> Path:
    """Return where the answer is kept: named after the request, the candles and the sources that decide."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode())
    for folder in (root / "core", root / "research"):
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.read_bytes())
    digest.update(Path(__file__).read_bytes())
    if request["strategy"] in names():  # it may be a file of the operator's
        digest.update(code_hash(find(request["strategy"])).encode())
    store = candle_store(cache.parent)
    for symbol in sorted(request["markets"]):
        for kind in KINDS:
            timeframe = "" if kind == "funding" else request["timeframe"]
            folder = store.folder(Series(request["exchange"], symbol, timeframe, kind))
            for file in sorted(folder.glob("*")) if folder.is_dir() else []:
                digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return cache / "evidence" / f"{digest.hexdigest()[:32]}.json"


def main(request_file: str, answer_file: str, cache: str) -> None:
    """Compute one request and keep its answer; called in a process of its own."""
    request = json.loads(Path(request_file).read_text("utf-8"))
    load_strategies(home_folder())
    try:
        answer = compute(request)
    except (
        CtpError
    ) as error:  # candles that cannot be read, rules that cannot be traded: the report says so and goes on
        answer = {"state": FAILED, "reason": str(error)}
    text = json.dumps(answer)
    if answer["state"] != FAILED:
        write_whole(_file(Path(cache), request), text.encode())
    write_whole(Path(answer_file), text.encode())


if __name__ == "__main__":
    main(*sys.argv[1:4])
