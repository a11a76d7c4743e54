"""The manual clock wakes sleepers in order, and only when it is moved."""

from __future__ import annotations

import asyncio

from ctp.clock import ManualClock, SystemClock


def test_sleepers_wake_in_the_order_of_their_hour_and_see_it_on_the_clock() -> None:
    """A cancelled sleeper neither wakes nor hinders."""

    async def scene() -> list[tuple[str, int]]:
        clock, seen = ManualClock(1_000), []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            seen.append((name, clock.now_ms()))

        tasks = [asyncio.create_task(sleeper(name, s)) for name, s in (("c", 3), ("a", 1), ("b", 2), ("late", 9))]
        await clock.advance(5)
        tasks[-1].cancel()
        await clock.advance(10)
        return seen

    assert asyncio.run(scene()) == [("a", 2_000), ("b", 3_000), ("c", 4_000)]


def test_a_task_that_sleeps_again_wakes_again_within_one_advance() -> None:
    """One long advance is the same as many short ones."""

    async def scene() -> list[int]:
        clock, seen = ManualClock(0), []

        async def every_second() -> None:
            while True:
                await clock.sleep(1)
                seen.append(clock.now_ms())

        task = asyncio.create_task(every_second())
        await clock.advance(3.5)
        task.cancel()
        return seen

    assert asyncio.run(scene()) == [1_000, 2_000, 3_000]


def test_a_jump_of_the_wall_clock_moves_no_monotonic_time_and_wakes_nobody() -> None:
    """An operator or NTP sets the clock while something waits."""

    async def scene() -> bool:
        clock = ManualClock(1_000_000)
        task = asyncio.create_task(clock.sleep(60))
        await clock.advance(0)
        clock.jump(-20_000)
        assert (clock.now_ms(), clock.monotonic_s()) == (980_000, 0.0)
        clock.jump(100_000)
        await clock.advance(59)
        asleep = not task.done()
        await clock.advance(1)
        return asleep and task.done()

    assert asyncio.run(scene())


def test_the_system_clock_tells_milliseconds_and_never_runs_backwards() -> None:
    """Real time, measured without waiting."""
    clock = SystemClock()
    first, second = clock.monotonic_s(), clock.monotonic_s()
    assert second >= first
    assert 1_700_000_000_000 < clock.now_ms() < 10_000_000_000_000
