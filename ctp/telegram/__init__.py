"""Commands by Telegram: what people ask the bot in a chat, and what it answers. Another door to the same rooms.

Notices go out through `ctp.notifiers`; this room listens. It asks `ctp.accounts` for every right and every row, and a
command is a row for the trading bot, as from the web: there is no way from here to a parameter, a key or a ceiling.
"""
