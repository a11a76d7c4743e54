"""`ctp.check`: planted peeks at the future are caught, honest strategies pass, and the warm-up found is the one needed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import ctp
from ctp.core import strategies
from ctp.core.parameters import Bound, ParameterSet, parameter
from ctp.core.strategies import RsiMeanReversion, Strategy, register
from ctp.core.types import FLAT, LONG, Candle, Signal
from ctp.errors import InputError
from tests.research.markets import HOUR_MS, market

CANDLES = market(1, 1_200)
NEXT_CLOSES = {int(time): float(close) for time, close in zip(CANDLES.time - HOUR_MS, CANDLES.close, strict=True)}
CLOSES = CANDLES.close
REMEMBERED: list[Candle] = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planted(ParameterSet):
    """Parameters of the strategies planted here."""

    take_profit: float = parameter(0.0, Bound(0, 1))
    trailing_stop: float = parameter(0.0, Bound(0, 1))
    limit_offset: float = parameter(0.0, Bound(0, 0.2))
    cooldown: int = parameter(0, Bound(0, 10, is_integer=True))
    warm_up: int = parameter(30, Bound(0, 10_000, is_integer=True))


class Mean(NamedTuple):
    """An exponential mean and how many closes it saw."""

    value: float
    seen: int


def signal(is_up: bool) -> Signal:
    """Return a signal to enter or to leave."""
    return Signal(1, LONG if is_up else FLAT, int(not is_up), 0, 0.02, 0)


def honest(values: Any, memory: Mean, candle: Candle) -> tuple[Mean, Signal]:
    mean = candle.close if memory.seen == 0 else 0.8 * memory.value + 0.2 * candle.close
    return Mean(mean, memory.seen + 1), signal(candle.close > mean)


def by_table(values: Any, memory: Mean, candle: Candle) -> tuple[Mean, Signal]:
    return memory, signal(NEXT_CLOSES.get(candle.time, 0.0) > candle.close)


def by_place(values: Any, memory: Mean, candle: Candle) -> tuple[Mean, Signal]:
    return Mean(0.0, memory.seen + 1), signal(CLOSES[min(memory.seen + 1, len(CLOSES) - 1)] > candle.close)


def by_memory_between_runs(values: Any, memory: Mean, candle: Candle) -> tuple[Mean, Signal]:
    if not REMEMBERED or candle.time > REMEMBERED[-1].time:
        REMEMBERED.append(candle)
        return memory, signal(False)
    later = [each.close for each in REMEMBERED if each.time == candle.time + HOUR_MS]
    return memory, signal(bool(later) and later[0] > candle.close)


def by_file(values: Any, memory: Mean, candle: Candle) -> tuple[Mean, Signal]:
    with open(__file__) as file:  # noqa: PTH123
        return memory, signal(len(file.read()) > 10)


def by_path(values: Any, memory: Mean, candle: Candle) -> tuple[Mean, Signal]:
    return memory, signal(Path(__file__).stat().st_size > 10)


def forgets_nothing(values: Any, memory: Mean, candle: Candle) -> tuple[Mean, Signal]:
    total = memory.value + candle.close
    return Mean(total, memory.seen + 1), signal(candle.close > total / (memory.seen + 1))


def described(values: Any, memory: Mean, candle: Candle) -> dict[str, float]:
    return {"mean": memory.value}


@pytest.fixture
def plant() -> Iterator[Callable[..., Planted]]:
    """Register a step for a while."""

    def planted(step: Any) -> Planted:
        start = lambda values: Mean(0.0, 0)  # noqa: E731
        register(Strategy("planted", Planted, start, step, ("entry_signal",), described))
        return Planted()

    yield planted
    strategies._BY_NAME.pop("planted", None)
    strategies._BY_VALUES.pop(strategies._identity(type(Planted().values())), None)
    REMEMBERED.clear()


def test_an_honest_strategy_passes_and_needs_what_its_mean_needs(plant: Callable[..., Planted]) -> None:
    found = ctp.check(plant(honest), CANDLES)
    assert (found.lookahead, found.reaches, found.halves) == ((), (), ())
    # 0.8^n falls below 1e-9 of what it started from after about 93 candles, sooner as the start is not far off.
    assert found.warm_up is not None and 50 < found.warm_up < 120 and found.declared == 30
    assert not found.is_passed and "warm_up = " in found.words()[-1]
    assert ctp.check(Planted(warm_up=120), CANDLES).is_passed


@pytest.mark.parametrize(
    ("step", "reached"),
    [
        (by_table, "NEXT_CLOSES (dict)"),
        (by_place, "CLOSES (ndarray)"),
        (by_memory_between_runs, "REMEMBERED (list)"),
        (by_file, "open()"),
        (by_path, "Path (pathlib)"),
    ],
)
def test_a_planted_look_at_the_future_is_caught(plant: Callable[..., Planted], step: Any, reached: str) -> None:
    found = ctp.check(plant(step), CANDLES, cuts=2)
    assert not found.is_passed and reached in found.reaches
    assert reached in found.report() and reached in found.report("ko")


def test_what_changes_when_the_future_is_cut_off_is_named_with_its_candle(plant: Callable[..., Planted]) -> None:
    found = ctp.check(plant(by_memory_between_runs), CANDLES.between(None, int(CANDLES.time[300])), cuts=3)
    assert {each.name for each in found.lookahead} >= {"enter", "exit_long"}
    assert all(each.whole != each.cut_off and each.time <= each.cut for each in found.lookahead)
    assert found.lookahead[0].name in found.words()[0]


def test_the_future_in_a_closure_is_caught(plant: Callable[..., Planted]) -> None:
    future = np.append(CANDLES.close[1:], np.nan)

    def step(values: Any, memory: Mean, candle: Candle) -> tuple[Mean, Signal]:
        return Mean(0.0, memory.seen + 1), signal(future[memory.seen % len(future)] > candle.close)

    assert ctp.check(plant(step), CANDLES).reaches == ("future (ndarray)",)


def test_a_strategy_that_never_forgets_its_beginning_is_told_so(plant: Callable[..., Planted]) -> None:
    found = ctp.check(plant(forgets_nothing), CANDLES)
    assert found.warm_up is None and not found.is_passed and not found.lookahead


@pytest.mark.parametrize("name", sorted(strategies._BY_NAME))
def test_every_strategy_of_the_house_passes(name: str) -> None:
    found = ctp.check(strategies.find(name).parameters(), CANDLES, cuts=3)
    assert found.is_passed, found.report()
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["is_passed"] and document["words"]["ko"]


def test_halves_that_say_something_else_than_step_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = strategies.find("rsi_mean_reversion")
    assert whole.factors is not None

    def judge(values: Any, seen: Any, candle: Candle) -> Signal:
        right = whole.factors.judge(values, seen, candle)
        return right._replace(exit_long=1 - right.exit_long)

    other = whole._replace(factors=whole.factors._replace(judge=judge))
    monkeypatch.setitem(strategies._BY_VALUES, strategies._identity(type(RsiMeanReversion().values())), other)
    found = ctp.check(RsiMeanReversion(), CANDLES, cuts=1)
    assert [each.name for each in found.halves] == ["exit_long"] and not found.is_passed


def test_rsi_needs_what_wilders_average_needs() -> None:
    short, long = (ctp.check(RsiMeanReversion(period=period), CANDLES, cuts=1) for period in (7, 21))
    assert short.warm_up is not None and long.warm_up is not None
    assert 7 * 10 < short.warm_up < 7 * 28 and 21 * 10 < long.warm_up < 21 * 28
    (rsi,) = (drift for drift in long.drifts if drift.name == "rsi")
    assert rsi.near_after is not None and rsi.equal_after is not None and rsi.near_after <= rsi.equal_after


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: ctp.check(RsiMeanReversion(), CANDLES.between(None, int(CANDLES.time[20]))), "candles"),
        (lambda: ctp.check(RsiMeanReversion(), [CANDLES]), "candles"),
        (lambda: ctp.check("rsi_mean_reversion", CANDLES), "strategy"),
        (lambda: ctp.check(RsiMeanReversion(), CANDLES, cuts=0), "cuts"),
    ],
)
def test_what_cannot_be_checked_is_refused_by_name(call: Any, field: str) -> None:
    with pytest.raises(InputError) as refused:
        call()
    assert refused.value.field == field
