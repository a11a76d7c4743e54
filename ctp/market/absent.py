"""Remember which candles an exchange was asked for and does not have.

Owns `absent.json` beside a series' month files: ranges [start, end) in milliseconds. It only saves requests: without
it every download asks for every outage of the exchange again. A file that cannot be read counts as empty.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ctp.market.month_files import sync_folder, unwritable

Range = tuple[int, int]
FILE = "absent.json"


def read_absent(folder: Path) -> list[Range]:
    """Return the ranges known to be absent, oldest first."""
    try:
        return [(int(start), int(end)) for start, end in json.loads((folder / FILE).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def add_absent(folder: Path, ranges: list[Range]) -> None:
    """Add ranges and write the file whole."""
    merged: list[Range] = []
    for start, end in sorted({*read_absent(folder), *ranges}):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    fresh = folder / f"{FILE}.fresh"
    try:
        with fresh.open("w") as file:
            json.dump(merged, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / FILE)
        sync_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error


def subtract(ranges: list[Range], known: list[Range]) -> list[Range]:
    """Return what is left of ranges outside the known ones; both sorted and disjoint."""
    left: list[Range] = []
    for start, end in ranges:
        cursor = start
        for first, last in known:
            if last <= cursor or first >= end:
                continue
            if first > cursor:
                left.append((cursor, first))
            cursor = max(cursor, last)
        if cursor < end:
            left.append((cursor, end))
    return left
