"""The history of an account's parameters for people: who changed what, when, why, and on what grounds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.visible import ParameterVersion, Visible
from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import find
from ctp.errors import CtpError
from ctp.i18n import has_text, number, percent, text
from ctp.storage.tables import audit_log, users

FRACTIONS = frozenset(
    {
        "daily_loss_limit", "liquidation_buffer", "max_drawdown", "max_margin_fraction", "limit_offset", "risk_per_trade",
        "shrink", "shrink_floor", "stop_loss", "take_profit", "trailing_stop",
    }
)  # fmt: skip
OFF_AT_ZERO = frozenset({"stop_atr", "take_profit", "trailing_stop", "trend_window", "cooldown", "limit_offset"})


# What the program writes where a person gives no reason of their own.
_PROMOTED = re.compile(r"promoted to (?P<mode>paper|live): (?:verdict (?P<verdict>green|amber|red)|not validated)")
_BACK = re.compile(r"back to version (?P<version>\d+)(?:: (?P<why>.+))?", re.DOTALL)


class Change(NamedTuple):
    """One parameter that changed; None: it was not there, or follows from others."""

    name: str
    before: Any
    after: Any


class PastVersion(NamedTuple):
    """One version of an account's parameters, as its history shows it."""

    version: int
    strategy: str
    author: str
    created_at: int
    reason: str
    verdict: str | None
    verdict_elsewhere: str | None  # found on another market than the account's
    reasons: tuple[Any, ...]  # of the verdict, strongest first; words, or words by language
    override: str
    data: dict[str, Any]
    data_hash: str | None
    source_hash: str | None
    fingerprint: str | None
    changes: tuple[Change, ...]  # against the version before it, or the defaults
    in_use: bool

    def difference(self, language: str) -> list[str]:
        """Return what changed, one sentence each."""
        return in_words(self.changes, language) or [text("parameters.same", language)]

    def grounds(self, language: str) -> str:
        """Return on what grounds it was taken."""
        said = text(f"parameters.verdict.{self.verdict or 'none'}", language)
        if self.verdict_elsewhere:
            said = text("parameters.verdict.elsewhere", language, verdict=text(f"verdict.{self.verdict_elsewhere}", language))
        if self.override:
            said = f"{said} {text('parameters.override', language, author=self.author, reason=self.override)}"
        return said

    def reason_in(self, language: str) -> str:
        """Return why it was appended: a person's own words, or what the program wrote where they gave none."""
        promoted, back = _PROMOTED.fullmatch(self.reason), _BACK.fullmatch(self.reason)
        if promoted:
            verdict = promoted["verdict"]
            grounds = text(f"parameters.verdict.{verdict or 'none'}", language)
            return text("parameters.promoted", language, mode=text(f"mode.{promoted['mode']}", language), grounds=grounds)
        if back:
            said = text("parameters.back", language, version=back["version"])
            return f"{said} {back['why']}" if back["why"] else said
        return self.reason

    def reasons_in(self, language: str) -> list[str]:
        """Return the verdict's reasons in a language, or in the one they have."""
        return [
            str(one.get(language) or next(iter(one.values()), "")) if isinstance(one, dict) else str(one)
            for one in self.reasons
        ]

    def to_plain(self, language: str) -> dict[str, Any]:
        """Return the version with its words, ready for JSON."""
        return {
            **self._asdict(),
            "changes": [change._asdict() for change in self.changes],
            "reasons": self.reasons_in(language),
            "grounds": self.grounds(language),
            "difference": self.difference(language),
        }


