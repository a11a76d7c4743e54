"""An e-mail from a message: plain text, HTML that reads well on a phone in light and dark, and a chart inside it.

Invariants:
1. Nothing is fetched from anywhere: no remote image, font, style or script.
2. Every text is escaped; a header is one line (EmailMessage refuses anything else).
"""

from __future__ import annotations

import html
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from ctp.i18n import text
from ctp.notifiers.messages import Message
from ctp.notifiers.notifier import Recipient

_CHART = "chart"
_STYLE = """
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (prefers-color-scheme:dark){
.ground{background:#0d131d!important}.sheet{background:#151d2a!important;border-color:#2a3749!important}
.ink{color:#e8eef7!important}.soft{color:#a9b8cb!important}.rule{border-color:#2a3749!important}
.paper{background:#2a2350!important;color:#b9a5ff!important}.link{color:#5b9dff!important}}
"""
_FONT = "font-family:-apple-system,BlinkMacSystemFont,'Segoe UI','Apple SD Gothic Neo','Malgun Gothic',Roboto,sans-serif"
_BADGES = {"paper": "background:#ece7fd;color:#4d35a8", "live": "background:#c0182a;color:#ffffff"}


def write_mail(
    recipient: Recipient,
    message: Message,
    *,
    sender: str,
    message_id: str,
    at: datetime,
    public_url: str = "",
    chart: bytes = b"",
) -> EmailMessage:
    """Return the whole e-mail. message_id: the same for every try of one notice. chart: a PNG, or nothing."""
    name, address = parseaddr(sender)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address(display_name=name, addr_spec=address)
    mail["To"] = Address(addr_spec=recipient.address)
    mail["Subject"] = message.title
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = "auto-generated"  # no out-of-office answers
    if message.urgent:
        mail["Importance"] = "high"
    if public_url:
        mail["List-Unsubscribe"] = f"<{public_url}/profile>"
    # Base64, because lines of Korean text may be longer than a mail server takes.
    mail.set_content(plain_text(recipient, message, public_url), cte="base64")
    mail.add_alternative(html_text(recipient, message, public_url, with_chart=bool(chart)), subtype="html", cte="base64")
    if chart:
        body = mail.get_body(("html",))
        if body is not None:
            body.add_related(chart, "image", "png", cid=f"<{_CHART}>", disposition="inline", filename="chart.png")
    return mail


def plain_text(recipient: Recipient, message: Message, public_url: str = "") -> str:
    """Return the message for readers without HTML."""
    lines = [message.title, "", *message.lines, message.when]
    if public_url:
        lines += ["", f"{text('email.open', recipient.language)}: {public_url}"]
        lines += [f"{text('email.settings', recipient.language)}: {public_url}/profile"]
    return "\n".join(lines) + "\n"


def html_text(recipient: Recipient, message: Message, public_url: str = "", *, with_chart: bool = False) -> str:
    """Return the message as a page without any reference to the outside but links."""
    language = recipient.language
    title, badge = message.title, ""
    if message.mode:
        word = text(f"mode.{message.mode}", language)
        title = title.removeprefix(f"[{word}]").lstrip()
        colours = _BADGES.get(message.mode, _BADGES["paper"])
        badge = (
            f'<span class="{html.escape(message.mode)}" style="display:inline-block;padding:3px 9px;border-radius:6px;'
            f'font-size:12px;font-weight:700;letter-spacing:.04em;{colours}">{html.escape(word)}</span>'
        )
    first, *rest = message.lines or ("",)
    parts = [
        f'<!doctype html><html lang="{html.escape(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
        f"<title>{html.escape(message.title)}</title><style>{_STYLE}</style></head>",
        f'<body class="ground" style="margin:0;padding:16px;background:#f2f5f9;{_FONT}">',
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:600px;margin:0 auto">'
        '<tr><td class="sheet" style="background:#ffffff;border:1px solid #dbe3ec;border-radius:12px;padding:20px">',
        badge,
        f'<h1 class="ink" style="margin:10px 0 12px;font-size:20px;line-height:1.35;color:#142033">{html.escape(title)}</h1>',
        f'<p class="ink" style="margin:0 0 12px;font-size:16px;line-height:1.5;font-weight:600;color:#142033">'
        f"{html.escape(first)}</p>",
    ]
    if with_chart:
        alternative = html.escape(text("email.chart", language))
        parts.append(
            f'<p style="margin:0 0 12px"><img src="cid:{_CHART}" alt="{alternative}" width="558" '
            'style="width:100%;height:auto;border-radius:8px;border:0"></p>'
        )
    parts += [
        f'<p class="soft" style="margin:0 0 6px;font-size:14px;line-height:1.5;color:#46566b">{html.escape(line)}</p>'
        for line in (*rest, message.when)
    ]
    if public_url:
        place = html.escape(public_url, quote=True)
        style = 'class="link" style="color:#1559c7"'
        parts.append(
            '<p class="soft rule" style="margin:16px 0 0;padding-top:12px;border-top:1px solid #dbe3ec;font-size:13px;'
            f'color:#46566b"><a {style} href="{place}">{html.escape(text("email.open", language))}</a> · '
            f'<a {style} href="{place}/profile">{html.escape(text("email.settings", language))}</a></p>'
        )
    parts.append("</td></tr></table></body></html>")
    return "\n".join(parts)
