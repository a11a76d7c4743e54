"""Who may do what: one table, asked by every door.

Invariants:
1. What one may not see does not exist for one: that refusal is NotFound, and says nothing else.
2. What one sees but may not do is NotAllowed, and says which role or share would be needed.
3. The role is the one in the database now, not the one at login.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from ctp.errors import NotAllowed

Role = Literal["viewer", "trader", "quant", "operator", "admin"]
Door = Literal["web", "cli", "telegram", "scheduler", "bot"]
Relation = Literal["owner", "trader", "viewer", "none"]  # of a person to an account: own, shared with them as …, neither
Action = Literal[
    "see_account",
    "command",  # Start, Pause, Stop, Unlock
    "close_all",
    "edit_parameters",
    "edit_account",  # capital, sharing, closing the account
    "exchange_key",  # enter, replace; never read
    "create_account",
    "backtest",
    "research",  # promotion
    "lab",  # JupyterLab: code of their own on this machine, as another user of it
    "operate",  # backups, reports, jobs, updates
    "see_health",
    "export_own",
    "manage_users",  # users, roles, sessions of others, the audit log
]

ROLES: tuple[Role, ...] = get_args(Role)
ACTIONS: tuple[Action, ...] = get_args(Action)

# Actions on an account: the relations that suffice, for each role. Missing: none does.
_OWN: frozenset[Relation] = frozenset({"owner"})
_OWN_OR_TRADER: frozenset[Relation] = frozenset({"owner", "trader"})
_ANY_SHARE: frozenset[Relation] = frozenset({"owner", "trader", "viewer"})
_SHARED: frozenset[Relation] = frozenset({"trader", "viewer"})
_EVERYBODYS: frozenset[Relation] = frozenset(get_args(Relation))
_ON_ACCOUNTS: dict[Action, dict[Role, frozenset[Relation]]] = {
    "see_account": {"viewer": _SHARED, "trader": _ANY_SHARE, "quant": _ANY_SHARE, "admin": _SHARED},
    "command": {"trader": _OWN_OR_TRADER, "quant": _OWN_OR_TRADER},
    "close_all": {"trader": _OWN_OR_TRADER, "quant": _OWN_OR_TRADER, "admin": _EVERYBODYS},
    "edit_parameters": {"trader": _OWN_OR_TRADER, "quant": _OWN_OR_TRADER},
    "edit_account": {"trader": _OWN, "quant": _OWN},
    "exchange_key": {"trader": _OWN, "quant": _OWN},
}
# Actions that concern no particular account: the roles that may.
_IN_GENERAL: dict[Action, frozenset[Role]] = {
    "create_account": frozenset({"trader", "quant"}),
    "backtest": frozenset({"trader", "quant"}),
    "research": frozenset({"quant"}),
    "lab": frozenset({"quant", "admin"}),
    "operate": frozenset({"operator", "admin"}),
    "see_health": frozenset({"operator", "admin"}),
    "export_own": frozenset({"trader", "quant"}),
    "manage_users": frozenset({"admin"}),
}
_ROLES_SHARED_WITH: frozenset[Role] = frozenset({"viewer", "trader", "quant", "admin"})


class Actor(NamedTuple):
    """Who asks, through which door. Made by `sessions` for people, by `machine` for programs; never from a request."""

    user_id: int | None  # None: the machine itself, which whoever owns the server's shell commands
    name: str
    role: Role
    session_id: str | None
    door: Door

    @property
    def is_machine(self) -> bool:
        """Tell whether the server itself acts, not a person who logged in."""
        return self.user_id is None


def machine(door: Door) -> Actor:
    """Return the server itself: the command line of whoever owns its files, the scheduler, the bot."""
    return Actor(None, door, "admin", None, door)


def allowed(actor: Actor, action: Action, relation: Relation = "none") -> bool:
    """Tell whether an actor may do something; `relation` is theirs to the account concerned, if one is."""
    if actor.is_machine:
        return True
    if action in _IN_GENERAL:
        return actor.role in _IN_GENERAL[action]
    return relation in _ON_ACCOUNTS[action].get(actor.role, frozenset())


def require(actor: Actor, action: Action, relation: Relation = "none") -> None:
    """Raise NotAllowed unless the actor may; for things the actor can see."""
    if not allowed(actor, action, relation):
        raise NotAllowed(f"{actor.name} ({actor.role}) may not: {action.replace('_', ' ')}")


def may_be_shared_with(role: Role) -> bool:
    """Tell whether an account can be shared with people of this role; operators see health figures only."""
    return role in _ROLES_SHARED_WITH
