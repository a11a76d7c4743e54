"""Find the order that a request names, on either venue: by the exchange's number or the client's id."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ctp.simulator.orders import Order
from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import Parameters, whole

_NAMELESS = "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"


def find_named(parameters: Parameters, find: Callable[[str, str], Order | None]) -> Order | None:
    """Return the order a request names, if it exists.

    find: takes the number, empty when none was sent, and the client's id. Raises Refusal when the request names none.
    """
    number, client_id = whole(parameters, "orderId"), parameters.get("origClientOrderId", "")
    if number is None and not client_id:
        raise Refusal(-1102, _NAMELESS)
    return find("" if number is None else str(number), client_id)


def existing(order: Order | None) -> Order:
    """Return an order that must exist to be shown."""
    if order is None:
        raise Refusal(-2013)
    return order


def cancellable(order: Order | None) -> Order:
    """Return an order that must work to be cancelled."""
    if order is None or not order.is_working:
        raise Refusal(-2011)
    return order


def working(orders: Iterable[Order], parameters: Parameters) -> list[Order]:
    """Return the working orders, all or of the symbol a request names."""
    wanted = parameters.get("symbol")
    return [order for order in orders if order.is_working and wanted in (None, order.symbol)]
