"""exchangeInfo of both venues: thousands of symbols, built once as bytes.

Invariant: what is listed is a pure function of the rules; only the server time is new in an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

from ctp.simulator.rules import SymbolRules, perpetuals, spots

USDM_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
SPOT_TYPES = [
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
]  # fmt: skip
USDM_LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
]
SPOT_LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
]


def _price_filter(lowest: str, highest: str, step: str) -> dict[str, object]:
    """Return the filter that puts prices on a grid."""
    return {"filterType": "PRICE_FILTER", "minPrice": lowest, "maxPrice": highest, "tickSize": step}


def _lot_filter(kind: str, smallest: str, largest: str, step: str) -> dict[str, object]:
    """Return a filter that puts sizes on a grid."""
    return {"filterType": kind, "minQty": smallest, "maxQty": largest, "stepSize": step}


def perpetual_info(rules: SymbolRules, status: str = "TRADING") -> dict[str, object]:
    """Return a perpetual as GET /fapi/v1/exchangeInfo lists it."""
    tick, lot = rules.tick, rules.lot
    return {
        "symbol": rules.id, "pair": rules.id, "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000, "status": status, "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000", "baseAsset": rules.base, "quoteAsset": rules.quote,
        "marginAsset": rules.quote, "pricePrecision": rules.price_decimals, "quantityPrecision": rules.size_decimals,
        "baseAssetPrecision": 8, "quotePrecision": 8, "underlyingType": "COIN", "underlyingSubType": ["PoW"], "settlePlan": 0,
        "triggerProtect": "0.0500", "liquidationFee": "0.012500", "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            _price_filter(tick.step, tick.text(45_297_640), tick.step),
            _lot_filter("LOT_SIZE", lot.text(rules.min_lots), lot.text(rules.max_lots), lot.step),
            _lot_filter("MARKET_LOT_SIZE", lot.text(rules.min_lots), lot.text(rules.market_max_lots), lot.step),
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": f"{rules.min_notional:g}"},
            {
                "filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
            {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
        ],
        "orderTypes": USDM_TYPES, "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY"],
    }  # fmt: skip


def spot_info(rules: SymbolRules, status: str = "TRADING") -> dict[str, object]:
    """Return a spot symbol as GET /api/v3/exchangeInfo lists it."""
    tick, lot = rules.tick, rules.lot
    return {
        "symbol": rules.id, "status": status, "baseAsset": rules.base, "baseAssetPrecision": 8,
        "quoteAsset": rules.quote, "quotePrecision": 8, "quoteAssetPrecision": 8, "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8, "orderTypes": SPOT_TYPES, "icebergAllowed": True, "ocoAllowed": True,
        "otoAllowed": True, "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True,
        "cancelReplaceAllowed": True, "amendAllowed": True, "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
        "filters": [
            _price_filter(tick.text(1, 8), tick.text(100_000_000, 8), tick.text(1, 8)),
            _lot_filter("LOT_SIZE", lot.text(rules.min_lots, 8), lot.text(rules.max_lots, 8), lot.text(1, 8)),
            {"filterType": "ICEBERG_PARTS", "limit": 100},
            _lot_filter("MARKET_LOT_SIZE", "0.00000000", lot.text(rules.market_max_lots, 8), "0.00000000"),
            {
                "filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
                "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL", "minNotional": f"{rules.min_notional:.8f}", "applyMinToMarket": True,
                "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [], "permissionSets": [["SPOT", "MARGIN"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER", "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_MAKER"],
    }  # fmt: skip


@cache
def _listed(venue: str) -> dict[str, bytes]:
    """Return every listed symbol of a venue as JSON: the same for all exchanges of a process."""
    if venue == "usdm":
        return {rules.id: json.dumps(perpetual_info(rules)).encode() for rules in perpetuals()}
    return {rules.id: json.dumps(spot_info(rules)).encode() for rules in spots()}


class Listing:
    """The listed symbols of one venue as ready-made JSON."""

    def __init__(self, venue: str, traded: Iterable[SymbolRules]) -> None:
        """Build the bytes: the traded symbols with their own rules, then everything else that is listed."""
        own = {rules.id: rules for rules in traded}
        self._info = perpetual_info if venue == "usdm" else spot_info
        self._parts = _listed(venue) | {name: json.dumps(self._info(rules)).encode() for name, rules in own.items()}
        self.assets = sorted({rules.base for rules in own.values()} | {rules.quote for rules in own.values()})
        head: dict[str, object] = {"timezone": "UTC"}
        if venue == "usdm":
            assets = [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}]
            head |= {"futuresType": "U_MARGINED", "rateLimits": USDM_LIMITS, "exchangeFilters": [], "assets": assets}
        else:
            head |= {"rateLimits": SPOT_LIMITS, "exchangeFilters": []}
        self._head = json.dumps(head)[:-1].encode()
        self._all = b",".join(self._parts.values())

    def __len__(self) -> int:
        """Return how many symbols are listed."""
        return len(self._parts)

    def __contains__(self, name: str) -> bool:
        """Tell whether a symbol id is listed."""
        return name in self._parts

    def restate(self, rules: SymbolRules, status: str) -> None:
        """Change the status of one symbol."""
        self._parts[rules.id] = json.dumps(self._info(rules, status)).encode()
        self._all = b",".join(self._parts.values())

    def body(self, now: int, names: list[str] | None = None) -> bytes:
        """Return the answer, for all symbols or the named ones, which must be listed."""
        symbols = self._all if names is None else b",".join(self._parts[name] for name in names)
        return b'%s, "serverTime": %d, "symbols": [%s]}' % (self._head, now, symbols)
