"""What a person is told when something is refused: in their language, wherever in the house it was refused."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctp import i18n
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies.rsi_mean_reversion import RsiMeanReversion
from ctp.errors import InputError, NotAllowed, StateConflict
from ctp.explained import explained, key_of, retold

ROOT = Path(__file__).resolve().parents[1] / "ctp"
# Whose refusals people on the web and in chats are told.
ROOMS = ("accounts", "core", "notifiers", "reports", "scheduler", "telegram", "trading", "web")
# What only programs, or whoever owns the shell or writes a strategy, ever gets to read.
NOT_TOLD = (
    "the machine ",
    "the token is not valid",
    "the code is not valid",
    "another crypto-trader-",
    "another program reads",
    " written by another worker",
    "another worker took",
    "is the name of another one, ",
    "must have the parameters ",
    ": rule 0 says that all of them hold",
)
STAND_INS = ("7", "word", "BTC/USDT", "2026-05-01")


def test_every_refusal_that_can_reach_a_person_is_told_in_their_language() -> None:
    """A new bound without a sentence in `ctp/explained.py` is found here."""
    untold = []
    found = 0
    for file, forms in _refusals():
        found += 1
        if not any(key_of(form) or any(part in form for part in NOT_TOLD) for form in forms):
            untold.append(f"{file}: {forms[0]}")
    assert found > 60, "the sources were not read"
    assert untold == []


@pytest.mark.parametrize("kind", [RsiMeanReversion, DynamicRiskManager], ids=lambda kind: kind.__name__)
def test_the_bound_of_every_parameter_is_told(kind: type) -> None:
    """Bounds of parameters are composed; each composition must be known."""
    for name, bound in kind.bounds().items():  # type: ignore[attr-defined]
        said = explained(InputError(name, "x", f"must be {bound.words()}"), "ko")
        assert re.search("[가-힣]", said) and "must be" not in said, (name, said)


def test_a_refused_value_is_named_shortened_and_never_a_secret() -> None:
    """Field, value and bound, as the reader would say them."""
    error = InputError("daily_loss_limit", 0.2, "must be a number strictly between 0 and 0.03")
    assert explained(error, "ko") == "일일 손실 한도 ‘0.2’: 0보다 크고 0.03보다 작은 수여야 합니다"
    assert explained(error, "en") == "Daily loss limit “0.2”: must be a number above 0 and below 0.03"
    secret = InputError("password", "***", "must have at least 12 characters")
    assert explained(secret, "ko") == "비밀번호: 12자 이상이어야 합니다"
    long = explained(InputError("name", "x\n" * 500, "there is a user of this name already"), "en")
    assert len(long) < 140 and "\n" not in long


def test_refusals_without_a_field_are_whole_sentences() -> None:
    """Roles have names, and what nobody has translated stays readable."""
    assert explained(NotAllowed("minsu (trader) may not: manage users"), "ko") == "현재 역할(트레이더)로는 할 수 없습니다."
    conflict = StateConflict("this is the last administrator; make another one first")
    assert explained(conflict, "ko").startswith("마지막 관리자입니다.")
    assert explained(NotAllowed("something new"), "ko") == "something new"


def test_hostile_values_stay_values() -> None:
    """Braces and the words of other bounds in a value change nothing."""
    said = explained(InputError("name", "{0} must be one of x", "there is a user of this name already"), "ko")
    assert said == "이름 ‘{0} must be one of x’: 이미 있는 아이디입니다"
    said = explained(InputError("symbol", "A", "{evil} trades B, {C}"), "ko")
    assert "{evil}" in said and "{C}" in said


def test_what_was_written_down_is_told_in_the_readers_language() -> None:
    """The bot writes how a command ended as text; whoever asks reads it in their own language."""
    written = str(InputError("symbol", "XRP/USDT", "is not listed on binance"))
    assert retold(written, "ko") == "종목 ‘XRP/USDT’: binance에 상장되어 있지 않습니다"
    assert retold("there is no USDT to trade with: the balance is 0", "ko").startswith("거래할 USDT가 없습니다.")
    assert retold("binance: odd = 1: something", "ko") == "binance: odd = 1: something"


def test_both_languages_have_a_sentence_for_each_bound() -> None:
    """A key of the table without a text would be shown as a key."""
    from ctp.explained import _WORDS

    for _, key in _WORDS:
        for language in i18n.LANGUAGES:
            assert i18n.texts_below("input.bound", language).get(key), (language, key)


def _refusals() -> Iterator[tuple[str, list[str]]]:
    """Find every refusal in the sources; yields its file and line, and what it may look like."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(file.read_text("utf-8"))
            constants = {
                target.id: node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for node in ast.walk(tree):
                call = node.exc if isinstance(node, ast.Raise) else None
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not call.args:
                    continue
                if call.func.id == "InputError":
                    said = call.args[2]
                elif call.func.id in ("NotAllowed", "StateConflict"):
                    said = call.args[0]
                else:
                    continue
                if isinstance(said, ast.Name):
                    said = constants.get(said.id, said)
                forms = [form for stand_in in STAND_INS if (form := _form(said, stand_in)) is not None]
                composed = any("self.words()" in ast.unparse(part) for part in ast.walk(said) if isinstance(part, ast.Call))
                if forms and not composed:
                    yield f"{file.relative_to(ROOT)}:{call.lineno}", forms


def _form(said: ast.expr, stand_in: str) -> str | None:
    """Return what an expression may come to; None for what was translated before."""
    if isinstance(said, ast.Constant):
        return str(said.value)
    if isinstance(said, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else stand_in for part in said.values)
    if isinstance(said, ast.BinOp):
        left, right = _form(said.left, stand_in), _form(said.right, stand_in)
        return None if left is None else left + (right or stand_in)
    return None
