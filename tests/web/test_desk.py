"""The desk in its kernel: what a person chooses and confirms holds, however slowly the gateway answers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from ctp.web.dashboards.trading import TradingDesk

PATIENCE_S = 60.0


class SlowGateway:
    """Answers like the gateway; while it is held, answers wait."""

    def __init__(self) -> None:
        """Answer at once."""
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()
        self.commands: list[tuple[str, Any]] = []

    def get(self, path: str, **query: Any) -> Any:
        """Return the desk of the account and symbol that were asked for."""
        self.asked.set()
        assert self.open.wait(PATIENCE_S)
        account, symbol = query["account"] or 1, query["symbol"] or "BTC/USDT"
        return {"account": {"id": account}, "symbol": symbol, "series": {"candles": [[0]], "is_whole": not query["since"]}}

    def post(self, path: str, body: Any) -> Any:
        """Take a command."""
        self.commands.append((path, body["kind"]))


class Watched(TradingDesk):
    """A desk whose messages to the page are kept."""

    def send(self, content: Any, buffers: Any = None) -> None:
        """Keep a message."""
        self.__dict__.setdefault("sent", []).append(content)


async def until_shown(desk: Watched, symbol: str) -> None:
    """Wait until the page was shown a symbol, twice: the second time by the desk's own beat."""
    async with asyncio.timeout(PATIENCE_S):
        while sum(_is_of(desk, message, symbol) for message in desk.__dict__.get("sent", ())) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _is_of(desk: Watched, message: Any, symbol: str) -> bool:
    """Return whether a message leaves the page with this symbol."""
    return message.get("kind") == "view" and desk._shown["symbol"] == symbol == message["view"].get("symbol", symbol)


def test_what_is_chosen_while_an_answer_is_on_its_way_is_shown() -> None:
    async def story() -> None:
        gateway = SlowGateway()
        desk = Watched(gateway)  # type: ignore[arg-type]
        gateway.open.clear()
        gateway.asked.clear()
        await asyncio.to_thread(gateway.asked.wait, PATIENCE_S)  # the desk's own refresh hangs, for BTC
        desk._hear(desk, {"kind": "select", "account": 1, "symbol": "ETH/USDT"}, [])
        gateway.open.set()
        await until_shown(desk, "ETH/USDT")
        assert desk._choice == (1, "ETH/USDT")
        desk._task.cancel()

    asyncio.run(story())


def test_a_command_goes_to_the_account_it_was_confirmed_for() -> None:
    async def story() -> None:
        gateway = SlowGateway()
        desk = Watched(gateway)  # type: ignore[arg-type]
        desk._hear(desk, {"kind": "select", "account": 2, "symbol": None}, [])  # not on the page yet
        desk._hear(desk, {"kind": "command", "account": 1, "command": "close_all", "request_key": "k"}, [])
        desk._hear(desk, {"kind": "command", "command": "close_all", "request_key": "k"}, [])  # for no account: ignored
        async with asyncio.timeout(PATIENCE_S):
            while not gateway.commands:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        desk._task.cancel()
        await asyncio.gather(*desk._answers)
        assert gateway.commands == [("/accounts/1/commands", "close_all")]

    asyncio.run(story())
