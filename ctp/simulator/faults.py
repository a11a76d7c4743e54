"""Scripted trouble: what goes wrong with a request or on a websocket, how often, and with what chance.

Invariant: with the same seed and the same requests the same ones fail.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ACTIONS = frozenset({
    "drop_before", "drop_after", "delay_before", "delay_after", "status", "status_after", "error", "truncate",
    "garbage", "null",
})  # fmt: skip
SOCKET_ACTIONS = frozenset({
    "drop", "duplicate", "hold", "release", "reverse", "clear", "disconnect", "abort", "expire",
})  # fmt: skip


@dataclass
class Fault:
    """One kind of trouble for requests.

    match: beginning of "METHOD /path", or "*". parameters: what the request must contain. count: how often it
    strikes; skip: how many matching requests pass first; probability: the chance of each.
    delay_ms for the delays; status, body and content_type for `status`; status, code and message for `error` and
    `status_after`.
    """

    action: str
    match: str = "*"
    parameters: Mapping[str, str] = field(default_factory=dict)
    count: int = 1
    skip: int = 0
    probability: float = 1.0
    delay_ms: int = 0
    status: int = 503
    code: int = -1007
    message: str = (
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    )
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an action that does not exist."""
        if self.action not in ACTIONS:
            raise ValueError(f"fault action {self.action!r} is none of {', '.join(sorted(ACTIONS))}")

    def matches(self, method: str, path: str, parameters: Mapping[str, str]) -> bool:
        """Tell whether a request is one of those meant."""
        if self.match != "*" and not f"{method} {path}".startswith(self.match):
            return False
        return all(parameters.get(name) == value for name, value in self.parameters.items())


class Faults:
    """All scripted trouble of one exchange."""

    def __init__(self, seed: int = 1) -> None:
        """Start without trouble."""
        self.waiting: list[Fault] = []
        self.struck: list[tuple[str, str, str]] = []
        self._chance = random.Random(seed)

    def add(self, fault: Fault) -> None:
        """Script one more fault."""
        self.waiting.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self.waiting.clear()

    def next_for(self, method: str, path: str, parameters: Mapping[str, str]) -> Fault | None:
        """Return the fault that strikes a request, and use it up."""
        for fault in self.waiting:
            if fault.count <= 0 or not fault.matches(method, path, parameters):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if self._chance.random() < fault.probability:
                fault.count -= 1
                self.struck.append((fault.action, method, path))
                return fault
        return None


@dataclass
class SocketTrouble:
    """What happens to the messages of one kind of websocket: "user", "market" or "api"."""

    drop: bool = False
    duplicate: bool = False
    hold: bool = False
    reverse: bool = False
    held: list[tuple[Any, str]] = field(default_factory=list)
