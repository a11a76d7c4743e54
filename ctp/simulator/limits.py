"""Request weights and order counts: headers, 429, and 418 for those who do not listen.

Weights are the exchange's published ones. Windows are wall-clock minutes, as there.

Invariant: a refused request is answered with Retry-After, and a ban is longer than the window it follows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from ctp.simulator.refusals import Refusal

USDM_LIMIT, SPOT_LIMIT = 2400, 6000
_BAN_AFTER, _BAN_S = 20, 120

_WEIGHTS: dict[str, int] = {
    "GET /fapi/v1/exchangeInfo": 1, "GET /fapi/v1/ping": 1, "GET /fapi/v1/time": 1, "GET /fapi/v1/trades": 5,
    "GET /fapi/v1/aggTrades": 20,
    "GET /fapi/v1/fundingRate": 1, "GET /fapi/v1/fundingInfo": 1, "POST /fapi/v1/order": 0, "PUT /fapi/v1/order": 0,
    "GET /fapi/v1/order": 1, "DELETE /fapi/v1/order": 1, "POST /fapi/v1/algoOrder": 0, "GET /fapi/v1/algoOrder": 1,
    "DELETE /fapi/v1/algoOrder": 1, "GET /fapi/v1/allOrders": 5, "GET /fapi/v1/allAlgoOrders": 5,
    "GET /fapi/v3/account": 5, "GET /fapi/v2/account": 5, "GET /fapi/v3/balance": 5, "GET /fapi/v3/positionRisk": 5,
    "GET /fapi/v2/positionRisk": 5, "GET /fapi/v1/userTrades": 5, "GET /fapi/v1/income": 30,
    "GET /fapi/v1/commissionRate": 20, "GET /fapi/v1/positionSide/dual": 30, "GET /fapi/v1/symbolConfig": 5,
    "GET /fapi/v1/accountConfig": 5, "GET /fapi/v1/multiAssetsMargin": 30,
    "GET /api/v3/exchangeInfo": 20, "GET /api/v3/klines": 2, "GET /api/v3/trades": 25, "GET /api/v3/aggTrades": 4,
    "GET /api/v3/avgPrice": 2, "GET /api/v3/order": 4, "POST /api/v3/order": 1, "DELETE /api/v3/order": 1,
    "DELETE /api/v3/openOrders": 1, "GET /api/v3/allOrders": 20, "GET /api/v3/account": 20, "GET /api/v3/myTrades": 20,
    "GET /api/v3/orderList": 4, "GET /api/v3/openOrderList": 6, "POST /api/v3/orderList/oco": 1,
    "GET /sapi/v1/capital/config/getall": 10, "GET /sapi/v1/account/apiRestrictions": 1,
}  # fmt: skip
# with a symbol, without one
_BY_SYMBOL: dict[str, tuple[int, int]] = {
    "GET /fapi/v1/ticker/24hr": (1, 40), "GET /fapi/v1/ticker/price": (1, 2), "GET /fapi/v2/ticker/price": (1, 2),
    "GET /fapi/v1/ticker/bookTicker": (2, 5), "GET /fapi/v1/premiumIndex": (1, 10),
    "GET /fapi/v1/openOrders": (1, 40), "GET /fapi/v1/openAlgoOrders": (1, 40),
    "GET /api/v3/ticker/24hr": (2, 80), "GET /api/v3/ticker/price": (2, 4), "GET /api/v3/ticker/bookTicker": (2, 4),
    "GET /api/v3/openOrders": (6, 80),
}  # fmt: skip
# weight by limit: (up to, weight)
_BY_LIMIT: dict[str, tuple[tuple[int, int], ...]] = {
    "GET /fapi/v1/klines": ((99, 1), (499, 2), (1000, 5), (1500, 10)),
    "GET /fapi/v1/depth": ((50, 2), (100, 5), (500, 10), (1000, 20)),
    "GET /api/v3/depth": ((100, 5), (500, 25), (1000, 50), (5000, 250)),
}
_ORDER_ROUTES = frozenset({
    "POST /fapi/v1/order", "POST /fapi/v1/algoOrder", "POST /api/v3/order", "POST /api/v3/orderList/oco",
    "POST /api/v3/order/oco",
})  # fmt: skip


def weight(method: str, path: str, parameters: Mapping[str, str]) -> int:
    """Return what a request costs."""
    route = f"{method} {path}"
    if route in _BY_SYMBOL:
        one, all_of_them = _BY_SYMBOL[route]
        return one if "symbol" in parameters or "symbols" in parameters else all_of_them
    if route in _BY_LIMIT:
        asked = parameters.get("limit", "500")
        limit = int(asked) if asked.isdigit() else 500
        return next((cost for up_to, cost in _BY_LIMIT[route] if limit <= up_to), _BY_LIMIT[route][-1][1])
    return _WEIGHTS.get(route, 1)


class Limits:
    """The counters of one venue."""

    def __init__(
        self, venue: str, *, limit: int, enforced: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        """Count for "usdm" or "spot"; not enforced still reports what was used."""
        self.venue, self.limit, self.enforced, self._clock = venue, limit, enforced, clock
        self._minute, self._used, self._violations, self._banned_until = 0, 0, 0, 0.0
        self._orders: dict[str, deque[float]] = {}
        self._short = (10.0, 300 if venue == "usdm" else 100)
        self._long = (60.0, 1200) if venue == "usdm" else (86_400.0, 200_000)

    def spend(self, method: str, path: str, parameters: Mapping[str, str]) -> int:
        """Charge a request and return the weight used this minute.

        Raises Refusal 429 past the limit, 418 while banned.
        """
        now = self._clock()
        if self.enforced and now < self._banned_until:
            words = (
                f"Way too much request weight used; IP banned until {int(self._banned_until * 1000)}. "
                "Please use the websocket for live updates to avoid bans."
            )
            headers = {"Retry-After": str(int(self._banned_until - now) + 1)}
            raise Refusal(-1003, words, status=418, headers=headers)
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._used, self._violations = minute, 0, 0
        self._used += weight(method, path, parameters)
        if self.enforced and self._used > self.limit:
            self._violations += 1
            if self._violations > _BAN_AFTER:
                self._banned_until = now + _BAN_S
            headers = {"Retry-After": str(60 - int(now % 60)), "X-MBX-USED-WEIGHT-1M": str(self._used)}
            raise Refusal(-1003, status=429, headers=headers, limit=self.limit)
        return self._used

    def count_order(self, method: str, path: str, key: str) -> dict[str, str]:
        """Count a new order of a key and return the headers that report it.

        Raises Refusal past the order limits.
        """
        if f"{method} {path}" not in _ORDER_ROUTES:
            return {}
        now, times = self._clock(), self._orders.setdefault(key, deque())
        while times and times[0] < now - self._long[0]:
            times.popleft()
        recent = sum(1 for moment in reversed(times) if moment >= now - self._short[0])
        long_name = "1M" if self.venue == "usdm" else "1D"
        for used, (span, most), name in ((recent, self._short, "10 SECOND"), (len(times), self._long, long_name)):
            if self.enforced and used >= most:
                headers = {"Retry-After": str(int(span))}
                raise Refusal(-1015, status=429, headers=headers, limit=most, interval=name)
        times.append(now)
        return {"X-MBX-ORDER-COUNT-10S": str(recent + 1), f"X-MBX-ORDER-COUNT-{long_name}": str(len(times))}

    def headers(self, used: int) -> dict[str, str]:
        """Return the headers that report the weight used."""
        return {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
