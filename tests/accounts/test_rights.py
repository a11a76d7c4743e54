"""The table of rights, written a second time by hand from the product's page."""

from __future__ import annotations

import itertools

import pytest

from ctp.accounts.rights import ACTIONS, ROLES, Actor, Role, allowed, machine, require
from ctp.errors import NotAllowed

# relation to the account: o = owner, t = shared as trader, v = shared as viewer, n = none
ON_ACCOUNTS = {
    "see_account": {"viewer": "tv", "trader": "otv", "quant": "otv", "operator": "", "admin": "tv"},
    "command": {"viewer": "", "trader": "ot", "quant": "ot", "operator": "", "admin": ""},
    "close_all": {"viewer": "", "trader": "ot", "quant": "ot", "operator": "", "admin": "otvn"},
    "edit_parameters": {"viewer": "", "trader": "ot", "quant": "ot", "operator": "", "admin": ""},
    "edit_account": {"viewer": "", "trader": "o", "quant": "o", "operator": "", "admin": ""},
    "exchange_key": {"viewer": "", "trader": "o", "quant": "o", "operator": "", "admin": ""},
}
IN_GENERAL = {
    "create_account": "trader quant",
    "backtest": "trader quant",
    "research": "quant",
    "lab": "quant admin",
    "operate": "operator admin",
    "see_health": "operator admin",
    "export_own": "trader quant",
    "manage_users": "admin",
}
RELATIONS = {"o": "owner", "t": "trader", "v": "viewer", "n": "none"}


def somebody(role: Role) -> Actor:
    """Return a person of a role."""
    return Actor(7, "somebody", role, None, "web")


@pytest.mark.parametrize(("action", "role"), list(itertools.product(ON_ACCOUNTS, ROLES)))
def test_rights_on_an_account_are_those_of_the_table(action: str, role: Role) -> None:
    """Every role, action and relation."""
    for letter, relation in RELATIONS.items():
        assert allowed(somebody(role), action, relation) == (letter in ON_ACCOUNTS[action][role])  # type: ignore[arg-type]


@pytest.mark.parametrize(("action", "role"), list(itertools.product(IN_GENERAL, ROLES)))
def test_rights_in_general_are_those_of_the_table(action: str, role: Role) -> None:
    """No relation to an account gives or takes them."""
    for relation in RELATIONS.values():
        assert allowed(somebody(role), action, relation) == (role in IN_GENERAL[action].split())  # type: ignore[arg-type]


def test_the_tables_leave_no_action_out() -> None:
    """A new action needs a row here."""
    assert set(ON_ACCOUNTS) | set(IN_GENERAL) == set(ACTIONS)


def test_the_machine_itself_may_everything() -> None:
    """Whoever owns the shell owns the files anyway; the audit log says which door it was."""
    assert all(allowed(machine("cli"), action) for action in ACTIONS)


def test_a_refusal_names_person_role_and_deed() -> None:
    """So that somebody knows whom to ask."""
    with pytest.raises(NotAllowed, match=r"somebody \(viewer\) may not: close all"):
        require(somebody("viewer"), "close_all", "viewer")
