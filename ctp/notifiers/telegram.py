"""The Telegram channel: a notice as a message in its reader's chat; a report with its chart as a picture."""

from __future__ import annotations

from pathlib import Path

from ctp.errors import DeliveryError
from ctp.notifiers.messages import Message
from ctp.notifiers.notifier import Recipient
from ctp.notifiers.telegram_api import BotApi
from ctp.notifiers.telegram_text import CAPTION_UNITS, MESSAGE_UNITS, Line, Rendered, bold, render


class TelegramNotifier:
    """Sends notices through a bot."""

    channel = "telegram"

    def __init__(self, api: BotApi, reports: Path) -> None:
        """Send through this bot. reports: the folder that pictures come from."""
        self._api, self._reports = api, reports

    async def send(self, recipient: Recipient, message: Message, notice_id: int) -> None:
        """Send one notice. Raises DeliveryError; AddressRefused when this chat will never take one."""
        picture = self._picture(message)
        if picture is not None:
            try:
                await self._api.send_photo(recipient.address, picture, in_words(message, CAPTION_UNITS))
                return
            except DeliveryError as error:
                # A picture that Telegram does not like must not keep the figures from their reader.
                if type(error) is not DeliveryError or not error.permanent:
                    raise
        await self._api.send(recipient.address, in_words(message, MESSAGE_UNITS))

    def _picture(self, message: Message) -> Path | None:
        """Return the picture that belongs to a message; None when there is none, or it is not ours to send."""
        if not message.image:
            return None
        file = (self._reports / message.image).resolve()
        return file if file.is_relative_to(self._reports.resolve()) and file.is_file() else None


def in_words(message: Message, limit: int) -> Rendered:
    """Return a notice as Telegram shows it: title in bold, the lines, the time at the end."""
    return render([bold(message.title), *map(Line, message.lines)], limit, last=Line(message.when))
