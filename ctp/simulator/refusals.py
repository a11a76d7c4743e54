"""How the simulated exchange says no: Binance's codes and words, as one exception.

Owns the wording. A refusal never leaves this room as an exception: the server turns it into the HTTP answer
that makes an unmodified client raise its real error class.
"""

from __future__ import annotations

from ctp.errors import ExchangeError

MESSAGES: dict[int, str] = {
    -1003: "Too many requests; current limit is {limit} requests per minute. "
    "Please use the websocket for live updates to avoid polling the API.",
    -1015: "Too many new orders; current limit is {limit} orders per {interval}.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1100: "Illegal characters found in parameter '{name}'; legal range is '{legal}'.",
    -1102: "Mandatory parameter '{name}' was not sent, was empty/null, or malformed.",
    -1106: "Parameter '{name}' sent when not required.",
    -1111: "Precision is over the maximum defined for this asset.",
    -1115: "Invalid timeInForce.",
    -1116: "Invalid orderType.",
    -1117: "Invalid side.",
    -1120: "Invalid interval.",
    -1121: "Invalid symbol.",
    -1122: "Invalid symbol status.",
    -1131: "recvWindow must be less than 60000.",
    -2010: "Account has insufficient balance for requested action.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -2019: "Margin is insufficient.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -2027: "Exceeded the maximum allowable position at current leverage.",
    -4001: "Price less than 0.",
    -4003: "Quantity less than or equal to zero.",
    -4005: "Quantity greater than max quantity.",
    -4014: "Price not increased by tick size.",
    -4015: "Client order id is not valid.",
    -4016: "Limit price can't be higher than {limit}.",
    -4023: "Quantity not increased by step size.",
    -4024: "Limit price can't be lower than {limit}.",
    -4028: "Leverage {leverage} is not valid",
    -4045: "Reach max stop order limit.",
    -4046: "No need to change margin type.",
    -4047: "Margin type cannot be changed if there exists open orders.",
    -4048: "Margin type cannot be changed if there exists position.",
    -4059: "No need to change position side.",
    -4061: "Order's position side does not match user's setting.",
    -4116: "ClientOrderId is duplicated.",
    -4120: "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
    -4137: "Quantity must be zero with closePosition equals true",
    -4164: "Order's notional must be no smaller than {minimum} (unless you choose reduce only).",
    -4165: "Maximum time interval is 7 days.",
    -5000: "Path {path}, Method {method} is invalid",
    -5021: "Due to the order could not be filled immediately, the FOK order has been rejected.",
    -5022: "Due to the order could not be executed as maker, the Post Only order will be rejected.",
}


class Refusal(ExchangeError):
    """The exchange says no; carries the code, the words, the HTTP status and headers of the answer."""

    def __init__(
        self,
        code: int,
        message: str = "",
        *,
        status: int = 400,
        headers: dict[str, str] | None = None,
        **facts: object,
    ) -> None:
        """Take the exchange's words for `code`, unless others are given."""
        self.code = code
        self.message = message or MESSAGES[code].format(**facts)
        self.status = status
        self.headers = headers or {}
        super().__init__(f"{code}: {self.message}")

    def body(self) -> dict[str, object]:
        """Return the JSON body of the answer."""
        return {"code": self.code, "msg": self.message}


def filter_failure(name: str) -> Refusal:
    """Return the spot exchange's refusal by the filter `name`, such as `LOT_SIZE`."""
    return Refusal(-1013, f"Filter failure: {name}")


def no_such_key() -> Refusal:
    """Return the refusal of an unknown key, or of one without the right needed."""
    return Refusal(-2015, status=401)
