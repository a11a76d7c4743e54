"""Cutting history the way the exchange does: time windows, first ids, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import Parameters, whole

WEEK_MS = 7 * 86_400_000


class Window:
    """The part of a history that a request asks for."""

    def __init__(
        self, parameters: Parameters, now: int, *, default_limit: int, longest_limit: int, span_ms: int | None
    ) -> None:
        """Read startTime, endTime, limit; span_ms: the longest window, which is also the default one.

        Raises Refusal when the window asked for is longer.
        """
        start, end = whole(parameters, "startTime"), whole(parameters, "endTime")
        self.limit = min(whole(parameters, "limit", default_limit) or default_limit, longest_limit)
        self.from_start = start is not None
        if span_ms is not None:
            if start is not None and end is not None and end - start > span_ms:
                raise Refusal(-4165)
            if end is None:
                end = now if start is None else start + span_ms
            if start is None:
                start = end - span_ms
        self.start, self.end = start or 0, now if end is None else end

    def cut[T](self, rows: Iterable[T], time_of: Callable[[T], int]) -> list[T]:
        """Return the rows inside: the first ones when a start was given, else the last ones; oldest first."""
        inside = [row for row in rows if self.start <= time_of(row) <= self.end]
        return inside[: self.limit] if self.from_start else inside[-self.limit :]


def trades_of[T](
    rows: list[T], parameters: Parameters, now: int, *, id_of: Callable[[T], int], order_of: Callable[[T], int],
    time_of: Callable[[T], int], span_ms: int | None,
) -> list[T]:  # fmt: skip
    """Return trades of one symbol: by order, from an id on, or by time."""
    order, first = whole(parameters, "orderId"), whole(parameters, "fromId")
    limit = min(whole(parameters, "limit", 500) or 500, 1000)
    if order is not None:
        return [row for row in rows if order_of(row) == order][:limit]
    if first is not None:
        if "startTime" in parameters or "endTime" in parameters:
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        return [row for row in rows if id_of(row) >= first][:limit]
    window = Window(parameters, now, default_limit=500, longest_limit=1000, span_ms=span_ms)
    return window.cut(rows, time_of)