def read_history(visible: Visible, account_id: int, *, limit: int = 50) -> list[PastVersion]:
    """Return the versions of an account, newest first. Raises NotFound."""
    state = visible.state(account_id)
    found = visible.parameter_versions(account_id, limit=limit + 1)
    authors = _authors(visible.connection, account_id, found)
    used = state.parameter_version if state else None
    if used is None and found:
        used = found[0].version
    history = []
    for place, one in enumerate(found[:limit]):
        before = found[place + 1] if place + 1 < len(found) else None
        evidence = one.evidence
        history.append(
            PastVersion(
                one.version, one.strategy, authors[one.version], one.created_at, one.reason, one.verdict,
                evidence.get("verdict_elsewhere"), tuple(evidence.get("reasons", ())), one.override,
                dict(evidence.get("data", {})), one.data_hash, one.source_hash, one.fingerprint,
                differences(before, one), one.version == used,
            )
        )  # fmt: skip
    return history


def differences(before: ParameterVersion | None, after: ParameterVersion) -> tuple[Change, ...]:
    """Return what changed between two versions; before None: between the defaults and the first."""
    old_strategy = before.strategy if before else after.strategy
    old = _complete(old_strategy, before.strategy_parameters if before else {})
    new = _complete(after.strategy, after.strategy_parameters)
    old_risk = _complete("", before.risk_parameters if before else {})
    new_risk = _complete("", after.risk_parameters)
    changes = [Change("strategy", old_strategy, after.strategy)] if old_strategy != after.strategy else []
    for one, other in ((old, new), (old_risk, new_risk)):
        names = [*other, *(name for name in one if name not in other)]
        changes += [Change(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]
    return tuple(changes)


def difference_in_words(before: ParameterVersion | None, after: ParameterVersion, language: str) -> list[str]:
    """Return what changed between two versions, one sentence each; empty when nothing did."""
    return in_words(differences(before, after), language)


def in_words(changes: tuple[Change, ...], language: str) -> list[str]:
    """Return changes, one sentence each."""
    return [
        text(
            "parameters.change",
            language,
            name=name_of(change.name, language),
            before=value_of(change.name, change.before, language),
            after=value_of(change.name, change.after, language),
        )
        for change in changes
    ]


def name_of(parameter: str, language: str) -> str:
    """Return what a parameter is called; one of somebody's own strategy goes by the name it has there."""
    key = f"input.field.{parameter}"
    return text(key, language) if has_text(key) else parameter


def value_of(parameter: str, value: Any, language: str) -> str:
    """Return a parameter's value as people write it."""
    if value is None:
        return text("parameters.value.automatic", language)
    if isinstance(value, str):
        key = f"parameters.value.{value}"
        return text(key, language) if has_text(key) else value
    if value == 0 and parameter in OFF_AT_ZERO:
        return text("parameters.value.off", language)
    if parameter in FRACTIONS:
        places = next((count for count in range(6) if round(value * 100, count) == round(value * 100, 9)), 6)
        return percent(value, places)
    return number(value)


def _complete(strategy: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with the defaults of today where the version leaves them out. strategy: empty for the risk's."""
    try:
        kind: type[ParameterSet] = find(strategy).parameters if strategy else DynamicRiskManager
        return kind().to_dict() | dict(values)
    except CtpError:  # a strategy that is not here any more still has a history
        return dict(values)


def _authors(connection: sa.Connection, account_id: int, versions: list[ParameterVersion]) -> dict[int, str]:
    """Return who made each version: a person, or the system's user at the server's command line."""
    ids = {one.author_id for one in versions if one.author_id is not None}
    names = {row.id: row.name for row in connection.execute(sa.select(users.c.id, users.c.name).where(users.c.id.in_(ids)))}
    found = {one.version: names.get(one.author_id or 0, "") for one in versions}
    if all(found.values()):
        return found
    query = sa.select(audit_log.c.door, audit_log.c.details).where(
        audit_log.c.action == "parameters.append", audit_log.c.subject == f"account:{account_id}"
    )
    for door, details in connection.execute(query):
        plain = json.loads(details)
        if not found.get(plain.get("version"), "-"):
            found[plain["version"]] = f"{plain['system_user']} ({door})" if plain.get("system_user") else str(door)
    return {version: name or "?" for version, name in found.items()}
