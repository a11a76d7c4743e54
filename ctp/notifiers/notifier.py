"""The port of every channel that sends: to whom, what, and how it may fail.

Invariant: sending the same notice again is recognisable where the channel can show it (an e-mail keeps its Message-ID).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ctp.notifiers.messages import Message


class Recipient(NamedTuple):
    """To whom a message goes."""

    user_id: int
    name: str
    language: str
    zone: str
    address: str = ""  # proven, on the channel that sends: e-mail address, Telegram chat id


class Notifier(Protocol):
    """A channel that sends messages."""

    channel: str

    async def send(self, recipient: Recipient, message: Message, notice_id: int) -> None:
        """Hand a message to the channel, and return as soon as the channel has it.

        Raises DeliveryError when this message failed, saying whether trying again can help; AddressRefused to have the
        address blocked; ChannelRefused when nobody's message can be sent now: everything waits, operators are told once.
        """
        ...
