"""Strategies of the operator's own: loaded from files that may be trusted, traded, told, and never a hindrance."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ctp
from ctp.core import strategies
from ctp.core.code_hash import code_hash
from ctp.core.strategies import Strategy, Words, find, of_parameters, register
from ctp.errors import ConfigError, InputError
from ctp.strategy_files import load_strategies, load_strategy
from ctp.trading.why import why
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "write-a-strategy.md"


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a registry of its own."""
    monkeypatch.setattr(strategies, "_BY_NAME", dict(strategies._BY_NAME))
    monkeypatch.setattr(strategies, "_BY_VALUES", dict(strategies._BY_VALUES))
    monkeypatch.setattr("ctp.strategy_files._loaded", {})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("ctp_strategy_"):
            del sys.modules[name]


def blocks() -> list[str]:
    """Return the Python of the page, in order."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def own(home: Path) -> Path:
    """Return the page's strategy as a file of a home."""
    folder = home / "strategies"
    folder.mkdir(mode=0o700)
    file = folder / "rising_streak.py"
    file.write_text(blocks()[0], "utf-8")
    file.chmod(0o600)
    return file


def test_the_walk_of_the_page_runs_from_top_to_bottom(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file, the notebook cell after it, and both engines' agreement."""
    monkeypatch.chdir(own.parent.parent)
    (own.parent.parent / "var").symlink_to(own.parent.parent)
    monkeypatch.setenv("CTP_HOME", str(ROOT / "var" / "tests"))  # compiled code is kept there
    cell = blocks()[1].replace('("BTC/USDT", "1h")', '("BTC/USDT", "1h", 900)')
    scope: dict[str, object] = {}
    exec(cell, scope)
    trades = scope["result"].figures["trades"]  # type: ignore[attr-defined]
    grid = scope["grid"]
    assert trades > 5
    same = grid.table[grid.table["streak"] == 4]  # type: ignore[attr-defined]
    assert int(same["trades"].iloc[0]) == trades
    assert str(trades) in capsys.readouterr().out


def test_every_shell_line_of_the_page_is_a_command_with_these_options(own: Path) -> None:
    from typer.testing import CliRunner

    from ctp.cli.app import app

    lines = re.findall(r"^\./run ctp (\w+) (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(lines) == 2
    for command, rest in lines:
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in shown


def test_a_strategy_of_a_home_is_listed_with_its_bounds_by_the_command_line(own: Path) -> None:
    from typer.testing import CliRunner

    from ctp.cli.app import app

    listed = CliRunner().invoke(app, ["strategies"]).output
    assert "rising_streak" in listed and "donchian_breakout" in listed and str(own) in listed
    assert "from 1 to 100" in CliRunner().invoke(app, ["strategies", "rising_streak"]).output


def test_a_loaded_strategy_decides_and_explains_itself_in_both_languages(own: Path) -> None:
    (found,) = load_strategies(own.parent.parent)
    assert found.strategies == ("rising_streak",) and found.problem == ""
    numbers = {"rising": 2, "close": 100.0}
    assert why("no_signal", "streak_short", numbers, "en", "USDT", "rising_streak") == "2 rising closes in a row are not enough."
    assert why("no_signal", "streak_short", numbers, "ko", "USDT", "rising_streak") == "연속 상승 2회로는 부족합니다."
    held = why("hold", "hold", {"rising": 1, "entry_price": 99.5, "stop": 95.0}, "en", "USDT", "rising_streak")
    assert held == "No exit signal (rising 1). Entry 99.5, stop-loss 95, take-profit –."
    gone = why("no_signal", "streak_short", numbers, "en", "USDT", "no_longer_here")
    assert gone == "The entry rule is not met: streak_short (rising 2, close 100)."


@pytest.mark.parametrize(
    ("mode", "folder_mode", "reason"),
    [(0o620, 0o700, "may be written by others"), (0o602, 0o700, "may be written by others"), (0o600, 0o770, "may be written")],
)
def test_a_file_that_others_may_change_is_refused_and_hinders_nothing(
    own: Path, mode: int, folder_mode: int, reason: str
) -> None:
    good = own.parent / "good.py"
    good.write_text(blocks()[0].replace("rising_streak", "other_streak"), "utf-8")
    good.chmod(0o600)
    own.chmod(mode)
    own.parent.chmod(folder_mode)
    found = {one.file.name: one for one in load_strategies(own.parent.parent)}
    assert reason in found["rising_streak.py"].problem and "chmod go-w" in found["rising_streak.py"].problem
    assert (found["good.py"].problem == "") == (folder_mode == 0o700)
    assert "rising_streak" not in strategies.names()


def test_a_file_of_another_user_is_refused(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12_345)
    os.chown(own, 54_321, -1) if os.getuid() == 0 else pytest.skip("only root can give a file away")
    assert "belongs to another user" in load_strategies(own.parent.parent)[0].problem


def test_a_link_is_refused(own: Path) -> None:
    (own.parent / "link.py").symlink_to(own)
    found = {one.file.name: one.problem for one in load_strategies(own.parent.parent)}
    assert "plain file" in found["link.py"] and found["rising_streak.py"] == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemError('x')", "SystemError"),
        ("x = 1", "registers no strategy"),
    ],
)
def test_a_file_that_cannot_run_is_told_and_hinders_nothing(own: Path, text: str, reason: str) -> None:
    bad = own.parent / "bad.py"
    bad.write_text(text, "utf-8")
    bad.chmod(0o600)
    found = {one.file.name: one for one in load_strategies(own.parent.parent)}
    assert reason in found["bad.py"].problem
    assert found["rising_streak.py"].strategies == ("rising_streak",)


