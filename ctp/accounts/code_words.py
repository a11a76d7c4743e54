"""The sources an account decides with, in words: pinned, being compared, or deciding otherwise and how."""

from __future__ import annotations

from typing import Any, NamedTuple

from ctp.accounts.live_door import grounds_of
from ctp.accounts.visible import CodePin, Visible
from ctp.core.timeframes import timeframe_ms
from ctp.i18n import DEFAULT_ZONE, has_text, moment, number, symbol_name, text


class CodeState(NamedTuple):
    """Whether an account may enter with its sources and parameters, and if not, why."""

    hold: str  # empty: it may; code_unproven, code_changed, not_accepted
    pin: CodePin | None
    timeframe_ms: int

    def words(self, language: str) -> str:
        """Return it in a sentence; empty before the first start of an account that nothing holds."""
        if self.hold == "not_accepted":
            return text("parameters.pin.not_accepted", language)
        if self.pin is None:
            return ""
        if self.pin.state == "pinned":
            key = "compared" if self.pin.compared else "pinned"
            return text(f"parameters.pin.{key}", language, compared=number(self.pin.compared))
        facts = {"compared": number(self.pin.compared), "differing": number(self.pin.differing)}
        return text(f"parameters.pin.{self.pin.state}", language, **facts)

    def differences(self, language: str, zone: str = DEFAULT_ZONE) -> list[str]:
        """Return the first decisions that differ, one sentence each: which candle, what then, what now."""
        if self.pin is None or self.pin.state != "changed":
            return []
        return [_difference(one, language, zone, self.timeframe_ms) for one in self.pin.differences]


def read_code_state(visible: Visible, account_id: int) -> CodeState:
    """Return what holds an account's entries. Raises NotFound."""
    account, pin = visible.account(account_id), visible.code_pin(account_id)
    held = "" if pin is None or pin.state == "pinned" else f"code_{pin.state}"
    if grounds_of(visible.connection, account_id).problem:
        held = "not_accepted"
    return CodeState(held, pin, timeframe_ms(account.timeframe))


def _difference(one: dict[str, Any], language: str, zone: str, length_ms: int) -> str:
    """Return one decision that differs; its candle is named by when it closed."""
    said = text(
        "parameters.pin.difference",
        language,
        candle=moment(one["candle_time"] + length_ms, language, zone, seconds=False),
        symbol=symbol_name(one["symbol"], language),
        before=_outcome(one["outcome"], one["reason"], language),
        after=_outcome(one["new_outcome"], one["new_reason"], language),
    )
    numbers = [
        text("parameters.pin.number", language, name=name, before=_exact(before), after=_exact(after))
        for name, (before, after) in list(one["numbers"].items())[:3]
    ]
    return f"{said} ({', '.join(numbers)})" if numbers else said


def _outcome(outcome: str, reason: str, language: str) -> str:
    """Return what was decided, and why where that has words."""
    if not outcome:
        return text("parameters.pin.incomparable", language)
    said = text(f"web.outcome.{outcome}", language)
    for table in ("refusal", "exit_reason"):
        if has_text(f"{table}.{reason}"):
            return f"{said} – {text(f'{table}.{reason}', language)}"
    return said


def _exact(value: float | None) -> str:
    """Return a number with every bit it has: a last digit may be all that differs."""
    return "–" if value is None else repr(value)
