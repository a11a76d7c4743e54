"""`ctp strategies`: what can be traded with, where it comes from, and what its parameters may be."""

from __future__ import annotations

from typing import Annotated

import typer

from ctp.cli.output import Json, print_json, print_table
from ctp.config import home_folder
from ctp.core.strategies import find, names
from ctp.strategy_files import FOLDER, load_strategies

StrategyOption = Annotated[str, typer.Option(help="Which strategy; `ctp strategies` lists them.")]


def strategies(
    name: Annotated[str | None, typer.Argument(help="Show the parameters of this one.")] = None, as_json: Json = False
) -> None:
    """List the strategies, those of your own files included, or the parameters of one."""
    if name is not None:
        of_one(name, as_json)
        return
    files = load_strategies(home_folder())
    own = {each: str(one.file) for one in files for each in one.strategies}
    found = [
        {"name": each, "title": find(each).words.en.get("name", ""), "file": own.get(each, "ctp")} for each in names()
    ]
    refused = [{"file": str(one.file), "problem": one.problem} for one in files if one.problem]
    if as_json:
        print_json({"strategies": found, "refused": refused})
        return
    print_table("", ("strategy", "title", "comes from"), [list(one.values()) for one in found], empty="None.")
    typer.echo(f"Your own go to {home_folder() / FOLDER}; see docs/write-a-strategy.md.")


def of_one(name: str, as_json: bool) -> None:
    """Print the parameters of one strategy with their defaults and bounds."""
    kind = find(name).parameters
    defaults = kind().to_dict()
    found = [
        {"parameter": each, "default": defaults[each], "must_be": bound.words()} for each, bound in kind.bounds().items()
    ]
    if as_json:
        print_json(found)
        return
    rows = [[one["parameter"], "follows" if one["default"] is None else one["default"], one["must_be"]] for one in found]
    print_table("", ("parameter", "default", "must be"), rows, empty="It has none.")
