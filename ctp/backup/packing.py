"""Write pieces into a pack, compressing them beside whoever reads them.

Invariant: no more than two batches of pieces wait in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import NamedTuple

from ctp.backup.durable import SteadySink
from ctp.backup.sealing import Sealer

_BATCH_BYTES = 2 << 20  # compressed in one go: one small group at a time, two threads would wait for each other

Stored = Callable[[int, int], None]


class _Waiting(NamedTuple):
    """A piece that is not written yet."""

    place: bytes
    content: bytes
    stored: Stored


class PackWriter:
    """Appends sealed pieces to a pack and says where they lie. For one thread; `executor` lends another."""

    def __init__(self, sink: SteadySink, sealer: Sealer, executor: Executor) -> None:
        """Write into an open file."""
        self._sink, self._sealer, self._executor = sink, sealer, executor
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._flying: tuple[list[_Waiting], Future[list[bytes]]] | None = None
        self.length = 0  # of the pack, as far as it is written

    def add(self, place: bytes, content: bytes, stored: Stored) -> None:
        """Append a piece some time before `flush` returns; then `stored` is called with its offset and length."""
        self._waiting.append(_Waiting(place, content, stored))
        self._bytes += len(content)
        if self._bytes >= _BATCH_BYTES:
            self._send()

    def flush(self) -> None:
        """Write everything that waits."""
        self._send()
        self._collect()

    def _send(self) -> None:
        """Let the pieces that wait be compressed."""
        self._collect()
        batch, self._waiting, self._bytes = self._waiting, [], 0
        if batch:
            contents = [piece.content for piece in batch]
            self._flying = batch, self._executor.submit(self._sealer.compress, contents)

    def _collect(self) -> None:
        """Write the batch that was compressed."""
        if self._flying is None:
            return
        (batch, packed), self._flying = self._flying, None
        for piece, one in zip(batch, packed.result(), strict=True):
            sealed = self._sealer.seal_compressed(piece.place, one)
            self._sink.write(sealed)
            piece.stored(self.length, len(sealed))
            self.length += len(sealed)
