"""Full, five incremental backups under trading, the server lost, restored at a random point: trading goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.backup.restored_bot import lose_and_restore


@pytest.mark.parametrize("venue", ["usdm", "spot"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_restored_bot_knows_what_it_did_since_the_backup_and_trades_on(tmp_path: Path, seed: int, venue: str) -> None:
    """No double entry, no position without its stop, no trade missing; it waited for Start."""
    asyncio.run(lose_and_restore(tmp_path, seed, venue))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 200))
def test_a_hundred_lost_servers_come_back(tmp_path: Path, seed: int) -> None:
    """The same, with a seed for each."""
    asyncio.run(lose_and_restore(tmp_path, seed, "usdm" if seed % 2 else "spot"))
