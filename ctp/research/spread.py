"""The same work on a Dask cluster: candles travel once to each worker, combinations in pieces, results as they come.

A piece is a grid of its own, run by `run_grid` with one thread; so threads here and processes there stand behind one call.
A worker that dies takes nothing along: Dask repeats what it had, and what Dask gives up is asked for anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ctp.core.strategies import of_parameters
from ctp.errors import InputError
from ctp.research.backtest import Prepared
from ctp.research.compiled import source_hash
from ctp.research.grid import Grid

PIECES = 48  # for each worker's thread there are several, so that a slow one does not keep the others waiting
FEWEST = 500  # combinations in a piece
CONNECT_TIMEOUT = "10s"
ROUNDS = 5  # of asking anew for what was lost

_OWN: WeakKeyDictionary[Prepared, Prepared] = WeakKeyDictionary()
_LOCK = Lock()


@contextmanager
def dask_client(given: Any) -> Iterator[Any]:
    """Yield the client of an address, or the one that was given. Raises InputError when there is no cluster."""
    try:
        import distributed
    except ImportError:
        raise InputError("dask", str(given), 'needs Dask: pip install "ctp[dask]"') from None
    if isinstance(given, distributed.Client):
        yield given
        return
    if not isinstance(given, str):
        raise InputError("dask", str(given), "must be an address like tcp://10.0.0.5:8786 or a dask.distributed.Client")
    connect: Any = distributed.Client  # not typed
    try:
        client = connect(given, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError("dask", given, f"is no Dask scheduler that answers: {error}") from None
    try:
        yield client
    finally:
        client.close()


def pieces_of(prepared: Prepared, grid: Grid, numbers: np.ndarray) -> list[np.ndarray]:
    """Return combinations in pieces; those that share tables stay together."""
    factors = of_parameters(prepared.strategy).factors
    names = () if factors is None else (factors.left_seen_by or factors.observed_by).names
    group, _ = grid.distinct(names)
    ordered = numbers[np.argsort(group[numbers], kind="stable")]
    return np.array_split(ordered, max(1, min(PIECES, len(ordered) // FEWEST)))


def run_on_dask(
    client: Any,
    prepared: Prepared,
    grid: Grid,
    numbers: np.ndarray,
    take: Callable[[np.ndarray, np.ndarray, np.ndarray], None],
) -> None:
    """Run combinations on a cluster; take: called with the numbers, figures and engines of each piece as it comes."""
    import distributed

    as_completed: Any = distributed.as_completed

    left = dict(enumerate(pieces_of(prepared, grid, numbers)))
    trouble: Any = None
    for _ in range(ROUNDS):
        candles = client.scatter(prepared, broadcast=True, hash=False)
        asked = {
            client.submit(_run_piece, candles, grid.chosen(piece), source_hash(), pure=False): name
            for name, piece in left.items()
        }
        try:
            for future in as_completed(asked, loop=client.loop):
                name = asked[future]
                if future.status == "finished":
                    take(left[name], *future.result())
                    del left[name]
                elif future.status == "error" and not isinstance(future.exception(), distributed.KilledWorker):
                    raise future.exception()
                else:
                    trouble = future.exception() if future.status == "error" else future.status
        finally:
            client.cancel(list(asked))
        if not left:
            return
    raise InputError("dask", str(client.scheduler.address), f"loses its workers again and again: {trouble}")


def _run_piece(prepared: Prepared, grid: Grid, code: str) -> tuple[np.ndarray, np.ndarray]:
    """Run a piece on a worker."""
    from ctp.research.sweep import run_grid

    if source_hash() != code:
        raise InputError("dask", "a worker", "runs another version of ctp; install the same on all of them")
    with _LOCK:
        if prepared not in _OWN:
            _OWN[prepared] = _writable(prepared)
    return run_grid(_OWN[prepared], grid, workers=1)


def _writable(prepared: Prepared) -> Prepared:
    """Return inputs in memory of their own: read-only arrays, as they come over the wire, would cost another compilation."""
    return dataclasses.replace(prepared, columns=_copied(prepared.columns), times=np.array(prepared.times))


def _copied(value: Any) -> Any:
    """Return columns, and columns among them, in memory of their own."""
    if isinstance(value, tuple):
        return type(value)(*map(_copied, value))
    return np.array(value) if isinstance(value, np.ndarray) else value
