"""How far our clock runs ahead of an exchange's: a measurement is believed as far as its round trip was short."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from ctp.clock import ManualClock
from ctp.errors import ExchangeDown
from ctp.trading.exchange_clock import ExchangeClock


class Answer(NamedTuple):
    """One answer of the exchange: how long the way there and back took, and what happened to our clock meanwhile."""

    there_ms: float
    back_ms: float
    jump_ms: int = 0
    is_lost: bool = False


class Line:
    """A line to an exchange whose clock runs `lead_ms` behind ours, with scripted delays."""

    def __init__(self, lead_ms: int, answers: Sequence[Answer]) -> None:
        """The last answer repeats for ever."""
        self.clock, self.lead_ms = ManualClock(), lead_ms
        self._answers = list(answers)
        self.asked = 0

    async def ask(self) -> int:
        """Return the exchange's time as it was when the question arrived."""
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.clock.tick(answer.there_ms / 1000)
        told = self.clock.now_ms() - self.lead_ms
        self.clock.tick(answer.back_ms / 1000)
        self.clock.jump(answer.jump_ms)
        if answer.is_lost:
            raise ExchangeDown("no answer")
        return told

    def measured(self) -> ExchangeClock:
        """Return a clock that has measured once."""
        made = ExchangeClock(self.ask, self.clock)
        asyncio.run(made.measure())
        return made


def test_one_fast_answer_is_enough() -> None:
    line = Line(250, [Answer(10, 10)])
    found = line.measured()
    assert (found.lead_ms, found.is_known, found.is_off, line.asked) == (250, True, False, 1)


def test_the_shortest_of_several_round_trips_counts() -> None:
    line = Line(-300, [Answer(5, 400), Answer(400, 0), Answer(40, 70), Answer(300, 5), Answer(0, 900)])
    found = line.measured()
    assert found.is_known
    assert abs(found.lead_ms + 300) <= 55


@pytest.mark.parametrize("answer", [Answer(0, 3000), Answer(3000, 0), Answer(1500, 1500)])
def test_slow_answers_alone_are_not_trusted(answer: Answer) -> None:
    found = Line(0, [answer]).measured()
    assert not found.is_known
    assert found.is_off, "no entry leaves on a clock that is not known"
    assert abs(found.lead_ms) <= 1500


def test_a_slow_answer_does_not_replace_a_good_measurement_it_agrees_with() -> None:
    line = Line(120, [Answer(10, 10), Answer(0, 2000)])
    clock = ExchangeClock(line.ask, line.clock)
    asyncio.run(clock.measure())
    asyncio.run(clock.measure())
    assert (clock.lead_ms, clock.is_known) == (120, True)


def test_a_slow_answer_that_contradicts_an_old_measurement_outranks_it() -> None:
    line = Line(120, [Answer(10, 10), Answer(0, 2000)])
    clock = ExchangeClock(line.ask, line.clock)
    asyncio.run(clock.measure())
    line.lead_ms = 9000
    asyncio.run(clock.measure())
    assert abs(clock.lead_ms - 9000) <= 1000
    assert not clock.is_known


def test_an_answer_during_which_our_clock_was_set_is_thrown_away() -> None:
    line = Line(0, [Answer(5, 5, jump_ms=60_000), Answer(20, 20)])
    found = line.measured()
    assert abs(found.lead_ms) <= 60_000
    assert (found.is_known, line.asked) == (True, 2)


def test_a_lost_answer_leaves_what_was_known() -> None:
    line = Line(70, [Answer(10, 10), Answer(10, 10, is_lost=True)])
    clock = ExchangeClock(line.ask, line.clock)
    asyncio.run(clock.measure())
    with pytest.raises(ExchangeDown):
        asyncio.run(clock.measure())
    assert (clock.lead_ms, clock.is_known) == (70, True)


def test_many_who_were_refused_at_once_measure_once() -> None:
    line = Line(0, [Answer(10, 10)])
    clock = ExchangeClock(line.ask, line.clock)

    async def refused() -> None:
        seen = clock.measurements
        await asyncio.gather(*(clock.measure_after(seen) for _ in range(20)))

    asyncio.run(refused())
    assert line.asked == 1


def test_an_exchange_clock_more_than_a_second_off_is_off() -> None:
    assert Line(1001, [Answer(1, 1)]).measured().is_off
    assert not Line(-1000, [Answer(1, 1)]).measured().is_off
