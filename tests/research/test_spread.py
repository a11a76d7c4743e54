"""A sweep on a Dask cluster: the same table, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

import ctp
from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.research import spread
from ctp.research.backtest import prepare
from ctp.research.grid import full_grid
from ctp.research.spread import pieces_of, run_on_dask
from ctp.research.sweep import run_grid

AXES: dict[str, Any] = {
    "period": range(5, 15), "oversold": np.linspace(20, 45, 10), "overbought": np.linspace(55, 80, 10),
    "take_profit": [0.02, 0.04], "on_daily_loss": ["lock"],
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Yield two worker processes of one thread."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1") as both:
        yield both


def test_a_cluster_gives_the_table_of_threads(candles: Candles, cluster: LocalCluster) -> None:
    here = ctp.sweep(candles=candles, quiet=True, **AXES)
    there = ctp.sweep(candles=candles, quiet=True, dask=cluster.scheduler_address, **AXES)
    assert there.table.equals(here.table) and there.engines.tolist() == here.engines.tolist()


def test_a_killed_worker_loses_no_result(candles: Candles, cluster: LocalCluster) -> None:
    ready = prepare(None, None, candles, None, None, (), (), 10_000.0)
    grid = full_grid(ready.strategy, ready.risk, AXES, is_perpetual=False)
    figures = np.full((grid.total, 19), -1.0)
    taken: list[int] = []
    with Client(cluster, set_as_default=False) as client:
        workers = list(client.run(os.getpid).values())

        def take(numbers: np.ndarray, found: np.ndarray, engines: np.ndarray) -> None:
            if not taken:
                os.kill(workers[0], signal.SIGKILL)
            taken.append(len(numbers))
            figures[numbers] = found

        run_on_dask(client, ready, grid, np.arange(grid.total), take)
    assert sum(taken) == grid.total and len(taken) > 2
    np.testing.assert_array_equal(figures, run_grid(ready, grid)[0])


def test_pieces_hold_every_combination_once_and_keep_periods_together(candles: Candles) -> None:
    ready = prepare(None, None, candles, None, None, (), (), 10_000.0)
    grid = full_grid(ready.strategy, ready.risk, {**AXES, "period": [9, 5, 7]}, is_perpetual=False)
    pieces = pieces_of(ready, grid, np.arange(grid.total))
    assert sorted(np.concatenate(pieces).tolist()) == list(range(grid.total))
    assert sum(len(set(grid.places["period"][piece])) for piece in pieces) <= len(pieces) + 2


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", 7])
def test_a_cluster_that_is_not_there_is_refused_before_anything_runs(
    candles: Candles, address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "CONNECT_TIMEOUT", "1s")
    with pytest.raises(InputError, match="dask = "):
        ctp.sweep(candles=candles, quiet=True, dask=address, period=[7])
