"""The worker is killed at random moments while channels fail: nothing is lost, and nothing comes twice but across a kill."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.notifiers.storm import storm


def test_every_notice_arrives_through_failures_and_kills(home: Path) -> None:
    """A short run of benchmarks/outbox.py, which counts how rare repetitions are."""
    outcome = asyncio.run(
        storm(home, events=60, people=10, seed=7, fault_share=0.15, kill_after=15, patience_s=280)
    )
    assert outcome.arrived == outcome.events and outcome.dead == 0
    assert outcome.kills > 0 and outcome.faults > 0
    assert outcome.unexplained == 0 and outcome.repeated <= 2 * outcome.kills


def test_without_a_kill_nothing_comes_twice(home: Path) -> None:
    """Whatever the channels answer before they have taken a message."""
    outcome = asyncio.run(
        storm(home, events=40, people=10, seed=8, fault_share=0.15, kill_after=None, patience_s=280)
    )
    assert (outcome.arrived, outcome.repeated, outcome.dead) == (outcome.events, 0, 0)
