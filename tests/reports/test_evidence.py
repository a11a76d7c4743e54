"""What the same parameters did in past months, computed once for the same candles."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctp.core.risk import DynamicRiskManager
from ctp.market.candles import Candles
from ctp.market.history import candle_store
from ctp.reports import evidence
from ctp.reports.evidence import compute, kept, main, request_of
from ctp.reports.evidence_state import FAILED, KNOWN, NONE, SHORT
from tests.reports.world import DAY, HOUR, MARKET

BEGIN = 1_577_836_800_000  # 2020-01-01
PARAMETERS = {"oversold": 45, "overbought": 55, "volume_factor": 0, "warm_up": 60}


def request(**changes: Any) -> dict[str, Any]:
    """Ask for a perpetual with an eager strategy."""
    asked = request_of(
        "binanceusdm", "1h", "rsi_mean_reversion", PARAMETERS, DynamicRiskManager(), {"BTC/USDT:USDT": MARKET}, 10_000.0
    )
    return asked | changes


def store(home: Path, days: int, seed: int = 1) -> None:
    """Store a random market."""
    chance = np.random.default_rng(seed)
    count = days * 24
    close = np.round(30_000 * np.exp(np.cumsum(chance.normal(0, 0.006, count))), 1)
    opened = np.concatenate([[30_000.0], close[:-1]])
    high, low = np.maximum(opened, close) + 10, np.minimum(opened, close) - 10
    time = BEGIN + np.arange(count, dtype=np.int64) * HOUR
    candles = Candles.checked("BTC/USDT:USDT", "1h", "binanceusdm", time, opened, high, low, close, np.full(count, 5.0))
    candle_store(home).append(candles)


def test_without_candles_there_is_no_evidence(home: Path) -> None:
    assert compute(request()) == {"state": NONE}


def test_every_full_month_is_measured_and_its_days_lead_to_its_return(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(home, 140)
    _keep_compiled(home, monkeypatch)
    found = compute(request())
    assert found["state"] == KNOWN
    assert [month["name"] for month in found["months"]] == ["2020-02", "2020-03", "2020-04"]
    assert [len(month["days"]) for month in found["months"]] == [29, 31, 30]
    for month in found["months"]:
        assert month["days"][-1] == pytest.approx(month["value"], abs=1e-5)
    assert found["trades"] > 10


def test_candles_of_less_than_a_month_are_too_short(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(home, 20)
    _keep_compiled(home, monkeypatch)
    assert compute(request())["state"] == SHORT


def test_the_answer_is_kept_until_parameters_candles_or_sources_change(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(home, 70)
    calls: list[Any] = []

    def counted(asked: Any) -> dict[str, Any]:
        calls.append(asked)
        return {"state": KNOWN, "months": []}

    monkeypatch.setattr(evidence, "compute", counted)
    cache, asked, answer = home / "cache", tmp_path / "asked.json", tmp_path / "answer.json"
    asked.write_text(json.dumps(request()))
    assert kept(cache, request()) is None
    main(str(asked), str(answer), str(cache))
    assert kept(cache, request()) == json.loads(answer.read_text()) == {"state": KNOWN, "months": []}
    assert kept(cache, request(strategy_parameters={"period": 15})) is None
    risk = dataclasses.replace(DynamicRiskManager(), risk_per_trade=0.02).to_dict()
    assert kept(cache, request(risk_parameters=risk)) is None
    more = Candles.checked(
        "BTC/USDT:USDT", "1h", "binanceusdm", np.array([BEGIN + 70 * DAY]), *(np.array([1.0]) for _ in range(5))
    )
    candle_store(home).append(more)
    assert kept(cache, request()) is None
    assert len(calls) == 1


def test_rules_that_cannot_be_traded_fail_without_being_kept(home: Path, tmp_path: Path) -> None:
    store(home, 40)
    asked, answer = tmp_path / "asked.json", tmp_path / "answer.json"
    asked.write_text(json.dumps(request(strategy_parameters={"period": 1})))
    main(str(asked), str(answer), str(home / "cache"))
    assert json.loads(answer.read_text())["state"] == FAILED
    assert kept(home / "cache", json.loads(asked.read_text())) is None


def test_equity_that_moves_a_little_asks_for_the_same_evidence() -> None:
    both = [
        request_of("binanceusdm", "1h", "x", {}, DynamicRiskManager(), {}, equity) for equity in (9_800.0, 10_300.0)
    ]
    assert both[0] != both[1] or both[0]["equity"] == both[1]["equity"]
    near = [
        request_of("binanceusdm", "1h", "x", {}, DynamicRiskManager(), {}, equity) for equity in (10_010.0, 10_300.0)
    ]
    assert near[0] == near[1]


def _keep_compiled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the compiled code that all tests share: compiling anew takes half a minute."""
    from ctp.research import compiled
    from tests.conftest import ROOT

    monkeypatch.setattr(compiled, "home_folder", lambda: ROOT / "var" / "tests")
