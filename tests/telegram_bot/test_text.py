"""Text for Telegram: nothing in a name formats, links or breaks a message, and every message fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctp.notifiers.telegram_text import Line, bold, escape, lines, render, shorten, units
from tests.telegram_bot.entities import Unreadable, read_markdown

NASTY = st.text(st.sampled_from("_*[]()~`>#+-=|{}.!\\ab 가\U0001f600\n") | st.characters(codec="utf-8"), max_size=80)


@given(NASTY)
def test_escaped_text_reads_as_it_was_written(text: str) -> None:
    read = read_markdown(escape(text))
    assert (read.text, read.entities) == (text, ())


@given(st.lists(st.tuples(NASTY, st.booleans()), max_size=8))
def test_whatever_stands_in_the_lines_telegram_can_read_them_as_meant(parts: list[tuple[str, bool]]) -> None:
    rendered = render([Line(text, is_bold) for text, is_bold in parts])
    read = read_markdown(rendered.markdown)
    assert read.text == rendered.plain
    assert all(kind == "Bold" for kind, _ in read.entities)
    assert len(read.text.split("\n")) == max(1, len(parts))


@given(st.lists(NASTY, max_size=12), st.integers(20, 200))
def test_a_message_never_exceeds_its_limit_and_keeps_its_last_line(parts: list[str], limit: int) -> None:
    rendered = render(lines(*parts), limit, last=Line("at 12:00"))
    assert units(rendered.plain) <= limit
    assert rendered.plain.endswith("at 12:00")
    assert read_markdown(rendered.markdown).text == rendered.plain


def test_a_long_message_is_cut_at_a_line_and_says_so() -> None:
    rendered = render([bold("Title"), *lines(*(f"line {number}" for number in range(20)))], 40, last=Line("now"))
    assert rendered.plain == "Title\nline 0\nline 1\nline 2\nline 3\n…\nnow"


def test_the_limit_counts_utf_16_units_and_no_character_is_split() -> None:
    assert units("\U0001f600") == 2
    assert shorten("\U0001f600" * 5, 6) == "\U0001f600\U0001f600…"
    assert shorten("짧은 글", 40) == "짧은 글"


def test_signs_that_turn_writing_around_are_taken_out() -> None:
    assert render(lines("profit \u202e00.1+\u202c\x07 BTC\nSecond")).plain == "profit 00.1+ BTC Second"


@pytest.mark.parametrize("wrong", ["1.5", "*bold", "_a*b_*", "(x)", "a-b", "[link", "`code", "x!", "||spoil|"])
def test_the_test_s_own_reader_refuses_what_telegram_refuses(wrong: str) -> None:
    with pytest.raises(Unreadable):
        read_markdown(wrong)


def test_the_test_s_own_reader_sees_formatting() -> None:
    assert read_markdown(r"*a _b_* `c.d` [e](http://f)").entities == (
        ("Italic", "b"),
        ("Bold", "a b"),
        ("Code", "c.d"),
        ("TextUrl http://f", "e"),
    )
