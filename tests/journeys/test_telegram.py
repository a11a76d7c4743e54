"""Journey: a person closes a position from their chat, and reads there that it is closed; the exchange agrees."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import sqlalchemy as sa

from ctp.clock import SystemClock
from ctp.notifiers.telegram_api import BotApi
from ctp.storage.tables import commands, contacts, users
from ctp.telegram.listener import Listener
from tests.journeys.test_stop import HOLDER
from tests.telegram_bot.bot_api import TOKEN, BotApiServer, Sent, bot_api
from tests.trading.rig import Rig, trading_rig
from tests.trading.test_faults import USDM
from tests.trading.truth import check_truth, position_sizes

ALICE = 1002


def _connect(rig: Rig) -> None:
    """Connect the chat of the account's owner, who reads English."""
    with rig.database.transaction() as connection:
        connection.execute(sa.update(users).values(language="en"))
        owner = connection.execute(sa.select(users.c.id)).scalar_one()
        row = {"user_id": owner, "channel": "telegram", "address": str(ALICE), "sender": str(ALICE)}
        connection.execute(sa.insert(contacts).values(**row, confirmed_at=1, updated_at=1))


async def _reads(rig: Rig, server: BotApiServer, number: int, last: str) -> Sent:
    """Wait until a message's last line begins like this; returns the message."""

    def holds() -> bool:
        shown = list(server.messages.values())
        return len(shown) >= number and shown[number - 1].text.split("\n")[-1].startswith(last)

    await rig.until(holds, f"{last!r} in {[one.text for one in server.messages.values()]}", 60.0)
    return list(server.messages.values())[number - 1]


async def _press_yes(rig: Rig, server: BotApiServer, number: int) -> None:
    """Confirm what the bot asks back."""
    asked = await _reads(rig, server, number, "Please confirm")
    server.press(ALICE, asked, asked.buttons[0][1])


def test_closing_from_a_chat_is_asked_taken_up_and_flat(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig, bot_api() as server:
            account = rig.add_account(list(USDM), strategy=HOLDER)
            _connect(rig)
            api = BotApi(TOKEN, server.address)
            listener = asyncio.create_task(
                Listener(rig.database, api, SystemClock(), tmp_path, tmp_path).run()
            )
            try:
                await rig.start_bot()
                server.write(ALICE, "/start", at=time.time())
                await _reads(rig, server, 1, "✓ done")
                await rig.advance([account], 2)
                held = position_sizes(rig, account)
                symbol = min(held)
                server.write(ALICE, f"/forceexit {symbol}", at=time.time())
                await _press_yes(rig, server, 2)
                told = await _reads(rig, server, 2, "✓ flat")
                assert [line.split(" ")[1] for line in told.text.split("\n")[1:]] == ["asked", "taken", "flat"]
                assert position_sizes(rig, account) == {one: size for one, size in held.items() if one != symbol}
                server.write(ALICE, "/stop close", at=time.time())
                await _press_yes(rig, server, 3)
                await _reads(rig, server, 3, "✓ flat")
                assert position_sizes(rig, account) == {}
                check_truth(rig, account)
                assert {row.exit_reason for row in rig.trades(account)} == {"force_exit"}
                asked = rig.rows(commands, order=commands.c.id)
                assert [(row.kind, row.door) for row in asked] == [
                    ("start", "telegram"),
                    ("exit_symbol", "telegram"),
                    ("stop_close", "telegram"),
                ]
            finally:
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)

    asyncio.run(journey())
