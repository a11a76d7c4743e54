"""`ctp.check`: does a strategy look into the future, and how many candles does it need to forget where it began?

Both questions are asked of the strategy's own `step` and `describe`, as the bot runs them: candle by candle, as plain Python.
Neither looks at profit.

Truncation: the history is cut at chosen candles and the strategy runs from its start again. What it said up to the cut must
be what it said with the rest in place.
Reach: a rule is handed one candle at a time, so it can know the future only from elsewhere: a table in its module, a frame, a
file. Its code is read for such things, because cutting the candles off does not cut them off.
Halves: where a strategy is also written in two halves for sweeps, both must say the same.
Recursion: the strategy starts at later and later candles, and each time what it says at the last candles is compared with
what it says when it saw everything. The number of candles after which nothing differs any more is the warm-up it needs.
Source of both tests: freqtrade's lookahead-analysis and recursive-analysis; ours compare decisions and every described number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.strategies import Strategy, of_parameters
from ctp.core.types import Candle, Signal
from ctp.errors import InputError
from ctp.i18n import LANGUAGES, moment, number, text
from ctp.market.candles import Candles
from ctp.research.reach import outside_of
from ctp.research.validation.outcome import plain

LEAST_CANDLES = 50
MOST_CANDLES = 5_000
CUTS = 20
TOLERANCE = 1e-9  # relative, of a described number
COMPARED = 50  # last candles at which two starts are compared
GROWTH = 1.25  # from one start tried to the next
WORDS = ("is_ready", "enter", "exit_long", "exit_short", "stop_width", "rule")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that changed although the candles up to it did not."""

    time: int  # open time of the candle
    cut: int  # open time of the last candle that was left
    name: str  # of the decision's part or the described number
    whole: float  # with all candles
    cut_off: float  # with the candles up to the cut


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a number is from what it is after the whole history, by candles seen."""

    name: str
    by_candles: dict[int, float]  # candles seen -> largest relative difference
    equal_after: int | None  # candles until it is the same to the bit; None: not within the history
    near_after: int | None  # candles until it agrees to 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """What was found. `warm_up`: candles after which every number agrees to 1e-9 and every decision is the same."""

    strategy: ParameterSet
    name: str
    candles: int
    cuts: int
    lookahead: Sequence[Difference]  # the first for each name
    reaches: Sequence[str]  # what its code takes from elsewhere than candle, memory and parameters
    halves: Sequence[Difference]  # where the halves a sweep uses differ from `step`
    drifts: Sequence[Drift]
    warm_up: int | None  # needed; None: more than the history has
    declared: int  # the strategy's own
    seed: int

    @property
    def is_passed(self) -> bool:
        """Tell whether nothing looks ahead and the strategy's own warm-up is long enough."""
        is_blind = not (self.lookahead or self.reaches or self.halves)
        return is_blind and self.warm_up is not None and self.warm_up <= self.declared

    def words(self, language: str = "en") -> list[str]:
        """Return what was found, in sentences."""
        found = []
        for each in self.lookahead:
            facts = {
                "name": each.name, "time": moment(each.time, language, "UTC", seconds=False), "whole": number(each.whole),
                "cut_off": number(each.cut_off), "cut": moment(each.cut, language, "UTC", seconds=False),
            }  # fmt: skip
            found.append(text("check.lookahead", language, **facts))
        found += [text("check.reaches", language, name=name) for name in self.reaches]
        for each in self.halves[:1]:
            at = moment(each.time, language, "UTC", seconds=False)
            found.append(text("check.halves", language, name=each.name, time=at))
        if not (self.lookahead or self.reaches):
            found.append(text("check.no_lookahead", language, cuts=self.cuts, candles=number(self.candles, 0)))
        facts = {"needed": number(self.warm_up or 0, 0), "declared": number(self.declared, 0), "candles": number(self.candles, 0)}
        if self.warm_up is None:
            found.append(text("check.never_agrees", language, **facts))
        elif self.warm_up > self.declared:
            found.append(text("check.too_short", language, **facts))
        else:
            found.append(text("check.long_enough", language, **facts))
        return found

    def report(self, language: str = "en") -> str:
        """Return the sentences and, for each number, how far it is off after how many candles."""
        lines = [*self.words(language), ""]
        for drift in self.drifts:
            steps = ", ".join(f"{candles}: {value:.1e}" for candles, value in drift.by_candles.items())
            lines.append(f"{drift.name}: {steps}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        found = dataclasses.asdict(self)
        found["strategy"] = {"name": self.name, **self.strategy.to_dict()}
        words = {each: self.words(each) for each in LANGUAGES}
        return {"is_passed": self.is_passed, **{name: plain(value) for name, value in found.items()}, "words": words}


def check(
    strategy: ParameterSet,
    candles: Candles,
    *,
    cuts: int = CUTS,
    seed: int = 1,
) -> Check:
    """Return whether a strategy looks ahead, and how many candles of warm-up it needs.

    candles: of one symbol; the newest 5,000 are looked at. cuts: how often the history is cut off, at candles drawn by the
    seed and at the last ones. Raises InputError naming what is wrong.
    """
    if not isinstance(strategy, ParameterSet):
        raise InputError("strategy", type(strategy).__name__, "must be the parameters of a registered strategy")
    if not isinstance(candles, Candles) or len(candles) < LEAST_CANDLES:
        raise InputError("candles", len(candles), f"must be at least {LEAST_CANDLES} candles of one symbol")
    if not 1 <= cuts <= 1_000:
        raise InputError("cuts", cuts, "must be from 1 to 1000")
    shown = [
        Candle(*row)
        for row in zip(
            *(getattr(candles, name)[-MOST_CANDLES:].tolist() for name in ("time", "open", "high", "low", "close", "volume")),
            strict=True,
        )
    ]
    rule = of_parameters(strategy)
    values = strategy.values()
    whole = _run(rule, values, shown)
    points = _cuts(len(shown), cuts, seed)
    drifts, warm_up = _recursion(rule, values, shown, whole)
    return Check(
        strategy=strategy,
        name=rule.name,
        candles=len(shown),
        cuts=len(points),
        lookahead=tuple(_truncation(rule, values, shown, whole, points)),
        reaches=tuple(outside_of(rule)),
        halves=tuple(_halves(rule, values, shown)),
        drifts=tuple(drifts),
        warm_up=warm_up,
        declared=int(values.warm_up),
        seed=seed,
    )


type Said = dict[str, float]


def _run(rule: Strategy, values: Any, candles: Sequence[Candle]) -> list[Said]:
    """Return what the strategy says and describes at each close, from its very start."""
    memory = rule.start(values)
    said = []
    for candle in candles:
        memory, signal = rule.step(values, memory, candle)
        said.append(_said(rule, values, memory, signal, candle))
    return said


def _said(rule: Strategy, values: Any, memory: Any, signal: Signal, candle: Candle) -> Said:
    """Return one decision and its numbers by name."""
    decision = {name: float(getattr(signal, name)) for name in WORDS}
    return {**decision, **{name: float(value) for name, value in rule.describe(values, memory, candle).items()}}


def _cuts(candles: int, cuts: int, seed: int) -> list[int]:
    """Return how many candles are left at each cut, ascending."""
    drawn = np.random.default_rng(seed).choice(np.arange(LEAST_CANDLES // 2, candles), min(cuts, candles // 2), replace=False)
    return sorted({*drawn.tolist(), candles - 1})


def _truncation(
    rule: Strategy, values: Any, candles: list[Candle], whole: list[Said], points: Sequence[int]
) -> list[Difference]:
    """Return the first difference of each name between the whole history and one that was cut off."""
    found: dict[str, Difference] = {}
    for left in points:
        said = _run(rule, values, candles[:left])
        for at, (mine, theirs) in enumerate(zip(said, whole, strict=False)):
            for name in {*mine, *theirs}:
                ours, full = mine.get(name, math.nan), theirs.get(name, math.nan)
                if name not in found and not _same(ours, full):
                    found[name] = Difference(
                        time=candles[at].time, cut=candles[left - 1].time, name=name, whole=full, cut_off=ours
                    )
    return sorted(found.values(), key=lambda each: (each.time, each.name))


def _halves(rule: Strategy, values: Any, candles: list[Candle]) -> list[Difference]:
    """Return the first difference of each part of a decision between `step` and the two halves a sweep uses."""
    if rule.factors is None:
        return []
    found: dict[str, Difference] = {}
    memory, half_memory = rule.start(values), rule.start(values)
    for candle in candles:
        memory, signal = rule.step(values, memory, candle)
        half_memory = rule.factors.advance(values, half_memory, candle)
        row = list(rule.factors.observe(values, half_memory))
        judged = rule.factors.judge(values, rule.factors.observation_of(values, row), candle)
        for name in WORDS:
            mine, theirs = float(getattr(judged, name)), float(getattr(signal, name))
            # While indicators are not defined nothing is entered, and the width does not matter.
            if name not in found and not _same(mine, theirs) and (name != "stop_width" or signal.is_ready):
                found[name] = Difference(time=candle.time, cut=candle.time, name=name, whole=theirs, cut_off=mine)
    return list(found.values())


def _recursion(
    rule: Strategy, values: Any, candles: list[Candle], whole: list[Said]
) -> tuple[list[Drift], int | None]:
    """Return how far each number is off after so many candles, and how many it takes until nothing is."""
    compared = min(COMPARED, len(candles) // 4)
    most = len(candles) - compared
    known: dict[int, dict[str, float]] = {}

    def off(seen: int) -> dict[str, float]:
        """Return by how much each name differs at the last candles, for a start `seen` candles before them."""
        if seen not in known:
            said = _run(rule, values, candles[most - seen :])[-compared:]
            names = {name for one in (*said, *whole[-compared:]) for name in one}
            known[seen] = {
                name: max(_apart(one.get(name), full.get(name)) for one, full in zip(said, whole[-compared:], strict=True))
                for name in sorted(names)
            }
        return known[seen]

    def is_near(seen: int) -> bool:
        """Tell whether decisions are the same and numbers agree to 1e-9."""
        return all(value <= (0.0 if name in WORDS and name != "stop_width" else TOLERANCE) for name, value in off(seen).items())

    starts, seen = [], 1
    while seen < most:
        starts.append(seen)
        seen = max(seen + 1, int(seen * GROWTH))
    last_bad = max((each for each in starts if not is_near(each)), default=0)
    first_good = min((each for each in starts if each > last_bad), default=None)
    while first_good is not None and first_good - last_bad > 1:
        middle = (first_good + last_bad) // 2
        if is_near(middle):
            first_good = middle
        else:
            last_bad = middle
    drifts = []
    for name in sorted({name for found in known.values() for name in found} - set(WORDS)):
        by_candles = {each: off(each).get(name, 0.0) for each in sorted(known)}
        drifts.append(
            Drift(
                name=name,
                by_candles={each: by_candles[each] for each in starts[::3] if each in by_candles},
                equal_after=_settled(by_candles, 0.0),
                near_after=_settled(by_candles, TOLERANCE),
            )
        )
    return drifts, None if first_good is None else first_good + 1


def _settled(by_candles: dict[int, float], limit: float) -> int | None:
    """Return the candles after which a difference stays within a limit; None: never."""
    late = [candles for candles, value in by_candles.items() if value > limit]
    after = [candles for candles in by_candles if candles > max(late, default=0)]
    return after[0] if after else None


def _same(mine: float, theirs: float) -> bool:
    """Tell whether two numbers are the same, NaN being itself."""
    return mine == theirs or (mine != mine and theirs != theirs)


def _apart(mine: float | None, theirs: float | None) -> float:
    """Return the relative difference of two numbers; infinite where only one is defined."""
    ours, full = math.nan if mine is None else mine, math.nan if theirs is None else theirs
    if _same(ours, full):
        return 0.0
    if math.isnan(ours) or math.isnan(full):
        return math.inf
    return abs(ours - full) / max(abs(ours), abs(full))
