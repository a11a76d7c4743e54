"""The README's commands exist, in both languages alike, and every link in the docs leads somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from ctp.cli import app

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.ko.md")


def commands(name: str) -> list[str]:
    """Return the shell commands of a README, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_both_languages_give_the_same_commands() -> None:
    """A command added to one README and forgotten in the other would strand its readers."""
    assert commands("README.md") == commands("README.ko.md")


@pytest.mark.parametrize("command", commands("README.md"))
def test_a_command_of_the_readme_is_understood(command: str) -> None:
    """`./run` knows the word, and the command line accepts every option with its value."""
    program, word, *arguments = shlex.split(command)
    assert program == "./run"
    assert re.search(rf"^{word}\)|\b{word} \||\| {word}\b", (ROOT / "run").read_text(), re.MULTILINE)
    if word != "ctp":
        return
    node = typer.main.get_command(app)
    while hasattr(node, "commands"):
        assert arguments[0] in node.commands, command
        node = node.commands[arguments.pop(0)]
    node.make_context(node.name, arguments)  # raises when an option or a value is wrong


@pytest.mark.parametrize("page", [*READMES, *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))])
def test_links_and_files_named_by_a_page_exist(page: str) -> None:
    """Documentation that names a file that moved is worse than none."""
    text = (ROOT / page).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    named = re.findall(r"`((?:ctp|services|tests|docs|notebooks)/[\w./-]+)`", text)
    missing += [name for name in named if not (ROOT / name).exists()]
    assert not missing
