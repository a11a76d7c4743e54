"""The trading state as the text of `account_states.core_state`, and back.

The JSON names everything, so that a dashboard may read it too:
`states` (per symbol), `account`, `entry_orders`, `first_times` (first candle each symbol's indicators have seen),
`pending`, `markets` (the rules and costs decisions were made with) and `positions`: what is open *now*, in exact text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctp.core.memory import dump, from_plain, load, to_plain
from ctp.core.steps import price_of, size_of
from ctp.core.trader import start_account
from ctp.core.types import FLAT, LONG, Market, TraderState
from ctp.trading.fold import Memory
from ctp.trading.market_rules import exact_price, exact_size


def write_memory(memory: Memory, markets: Sequence[Market], current: Memory) -> str:
    """Return the JSON text of a memory; `current` is the same with every known fact folded in."""
    return dump(
        {
            "states": {symbol: to_plain(state) for symbol, state in zip(memory.symbols, memory.states, strict=True)},
            "account": to_plain(memory.account),
            "entry_orders": dict(memory.entry_orders),
            "first_times": dict(memory.first_times),
            "pending": list(memory.pending),
            "markets": {symbol: to_plain(market) for symbol, market in zip(memory.symbols, markets, strict=True)},
            "positions": open_positions(current, markets),
        }
    )


def read_memory(text: str, fresh: TraderState, decision_time: int, ledger_id: int) -> Memory | None:
    """Return the memory a text holds; None when the account has never started.

    fresh: a trader of the same strategy before its first candle. Where the stored indicators are of another kind (the
    parameters changed) they are replaced by fresh ones, whose `seen` of 0 asks for a warm-up; positions are kept.
    """
    plain = load(text)
    if not plain:
        return None
    symbols = tuple(sorted(plain["states"]))
    return Memory(
        symbols,
        tuple(_state(plain["states"][symbol], fresh) for symbol in symbols),
        from_plain(start_account(0.0), plain["account"]),
        dict(plain["entry_orders"]),
        dict(plain["first_times"]),
        decision_time,
        ledger_id,
        tuple(plain["pending"]),
    )


def _state(plain: dict[str, Any], fresh: TraderState) -> TraderState:
    """Return one symbol's state."""
    try:
        return from_plain(fresh, plain)
    except ValueError:
        return forget_indicators(from_plain(fresh, plain | {"indicators": to_plain(fresh.indicators)}), fresh)


def forget_indicators(state: TraderState, fresh: TraderState) -> TraderState:
    """Return the state with its position but as if it had seen no candle."""
    return fresh._replace(position=state.position, plan=state.plan, cooldown=state.cooldown)


def open_positions(memory: Memory, markets: Sequence[Market]) -> list[dict[str, Any]]:
    """Return the open positions for people: exact texts of prices and sizes, doubles elsewhere."""
    found = []
    for symbol, state, market in zip(memory.symbols, memory.states, markets, strict=True):
        position = state.position
        if position.side == FLAT:
            continue
        found.append(
            {
                "symbol": symbol,
                "side": "long" if position.side == LONG else "short",
                "size": format(exact_size(market, position.lots), "f"),
                "entry_price": position.entry_price,
                "entry_time": position.entry_time,
                "stop_price": format(exact_price(market, position.stop_ticks), "f"),
                "take_price": format(exact_price(market, position.take_ticks), "f") if position.take_ticks else None,
                "leverage": position.leverage,
                "margin": position.margin,
                "liquidation_price": position.liquidation_price if market.is_perpetual else None,
                "fee": position.fee,
                "funding": position.funding,
                "risk": size_of(market, position.lots)
                * abs(position.entry_price - price_of(market, position.first_stop_ticks)),
                "entry_order_id": memory.entry_orders.get(symbol),
            }
        )
    return found