def test_an_edited_file_is_loaded_again_and_counts_as_other_code(own: Path) -> None:
    before = load_strategy(own)
    first = code_hash(of_parameters(before()))
    assert load_strategy(own) is before
    own.write_text(own.read_text("utf-8").replace("candle.close > memory.close", "candle.close >= memory.close"), "utf-8")
    after = load_strategy(own)
    assert after is not before
    assert code_hash(of_parameters(after())) != first
    assert find("rising_streak").parameters is after


def test_a_comment_does_not_change_the_hash_of_a_strategy_and_a_constant_does(own: Path) -> None:
    first = code_hash(of_parameters(load_strategy(own)()))
    text = own.read_text("utf-8")
    own.write_text(text.replace("    rule = 0\n", "    # nothing failed yet\n    rule = 0\n"), "utf-8")
    assert code_hash(of_parameters(load_strategy(own)())) == first
    own.write_text(text.replace("candle.volume <= 0.0", "candle.volume <= 1.0"), "utf-8")
    assert code_hash(of_parameters(load_strategy(own)())) != first


def test_a_name_that_is_taken_is_refused(own: Path) -> None:
    own.write_text(own.read_text("utf-8").replace('Strategy("rising_streak"', 'Strategy("rsi_mean_reversion"'), "utf-8")
    with pytest.raises(ConfigError, match="is the name of another one, RsiMeanReversion"):
        load_strategy(own)


def test_a_strategy_without_what_the_trader_applies_is_refused() -> None:
    known = find("donchian_breakout")

    class Bare(type(find("rsi_mean_reversion").parameters())):  # type: ignore[misc]
        """Parameters without a cooldown."""

        @classmethod
        def bounds(cls) -> dict[str, object]:
            """Return the bounds but one."""
            return {name: one for name, one in super().bounds().items() if name != "cooldown"}

    with pytest.raises(InputError, match="must have the parameters cooldown"):
        register(Strategy("bare", Bare, known.start, known.step, known.rules, known.describe))
    with pytest.raises(InputError, match="must begin with entry_signal"):
        register(Strategy("bare", known.parameters, known.start, known.step, ("up",), known.describe))


def test_the_strategies_of_the_package_have_words_for_every_rule_in_both_languages() -> None:
    for name in ("donchian_breakout", "rsi_mean_reversion"):
        code = find(name)
        for language in ("en", "ko"):
            cases = [("no_signal", rule) for rule in code.rules[1:]] + [("enter", "entry_signal"), ("hold", "hold")]
            cases += [("hold", "stopped"), ("exit", "exit_signal"), ("refused", "max_open_positions")]
            for outcome, reason in cases:
                told = why(outcome, reason, {"close": 1.0, "rsi": 2.0}, language, "USDT", name)
                assert told and "{" not in told and "why." not in told
                assert "rule is not met" not in told and "충족되지" not in told, "general words, not its own"
    assert set(find("donchian_breakout").words.en) == set(find("donchian_breakout").words.ko)
    assert isinstance(find("donchian_breakout").words, Words)


def test_the_notebook_api_knows_the_second_strategy() -> None:
    assert ctp.DonchianBreakout(entry_window=55).to_dict()["entry_window"] == 55
